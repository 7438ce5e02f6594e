"""The eager backend: torch operations over the tiles of the schedule, on any device torch knows.

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

from ..ir.expr import Kind, S, names
from ..ir.program import Space
from ..ir.schedule import Tile
from ..passes.launch import Launch
from . import materialise
from .derivations import Tiles, check_reads, tiles_of
from .request import Request
from .tensor_values import Values

BLOCK_Q, BLOCK_K = 128, 64
KEYS_AT_ONCE = 1024


def run(request: Request) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of `request`, as `Request.new_outputs` lays them out."""
    out, lse = request.new_outputs()
    out.zero_()
    lse.fill_(-math.inf)
    for section in sections(request):
        for plane in planes(request, section, (out, lse)):
            for tile in range(-(-section.q_len // BLOCK_Q)):
                _attend(plane, tile)
    return out, lse


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

    def queries(self, tensor: Tensor) -> Tensor:
        return tensor[self.batch, :, self.q_start : self.q_start + self.q_len]

    def keys(self, tensor: Tensor) -> Tensor:
        return tensor[self.kv_batch, :, self.k_start : self.k_start + self.k_len]


def sections(request: Request) -> Iterator[Section]:
    """Where nothing differs between batch items, one section; else one for each item."""
    whole = Section(slice(None), slice(None), 0, request.q_len, 0, request.k_len, request.offset)
    program = request.program
    if 0 in (request.batch, request.heads, request.q_len, request.k_len):
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
    """Batch items and heads with the same tiles, as views.

    query, out: [batch, heads, q_len, D]; key, value: [batch or 1, kv_heads, k_len, D]; lse: [batch, heads, q_len].
    head:       number of the first head.
    known:      every symbol, `b` and `h`.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    lse: Tensor
    head: int
    section: Section
    request: Request
    tiles: Tiles
    known: Values


def planes(request: Request, section: Section, outputs: tuple[Tensor, Tensor]) -> Iterator[Plane]:
    """All heads at once, or one by one where the mask reads `h`."""
    if section.q_len == 0 or section.k_len == 0:
        return
    query, key, value = section.queries(request.query), section.keys(request.key), section.keys(request.value)
    out, lse = section.queries(outputs[0]), section.queries(outputs[1])
    launch, known = _values(request, section)
    tiles = tiles_of(request.program, (BLOCK_Q, BLOCK_K), launch)
    group = request.heads // request.kv_heads
    per_head = "h" in names(request.program.mask)
    for head in range(request.heads) if per_head else (0,):
        mine = slice(head, head + 1) if per_head else slice(None)
        shared = slice(head // group, head // group + 1) if per_head else slice(None)
        h = torch.arange(request.heads, device=query.device)[mine].view(-1, 1, 1)
        yield Plane(
            query[:, mine],
            key[:, shared],
            value[:, shared],
            out[:, mine],
            lse[:, mine],
            head,
            section,
            request,
            tiles,
            known.with_names(h=h),
        )


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
        tables={table.name: tables[table.name].cpu().numpy() for table in program.tables if table.kind is not Kind.FLOAT},
    )
    if tables:
        check_reads(program, launch, {name: tuple(tensor.shape) for name, tensor in tables.items()})
    values = Values({}, tables, request.lse_dtype, device)
    kinds = {symbol.name: symbol.kind for symbol in program.parameters}
    lengths = {"Lq": section.q_len, "Lk": section.k_len, "offset": section.offset, "b": section.item}
    scalars = {
        name: torch.tensor(value, dtype=values.dtype(kinds.get(name, Kind.INT)), device=device)
        for name, value in {**numbers, **lengths}.items()
    }
    return launch, replace(values, names=scalars)


# -- one query tile ---------------------------------------------------------------------------------------------------


def _attend(plane: Plane, tile: int) -> None:
    """Fill the rows of one query tile, strip by strip, with a running maximum."""
    rows = slice(tile * BLOCK_Q, min((tile + 1) * BLOCK_Q, plane.section.q_len))
    query = plane.query[:, :, rows].to(plane.known.real) * plane.request.scale
    state = State.empty(query, plane.value.shape[-1])
    for keys, masked in strips(plane.tiles.row(plane.section.item, plane.head, tile), plane.section.k_len):
        key, value = (_taken(tensor, keys, plane.known.real) for tensor in (plane.key, plane.value))
        scores = _shared(query, key.transpose(-1, -2))
        state = state.after(_scored(plane, rows, keys, scores, masked), value)
    plane.out[:, :, rows] = state.out()
    plane.lse[:, :, rows] = state.lse()


def _shared(left: Tensor, right: Tensor) -> Tensor:
    """left @ right, where each matrix of `right` [batch or 1, kv_heads, n, m] serves a group of heads of `left` [batch, heads, rows, n]."""
    batch, heads, rows, inner = left.shape
    kv_heads = right.shape[1]
    grouped = left.reshape(batch, kv_heads, heads // kv_heads * rows, inner)
    return (grouped @ right).view(batch, heads, rows, right.shape[-1])


@dataclass(frozen=True)
class State:
    """Online softmax: the highest score so far, the sum of weights and of weighted values relative to it."""

    highest: Tensor
    total: Tensor
    sums: Tensor

    @staticmethod
    def empty(query: Tensor, value_dim: int) -> State:
        column = query.new_zeros((*query.shape[:3], 1))
        return State(torch.full_like(column, -math.inf), column, query.new_zeros((*query.shape[:3], value_dim)))

    def after(self, scores: Tensor, value: Tensor) -> State:
        highest = torch.maximum(self.highest, scores.amax(dim=-1, keepdim=True))
        base = torch.where(highest == -math.inf, 0.0, highest)
        weights = torch.exp(scores - base)
        kept = torch.exp(self.highest - base)
        return State(highest, self.total * kept + weights.sum(dim=-1, keepdim=True), self.sums * kept + _shared(weights, value))

    def out(self) -> Tensor:
        return torch.where(self.highest == -math.inf, 0.0, self.sums / self.total)

    def lse(self) -> Tensor:
        return (self.highest + torch.log(self.total)).squeeze(-1)


# -- keys -------------------------------------------------------------------------------------------------------------


def strips(classes: np.ndarray, k_len: int) -> Iterator[tuple[Tensor, bool]]:
    """Keys to visit together, i64[n] on the host, and whether some of them need the mask.

    classes: uint8[k_tiles] of one query tile.
    """
    for wanted, masked in ((Tile.FULL, False), (Tile.PARTIAL, True)):
        tiles = torch.from_numpy(np.flatnonzero(classes == wanted))
        for some in tiles.split(KEYS_AT_ONCE // BLOCK_K) if len(tiles) else ():
            keys = (some[:, None] * BLOCK_K + torch.arange(BLOCK_K)).flatten()
            yield keys[keys < k_len], masked


def _taken(tensor: Tensor, keys: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows `keys` of [batch, heads, k_len, D]; a view where they are a run and the dtype is right."""
    first, last = int(keys[0]), int(keys[-1])
    if last - first + 1 == len(keys):
        return tensor[:, :, first : last + 1].to(dtype)
    return tensor.index_select(2, keys.to(tensor.device)).to(dtype)


def _scored(plane: Plane, rows: slice, keys: Tensor, scores: Tensor, masked: bool) -> Tensor:
    """The score function on scores, -inf where the mask hides the key."""
    program = plane.request.program
    if not masked and program.score is S:
        return scores
    device = scores.device
    q = torch.arange(rows.start, rows.stop, device=device)[:, None] + plane.section.offset
    places = {**coordinates("q", q, program.space), **coordinates("k", keys.to(device), program.space)}
    here = plane.known.with_names(**places, s=scores)
    scores = scores if program.score is S else here.of(program.score).expand_as(scores)
    return torch.where(here.of(program.mask), scores, -math.inf) if masked else scores


def coordinates(side: str, positions: Tensor, space: Space) -> dict[str, Tensor]:
    """The variables of one side at flat positions of a row-major grid."""
    found: dict[str, Tensor] = {}
    named = [each.name for each in space.coordinates(side)]
    for axis in reversed(range(1, space.rank)):
        found[named[axis]] = torch.remainder(positions, space.extents[axis])
        positions = torch.div(positions, space.extents[axis], rounding_mode="floor")
    return {**found, named[0]: positions}
