"""Ours beside SDPA, FlexAttention compiled and a matrix product on the CPU, in one process: `python benchmarks/cpu.py [--quick]`.

B1 H4 L4096 D64. Every comparison interleaves the two and gives the median of the ratios with the smallest and the largest. Work is counted
in attended pairs: 4 D operations each forward, 14 D forward and backward; the share is of a 2048 x 2048 x 2048 product timed in turns.
FlexAttention has no backward pass on CPUs. SDPA gets the mask as a tensor, except where nothing is hidden; it has no soft cap and does
without.
"""

# torch's annotations are partial.
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import argparse
import json
import math
import statistics
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lacuna
import suite
import torch
from lacuna.cli.interleaved import Pairs, Ratio, Run, seconds
from lacuna.runtime.compilers.cpu import processor_name
from suite import Case
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

LENGTH, HEADS, DIM, EDGE = 4096, 4, 64, 2048
attention: Any = lacuna.attention


@dataclass(frozen=True)
class Row:
    """density: attended pairs over all; `ours_ms`: median; `gflops`: of ours; `share`: of the product's rate; ratios: peer / ours."""

    case: str
    dtype: str
    direction: str
    density: float
    ours_ms: float
    gflops: float
    share: Ratio
    sdpa: Ratio
    sdpa_causal: Ratio | None
    flex: Ratio | None


# -- one case ---------------------------------------------------------------------------------------------------------


class Problem:
    """A case with its operands, and what is run on them."""

    def __init__(self, case: Case, dtype: torch.dtype) -> None:
        self.case, self.dtype = case, dtype
        self.operands = [torch.randn(1, HEADS, LENGTH, DIM).to(dtype) for _ in range(3)]
        self.leaves = [each.clone().requires_grad_() for each in self.operands]
        self.grad_out = torch.randn(1, HEADS, LENGTH, DIM).to(dtype)
        mask = case.mask(HEADS, LENGTH)
        self.density = mask.float().mean().item()
        self.mask: Tensor | None = None if case.mask_mod is None else mask[None]  # SDPA takes its fast path for two or four axes only
        if case.bias is not None:
            self.mask = case.bias().masked_fill(~mask, -math.inf).to(dtype)[None]

    def ours(self, tensors: list[Tensor]) -> Tensor:
        return attention(*tensors, self.case.pattern, score=self.case.score)

    def sdpa(self, tensors: list[Tensor]) -> Tensor:
        return scaled_dot_product_attention(tensors[0], tensors[1], tensors[2], attn_mask=self.mask)

    def sdpa_causal(self, tensors: list[Tensor]) -> Tensor:
        return scaled_dot_product_attention(tensors[0], tensors[1], tensors[2], is_causal=True)

    def forward(self, run: Any) -> Run:  # noqa: ANN401
        def once() -> None:
            with torch.no_grad():
                run(self.operands)

        return once

    def both(self, run: Any) -> Run:  # noqa: ANN401
        return lambda: torch.autograd.grad(run(self.leaves), self.leaves, self.grad_out)

    def flex(self) -> Run:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        mask_mod = self.case.mask_mod
        heads = HEADS if self.case.name.startswith("S2") else None
        block_mask = None if mask_mod is None else create_block_mask(mask_mod, None, heads, LENGTH, LENGTH, device="cpu")
        torch.compiler.reset()
        compiled = torch.compile(flex_attention, dynamic=False)
        return self.forward(lambda tensors: compiled(*tensors, score_mod=self.case.score_mod, block_mask=block_mask))

    def row(self, direction: str, pairs: int, flex: bool) -> Row:
        shape, work = (self.forward, 4) if direction == "forward" else (self.both, 14)
        ours = shape(self.ours)
        product = gemm(self.dtype)
        operations = self.density * HEADS * LENGTH**2 * DIM * work
        beside = Pairs.of(ours, product, pairs)
        return Row(
            self.case.name,
            str(self.dtype).removeprefix("torch."),
            direction,
            self.density,
            1e3 * beside.our_median,
            operations / beside.our_median / 1e9,
            beside.ratio(operations / (2 * EDGE**3)),
            Pairs.of(ours, shape(self.sdpa), pairs).ratio(),
            Pairs.of(ours, shape(self.sdpa_causal), pairs).ratio() if self.case.causal else None,
            Pairs.of(ours, self.flex(), pairs).ratio() if flex and direction == "forward" else None,
        )


def gemm(dtype: torch.dtype) -> Run:
    a, b = (torch.randn(EDGE, EDGE).to(dtype) for _ in range(2))
    return lambda: a @ b


# -- report -----------------------------------------------------------------------------------------------------------

HEADER = "pattern                     density     ms  GFLOP/s  share of product     SDPA                   FlexAttention"


