"""Functions without source: run once for every way that their tests may come out, and what they return joined by selections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from .build import refusal
from .control import condition, merged
from .expr import Const, Expr, negated
from .trace import Traced, deciding, lifted

MOST_PATHS = 256
MOST_TESTS = 64  # on one path


class _Test(NamedTuple):
    expr: Expr
    outcome: bool


@dataclass(slots=True)
class _Path:
    """One run. Tests come out as `planned`, those after them true, and one that is met again as it did before."""

    planned: tuple[_Test, ...]
    met: list[_Test] = field(default_factory=list[_Test])

    def decide(self, value: Traced) -> bool:
        expr = condition(value)
        if isinstance(expr, Const):
            return bool(expr.value)
        for test in self.met:
            if expr in (test.expr, negated(test.expr)):
                return test.outcome is (expr is test.expr)
        if len(self.met) == MOST_TESTS:
            raise _too_many(f"{MOST_TESTS} tests of positions one after another")
        outcome = self.planned[len(self.met)].outcome if len(self.met) < len(self.planned) else True
        self.met.append(_Test(expr, outcome))
        return outcome


@dataclass(slots=True)
class _Paths:
    compute: Callable[[], object]
    walked: int = 0

    def result(self, planned: tuple[_Test, ...] = ()) -> object:
        """What is computed where the tests of `planned` come out as they say."""
        self.walked += 1
        if self.walked > MOST_PATHS:
            raise _too_many(f"more than {MOST_PATHS} ways through its tests of positions")
        path = _Path(planned)
        token = deciding.set(path.decide)
        try:
            found = self.compute()
        finally:
            deciding.reset(token)
        for number in range(len(path.met) - 1, len(planned) - 1, -1):
            test = path.met[number]
            found = _either(test.expr, found, self.result((*path.met[:number], _Test(test.expr, False))))
        return found


def over_paths(compute: Callable[[], object]) -> object:
    """What `compute()` comes to, whatever positions are: Python's own meaning of `if`, `and`, `min` and the like.

    Raises:
        TypeError: there are more than `MOST_PATHS` ways through it, or it returns nothing on some.
    """
    return _Paths(compute).result()


def _either(test: Expr, then: object, otherwise: object) -> object:
    """One value where `test` holds, another where it does not; `and` and `or` return what they tested."""
    then, otherwise = _known(then, test, True), _known(otherwise, test, False)
    if (then is None) is not (otherwise is None):
        where = Traced(test if then is None else negated(test))
        raise refusal(f"the function returns nothing where `{where}`", "a `return` on every path")
    return then if then is otherwise else merged(Traced(test), then, otherwise, "the selection")


def _known(value: object, test: Expr, outcome: bool) -> object:
    if not isinstance(value, Traced):
        return value
    expr = lifted(value)
    return (expr is test) is outcome if expr in (test, negated(test)) else value


def _too_many(what: str) -> TypeError:
    return TooManyPaths(f"it has {what}")


class TooManyPaths(TypeError):
    """A function without source that tests positions too often to be run for every outcome."""
