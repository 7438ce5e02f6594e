"""A mask on a row-major sequence as one rule for each pair of its parts, where each is everything, nothing, or a product of axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...ir.expr import FALSE, OFFSET, TRUE, ZERO, Binary, Const, Expr, Kind, Lookup, Op, Symbol, names, substitute, walk
from ...ir.grid import Grid
from ...ir.program import Program, Space
from ..grids.separable import GridForm, grid_form
from ..program.abstraction import allows, powers_rewritten
from ..program.canonicalise import simplified
from .parts import Part, laid_out, on_places, parts_of


@dataclass(frozen=True)
class SequenceForm:
    """What tiles of a sequence see.

    rules:   by the number of the part of tokens of tiles `i`, and of that of tiles `j`: True is everything, False nothing.
    offsets: position of the first token of each side.
    """

    parts: tuple[Part, ...]
    rules: Mapping[tuple[int, int], GridForm | bool]
    offsets: tuple[Expr, Expr] = (ZERO, ZERO)

    @property
    def transposed(self) -> SequenceForm:
        turned = {(b, a): rule.transposed if isinstance(rule, GridForm) else rule for (a, b), rule in self.rules.items()}
        return replace(self, rules=turned, offsets=self.offsets[::-1])


def sequence_form(program: Program, *, shifted: bool) -> SequenceForm | None:
    """None where the program is no sequence with a grid in it, or a rule is none of those.

    shifted: query rows start at position `offset`, not 0.
    """
    extents = parts_of(program)
    if extents is None:
        return None
    parts = laid_out(extents)
    found: dict[tuple[int, int], GridForm | bool] = {}
    for a, query in enumerate(parts):
        for b, key in enumerate(parts):
            mask = simplified(on_places(program.mask, query, key))
            rule = mask is TRUE if mask in (TRUE, FALSE) else _form(replace(program, mask=mask), query, key)
            if rule is None:
                return None
            found[a, b] = rule
    return SequenceForm(parts, found, (OFFSET if shifted else ZERO, ZERO))


def _form(program: Program, query: Part, key: Part) -> GridForm | None:
    """program: over places in the two parts."""
    scalars: dict[Expr, Expr] = {}
    mask = _without_lengths(powers_rewritten(program.mask), scalars)
    if not any(isinstance(node, Lookup) or not allows(node) or _is_digit(node) for node in walk(mask)):
        if not names(mask) <= {"q", "k"}:
            return None
        return GridForm((mask,), ((Const(query.size),), (Const(key.size),)), scalars=scalars)
    found = grid_form(replace(program, mask=mask, space=Space(grids=(Grid(query.extents), Grid(key.extents)))), shifted=False)
    return None if found is None else replace(found, scalars={**found.scalars, **scalars})


def _is_digit(node: Expr) -> bool:
    return isinstance(node, Binary) and node.op in (Op.FLOORDIV, Op.MOD)


def _without_lengths(mask: Expr, found: dict[Expr, Expr]) -> Expr:
    """The mask with a symbol for each number that is looked up for a batch item; what they are is added to `found`."""
    for node in walk(mask):
        if isinstance(node, Lookup) and node.kind is Kind.INT and names(node) <= {"b"}:
            found[Symbol(f"length {len(found)}")] = node
    return substitute(mask, {value: symbol for symbol, value in found.items()})
