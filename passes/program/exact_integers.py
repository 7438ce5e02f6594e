"""Integer arithmetic on arrays that never wraps: int64 where the results fit, else Python's integers in arrays of objects.

Whether they fit is decided by the extremes of the operands, once for a whole array. Truth values do not come here.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from ...ir.advice import advice

Array = np.ndarray
Value = Any  # int | np.ndarray: numpy broadcasts them alike
_Ends = tuple[int, int]
_Operation = Callable[[Value, Value], Value]
LOWEST, HIGHEST = -(2**63), 2**63 - 1
LARGEST_SHIFT = 4096  # positions; what is moved further has no use, and takes memory


def fits(*values: int) -> bool:
    """Whether numbers fit in 64 bits."""
    return all(LOWEST <= value <= HIGHEST for value in values)


def widened(value: Value) -> Array:
    """int64 of an integer, or of integers of any dtype; objects where some do not fit, also of what numpy makes of one such object."""
    if isinstance(value, int):
        return np.asarray(value, np.int64 if fits(value) else object)
    array = np.asarray(value)
    if array.dtype == np.int64 or array.dtype == object:
        return array
    return array.astype(object if array.dtype == np.uint64 and array.size and int(array.max()) > HIGHEST else np.int64)


def narrowed(array: Value) -> Array:
    """Objects as int64 again where they all fit."""
    array = widened(array)
    return array.astype(np.int64) if array.dtype == object and fits(*_ends(array)) else array


def _ends(array: Array) -> _Ends:
    return (int(array.min()), int(array.max())) if array.size else (0, 0)


def _binary(plain: np.ufunc, of_two: Callable[[int, int], int], reach: Callable[[_Ends, _Ends], tuple[int, ...]]) -> _Operation:
    """plain: the operation where nothing wraps; of_two: on Python's integers. reach: of both extremes, what the results lie between."""

    def apply(a: Value, b: Value) -> Value:
        a, b = widened(a), widened(b)
        if a.size == b.size == 1:  # proofs do little else
            return np.reshape(widened(of_two(int(a.item()), int(b.item()))), np.broadcast_shapes(a.shape, b.shape))
        if fits(*reach(_ends(a), _ends(b))):
            return plain(a, b) if a.dtype == b.dtype == np.int64 else narrowed(plain(a, b))
        return narrowed(plain(a.astype(object), b.astype(object)))

    return apply


def _products(a: _Ends, b: _Ends) -> tuple[int, ...]:
    return tuple(x * y for x, y in product(a, b))


def _quotients(a: _Ends, b: _Ends) -> tuple[int, ...]:
    return (-a[0],) if b[0] <= -1 <= b[1] else ()


added = _binary(np.add, operator.add, lambda a, b: (a[0] + b[0], a[1] + b[1]))
subtracted = _binary(np.subtract, operator.sub, lambda a, b: (a[0] - b[1], a[1] - b[0]))
multiplied = _binary(np.multiply, operator.mul, _products)
_divided = _binary(np.floor_divide, operator.floordiv, _quotients)


def divided(a: Value, b: Value) -> Value:
    """Rounded towards minus infinity; a divisor of 0 gives 0."""
    b = widened(b)
    return np.where(np.equal(b, 0), 0, _divided(a, np.where(np.equal(b, 0), 1, b)))


def remainder(a: Value, b: Value) -> Value:
    """Of the sign of the divisor; a divisor of 0 gives 0. By -1 it is 0, which processors do not say of the lowest number."""
    a, b = widened(a), widened(b)
    plain = np.equal(b, 0) | np.equal(b, -1)
    return np.where(plain, 0, np.remainder(a, np.where(plain, 1, b)))


def negative(a: Value) -> Value:
    return subtracted(0, a)


def absolute(a: Value) -> Value:
    a = widened(a)
    return np.abs(a) if a.dtype == np.int64 and _ends(a)[0] > LOWEST else widened(np.abs(a.astype(object)))


def shifted_left(a: Value, by: Value) -> Value:
    """ValueError where `by` is negative, OverflowError where it is too large for anyone to want the result."""
    a, by = widened(a), widened(by)
    least, most = require_shift(by)
    if np.all(np.equal(a, 0)):
        return np.zeros(np.broadcast_shapes(a.shape, by.shape), np.int64)
    if most > LARGEST_SHIFT:
        raise OverflowError(advice(f"a shift to the left by {most} positions leaves 64 bits", "a shift by 62 or less"))
    if most < 63 and fits(*(end << amount for end in _ends(a) for amount in (least, most))):
        return np.left_shift(a, by)
    return narrowed(np.left_shift(a.astype(object), by.astype(object)))


def shifted_right(a: Value, by: Value) -> Value:
    """ValueError where `by` is negative; what is moved out of the word leaves the sign."""
    by = widened(by)
    require_shift(by)
    return np.right_shift(widened(a), np.minimum(by, 63) if widened(a).dtype == np.int64 else by)


def require_shift(by: Array) -> _Ends:
    """The least and the most of some amounts of a shift."""
    least, most = _ends(by)
    if least < 0:
        raise ValueError(advice(f"a shift by {least} positions has no meaning", "a shift by 0 or more, such as `x >> max(n, 0)`"))
    return least, most
