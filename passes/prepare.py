"""From a user's program to the one kernels evaluate and the formula that integer sets read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from ..ir.expr import B, Const, Expr, H, Symbol
from ..ir.program import Program
from .canonicalise import FlattenGrid, Place, Simplify, simplified, with_values
from .evaluate import evaluate, reader
from .launch import Launch
from .opaque import head_divisors, powers_rewritten, split_by_value, symbols_to_bind
from .pipeline import Observer, Pass, run

MOST_DIVISOR_VALUES = 64


class NeedsValues(Exception):
    """The tiles can be found at concrete values only, and there are none here."""


@dataclass(frozen=True)
class BindDivisors:
    """Replace symbols that divide or multiply positions by their values.

    Needs: flat positions. Keeps: the pairs attended in every launch with these values.
    """

    values: tuple[tuple[Symbol, int], ...]
    name: ClassVar[str] = "bind-divisors"
    needs: ClassVar[tuple[str, ...]] = ("flatten-grid", "place")

    def __call__(self, program: Program) -> Program:
        return with_values(program, {symbol: Const(value) for symbol, value in self.values})


@dataclass(frozen=True)
class RewritePowers:
    """Write shifts by constants and low-bit masks as multiplications, divisions and remainders.

    Needs: nothing. Keeps: the value of the mask.
    """

    name: ClassVar[str] = "rewrite-powers"
    needs: ClassVar[tuple[str, ...]] = ("bind-divisors",)

    def __call__(self, program: Program) -> Program:
        return replace(program, mask=powers_rewritten(program.mask))


@dataclass(frozen=True)
class Prepared:
    """A canonical program and what was fixed to get it.

    program: flat, placed, divisors bound: what kernels evaluate.
    mask:    the same truth value, split by the values of per-head divisors, for the derivation alone.
    bound:   values that the mask holds for, by name.
    """

    program: Program
    mask: Expr
    bound: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)


def standard_passes(program: Program, launch: Launch | None, *, shifted: bool) -> tuple[Pass, ...]:
    """What every program goes through, in the order of their needs."""
    values = tuple((symbol, int(_value(symbol, launch))) for symbol in symbols_to_bind(powers_rewritten(flat(program).mask)))
    return FlattenGrid(), Place(shifted), BindDivisors(values), RewritePowers(), Simplify()


def flat(program: Program) -> Program:
    return FlattenGrid()(program)


def prepare(program: Program, launch: Launch | None, *, shifted: bool, observers: Iterable[Observer] = ()) -> Prepared:
    """Run the standard passes and split per-head divisors.

    Raises:
        NeedsValues: a parameter must be bound and there is no launch.
    """
    passes = standard_passes(program, launch, shifted=shifted)
    bound: dict[str, int | tuple[int, ...]] = {
        symbol.name: value for each in passes if isinstance(each, BindDivisors) for symbol, value in each.values
    }
    program = run(program, passes, observers)
    mask = program.mask
    for divisor in head_divisors(mask):
        values = tuple(int(value) for value in np.unique(_values(divisor, launch)) if value != 0)
        if len(values) <= MOST_DIVISOR_VALUES:
            mask = simplified(split_by_value(mask, divisor, values))
            bound[str(divisor)] = values
    return Prepared(program, mask, bound)


def _value(symbol: Symbol, launch: Launch | None) -> int | float:
    if launch is None:
        raise NeedsValues(f"`{symbol.name}` divides or multiplies a position and has no value here")
    return launch.environment()[symbol]


def _values(expr: Expr, launch: Launch | None) -> np.ndarray:
    """Every value a per-head or per-batch expression takes in this launch."""
    if launch is None:
        raise NeedsValues(f"`{expr}` divides a position and has no values here")
    grid = {B: np.arange(launch.batch)[:, None], H: np.arange(launch.heads)[None, :]}
    return np.asarray(evaluate(expr, {**launch.environment(), **grid}, reader(launch.tables)))
