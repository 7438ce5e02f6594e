"""How many threads a C++ kernel may use."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator

import torch

from ..process.settings import settings

_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_after_fork)
_alone = threading.local()


@contextlib.contextmanager
def one_thread() -> Generator[None]:
    """A context in which kernels called by this thread run on it alone, so that its clock counts all they do."""
    _alone.now = True
    try:
        yield
    finally:
        _alone.now = False


def thread_count() -> int:
    """LACUNA_THREADS, else what torch uses; 1 in a forked process, whose OpenMP would wait for threads that stayed in its parent.

    Results do not depend on it.
    """
    if _forked or getattr(_alone, "now", False):
        return 1
    wanted = settings().threads if "LACUNA_THREADS" in os.environ else None  # reading all six takes longer than a launch may
    return wanted or torch.get_num_threads()
