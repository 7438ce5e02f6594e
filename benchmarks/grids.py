"""Neighborhoods on grids beside FlexAttention compiled, dilated ones beside undilated ones, and orders of tokens beside row-major tokens.

On the CPU: `python benchmarks/grids.py`. One process; every comparison interleaves the two and gives the median of the ratios with the
smallest and the largest. D 64.
"""

# torch's annotations are partial.
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lacuna
import torch
from lacuna import patterns
from lacuna.cli.interleaved import Pairs, Run
from lacuna.ir.pattern import Pattern
from lacuna.runtime.compilers.cpu import processor_name
from torch import Tensor

DIM = 64
attention: Any = lacuna.attention


def runs(pattern: Pattern, operands: list[Tensor], order: lacuna.orders.TokenOrder | None) -> tuple[Run, Run]:
    """The forward pass, and forward and backward."""
    leaves = [each.clone().requires_grad_() for each in operands]
    grad = torch.randn_like(operands[0])
    return (
        lambda: attention(*operands, pattern, order=order),
        lambda: torch.autograd.grad(attention(*leaves, pattern, order=order), leaves, grad),
    )


@dataclass(frozen=True)
class Grid:
    """A neighborhood. heads: as many as make about 16,000 rows."""

    extents: tuple[int, ...]
    window: tuple[int, ...]
    dilation: int = 1

    @property
    def tokens(self) -> int:
        return math.prod(self.extents)

    @property
    def heads(self) -> int:
        return max(1, 16384 // self.tokens)

    def operands(self, dtype: torch.dtype) -> list[Tensor]:
        return [torch.randn(1, self.heads, self.tokens, DIM).to(dtype) for _ in range(3)]

    def ours(self, dtype: torch.dtype, order: lacuna.orders.TokenOrder | None = None) -> tuple[Run, Run]:
        return runs(patterns.gna(self.extents, self.window, dilation=self.dilation), self.operands(dtype), order)

    def mask_mod(self) -> Callable[..., Any]:
        """As FlexAttention takes it; undilated."""
        strides = [math.prod(self.extents[axis + 1 :]) for axis in range(len(self.extents))]

        def inside(_b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            sees = q >= 0
            for extent, wide, stride in zip(self.extents, self.window, strides, strict=True):
                at_q, at_k = q // stride % extent, k // stride % extent
                start = (at_q - wide // 2).clamp(0, extent - wide)
                sees = sees & (start <= at_k) & (at_k < start + wide)
            return sees

        return inside

    def flex(self, dtype: torch.dtype) -> Run:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        operands = self.operands(dtype)
        block_mask = create_block_mask(self.mask_mod(), None, None, self.tokens, self.tokens, device="cpu")
        torch.compiler.reset()
        compiled = torch.compile(flex_attention, dynamic=False)

        def run() -> None:
            with torch.no_grad():
                compiled(*operands, block_mask=block_mask)

        return run

    def __str__(self) -> str:
        apart = f", dilation {self.dilation}" if self.dilation > 1 else ""
        return f"{' x '.join(map(str, self.extents))}, window {' x '.join(map(str, self.window))}{apart}"


BESIDE_FLEX = (Grid((64, 64), (13, 13)), Grid((16, 32, 32), (5, 9, 9)), Grid((61, 67), (13, 13)), Grid((13, 29, 37), (5, 9, 9)))
DILATED = (
    Grid((64, 64), (13, 13), 4),
    Grid((64, 64), (13, 13), 2),
    Grid((16, 32, 32), (3, 5, 5), 2),
    Grid((61, 67), (13, 13), 4),  # classes of unequal size
)
ORDERED = (Grid((64, 64), (13, 13)), Grid((16, 32, 32), (5, 9, 9)), Grid((15, 48, 40), (9, 12, 12)))
BESIDE_TEXT = (  # tokens of text; extents and windows of a video
    (64, (8, 32, 32), (3, 9, 9)),
    (64, (4, 48, 80), (3, 9, 9)),
    (64, (4, 32, 128), (3, 9, 9)),
    (226, (12, 24, 40), (7, 12, 12)),
)


def orders_of(grid: Grid) -> dict[str, lacuna.orders.TokenOrder | None]:
    """What is compared with row-major tokens; None is what kernels take of themselves."""
    return {"chosen": None, "hilbert": lacuna.orders.hilbert(grid.extents), "morton": lacuna.orders.morton(grid.extents)}


def beside_flex(pairs: int) -> None:
    print("FlexAttention compiled / ours, forward (5 is asked of float32)")
    for grid in BESIDE_FLEX:
        for dtype in (torch.float32, torch.bfloat16):
            beside = Pairs.of(grid.ours(dtype)[0], grid.flex(dtype), pairs)
            print(f"  {grid!s:48} {dtype!s:16} {1e3 * beside.our_median:7.2f} ms  {beside.ratio()}", flush=True)


def beside_undilated(pairs: int) -> None:
    print("dilated / undilated (1.15 is asked)")
    for grid in DILATED:
        plain = Grid(grid.extents, grid.window)
        for dtype in (torch.float32, torch.bfloat16):
            for what, ours, undilated in zip(("forward", "both"), grid.ours(dtype), plain.ours(dtype), strict=True):
                beside = Pairs.of(undilated, ours, pairs)
                print(f"  {grid!s:48} {dtype!s:16} {what:8} {1e3 * beside.our_median:7.2f} ms  {beside.ratio()}", flush=True)


def beside_row_major(pairs: int) -> None:
    print("row-major / ordered, float32")
    for grid in ORDERED:
        plain = grid.ours(torch.float32, lacuna.orders.row_major(grid.extents))
        for name, order in orders_of(grid).items():
            for what, ours, rows in zip(("forward", "both"), grid.ours(torch.float32, order), plain, strict=True):
                beside = Pairs.of(ours, rows, pairs)
                print(f"  {grid!s:48} {name:16} {what:8} {1e3 * beside.our_median:7.2f} ms  {beside.ratio()}", flush=True)


def videos_beside_text(pairs: int) -> None:
    print("row-major / the boxes that are chosen, float32, text beside a video that sees neighborhoods")
    for text, video, window in BESIDE_TEXT:
        whole = lacuna.sequence(text=text, video=lacuna.grid(*video))
        pattern = patterns.segmented(whole, {("video", "video"): patterns.gna(video, window)})
        operands = [torch.randn(1, max(1, 16384 // whole.tokens), whole.tokens, DIM) for _ in range(3)]
        chosen, flat = (runs(pattern, operands, order) for order in (None, lacuna.orders.row_major((whole.tokens,))))
        for what, ours, rows in zip(("forward", "both"), chosen, flat, strict=True):
            beside = Pairs.of(ours, rows, pairs)
            named = f"{whole}, window {' x '.join(map(str, window))}"
            print(f"  {named:48} {what:8} {1e3 * beside.our_median:7.2f} ms  {beside.ratio()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--only", choices=tuple(PARTS))
    asked = parser.parse_args()
    print(f"{processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, part in PARTS.items():
        if asked.only in (None, name):
            part(asked.pairs)


PARTS: dict[str, Callable[[int], None]] = {
    "flex": beside_flex,
    "dilated": beside_undilated,
    "orders": beside_row_major,
    "text": videos_beside_text,
}


if __name__ == "__main__":
    main()
