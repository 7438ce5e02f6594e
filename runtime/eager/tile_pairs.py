"""Which queries meet which keys in the eager backend, and what is known there: of forward and backward alike.

A query tile meets its live keys in strips of at most `KEYS_AT_ONCE`; nothing as large as a score matrix is ever made.
"""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...ir.expr import Kind, S, names
from ...ir.program import Space
from ...ir.schedule import Tile
from ...passes.program.call_values import Launch
from ..launches.derivations import Tiles, tiles_of
from ..request import materialise
from ..request.request import Extra, Request
from ..request.zero_keys import seeing_nothing
from .evaluate import Values

BLOCK_Q, BLOCK_K = 128, 64
KEYS_AT_ONCE = 1024


# -- what shares one set of tiles -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """Tokens of one batch item, or of all items where they do not differ.

    batch, kv_batch: slices of the tensors' first dimension.
    q_start, k_start: first token; `item` is the number of the (first) batch item.
    """

    batch: slice
    kv_batch: slice
    q_start: int
    q_len: int
    k_start: int
    k_len: int
    offset: int
    item: int = 0

    @property
    def q_tiles(self) -> int:
        return -(-self.q_len // BLOCK_Q)

    def queries(self, tensor: Tensor) -> Tensor:
        return tensor[self.batch, :, self.q_start : self.q_start + self.q_len]

    def keys(self, tensor: Tensor) -> Tensor:
        return tensor[self.kv_batch, :, self.k_start : self.k_start + self.k_len]


def sections(request: Request) -> Iterator[Section]:
    """Where nothing differs between batch items, one section; else one for each item."""
    whole = Section(slice(None), slice(None), 0, request.q_len, 0, request.k_len, request.offset)
    program = request.program
    if 0 in (request.batch, request.heads, request.q_len):
        return
    if request.ragged.uniform and "b" not in names(program.mask) | names(program.score):
        yield whole
        return
    columns: list[list[int] | None] = [None if array is None else array.tolist() for array in request.ragged]
    for item in range(request.batch):
        q_start, q_len, k_start, k_len, offset = (None if column is None else column[item] for column in columns)
        here = slice(0, 1) if q_start is not None else slice(item, item + 1)
        yield Section(
            batch=here,
            kv_batch=here if request.kv_batch > 1 else slice(0, 1),
            q_start=q_start or 0,
            q_len=request.q_len if q_len is None else q_len,
            k_start=k_start or 0,
            k_len=request.k_len if k_len is None else k_len,
            offset=request.offset if offset is None else offset,
            item=item,
        )


@dataclass(frozen=True)
class Plane:
    """Batch items and heads with the same tiles.

    heads, kv_heads: slices of the tensors' second dimension.
    head:            number of the first head.
    known:           every symbol, `b` and `h`.
    """

    heads: slice
    kv_heads: slice
    head: int
    section: Section
    request: Request
    tiles: Tiles
    known: Values

    def rows(self, tensor: Tensor, tile: int) -> Tensor:
        """A view of one query tile of [batch, heads, tokens, ...]."""
        return self.section.queries(tensor)[:, self.heads, tile * BLOCK_Q : (tile + 1) * BLOCK_Q]

    def keys(self, tensor: Tensor) -> Tensor:
        """A view of every key of [batch or 1, kv_heads, tokens, D]."""
        return self.section.keys(tensor)[:, self.kv_heads]

    def extra(self, extra: Extra) -> Extra:
        """A view of keys and values that every row sees, or of as many tensors of their shapes."""
        batch = self.section.batch if extra.key.shape[0] > 1 else slice(0, 1)
        return Extra(*(each[batch, self.kv_heads] for each in extra))

    def strips(self, tile: int) -> Iterator[tuple[Tensor, bool]]:
        """Keys that a query tile visits together, i64[n] on the host, and whether some of them need the mask."""
        return _strips(self.tiles.row(self.section.item, self.head, tile), self.section.k_len)

    def pairs(self, tile: int, keys: Tensor, scores: Tensor) -> Values:
        """What mask and score read at every pair of a query tile and `keys`."""
        space, first, device = self.request.program.space, tile * BLOCK_Q, scores.device
        q = torch.arange(first, first + scores.shape[2], device=device)[:, None] + self.section.offset
        return self.known.with_names(**coordinates("q", q, space), **coordinates("k", keys.to(device), space), s=scores)


def planes(request: Request) -> Iterator[Plane]:
    """All heads at once, or one by one where the mask reads `h`; nothing where there is no pair, unless rows see more than these."""
    for section in sections(request):
        if section.q_len and section.k_len:
            yield from _planes(request, section)
        elif section.q_len and request.sees_beside:
            yield from _planes(seeing_nothing(request), replace(section, kv_batch=slice(0, 1), k_start=0, k_len=1, offset=0))


def _planes(request: Request, section: Section) -> Iterator[Plane]:
    launch, known = _values(request, section)
    tiles = tiles_of(request.program, (BLOCK_Q, BLOCK_K), launch)
    group = request.heads // request.kv_heads
    per_head = "h" in names(request.program.mask)
    for head in range(request.heads) if per_head else (0,):
        mine = slice(head, head + 1) if per_head else slice(None)
        shared = slice(head // group, head // group + 1) if per_head else slice(None)
        h = torch.arange(request.heads, device=request.query.device)[mine].view(-1, 1, 1)
        yield Plane(mine, shared, head, section, request, tiles, known.with_names(h=h))


def _values(request: Request, section: Section) -> tuple[Launch, Values]:
    program, device = request.program, request.query.device
    numbers = materialise.parameters(program, request.bindings)
    tables = materialise.tables(program, request.bindings, max(section.q_len + section.offset, section.k_len), device)
    launch = Launch(
        q_len=section.q_len,
        k_len=section.k_len,
        offset=section.offset,
        batch=request.batch,
        heads=request.heads,
        parameters=numbers,
        tables=materialise.arrays(tables),
    )
    values = Values({}, tables, request.lse_dtype, device)
    kinds = {symbol.name: symbol.kind for symbol in program.parameters}
    lengths = {"Lq": section.q_len, "Lk": section.k_len, "offset": section.offset, "b": section.item}
    scalars = {
        name: torch.tensor(value, dtype=values.dtype(kinds.get(name, Kind.INT)), device=device)
        for name, value in {**numbers, **lengths}.items()
    }
    return launch, replace(values, names=scalars)


# -- keys -------------------------------------------------------------------------------------------------------------


def _strips(classes: np.ndarray, k_len: int) -> Iterator[tuple[Tensor, bool]]:
    """Keys to visit together, i64[n] on the host, and whether some of them need the mask.

    classes: uint8[k_tiles] of one query tile.
    """
    for wanted, masked in ((Tile.FULL, False), (Tile.PARTIAL, True)):
        tiles = torch.from_numpy(np.flatnonzero(classes == wanted))
        for some in tiles.split(KEYS_AT_ONCE // BLOCK_K) if len(tiles) else ():
            keys = (some[:, None] * BLOCK_K + torch.arange(BLOCK_K)).flatten()
            yield keys[keys < k_len], masked


def taken(tensor: Tensor, keys: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows `keys` of [batch, heads, k_len, D]; a view where they are a run and the dtype is right."""
    first, last = int(keys[0]), int(keys[-1])
    if last - first + 1 == len(keys):
        return tensor[:, :, first : last + 1].to(dtype)
    return tensor.index_select(2, keys.to(tensor.device)).to(dtype)


def at_once(plane: Plane) -> Iterator[Extra]:
    """Extra keys and values in the dtype of the log-sum-exp, so many at a time."""
    if plane.request.extra is not None:
        whole = plane.extra(plane.request.extra)
        for key, value in zip(*(each.to(plane.known.real).split(KEYS_AT_ONCE, 2) for each in whole), strict=True):
            yield Extra(key, value)


def scored(plane: Plane, pairs: Values, masked: bool) -> Tensor:
    """The score function on the scores of `pairs`, -inf where the mask hides the key."""
    program, scores = plane.request.program, pairs.names["s"]
    found = scores if program.score is S else pairs.of(program.score).expand_as(scores)
    return torch.where(pairs.of(program.mask), found, -math.inf) if masked else found


def coordinates(side: str, positions: Tensor, space: Space) -> dict[str, Tensor]:
    """The variables of one side at flat positions of a row-major grid."""
    found: dict[str, Tensor] = {}
    named = [each.name for each in space.coordinates(side)]
    for axis in reversed(range(1, space.rank)):
        found[named[axis]] = torch.remainder(positions, space.extents[axis])
        positions = torch.div(positions, space.extents[axis], rounding_mode="floor")
    return {**found, named[0]: positions}
