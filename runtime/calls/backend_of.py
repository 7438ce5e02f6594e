"""Which backend serves a call."""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType

from ...ir.advice import advice
from ..compilers.cpp_compiler import CompilerMissing, find_compiler
from ..kernels import shelves
from ..process.callers_line import depth_of_caller
from ..process.settings import BACKENDS, settings


@functools.cache
def room_of(name: str | None, device: str) -> ModuleType:
    """The backend of a call: `run`, and `run_backward` where it has gradients. Chosen once per process where `name` is None.

    device: type of the query's device, `cpu` or `cuda`.

    Raises:
        ValueError: there is no such backend, or it does not run on that device.
    """
    chosen = name if name is not None else default(device)
    if chosen not in BACKENDS:
        raise no_backend(chosen)
    if chosen == "cpp" and device not in ("cpu", "meta"):
        raise ValueError(advice(f"backend `cpp` does not run on `{device}` tensors", '`backend="triton"`, or `query.cpu()`'))
    return importlib.import_module(f"..{chosen}.backend", __package__)


shelves.remade_with_bundles(room_of.cache_clear)


def no_backend(given: object) -> ValueError:
    return ValueError(advice(f"there is no backend {given!r:.60}", " or ".join(f"`{each}`" for each in BACKENDS)))


def default(device: str) -> str:
    """The backend of LACUNA_BACKEND, else the fastest one that works here. Falling back to `eager` is said once."""
    wanted = settings().backend
    if wanted is not None:
        return wanted
    if device != "cpu":
        return "triton"
    try:
        find_compiler()
    except CompilerMissing as missing:
        if shelves.serves("cpp"):
            return "cpp"
        warnings.warn(
            advice(
                f"attention runs on the slow `eager` backend: {missing.args[0].splitlines()[0].rstrip('.')}",
                "`apt install g++` or the like",
            ),
            RuntimeWarning,
            stacklevel=depth_of_caller(),
        )
        return "eager"
    return "cpp"
