"""Ours beside FlexAttention compiled and SDPA on the CPU, in one process: `python benchmarks/cpu.py [--quick] [--json FILE]`.

Every comparison interleaves the two, so that a drifting clock touches both, and prints the median of the ratios with the smallest and the
largest. B1 H4 L4096 D64 unless said otherwise.
"""

# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import lacuna
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

LENGTH, HEADS, DIM = 4096, 4, 64
Run = Callable[[], object]


@lacuna.pattern
def causal(q, k):  # noqa: ANN001, ANN201 (patterns are written without annotations)
    return k <= q


@lacuna.pattern
def sliding(q, k, *, window):  # noqa: ANN001, ANN201
    return (k <= q) & (q - k < window)


@lacuna.pattern
def dilated(q, k, *, window, step):  # noqa: ANN001, ANN201
    return (k <= q) & (q - k < window) & ((q - k) % step == 0)


@lacuna.pattern
def sink(q, k, *, sinks, window):  # noqa: ANN001, ANN201
    return (k <= q) & ((k < sinks) | (q - k < window))


@lacuna.pattern
def documents(q, k, *, doc):  # noqa: ANN001, ANN201
    return (k <= q) & (doc[q] == doc[k])


@lacuna.pattern(rank=2)
def near(q, k, *, window, extent):  # noqa: ANN001, ANN201
    inside = True
    for axis in range(2):
        start = lacuna.minimum(lacuna.maximum(q[axis] - window // 2, 0), extent - window)
        inside = inside & (start <= k[axis]) & (k[axis] < start + window)
    return inside


@dataclass(frozen=True)
class Case:
    """A pattern, and the same mask as FlexAttention takes it."""

    name: str
    pattern: object
    mask_mod: Callable[..., Tensor]


@dataclass(frozen=True)
class Row:
    """Milliseconds, medians; ratios peer / ours as (median, smallest, largest); density: attended pairs over all pairs."""

    case: str
    dtype: str
    peer: str
    ours_ms: float
    peer_ms: float
    ratio: tuple[float, float, float]
    density: float


def cases() -> list[Case]:
    doc = torch.arange(LENGTH) // (LENGTH // 8)
    edge = 64

    def grid(b, h, q, k):  # noqa: ANN001, ANN202
        seen = q >= 0
        for a, c in ((q // edge, k // edge), (q % edge, k % edge)):
            start = (a - 6).clamp(0, edge - 13)
            seen = seen & (start <= c) & (c < start + 13)
        return seen

    return [
        Case("causal", causal, lambda b, h, q, k: k <= q),
        Case("window 256", sliding(window=256), lambda b, h, q, k: (k <= q) & (q - k < 256)),
        Case("window 1024", sliding(window=1024), lambda b, h, q, k: (k <= q) & (q - k < 1024)),
        Case("dilated 1024 / 4", dilated(window=1024, step=4), lambda b, h, q, k: (k <= q) & (q - k < 1024) & ((q - k) % 4 == 0)),
        Case("sink 4 + window 256", sink(sinks=4, window=256), lambda b, h, q, k: (k <= q) & ((k < 4) | (q - k < 256))),
        Case("8 documents", documents(doc=doc), lambda b, h, q, k: (k <= q) & (doc[q] == doc[k])),
        Case("neighborhood 64 x 64, 13", near(window=13, extent=edge).on(edge, edge), grid),
    ]


def interleaved(ours: Run, peer: Run, pairs: int) -> tuple[float, float, tuple[float, float, float]]:
    """Median milliseconds of both and the ratio peer / ours pair by pair."""
    ours(), peer()
    times = [(milliseconds(ours), milliseconds(peer)) for _ in range(pairs)]
    ratios = sorted(b / a for a, b in times)
    return (
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        (statistics.median(ratios), ratios[0], ratios[-1]),
    )


def milliseconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def compare(case: Case, dtype: torch.dtype, pairs: int) -> list[Row]:
    query, key, value = (torch.randn(1, HEADS, LENGTH, DIM).to(dtype) for _ in range(3))
    position = torch.arange(LENGTH)
    mask = case.mask_mod(None, None, position[:, None], position[None, :])
    density = mask.float().mean().item()
    peers: dict[str, Run] = {"SDPA with mask": lambda: scaled_dot_product_attention(query, key, value, attn_mask=mask)}
    if case.name == "causal":
        peers["SDPA causal"] = lambda: scaled_dot_product_attention(query, key, value, is_causal=True)
    peers["FlexAttention compiled"] = flex(case, (query, key, value))

    def ours() -> object:
        return lacuna.attention(query, key, value, case.pattern)  # pyright: ignore[reportArgumentType] (patterns of all kinds)

    rows: list[Row] = []
    for name, peer in peers.items():
        ours_ms, peer_ms, ratio = interleaved(ours, peer, pairs)
        rows.append(Row(case.name, str(dtype).removeprefix("torch."), name, ours_ms, peer_ms, ratio, density))
    return rows


def flex(case: Case, qkv: tuple[Tensor, Tensor, Tensor]) -> Run:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    block_mask = create_block_mask(case.mask_mod, None, None, LENGTH, LENGTH, device="cpu")
    torch.compiler.reset()
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda: compiled(*qkv, block_mask=block_mask)


def gemm(dtype: torch.dtype) -> float:
    """GFLOP/s of a 2048 x 2048 product, the best of nine."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    return 2 * 2048**3 / min(milliseconds(lambda: a @ b) for _ in range(9)) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three pairs and float32 only")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    pairs, dtypes = (3, (torch.float32,)) if options.quick else (9, (torch.float32, torch.bfloat16))
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; B1 H{HEADS} L{LENGTH} D{DIM}")
    rows: list[Row] = []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype in dtypes:
            print(f"\n{str(dtype).removeprefix('torch.')}: matrix product {gemm(dtype):.0f} GFLOP/s")
            for case in cases():
                for row in compare(case, dtype, pairs):
                    rows.append(row)
                    median, smallest, largest = row.ratio
                    print(
                        f"  {row.case:26} density {row.density:5.3f}  ours {row.ours_ms:7.2f} ms  {row.peer:24} {row.peer_ms:8.2f} ms"
                        f"  {median:6.2f}x ({smallest:.2f}..{largest:.2f})",
                        flush=True,
                    )
    ratios = [row.ratio[0] for row in rows if row.peer.startswith("Flex")]
    print(f"\nagainst FlexAttention compiled: {statistics.geometric_mean(ratios):.2f}x geometric mean, {min(ratios):.2f}x at least")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
