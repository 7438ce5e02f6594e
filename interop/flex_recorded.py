"""Functions written for FlexAttention inside `torch.compile`: what they do with positions is noted in the region, and traced outside of it.

`torch.compile` follows the function itself, with tensors for positions that compute nothing: a mode sees every torch function that meets
one and writes it down. Captured tensors stay inputs of the graph. The tracer runs on the notes, and is never compiled.
"""

# Dynamo follows this file: it is written with what it knows. torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx.experimental import symbolic_shapes
from torch.overrides import TorchFunctionMode

from ..ir.advice import advice
from ..ir.binding import Argument
from ..ir.pattern import Pattern
from ..ir.program import Space
from ..ir.score import Score
from .flex_replayed import Note, Recorded, result_like, size_of

Function = Callable[..., object]


class Recording(TorchFunctionMode):
    """Writes down what torch functions do with positions, and computes nothing but shapes and dtypes."""

    def __init__(self, real: torch.dtype) -> None:
        super().__init__()
        self.real = real
        self.arguments: dict[str, object] = {}
        self.tables: list[tuple[Tensor, str]] = []
        self.known: list[tuple[Tensor, Note]] = []
        self.calls: list[Note] = []

    def position(self, letter: str) -> Tensor:
        """What stands for one; on a device without memory, so that nothing can be computed from it unseen."""
        dtype = self.real if letter == "s" else torch.int64
        return self.stands(torch.empty((), dtype=dtype, device="meta"), ("position", letter))

    def stands(self, tensor: Tensor, note: Note) -> Tensor:
        self.known.append((tensor, note))
        return tensor

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401  (torch's protocol)
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        by_name = dict(kwargs or {})
        if func in _ASKED or (not self._meets(args) and not self._meets(tuple(by_name.values()))):
            return func(*args, **by_name)
        self.calls.append((func, self._noted_all(args), tuple([(name, self.noted(value)) for name, value in by_name.items()])))
        return self.stands(self._shaped(func, args, by_name), ("result", len(self.calls) - 1))

    def noted(self, value: object) -> Note:
        if isinstance(value, Tensor):
            found = self._note_of(value)
            return self._captured(value) if found is None else found
        if isinstance(value, tuple | list):
            return ("tuple", self._noted_all(cast("tuple[object, ...]", value)))
        if isinstance(value, int) and not isinstance(value, bool) and not _is_known(value):
            name = f"number_{len(self.arguments) + 1}"
            self.arguments[name] = value
            return ("number", name)
        return ("constant", value)

    def _noted_all(self, values: tuple[object, ...]) -> tuple[Note, ...]:
        return tuple([self.noted(value) for value in values])

    def _note_of(self, tensor: Tensor) -> Note | None:
        for known, note in self.known:
            if known is tensor:
                return note
        return None

    def _meets(self, value: object) -> bool:
        if isinstance(value, Tensor):
            return self._note_of(value) is not None
        if isinstance(value, tuple | list):
            for each in cast("tuple[object, ...]", value):
                if self._meets(each):
                    return True
        return False

    def _captured(self, tensor: Tensor) -> Note:
        """A tensor that is no position: a table, with its sizes; one without axes as a table of one entry."""
        for known, name in self.tables:
            if known is tensor:
                return ("table" if tensor.dim() else "entry", name)
        if tensor.device.type == "meta":
            what = "something is computed from a position where `torch.compile` does not show it"
            raise TypeError(advice(what, "the mask outside of the compiled region, `create_block_mask(...)`"))
        name = f"table_{len(self.tables) + 1}"
        self.tables.append((tensor, name))
        table = tensor if tensor.dim() else tensor.reshape(1)
        self.arguments[name] = table.short() if table.dtype is torch.uint8 else table
        for axis, size in enumerate(table.shape):
            self.arguments[size_of(name, axis)] = size
        return ("table" if tensor.dim() else "entry", name)

    def _shaped(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """A tensor like the one that the function returns, without memory. What it computes is nowhere in the graph."""
        if func in _LOOK_UPS:
            places = cast("tuple[object, ...]", args[1]) if isinstance(args[1], tuple | list) else (args[1],)
            dtype, axes = args[0].dtype, max(args[0].dim() - len(places), 0)
        else:
            dtype, axes = result_like(func, _formed(args), tuple([(name, _formed(value)) for name, value in kwargs.items()]))
        return torch.empty((1,) * axes, dtype=dtype, device="meta")


def _formed(value: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """What of an argument decides the dtype of a result: of a tensor its own, and its axes."""
    if isinstance(value, Tensor):
        return "tensor", value.dtype, value.dim()
    if isinstance(value, tuple | list):
        return "tuple", tuple([_formed(each) for each in cast("tuple[object, ...]", value)])
    if isinstance(value, int) and not isinstance(value, bool) and not _is_known(value):
        return "constant", 1
    return "constant", value


_PROPERTIES = ("shape", "dtype", "device", "ndim", "layout", "requires_grad")
_ASKED = (*[getattr(Tensor, name).__get__ for name in _PROPERTIES], Tensor.size, Tensor.dim, Tensor.is_floating_point)
_LOOK_UPS = (Tensor.__getitem__,)


def _is_known(value: int) -> bool:
    """Whether a number inside a compiled region has one value only; one that has many is a parameter."""
    asked = getattr(symbolic_shapes, "has_static_value", None)  # torch 2.8 and later
    return True if asked is None else asked(value)


def recorded_mask(mask_mod: Function) -> Pattern:
    """The pattern of a `mask_mod` inside a compiled region."""
    return Pattern(*_recorded(mask_mod, torch.float32, is_score=False))


def recorded_score(score_mod: Function, real: torch.dtype) -> Score:
    """The score of a `score_mod`, likewise."""
    return Score(*_recorded(score_mod, real, is_score=True))


def _recorded(function: Function, real: torch.dtype, *, is_score: bool) -> tuple[Recorded, dict[str, Argument], Space]:
    recording = Recording(real)
    positions = [recording.position(letter) for letter in ("sbhqk" if is_score else "bhqk")]
    with recording:
        result = function(*positions)
    note = recording.noted(result)
    dtypes = tuple([(name, tensor.dtype, max(tensor.dim(), 1)) for tensor, name in recording.tables])
    arguments = {name: Argument(value) for name, value in recording.arguments.items()}
    return Recorded(tuple(recording.calls), note, dtypes, is_score, real), arguments, Space()