def line(row: Row) -> str:
    text = f"{row.case:26} {row.density:8.3f} {row.ours_ms:7.2f} {row.gflops:7.0f}  {row.share!s:18} {row.sdpa!s:22}"
    if row.direction == "forward":
        return f"{text} {row.flex or ''!s:22}" + (f" causal SDPA {row.sdpa_causal}" if row.sdpa_causal else "")
    wanted = max(1.0, 10.0 if row.density < 0.15 else 0.0, 1.5 / row.density)
    return f"{text} 1.5 / density {wanted:.1f}" + (f", causal SDPA {row.sdpa_causal}" if row.sdpa_causal else "")


def summary(rows: list[Row]) -> str:
    by_dtype = {name: [row.flex.median for row in rows if row.flex and row.dtype == name] for name in ("float32", "bfloat16")}
    pooled = [ratio for ratios in by_dtype.values() for ratio in ratios]
    parts = [f"{name} {statistics.geometric_mean(ratios):.2f}x" for name, ratios in by_dtype.items() if ratios]
    if not pooled:
        return ""
    return f"FlexAttention, geometric mean: {', '.join(parts)}, both {statistics.geometric_mean(pooled):.2f}x; at least {min(pooled):.2f}x"


def tables(rows: list[Row], rates: dict[str, float]) -> str:
    """The same as markdown."""
    products = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in rates.items())
    lines = [
        f"# CPU, B1 H{HEADS} L{LENGTH} D{DIM}",
        "",
        "Written by `python benchmarks/cpu.py --results benchmarks/results`. Medians of nine interleaved pairs;",
        f"ratios are peer / ours (smallest..largest); the share is of a matrix product of {EDGE} rows timed in turns ({products}).",
        f"{processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}. {summary(rows)}.",
    ]
    for direction, last in (("forward", "FlexAttention compiled"), ("forward and backward", "1.5 / density")):
        head = ("dtype", "case", "density", "ours", "share", "SDPA with mask", "SDPA causal", last)
        lines += ["", f"## {direction.capitalize()}", "", _cells(head), _cells("---" for _ in head)]
        lines += [_cells(_columns(row)) for row in rows if row.direction == direction]
    return "\n".join(lines) + "\n"


def _columns(row: Row) -> tuple[object, ...]:
    beside = row.flex if row.direction == "forward" else f"{1.5 / row.density:.1f}"
    return row.dtype, row.case, f"{row.density:.3f}", f"{row.ours_ms:.1f} ms", row.share, row.sdpa, row.sdpa_causal, beside


def _cells(columns: Iterable[object]) -> str:
    return f"| {' | '.join('' if each is None else str(each) for each in columns)} |"


def chart(rows: list[Row], rates: dict[str, float], path: Path) -> None:
    """A panel for each dtype and direction: bars of GFLOP/s, a line where the matrix product is."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    panels = sorted({(row.dtype, row.direction) for row in rows}, reverse=True)
    figure, axes = pyplot.subplots(len(panels), 1, figsize=(11, 3.4 * len(panels)), sharex=True, squeeze=False, layout="constrained")
    for (dtype, direction), axis in zip(panels, axes[:, 0], strict=True):
        chosen = [row for row in rows if (row.dtype, row.direction) == (dtype, direction)]
        places = range(len(chosen))
        for offset, label, values in (
            (-0.27, "Lacuna", [row.gflops for row in chosen]),
            (0.0, "FlexAttention compiled", [row.gflops / row.flex.median if row.flex else 0.0 for row in chosen]),
            (0.27, "SDPA with mask", [row.gflops / row.sdpa.median for row in chosen]),
        ):
            axis.bar([place + offset for place in places], values, width=0.26, label=label)
        axis.axhline(rates[dtype], color="black", linewidth=1, label="matrix product")
        axis.set_title(f"{dtype}, {direction}: GFLOP/s of attended pairs, L {LENGTH}, D {DIM}")
        axis.set_xticks(list(places), [row.case for row in chosen], rotation=30, ha="right")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three pairs instead of nine, without FlexAttention")
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--results", type=Path, help="write cpu.json, cpu.md and cpu.svg into this folder")
    options = parser.parse_args()
    pairs = 3 if options.quick else 9
    print(f"{processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}; B1 H{HEADS} L{LENGTH} D{DIM}")
    rows: list[Row] = []
    rates: dict[str, float] = {}
    warnings.simplefilter("ignore")
    chosen = [case for case in suite.cases(LENGTH, HEADS) if not options.only or options.only in case.name]
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        rates[name] = 2 * EDGE**3 / statistics.median(seconds(gemm(dtype)) for _ in range(9)) / 1e9
        for direction in ("forward", "forward and backward"):
            print(f"\n{name}, {direction}; matrix product {rates[name]:.0f} GFLOP/s\n{HEADER}")
            for case in chosen:
                rows.append(Problem(case, dtype).row(direction, pairs, flex=not options.quick))
                print(line(rows[-1]), flush=True)
    print(f"\n{summary(rows)}")
    if options.results:
        (options.results / "cpu.json").write_text(json.dumps({"product": rates, "rows": [asdict(row) for row in rows]}, indent=1))
        (options.results / "cpu.md").write_text(tables(rows, rates))
        chart(rows, rates, options.results / "cpu.svg")


if __name__ == "__main__":
    main()
