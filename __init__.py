"""Lacuna compiles sparse attention: a mask written as an index expression becomes a kernel that skips the gaps.

Importing it loads no torch, triton, islpy or sympy; each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import nn, orders, patterns
    from .ir.functions import cos, erf, exp, exp2, kv_len, log, log2, maximum, minimum, q_len, sigmoid, sin, sqrt, tanh, where
    from .ir.given_grid import grid
    from .ir.pattern import pattern
    from .ir.score import score
    from .ir.segments import segments
    from .ir.sequence import sequence
    from .runtime.bundles.build import build
    from .runtime.bundles.load import load
    from .runtime.bundles.spec import KernelSpec
    from .runtime.calls.attention import attention, varlen_attention
    from .runtime.compile import compile
    from .runtime.request.zero_keys import zero_keys
    from .runtime.tuning.file import export_tuning, import_tuning
    from .runtime.tuning.tune import tune
    from .runtime.views.dense import dense
    from .runtime.views.explanation import explain
    from .runtime.views.inspect import schedule
    from .runtime.views.plot import plot
    from .runtime.views.simulate import simulate

    __version__: str

_HOMES = {
    "KernelSpec": "runtime.bundles.spec",
    "attention": "runtime.calls.attention",
    "build": "runtime.bundles.build",
    "compile": "runtime.compile",
    "cos": "ir.functions",
    "dense": "runtime.views.dense",
    "erf": "ir.functions",
    "exp": "ir.functions",
    "exp2": "ir.functions",
    "explain": "runtime.views.explanation",
    "export_tuning": "runtime.tuning.file",
    "grid": "ir.given_grid",
    "import_tuning": "runtime.tuning.file",
    "kv_len": "ir.functions",
    "load": "runtime.bundles.load",
    "log": "ir.functions",
    "log2": "ir.functions",
    "maximum": "ir.functions",
    "minimum": "ir.functions",
    "pattern": "ir.pattern",
    "plot": "runtime.views.plot",
    "q_len": "ir.functions",
    "schedule": "runtime.views.inspect",
    "score": "ir.score",
    "segments": "ir.segments",
    "sequence": "ir.sequence",
    "sigmoid": "ir.functions",
    "simulate": "runtime.views.simulate",
    "sin": "ir.functions",
    "sqrt": "ir.functions",
    "tanh": "ir.functions",
    "tune": "runtime.tuning.tune",
    "varlen_attention": "runtime.calls.attention",
    "where": "ir.functions",
    "zero_keys": "runtime.request.zero_keys",
}

__all__ = [
    "KernelSpec",
    "attention",
    "build",
    "compile",
    "cos",
    "dense",
    "erf",
    "exp",
    "exp2",
    "explain",
    "export_tuning",
    "grid",
    "import_tuning",
    "kv_len",
    "load",
    "log",
    "log2",
    "maximum",
    "minimum",
    "nn",
    "orders",
    "pattern",
    "patterns",
    "plot",
    "q_len",
    "schedule",
    "score",
    "segments",
    "sequence",
    "sigmoid",
    "simulate",
    "sin",
    "sqrt",
    "tanh",
    "tune",
    "varlen_attention",
    "where",
    "zero_keys",
]


def __getattr__(name: str) -> object:
    """PEP 562: import a public name from the room it lives in, and keep it."""
    if name == "__version__":
        value: object = importlib.import_module(".runtime.process.version", __name__).VERSION
    elif name in ("nn", "orders", "patterns"):
        value = importlib.import_module(f".{name}", __name__)
    elif name in _HOMES:
        value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module `lacuna` has no attribute `{name}`.\n  write one of {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
