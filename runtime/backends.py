"""Which backend serves a call, and its `run(request)`."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable

from torch import Tensor

from .advice import advice
from .request import Request
from .settings import BACKENDS, settings
from .toolchain import CompilerMissing, find_compiler

Run = Callable[[Request], tuple[Tensor, Tensor]]


@functools.cache
def backend(name: str | None, device: str) -> Run:
    """The function that carries a request out; chosen once per process where `name` is None.

    device: type of the query's device, `cpu` or `cuda`.

    Raises:
        ValueError: there is no such backend, or it does not run on that device.
    """
    chosen = name if name is not None else default(device)
    if chosen not in BACKENDS:
        raise ValueError(advice(f"there is no backend {chosen!r}", " or ".join(f"`{each}`" for each in BACKENDS)))
    if chosen == "cpp" and device != "cpu":
        raise ValueError(advice(f"backend `cpp` does not run on `{device}` tensors", '`backend="triton"`, or `query.cpu()`'))
    room = importlib.import_module(f".{'eager' if chosen == 'eager' else f'{chosen}_backend'}", __package__)
    return room.run


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
        warnings.warn(
            advice(
                f"attention runs on the slow `eager` backend: {missing.args[0].splitlines()[0].rstrip('.')}",
                "`apt install g++` or the like",
            ),
            RuntimeWarning,
            stacklevel=4,
        )
        return "eager"
    return "cpp"
