"""Sequences made of segments, such as text and an image: one rule for each pair of them, each side on a grid of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from ..ir.binding import Argument
from ..ir.combine import joined_declarations, names_beside, renamed
from ..ir.expr import FALSE, K_LEN, Q_LEN, TRUE, Binary, Const, Expr, K, Op, Q, conjunction, disjunction
from ..ir.pattern import Pattern
from ..ir.program import Program, Space
from ..ir.recipe import Recipe
from .checks import grid_extents

Rule = Pattern | bool


@dataclass(frozen=True, slots=True)
class _Segment:
    """Tokens from `start` on. last: nothing comes after it."""

    extents: tuple[int, ...]
    start: int
    size: int
    last: bool

    def holds(self, position: Expr) -> Expr:
        """Whether a position is in the segment; the ends of the sequence are not asked for."""
        after = Binary(Op.LE, Const(self.start), position) if self.start else TRUE
        return after if self.last else conjunction(after, Binary(Op.LT, position, Const(self.start + self.size)))

    def places(self, side: str, position: Expr, space: Space, clamped: bool) -> dict[Expr, Expr]:
        """What the variables of one side stand for in a rule about this segment."""
        local = Binary(Op.SUB, position, Const(self.start)) if self.start else position
        if clamped and not (self.start == 0 and self.last):
            local = Binary(Op.MIN, Binary(Op.MAX, local, Const(0)), Const(self.size - 1))
        if space.rank == 1:
            return {position: local}
        return dict(zip(space.coordinates(side), _unravelled(local, self.extents), strict=True))


def _unravelled(position: Expr, extents: tuple[int, ...]) -> list[Expr]:
    found: list[Expr] = []
    inner = 1
    for axis in reversed(range(len(extents))):
        quotient = Binary(Op.FLOORDIV, position, Const(inner)) if inner > 1 else position
        found.append(quotient if axis == 0 else Binary(Op.MOD, quotient, Const(extents[axis])))
        inner *= extents[axis]
    return found[::-1]


@dataclass(frozen=True, slots=True)
class _Part:
    """The rule of one pair of segments. names: (parameter of the rule, what it is called in the whole)."""

    query: _Segment
    key: _Segment
    recipe: Recipe | None
    space: Space
    names: tuple[tuple[str, str], ...]

    def program(self, values: Mapping[str, object]) -> Program:
        """The rule on positions of the whole sequence; without a recipe, everything."""
        if self.recipe is None:
            return Program("all", TRUE)
        inner = self.recipe.trace({name: values[outer] for name, outer in self.names}, self.space)
        clamped = bool(inner.tables)  # a table has no entry for the positions of other segments
        places = {
            **self.query.places("q", Q, self.space, clamped),
            **self.key.places("k", K, self.space, clamped),
            Q_LEN: Const(self.query.size),
            K_LEN: Const(self.key.size),
        }
        return replace(renamed(inner, dict(self.names)).substituted(places), space=Space())


@dataclass(frozen=True, slots=True)
class _Segmented:
    """Recipe of the whole: any of its parts. Parts of one query segment stand together."""

    parts: tuple[_Part, ...]
    name: str = "segmented"
    label: str = "segmented"
    rank: int = 1

    def trace(self, values: Mapping[str, object], space: Space) -> Program:
        declared, mask = Program(self.name, FALSE), FALSE
        for query, parts in groupby(self.parts, key=_query):
            seen: Expr = FALSE
            for part in parts:
                program = part.program(values)
                parameters, tables = joined_declarations(declared, program)
                declared = replace(declared, parameters=parameters, tables=tables)
                seen = disjunction(seen, conjunction(part.key.holds(K), program.mask))
            mask = disjunction(mask, conjunction(query.holds(Q), seen))
        return replace(declared, mask=mask)


def _query(part: _Part) -> _Segment:
    return part.query


def segmented(
    segments: Mapping[str, int | tuple[int, ...]],
    rules: Mapping[tuple[str, str], Rule],
    *,
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    default: bool = True,
) -> Pattern:
    """Which keys of one segment the queries of another see, for every pair of segments.

    segments: tokens of each, by name, in the order of the sequence: a number, or the extents of a row-major grid. 0 leaves it out.
    rules:    for (query segment, key segment) True, False, or a pattern over positions counted within the two segments; a pattern of
              rank n gets coordinates on the grid of each side, which may differ while it is not bound to one by `.on`.
              `lacuna.q_len` and `lacuna.kv_len` are the tokens of the two segments.
    queries, keys: the segments that make the rows and the columns, all of them where it is not said. Positions start at 0 on both sides.
    default:  the rule of pairs that are not named.

    >>> near = neighborhood(3, length=(4, 4))
    >>> rules = {("image", "image"): near, ("text", "pooled"): False}
    >>> whole = segmented({"text": 2, "image": (4, 4), "pooled": 4}, rules, queries=["text", "image"])

    Raises:
        ValueError: a rule about a pair that is not there, a pattern on another grid than its segments, a segment twice on one side.
        TypeError: a rule is neither a truth value nor a pattern, the default no truth value.
    """
    rows, columns = (_laid_out(segments, tuple(segments) if names is None else names) for names in (queries, keys))
    for pair, rule in rules.items():
        if pair not in {(query, key) for query in rows for key in columns}:
            raise ValueError(f"a rule is about {pair!r}\n  write two of {', '.join(segments)}: the query's segment, the key's")
        if not isinstance(rule, bool | Pattern):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"the rule of {pair!r} is {rule!r}\n  write True, False or a pattern")
        if isinstance(rule, Pattern) and rows[pair[0]].size and columns[pair[1]].size:
            _space(pair, rule, rows[pair[0]], columns[pair[1]])
    if not isinstance(default, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  (not every caller is typed)
        raise TypeError(f"`default` is {default!r}\n  write True or False, and a pattern in `rules`")
    arguments: dict[str, Argument] = {}
    parts: list[_Part] = []
    for name, query in rows.items():
        for key, rule in _runs([(columns[each], rules.get((name, each), default)) for each in columns if columns[each].size]):
            if query.size:
                parts.append(_part((query, key), rule, arguments))
    return Pattern(_Segmented(tuple(parts)), arguments)


def _laid_out(segments: Mapping[str, int | tuple[int, ...]], names: Sequence[str]) -> dict[str, _Segment]:
    """The segments of one side, one after another."""
    found: dict[str, _Segment] = {}
    start = 0
    for name in names:
        if name not in segments:
            raise ValueError(f"there is no segment `{name}`\n  write some of {', '.join(segments)}")
        if name in found:
            raise ValueError(f"the segment `{name}` stands twice on one side\n  write each at most once, or two segments of one size")
        extents = (0,) if segments[name] == 0 else grid_extents(segments[name])
        found[name] = _Segment(extents, start, math.prod(extents), False)
        start += found[name].size
    if not start:
        raise ValueError("a sequence has no tokens\n  write segments with some, `{'text': 77, 'image': (64, 64)}`")
    final = max((name for name in found if found[name].size), key=lambda name: found[name].start)
    found[final] = replace(found[final], last=True)
    return found


def _runs(keys: list[tuple[_Segment, Rule]]) -> Iterator[tuple[_Segment, Rule]]:
    """The segments that are seen at all, those next to each other that are seen whole taken as one."""
    whole: _Segment | None = None
    for segment, rule in keys:
        if rule is True:
            whole = segment if whole is None else _together(whole, segment)
            continue
        if whole is not None:
            yield whole, True
            whole = None
        if rule is not False:
            yield segment, rule
    if whole is not None:
        yield whole, True


def _together(first: _Segment, second: _Segment) -> _Segment:
    size = first.size + second.size
    return _Segment((size,), first.start, size, second.last)


def _part(pair: tuple[_Segment, _Segment], rule: Rule, arguments: dict[str, Argument]) -> _Part:
    if not isinstance(rule, Pattern):
        return _Part(*pair, None, Space(), ())
    names = names_beside(arguments, rule.arguments)
    arguments.update({names[name]: argument for name, argument in rule.arguments.items()})
    return _Part(*pair, rule.recipe, _space(("", ""), rule, *pair), tuple(names.items()))


def _space(names: tuple[str, str], rule: Pattern, query: _Segment, key: _Segment) -> Space:
    """The grid that a rule is read on: its own, or that of its keys.

    Raises:
        ValueError: a side of the pair has another grid.
    """
    rank, extents = rule.space.rank, rule.space.extents
    if rank == 1:
        return Space()
    for side in (query, key):
        if len(side.extents) != rank or (extents and side.extents != extents):
            raise ValueError(
                f"the rule `{rule!r}` of {names!r} is on a grid, and a segment has the extents {side.extents}\n"
                f"  write a pattern of rank {len(side.extents)} that is not bound to a grid, or `.on{side.extents}`"
            )
    return Space(rank, key.extents)
