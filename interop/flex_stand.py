"""Stand-ins for scalar tensors, and for captured tensors that are looked up, which torch's functions and operators take for tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from ..ir.build import quoted, refusal
from .flex_calls import Held, Unread, called, lift
from .flex_captured import Captured
from .flex_values import Value

Function = Callable[..., object]


class Stand(Held):
    """A stand-in for one scalar tensor: an expression, to which every operator adds."""

    __slots__ = ()

    def __repr__(self) -> str:
        return quoted(self.expr)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> object:  # noqa: ANN401 (torch's protocol)
        captured = next(_captures((args, kwargs)))
        name = str(getattr(func, "__name__", func))
        if name == "__getitem__":
            return looked_up(args[0], (), args[1], captured)
        is_method = getattr(Tensor, name, None) is func
        name = name[2:-2] if name.startswith("__") and name.endswith("__") else name
        return _wrapped(called(name, args, kwargs or {}, captured, is_method=is_method), captured)

    @property
    def shape(self) -> torch.Size:
        return torch.Size(())

    @property
    def ndim(self) -> int:
        return 0

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return self.value.dtype

    def __getattr__(self, name: str) -> Function:
        if name.startswith("__") or not hasattr(Tensor, name):
            raise AttributeError(f"a tensor has no attribute `{name}`")
        if not callable(getattr(Tensor, name)):
            raise refusal(
                f"`.{name}` of the expression `{self}`", "an operator or a method; `.shape`, `.ndim`, `.dtype` and `.device` are known"
            )
        return lambda *args, **kwargs: _wrapped(called(name, (self, *args), kwargs, self.captured, is_method=True), self.captured)

    def __getitem__(self, index: object) -> NoReturn:
        raise refusal(f"`{self}[...]`: the expression is one number", "a look-up in a captured tensor, `table[q_idx]`")

    def __hash__(self) -> int:
        raise refusal(f"the expression `{self}` cannot be a dictionary key", "a captured tensor, `table[q_idx]`")

    def __bool__(self) -> bool:
        raise refusal(
            f"data-dependent control flow: the expression `{self}` has no truth value, it stands for every (q, k) at once",
            "`&`, `|`, `~` instead of `and`, `or`, `not`; `(a <= x) & (x <= b)` instead of `a <= x <= b`; "
            "`torch.where(condition, a, b)` instead of `if`; `torch.minimum`, `torch.maximum` instead of `min`, `max`",
        )

    def _no_number(self) -> NoReturn:
        raise refusal(
            f"a plain number is wanted where the expression `{self}` stands for every (q, k) at once",
            "torch's operators, such as `torch.exp` instead of `math.exp`; a captured tensor instead of a list; "
            "a condition on `kv_idx` instead of a loop",
        )

    def __index__(self) -> int:
        self._no_number()

    def __int__(self) -> int:
        self._no_number()

    def __float__(self) -> float:
        self._no_number()

    def __len__(self) -> int:
        self._no_number()

    def __iter__(self) -> Iterator[object]:
        self._no_number()


_BINARY = ("add", "sub", "mul", "pow", "and", "or", "xor", "lshift", "rshift", "truediv", "floordiv", "mod")
_OTHERS = ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert")
_IN_PLACE = {"truediv": "div", "floordiv": "floor_divide", "mod": "remainder"}


def _install_operators() -> None:
    """Python's operators, each the one that torch has under the same name."""
    for name in (*_BINARY, *_OTHERS):
        setattr(Stand, f"__{name}__", _operator(name))
    for name in _BINARY:
        setattr(Stand, f"__r{name}__", _operator(name, reflected=True))
        setattr(Stand, f"__i{name}__", _operator(f"{_IN_PLACE.get(name, name)}_"))


def _operator(name: str, *, reflected: bool = False) -> Function:
    def apply(self: Stand, *other: object) -> object:
        return _wrapped(called(name, (*other, self) if reflected else (self, *other), {}, self.captured), self.captured)

    return apply


_install_operators()


def _wrapped(found: object, captured: Captured) -> object:
    return Stand(found, captured) if isinstance(found, Value) else found


class Row(Unread):
    """It can be looked up further, and nothing else."""

    __slots__ = ()

    def __getitem__(self, index: object) -> Stand | Row:
        return looked_up(self.tensor, self.indices, index, self.captured)

    @classmethod
    def __torch_function__(cls, func: object, *_: object) -> NoReturn:
        raise refusal(f"`{getattr(func, '__name__', func)}` of a row of a captured tensor", "an index for every axis, `table[h, q_idx]`")


def looked_up(tensor: object, before: tuple[Value, ...], index: object, captured: Captured) -> Stand | Row:
    """`tensor[before][index]`."""
    if not isinstance(tensor, Tensor):
        raise refusal(f"`{tensor!r}[...]`: the expression is one number", "a look-up in a captured tensor, `table[q_idx]`")
    parts = cast("tuple[object, ...]", index if isinstance(index, tuple) else (index,))
    if any(part is None or part is Ellipsis or isinstance(part, slice | bool) for part in parts):
        raise refusal(
            f"a slice of a captured tensor of shape {tuple(tensor.shape)}", "one index per axis; slice the tensor outside the function"
        )
    indices = (*before, *(lift(part, captured) for part in parts))
    if len(indices) > tensor.ndim:
        raise refusal(f"a tensor of shape {tuple(tensor.shape)} is read with {len(indices)} indices", "one index per axis")
    if len(indices) < tensor.ndim:
        return Row(tensor, indices, captured)
    return Stand(captured.look_up(tensor, indices), captured)


def _captures(args: object) -> Iterator[Captured]:
    """Of the stand-ins among the arguments of a torch function, however deep in tuples."""
    if isinstance(args, Stand | Row):
        yield args.captured
    elif isinstance(args, tuple | list):
        for each in cast("tuple[object, ...]", args):
            yield from _captures(each)
    elif isinstance(args, dict):
        yield from _captures(tuple(cast("dict[str, object]", args).values()))
