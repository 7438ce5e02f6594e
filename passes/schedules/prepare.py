"""From a user's program to the one kernels evaluate and the formula that integer sets read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ...ir.expr import Const, Expr, Symbol
from ...ir.program import Program
from ..grids.separable import GridForm, grid_form, written_grid_form
from ..program.abstraction import head_divisors, powers_rewritten, split_by_value
from ..program.binding import divisor_values, symbol_values
from ..program.call_values import Launch
from ..program.canonicalise import Place, Simplify, simplified, with_values
from ..program.flatten_grid import FlattenGrid
from ..program.pipeline import Observer, Pass, run
from ..sequences.sequence_form import SequenceForm, sequence_form


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
    grid:    the same mask along the axes of a grid, where it is a product of them.
    written: the same of a mask over flat positions that writes such axes itself, as `q // n` and `q % n`.
    sequence: the same mask by pairs of the parts of a sequence, where each is such a product, or everything, or nothing.
    """

    program: Program
    mask: Expr
    bound: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict[str, int | tuple[int, ...]])
    grid: GridForm | None = None
    sequence: SequenceForm | None = None
    written: GridForm | None = None


def standard_passes(program: Program, launch: Launch | None, *, shifted: bool) -> tuple[Pass, ...]:
    """What every program goes through, in the order of their needs."""
    return FlattenGrid(), Place(shifted), BindDivisors(symbol_values(program, launch)), RewritePowers(), Simplify()


def prepare(program: Program, launch: Launch | None, *, shifted: bool, observers: Iterable[Observer] = ()) -> Prepared:
    """Run the standard passes and split per-head divisors.

    Raises:
        NeedsValues: a parameter must be bound and there is no launch.
    """
    passes = standard_passes(program, launch, shifted=shifted)
    values = symbol_values(program, launch)
    bound: dict[str, int | tuple[int, ...]] = {symbol.name: value for symbol, value in values}
    known = with_values(program, {symbol: Const(value) for symbol, value in values})
    grid, sequence = grid_form(known, shifted=shifted), sequence_form(known, shifted=shifted)
    program = run(program, passes, observers)
    mask = program.mask
    for divisor in head_divisors(mask):
        values = divisor_values(divisor, launch)
        if values:
            mask = simplified(split_by_value(mask, divisor, values))
            bound[str(divisor)] = values
    return Prepared(program, mask, bound, grid, sequence, written_grid_form(known, shifted=shifted))
