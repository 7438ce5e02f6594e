"""Bounds of what torch's integer operators give, from inclusive bounds of what they take. Sound, not tight."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from ..ir.expr import Op

Bounds = tuple[int, int]
_LONGEST = 64  # of a shift whose bounds are computed


def bounds_of(op: Op, a: Bounds, b: Bounds = (0, 0)) -> Bounds:
    """Of `a op b`, or of `op a`. Quotients by zero count as zero."""
    return _BOUNDS[op](a, b)


def _corners(compute: Callable[[int, int], int]) -> Callable[[Bounds, Bounds], Bounds]:
    """Of what is monotone in each operand."""

    def bounds(a: Bounds, b: Bounds) -> Bounds:
        ends = [compute(x, y) for x, y in product(a, b)]
        return min(ends), max(ends)

    return bounds


def _quotient(a: Bounds, b: Bounds) -> Bounds:
    if b[0] > 0 or b[1] < 0:
        return _corners(lambda x, y: x // y)(a, b)
    size = max(abs(a[0]), abs(a[1]))
    return -size, size


def _remainder(a: Bounds, b: Bounds) -> Bounds:
    """With the sign of the divisor."""
    if a[0] >= 0 and b[0] > 0:
        return 0, min(a[1], b[1] - 1)
    return min(b[0] + 1, 0), max(b[1] - 1, 0)


def _absolute(a: Bounds, _: Bounds) -> Bounds:
    least = 0 if a[0] <= 0 <= a[1] else min(abs(a[0]), abs(a[1]))
    return least, max(abs(a[0]), abs(a[1]))


def _and(a: Bounds, b: Bounds) -> Bounds:
    above = [each[1] for each in (a, b) if each[0] >= 0]
    return (0, min(above)) if above else _bits(a, b)


def _bits(a: Bounds, b: Bounds) -> Bounds:
    """Of any operation bit by bit."""
    length = max(end.bit_length() for end in (*a, *b))
    return (0 if min(a[0], b[0]) >= 0 else -(1 << length)), (1 << length) - 1


def _shifted_up(a: Bounds, b: Bounds) -> Bounds:
    return _corners(lambda x, y: x << y)(a, (max(b[0], 0), min(max(b[1], 0), _LONGEST)))


def _shifted_down(a: Bounds, b: Bounds) -> Bounds:
    return _corners(lambda x, y: x >> y)(a, (max(b[0], 0), min(max(b[1], 0), _LONGEST)))


_BOUNDS: dict[Op, Callable[[Bounds, Bounds], Bounds]] = {
    Op.ADD: _corners(lambda x, y: x + y),
    Op.SUB: _corners(lambda x, y: x - y),
    Op.MUL: _corners(lambda x, y: x * y),
    Op.MIN: _corners(min),
    Op.MAX: _corners(max),
    Op.NEG: lambda a, _: (-a[1], -a[0]),
    Op.ABS: _absolute,
    Op.FLOORDIV: _quotient,
    Op.MOD: _remainder,
    Op.BITAND: _and,
    Op.BITOR: _bits,
    Op.BITXOR: _bits,
    Op.SHL: _shifted_up,
    Op.SHR: _shifted_down,
}
