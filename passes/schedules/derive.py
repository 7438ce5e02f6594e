"""Program -> schedule: grids axis by axis, all else symbolically, then with values bound, then by refinement at the concrete lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...ir.expr import COMPARISONS, FALSE, ZERO, Binary, Const, Expr, H, Symbol, disjunction, negated, substitute, walk
from ...ir.program import Program
from ...ir.schedule import Counters, Piece, Schedule
from ..bounds.work import TooManyTiles
from ..grids.axis_relation import Relation
from ..grids.row_major_strips import Strips, axis_relations, strip_schedule, strips
from ..grids.separable import GridForm
from ..program.abstraction import Abstraction, Joint, abstracted
from ..program.binding import NeedsValues
from ..program.call_values import Launch
from ..program.canonicalise import negation_free, simplified
from ..program.cover import covering
from ..program.pipeline import Observer
from ..sequences.sequence_strips import sequence_strips
from ..sets.integer_sets import BUDGET, HEAD, SMALL_BUDGET, Bounds, OverBudget, Problem, Sets, relations
from ..sets.loops import partial_loops, visited_once
from ..sets.pieces import Reading, member, overlaps, pieces
from ..sets.term_bounds import monotone, terms_of
from .known_parts import classified
from .listed import listed_schedule, schedule_of_every_tile, tiles_of_keys
from .prepare import Prepared, prepare

SOON = 50_000  # operations
MOST_CONDITIONS = 100  # comparisons of a mask that is put to the set library: of more it makes more sets than its budget lasts for


@dataclass(frozen=True)
class Derivation:
    """A schedule and the arrays it reads beside the program's tables (tile lists of the refined route).

    bound: symbols that the schedule holds for one value of only, with that value.
    """

    schedule: Schedule
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    bound: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict[str, int | tuple[int, ...]])


def derive(
    program: Program,
    block_q: int,
    block_k: int,
    launch: Launch | None = None,
    *,
    budget: int = BUDGET,
    observers: Iterable[Observer] = (),
    together: int = 1,
) -> Derivation:
    """The tiles of `program` on the grid of `block_q` x `block_k` tokens.

    launch: values, needed where a parameter divides or multiplies a position, or where the symbolic route ends. When it `moves`, the
            schedule holds for every offset, else for offset 0.
    together: query heads whose rows share a tile.

    Raises:
        NeedsValues: values are needed and there is no launch.
    """
    prepared = prepare(program, launch, shifted=launch is not None and launch.moves, observers=observers)
    return derive_prepared(prepared, (block_q, block_k), launch, budget=budget, together=together)


def derive_prepared(
    prepared: Prepared,
    block: tuple[int, int],
    launch: Launch | None = None,
    *,
    budget: int = BUDGET,
    for_kernel: bool = False,
    together: int = 1,
    covered: bool = False,
) -> Derivation:
    """`derive` of a program that went through the standard passes.

    for_kernel: no closed form of these lengths and parameters alone is tried, since a kernel would be compiled anew for each; and where
                tiles are listed, they are not listed here, but at each launch.
    covered:    the tiles are too many to be listed.
    """
    axes = () if prepared.grid is None else axis_relations(prepared.grid)
    task = _Task(prepared, *block, launch, budget, together, axes)
    if covered:
        return _covered(task)
    for route in _routes(task, bind_lengths=not for_kernel):
        try:
            return route(task)
        except Joint as reason:
            task = replace(task, ended=(*task.ended, str(reason)))
            break
        except OverBudget as reason:
            task = replace(task, ended=(*task.ended, f"{route.__name__.strip('_')}: {reason}"))
    if launch is None:
        raise NeedsValues("; ".join(task.ended))
    if for_kernel:
        return _listed(task, launch)
    try:
        return _refined(task, launch)
    except TooManyTiles as reason:
        return _covered(replace(task, ended=(*task.ended, str(reason))))


def _routes(task: _Task, *, bind_lengths: bool) -> tuple[Callable[[_Task], Derivation], ...]:
    """What is tried, one after the other. Where an axis has no windows, the whole is often the simpler set, if it is found soon."""
    written = () if task.prepared.written is None else (_written,)
    plain = (_symbolic, *written, _bound) if bind_lengths else (_symbolic, *written)
    if task.prepared.sequence is not None and task.prepared.sequence.offsets[1] is ZERO:
        return (_parts, *plain)
    if not task.axes:
        return plain
    return (_axes, *plain) if all(axis.windows is not None for axis in task.axes) else (_soon, _axes, *plain)


@dataclass(frozen=True)
class _Task:
    prepared: Prepared
    block_q: int
    block_k: int
    launch: Launch | None
    budget: int
    together: int = 1
    axes: tuple[Relation, ...] = ()
    ended: tuple[str, ...] = ()


def _soon(task: _Task) -> Derivation:
    found = _symbolic(replace(task, budget=min(task.budget, SOON)))
    if not found.schedule.exact:  # extents that are symbols: axis by axis nothing is left open
        raise OverBudget("a quotient by a symbol is known by its ends in a tile alone")
    return found


def _axes(task: _Task) -> Derivation:
    """Row-major tiles of a grid."""
    grid = task.prepared.grid
    assert grid is not None
    found = strips(grid, task.axes, (task.block_q, task.block_k))
    return _of_strips(task, [found], grid)


def _written(task: _Task) -> Derivation:
    """Of a grid that the mask writes: the whole is the simpler set, and is tried before."""
    grid = task.prepared.written
    assert grid is not None
    found = _of_strips(task, [strips(grid, axis_relations(grid), (task.block_q, task.block_k))], grid)
    return replace(found, schedule=replace(found.schedule, counters=Counters(fallbacks=task.ended)))


def _parts(task: _Task) -> Derivation:
    """Row-major tiles of a sequence with grids in it."""
    assert task.prepared.sequence is not None
    return _of_strips(task, sequence_strips(task.prepared.sequence, (task.block_q, task.block_k)))


def _of_strips(task: _Task, found: Sequence[Strips], grid: GridForm | None = None) -> Derivation:
    """grid: whose scalars are put in."""
    scalars: Mapping[Expr, Expr] = {} if grid is None else grid.scalars
    held = [each.changed(lambda piece: _with_scalars(piece, scalars)) for each in found] if scalars else found
    schedule = strip_schedule(task.prepared.program, held, (task.block_q, task.block_k), task.together)
    return Derivation(schedule, {}, task.prepared.bound)


def _with_scalars(piece: Piece, scalars: Mapping[Expr, Expr]) -> Piece:
    start, stop, where = (substitute(part, scalars) for part in (piece.start, piece.stop, piece.where))
    return piece._replace(start=start, stop=stop, where=where)


def _symbolic(task: _Task, cover: Callable[[Expr], Expr] = lambda mask: mask) -> Derivation:
    """cover: of a mask, and of its negation."""
    mask = negation_free(task.prepared.mask)
    if sum(isinstance(node, Binary) and node.op in COMPARISONS for node in walk(mask)) > MOST_CONDITIONS:
        raise OverBudget(f"more than {MOST_CONDITIONS} conditions")
    abstraction = abstracted(cover(mask), Abstraction(mask, packed=task.together > 1))
    unmask = abstracted(cover(negation_free(negated(mask))), abstraction)
    abstraction = replace(abstraction, scalars=unmask.scalars, terms=unmask.terms)
    bounds = {name: Bounds(Symbol(f"{name}_low"), Symbol(f"{name}_high")) for name in abstraction.terms}
    seen, unseen = (substitute(each, {H: HEAD}) if task.together > 1 else each for each in (abstraction.mask, unmask.mask))
    sets = relations(Problem(seen, unseen, task.block_q, task.block_k, bounds, task.together), task.budget)
    return _schedule(task, sets, abstraction, bounds)


def _bound(task: _Task) -> Derivation:
    """Once more with lengths, offset and parameters as numbers."""
    if task.launch is None:
        raise OverBudget("there are no values to bind")
    values = {symbol: Const(value) for symbol, value in task.launch.environment().items() if isinstance(value, int)}
    mask = simplified(substitute(task.prepared.mask, dict(values)))
    bound = {symbol.name: value.value for symbol, value in values.items() if isinstance(symbol, Symbol)}
    prepared = replace(task.prepared, mask=mask, bound={**task.prepared.bound, **bound})
    found = _symbolic(replace(task, prepared=prepared, budget=min(task.budget, SMALL_BUDGET)))
    return replace(found, schedule=replace(found.schedule, route="bound"))


def _schedule(task: _Task, sets: Sets, abstraction: Abstraction, bounds: Mapping[Expr, Bounds]) -> Derivation:
    terms, meanings = terms_of((task.block_q, task.block_k), abstraction, bounds)
    all_tiles, whole_tiles = tiles_of_keys(task.block_k)
    some = pieces(sets.some, Reading(sets.parameters, all_tiles, meanings))
    inner = Reading(sets.parameters, whole_tiles, meanings)
    full = pieces(sets.full, inner) if sets.full is not None else (_complement(sets, inner),)
    if full and full[0].where is FALSE:  # the complement of everything
        full = ()
    fast = full if sets.even_full is None else pieces(sets.even_full, inner)
    arrays_needed = any(not monotone(term) for term in terms)
    schedule = Schedule(
        program=task.prepared.program,
        block_q=task.block_q,
        block_k=task.block_k,
        some=some,
        full=full,
        full_loops=visited_once(fast, None if sets.fast_full is None else overlaps(sets.fast_full)),
        partial_loops=partial_loops(some, fast, overlaps(sets.some)),
        terms=tuple(term for term in terms if not monotone(term)),
        exact=not terms,
        closed_form=not arrays_needed,
        together=task.together,
        counters=Counters(fallbacks=task.ended),
    )
    return Derivation(schedule, {}, task.prepared.bound)


def _complement(sets: Sets, reading: Reading) -> Piece:
    """The full tiles as "inside the key length and not unfilled"."""
    unfilled = [member(each) for each in pieces(sets.unfilled, reading)]
    where = negation_free(negated(disjunction(*unfilled)))
    return Piece(Const(0), reading.tiles, 1, where)


# -- refinement -------------------------------------------------------------------------------------------------------


def _refined(task: _Task, launch: Launch) -> Derivation:
    """Lists of tiles at the lengths and values of `launch`."""
    found, listed = classified(task.prepared.program, (task.block_q, task.block_k), launch, task.together), _listed(task, launch)
    counters = Counters(found.points, found.boxes, task.ended, found.untold)
    return replace(listed, schedule=replace(listed.schedule, exact=not found.untold, counters=counters), arrays=found.arrays)


def _listed(task: _Task, launch: Launch) -> Derivation:
    """Of lists that each launch brings."""
    schedule = listed_schedule(task.prepared.program, (task.block_q, task.block_k), task.together)
    return Derivation(replace(schedule, counters=Counters(fallbacks=task.ended)), {}, {**_numbers(launch), **task.prepared.bound})


def _numbers(launch: Launch) -> dict[str, int]:
    """Lengths, offset and integer parameters by name."""
    lengths = {"Lq": launch.q_len, "Lk": launch.k_len, "offset": launch.offset}
    return {**lengths, **{name: int(value) for name, value in launch.parameters.items() if isinstance(value, int)}}


def _covered(task: _Task) -> Derivation:
    """The tiles of a mask that holds this one; every tile, where even those are not found. None is full but what is proved to be."""
    try:
        found = _symbolic(replace(task, budget=min(task.budget, SMALL_BUDGET)), covering)
    except OverBudget as reason:
        task = replace(task, ended=(*task.ended, f"cover: {reason}"))
        found = Derivation(
            schedule_of_every_tile(task.prepared.program, (task.block_q, task.block_k), task.together), {}, task.prepared.bound
        )
    counters = Counters(fallbacks=task.ended)
    bound = task.prepared.bound if task.launch is None else {**_numbers(task.launch), **task.prepared.bound}
    return replace(found, schedule=replace(found.schedule, exact=False, route="cover", counters=counters), bound=bound)
