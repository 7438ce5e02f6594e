"""What patterns and scores share: a recipe, its arguments, and the program that comes of them once everything is bound."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Self

from .binding import UNBOUND, Argument, identity, plain, require_bindable, shown
from .build import refusal
from .parse import parse_program
from .program import InvalidProgram, Program, Space
from .recipe import FromFunction, Given, Recipe
from .reserved import LONGEST_NAME, is_plain, misnamed
from .text import show_program
from .untraced import untraced


@dataclass(frozen=True, eq=False, repr=False)
class Parametric:
    """Immutable. Calling it binds parameters; with nothing left unbound it is ready to use."""

    recipe: Recipe
    arguments: Mapping[str, Argument] = field(default_factory=dict[str, Argument])
    space: Space = field(default_factory=Space)

    @property
    def name(self) -> str:
        return self.recipe.name

    @cached_property
    def unbound(self) -> tuple[str, ...]:
        """Parameters that have no value yet."""
        return tuple(name for name, argument in self.arguments.items() if argument.value is UNBOUND)

    def now(self) -> Self:
        """Itself, or what it is by now, where a global, a cell or an attribute that a function reads has changed since it was traced."""
        state, kept = self.recipe.state, self.__dict__
        before = kept.setdefault("_state", state)
        if before is state or before == state:
            return self
        if "_successor" not in kept or kept["_successor"].__dict__["_state"] != state:
            kept["_successor"] = replace(self)
            kept["_successor"].__dict__["_state"] = state
        return kept["_successor"]

    @property
    def program(self) -> Program:
        """The program, traced on first use. TypeError while a parameter is unbound."""
        return self.now()._program

    @cached_property
    def _program(self) -> Program:
        self.require_bound()
        self.__dict__["_state"] = self.recipe.state
        return untraced(self.recipe.trace, {name: argument.value for name, argument in self.arguments.items()}, self.space)

    @property
    def bindings(self) -> Mapping[str, object]:
        """What the program's parameters and tables are bound to, in its order: int, float, tensor or `Segments`."""
        return self.now()._bindings

    @cached_property
    def _bindings(self) -> Mapping[str, object]:
        program = self._program
        return MappingProxyType({entry.name: self.arguments[entry.name].value for entry in (*program.parameters, *program.tables)})

    def require_bound(self) -> None:
        """TypeError that names what is missing, if anything is."""
        if self.unbound:
            missing = ", ".join(f"`{name}`" for name in self.unbound)
            raise refusal(
                f"`{self.recipe.label}` is used before {missing} {'is' if len(self.unbound) == 1 else 'are'} bound",
                f"`{self.recipe.label}({', '.join(f'{name}=...' for name in self.unbound)})`",
            )

    def __call__(self, *positional: object, **bindings: object) -> Self:
        label = self.recipe.label
        if positional:
            raise refusal(
                f"`{label}` is called with a positional argument",
                f"parameters by name, `{label}({', '.join(f'{name}=...' for name in self.arguments)})`; combine patterns with `& | ^ ~ -`",
            )
        for name, value in bindings.items():
            self._require_parameter(name)
            require_bindable(label, name, value)
            self.arguments[name].require_extent(label, name, value)
        return replace(self, arguments={**self.arguments, **{name: self.arguments[name].bound(value) for name, value in bindings.items()}})

    def _require_parameter(self, name: str) -> None:
        if name not in self.arguments:
            known = ", ".join(f"`{each}`" for each in self.arguments) or "none"
            close = difflib.get_close_matches(name, self.arguments, n=1)
            fix = f"`{close[0]}=...`" if close else f"one of its parameters: {known}"
            raise refusal(f"`{self.recipe.label}` has no parameter `{name}`", fix)

    @cached_property
    def _identity(self) -> tuple[object, ...]:
        if self.unbound:
            return (self.recipe, self.space, tuple((name, identity(each.value)) for name, each in self.arguments.items()))
        return (self._program, tuple(identity(value) for value in self._bindings.values()))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._identity == other._identity

    @cached_property
    def _hash(self) -> int:
        return hash((type(self), self._identity))

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        values = [f"{name}={shown(argument.value)}" for name, argument in self.arguments.items()]
        told = self.space == getattr(self.recipe, "space", None)  # by the label
        grid = f".on({', '.join(str(extent) for extent in self.space.extents)})" if self.space.extents and not told else ""
        return f"{self.recipe.label}({', '.join(values)}){grid}"

    def __reduce__(self) -> str | tuple[object, ...]:
        """By name where a module holds it; else the program and what is bound to it, without the function."""
        name = self._global_name()
        if name:
            return name
        if self.unbound:
            raise refusal(
                f"`{self.recipe.label}` cannot be pickled before it is bound: its function would have to be traced again", f"`{self!r}`"
            )
        return _restored, (type(self), show_program(self.program), self.recipe.label, dict(self.bindings))

    def _global_name(self) -> str | None:
        if not isinstance(self.recipe, FromFunction):
            return None
        module, name = (getattr(self.recipe.function, attribute, "") for attribute in ("__module__", "__qualname__"))
        found: object = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else None

    @classmethod
    def of(cls, program: Program, bindings: Mapping[str, object] | None = None, label: str = "") -> Self:
        """A finished program with values for its parameters and tables."""
        for entry in (*program.parameters, *program.tables):
            complaint = misnamed(entry.name)
            if complaint:
                raise InvalidProgram(f"program `{program.name}`: the name `{entry.name}` {complaint}\n  write another name")
        values = bindings or {}
        arguments = {entry.name: Argument(plain(values.get(entry.name, UNBOUND))) for entry in (*program.parameters, *program.tables)}
        return cls(Given(program, label or program.name), arguments, program.space)


