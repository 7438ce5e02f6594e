"""A pattern and a score as the arguments of an operator: a program's text, and tensors and numbers in its order.

Text is what a graph can hold: a compiled or exported program carries it to other processes, where it is parsed again.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, cast

from torch import Tensor

from ...ir.binding import Argument, is_scalar
from ...ir.combine import names_beside
from ...ir.expr import Kind
from ...ir.parametric import Parametric
from ...ir.pattern import Pattern
from ...ir.program import Program, Space
from ...ir.recipe import Recipe
from ...ir.score import Score
from ...ir.segments import Segments
from .bound_tensors import tensor_of
from .merged_program import DENSE, Bindings, resolved
from .written import Written, read, written

T = TypeVar("T")


class Description(NamedTuple):
    """A program with its values.

    tables:   in the order of the program; of segments their offsets.
    integers, reals: values of its parameters, in their order, by kind.
    """

    program: str
    tables: list[Tensor]
    integers: list[int]
    reals: list[float]


# -- there ------------------------------------------------------------------------------------------------------------


class _Known(NamedTuple):
    """score: kept, so that its identity stays its own. bound: what the tables are bound to, None where these are tensors."""

    score: Score | None
    description: Description
    bound: list[object] | None


_described: weakref.WeakKeyDictionary[Pattern, dict[int, _Known]] = weakref.WeakKeyDictionary()


def described(pattern: Pattern | None, score: Score | None) -> Description:
    """What `pattern` and `score` come to; remembered for as long as the pattern lives, but for tables that are no tensors.

    Raises: as `resolved`.
    """
    key = _by_now(DENSE if pattern is None else pattern)
    score = _by_now(score)
    by_score = _described.get(key) if isinstance(key, Pattern) else None  # pyright: ignore[reportUnnecessaryIsInstance]  (callers vary)
    found = None if by_score is None else by_score.get(id(score))
    if found is None or found.score is not score:
        program, bindings = resolved(key, score)
        found = _known(score, program, bindings)
        if any(is_scalar(bindings[symbol.name]) for symbol in program.parameters):
            return found.description  # they are read at each call
        if len(_described.setdefault(key, {})) >= MOST_SCORES:
            _described[key].clear()
        _described[key][id(score)] = found
    if found.bound is None:
        return found.description
    return found.description._replace(tables=[tensor_of(value) for value in found.bound])


MOST_SCORES = 64


def _known(score: Score | None, program: Program, bindings: Bindings) -> _Known:
    bound = [bindings[table.name] for table in program.tables]
    steady = all(isinstance(getattr(value, "offsets", value), Tensor) for value in bound)
    return _Known(score, _description(program, bindings), None if steady else bound)


def _by_now(given: T) -> T:
    """Callers vary: what is neither is refused later."""
    return given.now() if isinstance(given, Parametric) else given


def _description(program: Program, bindings: Bindings) -> Description:
    numbers = [(symbol.kind, cast(float, bindings[symbol.name])) for symbol in program.parameters]
    return Description(
        _text(program),
        [tensor_of(bindings[table.name]) for table in program.tables],
        [int(value) for kind, value in numbers if kind is not Kind.FLOAT],
        [float(value) for kind, value in numbers if kind is Kind.FLOAT],
    )


_text = functools.lru_cache(maxsize=256)(str)


# -- inside torch.compile ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """Stands for a tensor while a program is made: dtype and rank decide it, not the values."""

    dtype: str
    shape: tuple[int, ...]


def traced_description(pattern: Pattern | None, score: Score | None) -> Description:
    """`described` in Python that `torch.compile` traces through: tensors and numbers stay inputs of the graph.

    The graph holds for every pattern that is made in the same way of the same functions with the same kinds of arguments.
    """
    kept: list[object] = []
    made = [_made_of(each, kept) for each in (pattern, score)]  # before `kept` is read
    text, order = _constant(made[0], made[1], *kept)
    given: list[Mapping[str, Argument]] = [{} if each is None else each.arguments for each in (pattern, score)]
    values = [given[side][name].value for side, name in order]
    return Description(
        text,
        [tensor_of(value) for value in values if not isinstance(value, int | float)],
        [value for value in values if isinstance(value, int)],
        [value for value in values if isinstance(value, float)],
    )


def _made_of(given: Pattern | Score | None, kept: list[object]) -> _Made | None:
    if given is None:
        return None
    forms = [(name, _form(argument.value, kept)) for name, argument in given.arguments.items()]
    return written(given.recipe, kept), written(given.space, kept), tuple(forms)


def _form(value: object, kept: list[object]) -> Written:
    """What of a value decides the program: of a tensor dtype and rank, of a number its kind; anything else is part of the text."""
    if isinstance(value, Tensor):
        return "tensor", str(value.dtype), value.dim()
    if isinstance(value, Segments):
        return ("segments",)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return ("integer",) if isinstance(value, int) else ("real",)
    return "fixed", written(value, kept)


_Made = tuple[Written, Written, tuple[tuple[str, Written], ...]]
"""Of a pattern or a score: its recipe, its space, and forms of its arguments."""


def _constant(of_pattern: _Made | None, of_score: _Made | None, *kept: object) -> tuple[str, tuple[tuple[int, str], ...]]:
    """The text, and for each value of its description whose argument it is: 0 the pattern's, 1 the score's, and which."""
    pattern = None if of_pattern is None else Pattern(*_remade(of_pattern, kept))
    score = None if of_score is None else Score(*_remade(of_score, kept))
    program, _ = resolved(pattern, score)
    arguments: list[Mapping[str, Argument]] = [{} if each is None else each.arguments for each in (pattern, score)]
    homes: Mapping[str, tuple[int, str]] = {
        **{called: (1, name) for name, called in names_beside(*arguments).items()},
        **{name: (0, name) for name in arguments[0]},
    }
    return str(program), tuple(homes[entry.name] for entry in (*program.parameters, *program.tables))


def _remade(made: _Made, kept: tuple[object, ...]) -> tuple[Recipe, dict[str, Argument], Space]:
    recipe, space, forms = made
    arguments = {name: Argument(_stand_in(form, kept)) for name, form in forms}
    return cast(Recipe, read(recipe, kept)), arguments, cast(Space, read(space, kept))


setattr(_constant, "_dynamo_marked_constant", True)  # noqa: B010  (torch.compiler.assume_constant_result, without loading the compiler)


def _stand_in(form: Written, kept: tuple[object, ...]) -> object:
    match form:
        case ("tensor", str() as dtype, int() as axes):
            return Form(dtype, (0,) * axes)
        case ("fixed", value):
            return read(value, kept)
        case _:
            return {"integer": 0, "real": 0.0, "segments": Segments(Form("torch.int64", (0,)))}[form[0]]
