"""One row of queries against a long cache, beside the memory's bandwidth, SDPA and FlexAttention: `python benchmarks/decode.py [--quick]`.

B8 H8 L32768 D64, window 4096 and 4 sinks. The limit is reading each live key and value once, so the figure is those bytes over the time,
and its ratio to a large sum of the same run, and to one of as many bytes, which starts and ends as often. Every comparison interleaves the
two: medians, and the median of the ratios with the smallest and the largest.
"""

# torch's annotations are partial.
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import lacuna
import torch
from lacuna import patterns
from lacuna.cli.interleaved import Pairs, Run
from lacuna.runtime.compilers.cpu import processor_name
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

BATCH, HEADS, LENGTH, DIM = 8, 8, 32768, 64
SINKS, WINDOW = 4, 4096
PATTERN = patterns.sink_window(SINKS, WINDOW)
MEASURED_BYTES = 2**29


@dataclass(frozen=True)
class Cache:
    """A cache of keys and values, full to the end, and the query of the next step."""

    query: Tensor
    key: Tensor
    value: Tensor

    @staticmethod
    def of(dtype: torch.dtype) -> Cache:
        key, value = (torch.randn(BATCH, HEADS, LENGTH, DIM).to(dtype) for _ in range(2))
        return Cache(torch.randn(BATCH, HEADS, 1, DIM).to(dtype), key, value)

    @property
    def live_bytes(self) -> int:
        """Of the keys and values that one step sees."""
        return 2 * BATCH * HEADS * (SINKS + WINDOW) * DIM * self.key.element_size()

    def ours(self) -> object:
        return lacuna.attention(self.query, self.key, self.value, PATTERN, q_offset="end")


def seen() -> Tensor:
    """The mask of one row at the end, bool[1, L]."""
    k = torch.arange(LENGTH)
    return ((k < SINKS) | (LENGTH - 1 - k < WINDOW)).view(1, LENGTH)


def peers(cache: Cache) -> Iterator[tuple[str, Run]]:
    mask = seen()
    yield "SDPA with mask", lambda: scaled_dot_product_attention(cache.query, cache.key, cache.value, attn_mask=mask)
    key, value = (each[:, :, mask[0]] for each in (cache.key, cache.value))
    yield "SDPA on a copy of the live keys", lambda: scaled_dot_product_attention(cache.query, key, value)
    flex = flex_of(cache)
    try:
        flex()
    except Exception as error:
        print(f"  FlexAttention compiled does not run: {str(error).splitlines()[0][:120]}")
    else:
        yield "FlexAttention compiled", flex


def flex_of(cache: Cache) -> Run:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def mask_mod(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k < SINKS) | (q + LENGTH - 1 - k < WINDOW)

    block_mask = create_block_mask(mask_mod, None, None, 1, LENGTH, device="cpu")
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda: compiled(cache.query, cache.key, cache.value, block_mask=block_mask)


def measure(dtype: torch.dtype, pairs: int) -> None:
    cache, read = Cache.of(dtype), torch.randn(MEASURED_BYTES // 4)
    timed = Pairs.of(cache.ours, read.sum, pairs)
    as_much = Pairs.of(cache.ours, read[: cache.live_bytes // 4].sum, pairs)
    ours, memory = (statistics.median(times) for times in (timed.ours, timed.other))
    print(
        f"{str(dtype).removeprefix('torch.')}: {cache.live_bytes / 1e6:.1f} MB live in {1e3 * ours:.2f} ms,"
        f" {cache.live_bytes / ours / 1e9:.1f} GB/s; a sum reads {MEASURED_BYTES / memory / 1e9:.1f} GB/s;"
        f" ratio {timed.ratio(cache.live_bytes / MEASURED_BYTES)}; to a sum of as many bytes as are live {as_much.ratio()}"
    )
    for name, peer in peers(cache):
        timed = Pairs.of(cache.ours, peer, pairs)
        print(f"  {name:32} {1e3 * statistics.median(timed.other):8.2f} ms  {timed.ratio()}x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three pairs and float32 only")
    options = parser.parse_args()
    pairs, dtypes = (3, (torch.float32,)) if options.quick else (15, (torch.float32, torch.bfloat16))
    print(f"{processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}; B{BATCH} H{HEADS} L{LENGTH} D{DIM}")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype in dtypes:
            measure(dtype, pairs)


if __name__ == "__main__":
    main()
