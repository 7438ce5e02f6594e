"""The 32 masks of the coverage table, each at its extents and at small ones where brute force can follow."""

# Patterns are written without annotations.
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false
# ruff: noqa: ANN001, ANN202
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lacuna
import torch


@dataclass(frozen=True)
class Mask:
    """A row of the table. `function(q, k[, h])` is the mask; what it captures are extents, what it takes by keyword is bound by `bind`."""

    name: str
    pattern: Any
    q_len: int
    k_len: int
    heads: int = 1
    affine: bool = True


def _made(name: str, function: Callable[..., Any], length: int, *, keys: int | None = None, heads: int = 1, **bound: Any) -> Mask:  # noqa: ANN401
    made = lacuna.pattern(function)
    affine = not any(isinstance(value, torch.Tensor) and value.shape[0] > 64 for value in bound.values())
    return Mask(name, made(**bound) if bound else made, length, keys or length, heads, affine)


def _neighbours(q, k, extent, window):
    """Neighborhood attention along one axis: a window that shifts at the edges."""
    start = lacuna.minimum(lacuna.maximum(q - window // 2, 0), extent - window)
    return (start <= k) & (k < start + window)


def _near(q, k, width):
    return (q - k <= width) & (k - q <= width)


def _deinterleaved(x, bits, first):
    return sum(((x // 4**bit // 2**first) % 2) * 2**bit for bit in range(bits))


def one_dimensional(length: int) -> list[Mask]:
    """Masks on flat positions, arithmetic only."""
    unit = length // 64
    half = length // 2

    def diffusion(q, k):
        block_q, block_k = (q % half) // unit, (k % half) // unit
        noisy_q, noisy_k = q < half, k < half
        same = (block_q == block_k) & ~(noisy_q ^ noisy_k)
        return same | (noisy_q & ~noisy_k & (block_q > block_k)) | (~noisy_q & ~noisy_k & (block_q >= block_k))

    return [
        _made("causal", lambda q, k: k <= q, length),
        _made("sliding window", lambda q, k, *, window: (k <= q) & (q - k < window), length, window=4 * unit),
        _made("prefix LM", lambda q, k, *, prefix: (k < prefix) | (k <= q), length, prefix=5 * unit),
        _made("same block", lambda q, k: q // 64 == k // 64, length),
        _made("chunked causal", lambda q, k: (q // 256 == k // 256) & (k <= q), length),
        _made("sink + window", lambda q, k, *, window: (k <= q) & ((k < 4) | (q - k < window)), length, window=4 * unit),
        _made("dilated window", lambda q, k, *, window: (k <= q) & (q - k < window) & ((q - k) % 4 == 0), length, window=8 * unit),
        _made("batch-packed", lambda q, k: (q // half == k // half) & (k % half <= q % half), length),
        _made("block diffusion", diffusion, length),
        _made("Longformer", lambda q, k, *, w, g: _near(q, k, w) | (k < g) | (q < g), length, w=4 * unit, g=unit),
        _made("shared prefix", lambda q, k: (k <= q) & ((k < half) | ((q - half) // (8 * unit) == (k - half) // (8 * unit))), length),
        _made("block-causal", lambda q, k: q // 64 >= k // 64, length),
        _made("k % 4 == q % 4", lambda q, k: k % 4 == q % 4, length),
        _made("abs(q - k) <= w", lambda q, k, *, w: abs(q - k) <= w, length, w=3 * unit),
        _made("~(q < k)", lambda q, k: ~(q < k), length),
        _made("q != k", lambda q, k: q != k, length),
        _made("q >= 2*k", lambda q, k: q >= 2 * k, length),
    ]


def with_tables(length: int) -> list[Mask]:
    """Masks that read tensors, or the head."""
    tokens = torch.arange(length)
    cuts = torch.tensor([0, length // 7, length // 3, length // 2 + 5, length], dtype=torch.int32)
    ids = torch.bucketize(tokens, cuts[1:], right=True).int()
    tree, context = 32, length // 2
    enter = torch.cat([torch.zeros(context, dtype=torch.int64), torch.arange(tree)])
    leave = torch.cat([torch.full((context,), tree), torch.arange(tree) + torch.tensor([32, 8, 4, 1, 1, 2, 1, 1] * 4)]).clamp(max=tree)

    def strided(q, k, h):
        return (k <= q) & ((q // 64 == k // 64) | ((k // 64 + h) % 4 == 0))

    return [
        _made("document-causal, offsets", lambda q, k, *, doc: (doc[q] == doc[k]) & (k <= q), length, doc=lacuna.segments(cuts)),
        _made("per-head window", lambda q, k, h, *, w: (k <= q) & (q - k < w[h]), length, heads=2, w=torch.tensor([9, length // 4])),
        _made("document ids", lambda q, k, *, doc: doc[q] == doc[k], length, doc=ids),
        _made("flamingo", lambda q, k, *, image: k // 64 == image[q], length, keys=512, image=ids),
        _made(
            "speculative tree",
            lambda q, k, *, enter, leave, mine: (enter[k] <= mine[q]) & (mine[q] < leave[k]),
            tree,
            keys=context + tree,
            enter=enter,
            leave=leave,
            mine=torch.arange(tree),
        ),
        _made("S2 local + stride", strided, length, heads=4),
        _made("equal ids", lambda q, k, *, mine, theirs: mine[q] == theirs[k], length, mine=ids, theirs=(tokens * 5 // length).int()),
    ]


def on_grids(side: int, morton: int, video: tuple[int, int, int]) -> list[Mask]:
    """Masks on 2-D and 3-D grids, written on flat indices."""
    window, tile = min(13, side // 2 + 1), 8
    size = side * side
    frames, rows, columns = video
    area, bits = rows * columns, morton.bit_length() - 1

    def rows_and_columns(x):
        return x // side, x % side

    def tiled(x):
        across = side // tile
        inner, outer = x % tile**2, x // tile**2
        return outer // across * tile + inner // tile, outer % across * tile + inner % tile

    def curve(x):
        return _deinterleaved(x, bits, 1), _deinterleaved(x, bits, 0)

    def neighborhood(place, extent, width):
        def near(q, k):
            (q0, q1), (k0, k1) = place(q), place(k)
            return _neighbours(q0, k0, extent, width) & _neighbours(q1, k1, extent, width)

        return near

    def sliding_tile(q, k):
        (q0, q1), (k0, k1) = rows_and_columns(q), rows_and_columns(k)
        return _near(q0 // tile, k0 // tile, 1) & _near(q1 // tile, k1 // tile, 1)

    def video_tile(q, k):
        def tiles(x):
            return x // area // 4, x // columns % rows // tile, x % columns // tile

        (q0, q1, q2), (k0, k1, k2) = tiles(q), tiles(k)
        return _near(q0, k0, 1) & _near(q1, k1, 1) & _near(q2, k2, 1)

    def raw(q, k):
        (q0, q1), (k0, k1) = rows_and_columns(q), rows_and_columns(k)
        return _near(q0, k0, window // 2) & _near(q1, k1, window // 2)

    return [
        _made("NATTEN 2-D flat", neighborhood(rows_and_columns, side, window), size),
        _made("NATTEN 2-D tiled", neighborhood(tiled, side, window), size),
        _made("NATTEN 2-D Morton", neighborhood(curve, morton, min(5, morton)), morton * morton),
        _made("sliding tile 2-D", sliding_tile, size),
        _made("sliding tile 3-D", video_tile, frames * area),
        _made("SVG spatial", lambda q, k: (k < size // 4) | _near(q // (size // 4), k // (size // 4), 1), size),
        _made("SVG temporal", lambda q, k: (k < size // 4) | _near(q % (size // 4), k % (size // 4), side // 2), size),
        _made("raw 2-D window", raw, size),
    ]


def coverage() -> list[Mask]:
    return [*one_dimensional(4096), *with_tables(4096), *on_grids(64, 16, (16, 32, 32))]


def small() -> list[Mask]:
    return [*one_dimensional(256), *with_tables(256), *on_grids(16, 8, (4, 16, 8))]


def video_neighborhood(frames: int, rows: int, columns: int) -> Mask:
    """Neighborhood attention on a 3-D grid, windows of 5 x 13 x 13."""
    axes = ((rows * columns, frames, 5), (columns, rows, 13), (1, columns, 13))

    def near(q, k):
        parts = [_neighbours(q // step % extent, k // step % extent, extent, window) for step, extent, window in axes]
        return parts[0] & parts[1] & parts[2]

    return _made("NATTEN 3-D flat", near, frames * rows * columns)
