"""Sequences made of segments, such as text and an image: one rule for each pair of them, each side on a grid of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import cast

from ..ir.advice import advice
from ..ir.binding import Argument
from ..ir.combine import joined_declarations, names_beside, renamed
from ..ir.expr import FALSE, K_LEN, Q_LEN, TRUE, Const, Expr, conjunction, disjunction
from ..ir.grid import Grid
from ..ir.pattern import Pattern
from ..ir.program import Program, Space
from ..ir.recipe import Recipe
from ..ir.sequence import Part
from ..ir.space import TwoGrids
from ..ir.stretch import Stretch
from .checks import grid_extents

Rule = Pattern | bool
Segments = Mapping[str, int | tuple[int, ...]] | Mapping[str, int | tuple[int, ...] | Grid] | Mapping[str, Part]


@dataclass(frozen=True, slots=True)
class _Part:
    """The rule of one pair of segments. names: (parameter of the rule, what it is called in the whole)."""

    query: Stretch
    key: Stretch
    recipe: Recipe | None
    space: Space
    names: tuple[tuple[str, str], ...]

    def program(self, values: Mapping[str, object]) -> Program:
        """The rule on positions of the whole sequence; without a recipe, everything."""
        if self.recipe is None:
            return Program("all", TRUE)
        inner = self.recipe.trace({name: values[outer] for name, outer in self.names}, self.space)
        places: dict[Expr, Expr] = {Q_LEN: Const(self.query.grid.tokens or 0), K_LEN: Const(self.key.grid.tokens or 0)}
        for side, stretch in (("q", self.query), ("k", self.key)):
            places |= stretch.places(side, self.space)
        return replace(renamed(inner, dict(self.names)).substituted(places), space=Space())


@dataclass(frozen=True, slots=True)
class _Segmented:
    """Recipe of the whole: any of its parts. Parts of one query segment stand together. space: tokens of both sides."""

    parts: tuple[_Part, ...]
    space: Space
    name: str = "segmented"
    label: str = "segmented"
    rank: int = 1

    @property
    def state(self) -> tuple[object, ...]:
        return tuple(part.recipe.state for part in self.parts if part.recipe is not None)

    def trace(self, values: Mapping[str, object], space: Space) -> Program:
        declared, mask = Program(self.name, FALSE), FALSE
        for query, parts in groupby(self.parts, key=_query):
            seen: Expr = FALSE
            for part in parts:
                program = part.program(values)
                parameters, tables = joined_declarations(declared, program)
                declared = replace(declared, parameters=parameters, tables=tables)
                seen = disjunction(seen, conjunction(part.key.holds("k"), program.mask))
            mask = disjunction(mask, conjunction(query.holds("q"), seen))
        return replace(declared, mask=mask, space=self.space.met(space) or space)


def _query(part: _Part) -> Stretch:
    return part.query


def segmented(
    segments: Segments,
    rules: Mapping[tuple[str, str], Rule],
    *,
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    default: bool = True,
) -> Pattern:
    """Which keys of one segment the queries of another see, for every pair of segments.

    segments: a `lacuna.sequence`; or tokens of each, by name, in the order of the sequence: a number, or the extents of a row-major grid.
              0 leaves it out.
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
    _require_mappings(segments, rules)
    rows, columns = (_laid_out(segments, _names(side, names, segments)) for side, names in (("queries", queries), ("keys", keys)))
    for pair, rule in rules.items():
        if pair not in {(query, key) for query in rows for key in columns}:
            raise ValueError(f"a rule is about {pair!r}\n  write two of {', '.join(segments)}: the query's segment, the key's")
        if not isinstance(rule, bool | Pattern):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"the rule of {pair!r} is {rule!r}\n  write True, False or a pattern")
        if isinstance(rule, Pattern) and rows[pair[0]].size and columns[pair[1]].size:  # else it is never traced
            _space(pair, rule, rows[pair[0]], columns[pair[1]])
    if not isinstance(default, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  (not every caller is typed)
        raise TypeError(f"`default` is {default!r}\n  write True or False, and a pattern in `rules`")
    arguments: dict[str, Argument] = {}
    parts: list[_Part] = []
    for name, query in rows.items():
        for key, rule in _runs([(columns[each], rules.get((name, each), default)) for each in columns if columns[each].size]):
            if query.size:
                parts.append(_part((query, key), rule, arguments))
    tokens = [max(each.stop or 0 for each in side.values()) for side in (rows, columns)]
    space = Space.of_tokens(*tokens)
    return Pattern(_Segmented(tuple(parts), space), arguments, space)


def _require_mappings(segments: object, rules: object) -> None:
    if not isinstance(segments, Mapping):
        raise TypeError(f"`segments` is {segments!r:.60}, no mapping\n  write a `lacuna.sequence`, or `{{'text': 77, 'image': (64, 64)}}`")
    if not isinstance(rules, Mapping):
        raise TypeError(f"`rules` is {rules!r:.60}, no mapping\n  write `{{('image', 'image'): pattern}}`, or `{{}}` for none")


def _names(side: str, names: object, segments: Segments) -> tuple[str, ...]:
    if names is None:
        return tuple(segments)
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in cast("tuple[object, ...]", names)):
        raise TypeError(f"`{side}` is {names!r:.60}\n  write names of segments, `({next(iter(segments), 'text')!r},)`, or None for all")
    return tuple(cast("tuple[str, ...]", names))


