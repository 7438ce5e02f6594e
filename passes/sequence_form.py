"""A mask on a row-major sequence as one rule for each pair of its parts, where each is everything, nothing, or a product of axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..ir.expr import FALSE, OFFSET, TRUE, ZERO, Const, Expr, Lookup, names, walk
from ..ir.grid import Grid
from ..ir.program import Program, Space
from .canonicalise import simplified
from .grid_form import GridForm, grid_form
from .opaque import allows, powers_rewritten
from .parts_of_sequence import Part, laid_out, on_places, parts_of


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
    if len(query.extents) > 1:
        return grid_form(replace(program, space=Space(grids=(Grid(query.extents), Grid(key.extents)))), shifted=False)
    mask = powers_rewritten(program.mask)
    known = names(mask) <= {"q", "k"} and all(allows(node) and not isinstance(node, Lookup) for node in walk(mask))
    return GridForm((mask,), ((Const(query.size),), (Const(key.size),))) if known and len(key.extents) == 1 else None