def _restored(cls: type[Parametric], text: str, label: str, bindings: dict[str, object]) -> Parametric:
    return cls.of(parse_program(text), bindings, label)


def from_function(cls: type[Parametric], function: Callable[..., object], rank: int, takes: str) -> Parametric:
    """A `cls` of a user's function, whose positional parameters are some of the letters in `takes`."""
    signature = inspect.signature(function)
    name: str = getattr(function, "__name__", "")
    name = name[:LONGEST_NAME] if is_plain(name) else "anonymous"
    positional, arguments = list[str](), dict[str, Argument]()
    for each in signature.parameters.values():
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD):
            _require_position(name, each, takes)
            positional.append(each.name)
        elif each.kind is each.KEYWORD_ONLY:
            arguments[each.name] = _argument(name, each)
        else:
            raise refusal(f"`{name}` takes `{each}`", "each parameter by name, after a `*`: `def f(q, k, *, window)`")
    recipe = FromFunction(function, name, rank, tuple(positional), "s" in takes)
    made = cls(recipe, arguments, Space(rank))
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        if hasattr(function, attribute):
            made.__dict__[attribute] = getattr(function, attribute)
    made.__dict__["__wrapped__"] = function
    return made


_OF_FLEX = {"q_idx": "q", "kv_idx": "k", "score": "s", "batch": "b", "head": "h", "b_idx": "b", "h_idx": "h", "kv": "k", "k_idx": "k"}


def _require_position(name: str, parameter: inspect.Parameter, takes: str) -> None:
    if parameter.name in _OF_FLEX and parameter.default is parameter.empty:
        letters, face = ", ".join(takes), "create_block_mask" if "s" not in takes else "flex_attention"
        raise refusal(
            f"`{name}` takes `{parameter.name}`, as functions for FlexAttention do; here it is `{_OF_FLEX[parameter.name]}`",
            f"some of {letters}, by name: `def f({letters})`; or keep the function and import `{face}` from `lacuna.interop.flex`",
        )
    if parameter.name not in takes or parameter.default is not parameter.empty:
        letters = ", ".join(takes)
        raise refusal(
            f"`{name}` takes `{parameter}`, which is none of the positions {letters}",
            f"parameters after a `*`: `def f({letters}, *, {parameter.name})`; positions have no default",
        )


def _argument(name: str, parameter: inspect.Parameter) -> Argument:
    complaint = misnamed(parameter.name)
    if complaint:
        raise InvalidProgram(f"`{name}`: the parameter `{parameter.name}` {complaint}\n  write another name, such as `window`")
    if parameter.default is parameter.empty:
        return Argument()
    require_bindable(name, parameter.name, parameter.default)
    return Argument(plain(parameter.default))
