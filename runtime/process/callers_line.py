"""Whose line a warning is about."""

from __future__ import annotations

import sys


def depth_of_caller() -> int:
    """`stacklevel` of the first frame that is neither Lacuna's nor torch's, for a warning given by the function that asks."""
    frame, depth = sys._getframe(1), 1  # pyright: ignore[reportPrivateUsage]  (private by its name only)
    ours = (__name__.partition(".")[0], "torch")
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ours:
        frame, depth = frame.f_back, depth + 1
    return depth
