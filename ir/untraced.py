"""Calls that `torch.compile` does not follow: it would trace the tracer, and take `==` of expressions for false."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


def untraced(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`function(*args, **kwargs)`, run by Python alone. The compiler is not loaded for it: where it is not there, nothing is compiled."""
    compiler: Any = sys.modules.get("torch._dynamo")
    return function(*args, **kwargs) if compiler is None else cast(T, compiler.disable(function)(*args, **kwargs))
