"""Minima and maxima of opaque terms over tiles: the small arrays that schedules with tables read."""

from __future__ import annotations

import math

import numpy as np

from ...ir.expr import B, Expr, H, K, Q, names, walk
from ...ir.schedule import Schedule, Term
from ...passes.bounds.too_wide import TooWide
from ...passes.program.call_values import Launch
from ...passes.program.evaluate import evaluate, reader
from ...passes.program.exact_integers import HIGHEST, LOWEST, narrowed, widened

Array = np.ndarray


def term_arrays(schedule: Schedule, launch: Launch) -> dict[str, Array]:
    """i64[batch, heads, tiles] of each term's inclusive bounds, by table name; an extent is 1 where the term does not read `b` or `h`.

    Raises:
        TooWide: a term leaves 64 bits.
    """
    found: dict[str, Array] = {}
    for term in schedule.terms:
        found[term.low.name], found[term.high.name] = bounds_of(term, schedule, launch)
    return found


def bounds_of(term: Term, schedule: Schedule, launch: Launch) -> tuple[Array, Array]:
    """The arrays of one term.

    Raises:
        TooWide: it leaves 64 bits.
    """
    low, high = _BOUNDS.get(term.axis, _one_sided)(term, schedule, launch)
    return _over_heads(low, schedule.together, np.minimum), _over_heads(high, schedule.together, np.maximum)


def _over_heads(bounds: Array, together: int, either: np.ufunc) -> Array:
    """The bounds of each head, over the heads from it on that share a tile."""
    if together == 1:
        return bounds
    found = bounds.copy()
    for step in range(1, min(together, bounds.shape[1])):
        found[:, :-step] = either(found[:, :-step], bounds[:, step:])
    return found


def _per_head(term: Term, schedule: Schedule, launch: Launch) -> tuple[Array, Array]:
    values = np.array(_values(term, launch, {}, 1))
    return values, values


def _one_sided(term: Term, schedule: Schedule, launch: Launch) -> tuple[Array, Array]:
    side, length, block = (Q, launch.q_len, schedule.block_q) if term.axis == "q" else (K, launch.k_len, schedule.block_k)
    values = _values(term, launch, {side: np.arange(length, dtype=np.int64)[None, None, :]}, length)
    if length <= 0:
        return np.array(values[..., :0]), np.array(values[..., :0])
    firsts = np.arange(0, length, block)
    return np.minimum.reduceat(values, firsts, -1), np.maximum.reduceat(values, firsts, -1)


def _diagonal(term: Term, schedule: Schedule, launch: Launch) -> tuple[Array, Array]:
    """Entry 2d, or -1 - 2d, covers the differences d * unit - block_k + 1 and the block_q + block_k - 2 after it."""
    unit = math.gcd(schedule.block_q, schedule.block_k)
    q_tiles, k_tiles = -(-launch.q_len // schedule.block_q), -(-launch.k_len // schedule.block_k)
    most = max(q_tiles * schedule.block_q, k_tiles * schedule.block_k) // unit
    base = -most * unit - schedule.block_k + 1
    entries = 2 * most + 1
    width = schedule.block_q + schedule.block_k - 1
    length = (entries - 1) * unit + width
    difference = base + np.arange(length, dtype=np.int64)
    q = np.clip(difference, 0, launch.q_len - 1)
    values = _values(term, launch, {Q: q[None, None, :], K: (q - difference)[None, None, :]}, length)
    real = (difference > -launch.k_len) & (difference < launch.q_len)
    low, high = _reduced(values, entries, unit, width, real)
    entry = np.arange(entries)
    there = most + np.where(entry % 2 == 1, -(entry + 1) // 2, entry // 2)
    return low[..., there], high[..., there]


_BOUNDS = {"diagonal": _diagonal, "h": _per_head}


def _values(term: Term, launch: Launch, positions: dict[Expr, Array], length: int) -> Array:
    read = names(term.expr)
    ragged = {symbol: values[:, None, None] for symbol, values in launch.ragged.items() if symbol in set(walk(term.expr))}
    b = np.arange(launch.batch if "b" in read or ragged else 1)[:, None, None]
    h = np.arange(launch.heads if "h" in read else 1)[None, :, None]
    environment: dict[Expr, object] = {**launch.environment(), **ragged, B: b, H: h, **positions}
    values = narrowed(widened(evaluate(term.expr, environment, reader(launch.tables))))
    if values.dtype == object:
        raise TooWide(term.expr, int(values.min()), int(values.max()))
    return np.broadcast_to(values, (b.shape[0], h.shape[1], length))  # to be copied: of what may not be written to torch warns


def _reduced(values: Array, tiles: int, step: int, width: int, real: Array) -> tuple[Array, Array]:
    """Extrema of `width` values every `step`, ignoring what is not `real`; a window with nothing real has 1 and 0, so low > high."""
    need = max(0, (tiles - 1) * step + width)
    pad = [(0, 0), (0, 0), (0, max(0, need - values.shape[-1]))]
    low = np.where(real, values, HIGHEST)
    high = np.where(real, values, LOWEST)
    low, high = np.pad(low, pad, constant_values=HIGHEST), np.pad(high, pad, constant_values=LOWEST)
    if tiles == 0:
        return low[..., :0], high[..., :0]
    windows = (slice(None), slice(None), slice(None, None, step))
    view_low = np.lib.stride_tricks.sliding_window_view(low[..., :need], width, axis=-1)[windows]
    view_high = np.lib.stride_tricks.sliding_window_view(high[..., :need], width, axis=-1)[windows]
    least, most = view_low.min(-1), view_high.max(-1)
    nothing = least > most
    return np.where(nothing, 1, least), np.where(nothing, 0, most)
