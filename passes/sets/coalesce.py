"""Fewer basic sets for the same set, the same ones every time.

The library's own `coalesce` is a function of its argument except where an integer quotient is fixed by an equality, as `i // 6` is by
`i == 6 * (i // 6) + 3`. To bring such quotients of two basic sets into one form it asks whether a constraint is an equality by comparing
its address with those of a copy (isl, `normalize_stride_div` by way of `isl_basic_map_constraint`), so what it makes of them depends on
where things happen to lie in memory. Sets with such quotients are therefore coalesced with their quotients as dimensions, where the
library has no form to choose.
"""

# The set library's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

import functools
from collections.abc import Sequence

import islpy as isl

MOST_TOGETHER = 32
"""Basic sets that all get the quotients of all: of more, only those that need it do, and are joined with each other alone."""

_SET, _DIV = isl.dim_type.set, isl.dim_type.div


def coalesced(relation: isl.Set) -> isl.Set:
    """The same set, of as few basic sets as are found. Every quotient in `relation` must be known (`compute_divs`)."""
    if relation.n_basic_set() < 2 or not any(basic.dim(_DIV) for basic in relation.get_basic_sets()):
        return relation.coalesce()
    relation = relation.detect_equalities()
    parts = relation.get_basic_sets()
    fixing = [basic for basic in parts if _fixes_a_quotient(basic)]
    if not fixing:
        return relation.coalesce()
    if len(parts) <= MOST_TOGETHER:
        return _by_dimensions(relation)
    others = [basic for basic in parts if not _fixes_a_quotient(basic)]
    apart = _by_dimensions(_union(fixing))
    return _union(others).coalesce().union(apart) if others else apart


def _by_dimensions(relation: isl.Set) -> isl.Set:
    """Coalesced with quotients as dimensions behind those of `relation`."""
    dims = relation.dim(_SET)
    whole = relation.lift().flatten().coalesce()
    return whole.project_out(_SET, dims, whole.dim(_SET) - dims).compute_divs()


def _union(parts: Sequence[isl.BasicSet]) -> isl.Set:
    return functools.reduce(lambda a, b: a.union(b), (isl.Set.from_basic_set(each) for each in parts))


def _fixes_a_quotient(basic: isl.BasicSet) -> bool:
    """Whether an equality reads a quotient."""
    if not basic.dim(_DIV):
        return False
    equalities = [each.get_aff() for each in basic.get_constraints() if each.is_equality()]
    return any(not aff.get_coefficient_val(_DIV, at).is_zero() for aff in equalities for at in range(aff.dim(_DIV)))
