"""One program from a pattern and a score, and the values of both."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...ir.advice import advice
from ...ir.expr import TRUE
from ...ir.pattern import Pattern
from ...ir.program import Program
from ...ir.score import Score, combined

Bindings = Mapping[str, object]
Meaning = tuple[Program, Bindings]

CATALOGUE = "lacuna.patterns"
DENSE = Pattern.of(Program("dense", TRUE))
_combined: weakref.WeakKeyDictionary[Pattern, weakref.WeakKeyDictionary[Score, Meaning]] = weakref.WeakKeyDictionary()


def resolved(pattern: object, score: object) -> Meaning:
    """The program of a call and the value of everything it declares. No pattern is dense attention.

    Raises:
        TypeError: `pattern` or `score` is something else, such as a plain function; a parameter or the extents of a grid have no value.
    """
    if pattern is None:
        pattern = DENSE
    elif not isinstance(pattern, Pattern):
        raise TypeError(_not_traced("pattern", pattern))
    pattern = pattern.now()
    if score is None:
        if pattern.space.rank > 1 or pattern.unbound:
            pattern.require_ready()
        return pattern.program, pattern.bindings
    if not isinstance(score, Score):
        raise TypeError(_not_traced("score", score))
    return _merged(pattern, score.now())


def _merged(pattern: Pattern, score: Score) -> Meaning:
    """`combined`, remembered for as long as both live: what is kept refers to their tensors but not to them."""
    of_pattern = _combined.setdefault(pattern, weakref.WeakKeyDictionary())
    meaning = of_pattern.get(score)
    if meaning is None:
        meaning = of_pattern[score] = combined(pattern, score)
    return meaning


def _not_traced(role: str, given: Any) -> str:  # noqa: ANN401 (whatever a user passed)
    if role == "pattern" and str(getattr(given, "dtype", "")) in ("torch.bool", "bool"):
        instead = (
            "`from lacuna.interop.dense_mask import from_dense` and `from_dense(mask)`, or a function of q and k under `@lacuna.pattern`"
        )
        return advice(f"`pattern` is a mask, {given.dtype} of shape {tuple(given.shape)}", instead)
    if isinstance(given, Tensor):
        instead = f"a function of q and k under `@lacuna.{role}`, which may read the tensor"
        return advice(f"`{role}` is a tensor of shape {tuple(given.shape)}", instead)
    if isinstance(given, Pattern | Score):
        return advice(f"`{role}` is the {type(given).__name__.lower()} `{given!r}`", f"it as `{type(given).__name__.lower()}=`")
    if str(getattr(given, "__module__", "")).startswith(f"{CATALOGUE}."):
        name = getattr(given, "__name__", given)
        return advice(f"`{role}` is the function `{name}` of the catalogue, which was not called", f"`patterns.{name}(...)`")
    if callable(given):
        return advice(f"`{role}` is the plain function `{getattr(given, '__name__', given)}`", f"`@lacuna.{role}` above its definition")
    return advice(f"`{role}` is a {type(given).__name__}: {given!r}", f"the result of `@lacuna.{role}`")
