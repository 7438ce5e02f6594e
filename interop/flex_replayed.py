"""What functions written for FlexAttention noted inside `torch.compile`, traced outside of it as if they ran here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from ..ir.build import refusal
from ..ir.combine import renamed
from ..ir.expr import Expr, Symbol
from ..ir.program import Program, Space
from .flex_trace import traced

Note = tuple[Any, ...]
"""Of a value: ("position", letter), ("table", name), ("entry", name), ("number", name), ("tuple", notes), ("constant", value), or
("result", number of a call). Of a call: (function, notes, notes by keyword)."""


def size_of(table: str, axis: int) -> str:
    """The parameter that is the size of an axis of a table."""
    return f"{table}_size_{axis}"


@dataclass(frozen=True)
class Recorded:
    """A recipe: what a function noted.

    calls: of torch's functions, in their order. note: of what the function returned.
    dtypes: of its tables by name, as the function has them, with their axes. real: the dtype of scores.
    """

    calls: tuple[Note, ...]
    note: Note
    dtypes: tuple[tuple[str, torch.dtype, int], ...]
    is_score: bool
    real: torch.dtype
    name: str = "recorded"
    rank: int = 1

    @property
    def label(self) -> str:
        return self.name

    @property
    def state(self) -> tuple[object, ...]:
        """What the function read is in its notes, and guarded by `torch.compile`."""
        return ()

    def trace(self, values: Mapping[str, object], space: Space) -> Program:
        """Raises: as `traced`."""
        del values, space
        forms = {name: TableForm.of(dtype, name, axes) for name, dtype, axes in self.dtypes}

        def replayed(*positions: object) -> object:
            stands = dict(zip("sbhqk" if self.is_score else "bhqk", positions, strict=True))
            replay = _Replay(stands, forms)
            for function, args, kwargs in self.calls:
                replay.results.append(called(function, tuple(map(replay.value, args)), {name: replay.value(each) for name, each in kwargs}))
            return replay.value(self.note)

        made = traced(replayed, is_score=self.is_score, real=self.real)
        return renamed(made.program, {name: _argument_of(value) for name, value in made.bindings.items()})


def _argument_of(bound: object) -> str:
    """The name of an argument, from what stands for it, or from what is made of that."""
    sources: tuple[object, ...] = getattr(bound, "sources", (bound,))
    return cast("TableForm | NumberForm", sources[0]).argument


@dataclass(frozen=True)
class _Replay:
    """What notes come to of stand-ins."""

    positions: Mapping[str, Any]
    forms: Mapping[str, Tensor]
    numbers: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    results: list[Any] = field(default_factory=list[Any])

    def value(self, note: Note) -> Any:  # noqa: ANN401  (whatever the function had)
        kind, first = note
        match kind:
            case "position":
                return self.positions[first]
            case "table":
                return self.forms[first]
            case "entry":
                return self.forms[first][self.positions["b"].new_zeros(())]
            case "number":
                return self.numbers.setdefault(first, NumberForm.of(first))
            case "tuple":
                return tuple(map(self.value, first))
            case "result":
                return self.results[first]
            case _:
                return first


def called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """A function of torch, or a method of tensors whose first argument may be a stand-in for one."""
    name = function.__name__
    if getattr(Tensor, name, None) is function and not isinstance(args[0], Tensor):
        return getattr(args[0], name)(*args[1:], **kwargs)
    return function(*args, **kwargs)


def result_like(function: Callable[..., Any], args: tuple[Any, ...], kwargs: tuple[tuple[str, Any], ...]) -> tuple[torch.dtype, int]:
    """Dtype and axes of what a function returns, from those of its arguments.

    Raises:
        TypeError: it returns no tensor, or nothing that positions alone decide.
    """
    try:
        found = called(function, _nowhere(args), {name: _nowhere(value) for name, value in kwargs})
    except (RuntimeError, NotImplementedError) as error:
        raise _no_counterpart(function) from error
    if not isinstance(found, Tensor):
        raise _no_counterpart(function)
    return found.dtype, found.dim()


setattr(result_like, "_dynamo_marked_constant", True)  # noqa: B010  (torch.compiler.assume_constant_result, without loading the compiler)


def _no_counterpart(function: Callable[..., Any]) -> TypeError:
    return refusal(f"`torch.{function.__name__.strip('_')}` of a position, which stands for every (q, k) at once", "operators on tensors")


def _nowhere(form: tuple[Any, ...]) -> Any:  # noqa: ANN401
    """An argument, its tensors on a device without memory."""
    match form:
        case ("tensor", dtype, axes):
            return torch.empty((1,) * axes, dtype=dtype, device="meta")
        case ("tuple", entries):
            return tuple([_nowhere(each) for each in entries])
        case _:
            return form[1]


class TableForm(Tensor):
    """Stands for a captured tensor while its look-ups are traced.

    argument: its name. extents: its sizes, which are parameters.
    """

    argument: str
    extents: tuple[Expr, ...]

    @staticmethod
    def of(dtype: torch.dtype, argument: str, axes: int) -> TableForm:
        form = torch.empty((1,) * axes, dtype=dtype).as_subclass(TableForm)
        form.argument = argument
        form.extents = tuple(Symbol(size_of(argument, axis)) for axis in range(axes))
        return form


class NumberForm(Tensor):
    """Stands for a number that the compiled region has many values of: a parameter, of either sign."""

    argument: str

    @staticmethod
    def of(argument: str) -> NumberForm:
        form = torch.empty((), dtype=torch.int64).as_subclass(NumberForm)
        form.argument = argument
        return form