def _laid_out(segments: Segments, names: Iterable[str]) -> dict[str, Stretch]:
    """The segments of one side, one after another."""
    found: dict[str, Stretch] = {}
    start = 0
    for name in names:
        if name not in segments:
            raise ValueError(f"there is no segment `{name}`\n  write some of {', '.join(segments)}")
        if name in found:
            raise ValueError(f"the segment `{name}` stands twice on one side\n  write each at most once, or two segments of one size")
        found[name] = Stretch(_grid(segments[name]), start, last=False)
        start += found[name].size or 0
    if not start:
        raise ValueError("a sequence has no tokens\n  write segments with some, `{'text': 77, 'image': (64, 64)}`")
    final = max((name for name in found if found[name].size), key=lambda name: found[name].before)
    found[final] = replace(found[final], last=True)
    return found


def _grid(tokens: int | tuple[int, ...] | Grid | Part) -> Grid:
    found = tokens.grid if isinstance(tokens, Part) else tokens
    if isinstance(tokens, Part) and tokens.total is None:
        what = f"`segments` is a sequence with a part that only a call tells, beside `{tokens}`"
        raise ValueError(advice(what, "patterns on its parts, joined by `|`: `rule.on(whole['text']) | ...`"))
    if isinstance(found, Grid):
        return Grid(grid_extents(found.extents))
    return Grid((0,) if found == 0 else grid_extents(found, name="segments"))


def _runs(keys: list[tuple[Stretch, Rule]]) -> Iterator[tuple[Stretch, Rule]]:
    """The segments that are seen at all, those next to each other that are seen whole taken as one."""
    whole: Stretch | None = None
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


def _together(first: Stretch, second: Stretch) -> Stretch:
    return Stretch(Grid(((first.size or 0) + (second.size or 0),)), first.before, second.last)


def _part(pair: tuple[Stretch, Stretch], rule: Rule, arguments: dict[str, Argument]) -> _Part:
    if not isinstance(rule, Pattern):
        return _Part(*pair, None, Space(), ())
    names = names_beside(arguments, rule.arguments)
    arguments.update({names[name]: argument for name, argument in rule.arguments.items()})
    return _Part(*pair, rule.recipe, _space(("", ""), rule, *pair), tuple(names.items()))


def _tokens(query: Stretch, key: Stretch) -> Space:
    return Space.of_tokens(query.size, key.size)


def _space(names: tuple[str, str], rule: Pattern, query: Stretch, key: Stretch) -> Space:
    """The grids that a rule is read on.

    Raises:
        ValueError: a side of the pair has another grid.
    """
    rank, extents = rule.space.rank, rule.space.extents
    if rank == 1:
        if rule.space.met(_tokens(query, key)) is None:
            raise ValueError(
                f"the rule `{rule!r}` of {names!r} is for other numbers of tokens than {query.size} and {key.size}\n"
                "  write a pattern of the two segments, or without `.on(...)`"
            )
        return Space()
    for side in (query.grid, key.grid):
        if side.rank != rank or (extents and side.fixed != extents):
            raise ValueError(
                f"the rule `{rule!r}` of {names!r} is on a grid, and a segment has the extents {side.fixed}\n"
                f"  write a pattern of rank {side.rank} that is not bound to a grid, or `.on{side.fixed}`"
            )
    return TwoGrids(rank, query=query.grid.sizes(of_all_keys=False), key=key.grid.sizes(of_all_keys=False))
