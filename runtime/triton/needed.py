"""Triton itself, which is no requirement of this package: what is said where it is not there."""

from __future__ import annotations

import importlib

from ...ir.advice import advice


def require_triton() -> None:
    """Raise ModuleNotFoundError, with what to install, where Triton is not there. It is imported otherwise."""
    try:
        importlib.import_module("triton")
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "triton":
            raise
        fix = '`pip install triton`, or `backend="eager"`'
        raise ModuleNotFoundError(advice("the package `triton` is not installed", fix), name="triton") from missing
