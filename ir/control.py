"""What rewritten control flow calls: Python's own meaning on plain values, expressions on traced ones."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, cast

from . import build
from .build import quoted, refusal
from .expr import Const, Expr, Kind, Op
from .functions import maximum, minimum, where
from .trace import Traced, Unassigned, lifted

DONE = "_lacuna_done"  # whether the rewritten function has returned: True, False, or where it has
VALUE = "_lacuna_value"  # what it has returned


NOTHING = Unassigned(VALUE, "nowhere")


def condition(value: object) -> Expr:
    """The truth value that stands behind `and`, `or`, `not`, `if`."""
    expr = lifted(value)
    if expr.kind is not Kind.BOOL:
        raise refusal(f"`{quoted(expr)}` is used as a condition and is a number", f"a comparison, such as `{quoted(expr)} != 0`")
    return expr


def both(left: object, right: Callable[[], object]) -> object:
    """`left and right`."""
    if not isinstance(left, Traced):
        return left and right()
    return _plain(build.binary(Op.AND, condition(left), condition(right())))


def either(left: object, right: Callable[[], object]) -> object:
    """`left or right`."""
    if not isinstance(left, Traced):
        return left or right()
    return _plain(build.binary(Op.OR, condition(left), condition(right())))


def negation(value: object) -> object:
    """`not value`."""
    return _plain(build.inverted(condition(value))) if isinstance(value, Traced) else not value


def _plain(expr: Expr) -> object:
    """Constants as Python's, so that what follows them is decided now."""
    return expr.value if isinstance(expr, Const) else Traced(expr)


def choose(test: object, then: Callable[[], object], otherwise: Callable[[], object]) -> object:
    """`then if test else otherwise`."""
    if not isinstance(test, Traced):
        return then() if test else otherwise()
    return merged(test, then(), otherwise(), "the selection")


_COMPARISONS: dict[str, Callable[[Any, Any], object]] = {
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Is": operator.is_,
    "IsNot": operator.is_not,
    "In": lambda item, items: contained(item, items),
    "NotIn": lambda item, items: negation(contained(item, items)),
}


def chain(first: object, *links: tuple[str, Callable[[], object]], ambiguous: str = "") -> object:
    """`first < second <= third`, each value computed once, as far as it is needed.

    ambiguous: the source, where an operand is an unparenthesised `&` or `|`, which bind more tightly than comparisons.
    """
    result: object = True
    left = first
    for name, compute in links:
        right = compute()
        part = _COMPARISONS[name](left, right)
        if isinstance(part, Traced) and ambiguous:
            raise refusal(
                f"`{ambiguous}` is one chain of comparisons: `&` and `|` bind more tightly than `<=`",
                "parentheses around each comparison, `(k <= q) & (q - k < w)`",
            )
        if not isinstance(part, Traced) and not part:
            return part
        result = both(result, lambda part=part: part)
        left = right
    return result


def contained(item: object, items: object) -> object:
    """`item in items`."""
    if isinstance(items, range) and isinstance(item, Traced):
        step = abs(items.step)
        low, high = (items.start, items.stop) if items.step > 0 else (items.stop + 1, items.start + 1)
        inside = (item >= low) & (item < high)
        return inside & ((item - items.start) % step == 0) if step > 1 else inside
    if isinstance(items, tuple | list | set | frozenset):
        members = cast(Iterable[object], items)
        if isinstance(item, Traced) or any(isinstance(each, Traced) for each in members):
            return some(item == each for each in members)
    return item in items  # pyright: ignore[reportOperatorIssue] (the user's own `in`)


def some(values: Iterable[object]) -> object:
    """`any(values)`."""
    result: object = False
    for value in values:
        if result is True or (not isinstance(value, Traced) and value):
            return True
        result = value if result is False else either(result, lambda value=value: value)
    return result


def every(values: Iterable[object]) -> object:
    """`all(values)`."""
    result: object = True
    for value in values:
        if not isinstance(value, Traced) and not value:
            return False
        result = value if result is True else both(result, lambda value=value: value)
    return result


