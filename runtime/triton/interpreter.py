"""Triton's interpreter for some kernels of a process, while others are compiled.

Triton decides by TRITON_INTERPRET when a function is decorated, and then for the whole process: it leaves its language patched after a
call of a helper. Here a kernel is made interpreted after it was loaded, and everything is put back after a launch.
"""

# Triton comes without types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

LIBRARY = ("max", "sum")  # functions of triton.language that kernels call and that are jitted themselves


class _Scope(Protocol):
    """Triton's record of what it patched."""

    def set_attr(self, obj: object, name: str, value: object) -> None: ...
    def restore(self) -> None: ...


_PATCH_TENSOR: Callable[[type, _Scope], None] = vars(interpreter)["_patch_lang_tensor"]
_PATCH_LANGUAGE: Callable[[Any], _Scope] = vars(interpreter)["_patch_lang"]


class Interpreted(InterpretedFunction[Any]):
    """A function that Triton's interpreter runs and that leaves the language as it found it."""

    def __call__(self, *arguments: object, **keywords: object) -> object:
        scope = _PATCH_LANGUAGE(self.fn)
        try:
            return self.rewrite()(*arguments, **keywords)
        finally:
            scope.restore()


def interpret(module: ModuleType) -> None:
    """Replace every jitted function of a module by an interpreted one; they find each other through the module."""
    for name, member in list(vars(module).items()):
        if isinstance(member, JITFunction):
            setattr(module, name, Interpreted(member.fn))


@contextlib.contextmanager
def interpreting() -> Generator[None]:
    """Triton's own library as TRITON_INTERPRET=1 would have loaded it, and numpy as quiet as a GPU. Not for several threads."""
    library = {name: getattr(tl, name) for name in LIBRARY}
    with contextlib.ExitStack() as stack:
        for name, function in library.items():
            if isinstance(function, JITFunction):
                stack.enter_context(_swapped(tl, name, Interpreted(function.fn)))
        stack.enter_context(_swapped(interpreter, "_patch_lang_tensor", _patch_tensor))
        stack.enter_context(np.errstate(all="ignore"))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


@contextlib.contextmanager
def _swapped(owner: ModuleType, name: str, member: object) -> Generator[None]:
    before = getattr(owner, name)
    setattr(owner, name, member)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _patch_tensor(tensor: type, scope: _Scope) -> None:
    """What Triton does, and bounds of loops that numpy from 2.4 on can read: it no longer takes int() of an array of one entry."""
    _PATCH_TENSOR(tensor, scope)
    scope.set_attr(tensor, "__index__", _as_index)


def _as_index(number: Any) -> int:  # noqa: ANN401 (a tensor of the interpreter)
    return number.handle.data.item()
