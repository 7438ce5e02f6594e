"""What is said of a look-up that leaves its table, or may."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.advice import advice
from ...ir.expr import names
from .guards import Hazard
from .search import Search


def refusal(hazard: Hazard, size: int, found: Search, reach: tuple[int, int]) -> str:
    """size: entries of the table along the axis.   reach: ends of the index over all pairs, for where none was found."""
    look, index = hazard.look, hazard.read_at
    along = f" along axis {hazard.axis}" if look.table.rank > 1 else ""
    holds = f"table `{look.table.name}` holds {size} {'entry' if size == 1 else 'entries'}{along}"
    if not found.example:
        unknown = f"{holds}, and nothing proves that `{index}` stays inside, which may run from {reach[0]} to {reach[1]}"
        return advice(unknown, f"`min(max({index}, 0), {max(size - 1, 0)})` as the index")
    at = _pair(hazard, found.example)
    if found.low < 0:
        hide = ", or a condition beside it that hides such pairs" if at else ""
        return advice(
            f"{holds}, but `{index}` starts at {found.low}{at}, and a negative index does not wrap", f"`max({index}, 0)` as the index{hide}"
        )
    hide = ", or a condition beside it that hides such pairs" if at else ""
    return advice(f"{holds}, but `{index}` reaches {found.high}{at}", f"a table with at least {found.high + 1} entries{hide}")


def _pair(hazard: Hazard, example: Mapping[str, int]) -> str:
    """An offending pair, where not all are."""
    if not hazard.guards:
        return ""
    read = names(hazard.condition)
    there = ", ".join(
        f"{name} = {value}" for name, value in sorted(example.items(), key=lambda each: ("bhqk".index(each[0][0]), each[0])) if name in read
    )
    shown = ", which the mask shows" if hazard.shown else ""
    return f", as at {there}{shown}" if there else ""