def call(function: Callable[..., object], *arguments: object, **keywords: object) -> object:
    """`function(...)`, where the builtins that need numbers build expressions."""
    if function is builtins.any and len(arguments) == 1:
        return some(cast(Iterable[object], arguments[0]))
    if function is builtins.all and len(arguments) == 1:
        return every(cast(Iterable[object], arguments[0]))
    if function in (builtins.min, builtins.max) and not keywords and arguments:
        return _extreme(function, arguments)
    if len(arguments) == 1 and isinstance(arguments[0], Traced) and function in _CONVERSIONS:
        return _CONVERSIONS[function](arguments[0])
    return function(*arguments, **keywords)


def _extreme(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    values = list(cast(Iterable[object], arguments[0])) if len(arguments) == 1 else list(arguments)
    if not any(isinstance(value, Traced) for value in values):
        return function(values)
    if len(values) == 1:
        return values[0]
    return (minimum if function is builtins.min else maximum)(*values)


def _as_integer(value: Traced) -> object:
    return where(value, 1, 0) if value.expr.kind is Kind.BOOL else int(value)


def _as_truth(value: Traced) -> object:
    return value if value.expr.kind is Kind.BOOL else value != 0


_CONVERSIONS: dict[Callable[..., object], Callable[[Traced], object]] = {
    float: lambda value: Traced(build.unary(Op.FLOAT, value.expr)),
    int: _as_integer,
    bool: _as_truth,
}


def merged(test: Traced, a: object, b: object, name: str) -> object:
    """The value that is `a` where `test` holds, else `b`."""
    if a is b or (type(a) is type(b) and isinstance(a, int | float | str) and a == b):
        return a
    if a is NOTHING or b is NOTHING:
        return a if b is NOTHING else b
    if isinstance(a, Unassigned) or isinstance(b, Unassigned):
        return Unassigned(name, f"on one side of `if {test}` only")
    if isinstance(a, tuple) and isinstance(b, tuple) and len(cast(Sized, a)) == len(cast(Sized, b)):
        pairs = zip(cast(Iterable[object], a), cast(Iterable[object], b), strict=True)
        return tuple(merged(test, each, other, name) for each, other in pairs)
    return _plain(build.select(condition(test), lifted(cast(object, a)), lifted(cast(object, b))))


class Branch:
    """An `if` statement: with a traced test both sides run, and each name gets a selection of its two values.

    names: what the two sides assign, in order.
    """

    def __init__(self, test: object, names: tuple[str, ...]) -> None:
        self.test = test
        self.names = names
        self.before: tuple[object, ...] = ()
        self.after: tuple[object, ...] = ()

    def _values(self, scope: Mapping[str, object]) -> tuple[object, ...]:
        return tuple(scope.get(name, Unassigned(name, "on one side of an `if` only")) for name in self.names)

    def then(self, scope: Mapping[str, object]) -> bool:
        """Whether to run the first side."""
        self.before = self._values(scope)
        return isinstance(self.test, Traced) or bool(self.test)

    def between(self, scope: Mapping[str, object]) -> tuple[object, ...]:
        """What the names hold before the second side."""
        self.after = self._values(scope)
        return self.before if isinstance(self.test, Traced) else self.after

    def otherwise(self) -> bool:
        """Whether to run the second side."""
        return isinstance(self.test, Traced) or not self.test

    def merged(self, scope: Mapping[str, object]) -> tuple[object, ...]:
        """What the names hold after both sides."""
        values = self._values(scope)
        test = self.test
        if not isinstance(test, Traced):
            return values
        first, second = dict(zip(self.names, self.after, strict=True)), dict(zip(self.names, values, strict=True))
        return tuple(self._merged(test, name, first, second) for name in self.names)

    def _merged(self, test: Traced, name: str, first: Mapping[str, object], second: Mapping[str, object]) -> object:
        if name not in (DONE, VALUE):  # where one side has returned, what follows sees the other side's values
            if first.get(DONE) is True:
                return second[name]
            if second.get(DONE) is True:
                return first[name]
        return merged(test, first[name], second[name], name)


def finish(done: object, value: object) -> object:
    """What the function returns, once it is known to have returned everywhere."""
    if isinstance(done, Traced):
        raise refusal(f"the function returns nothing where `{negation(done)}`", "a `return` on every path")
    return value if done else None
