"""What builds Triton kernels."""

from __future__ import annotations

import functools
from importlib.metadata import version
from pathlib import Path

from ...ir.plan import Plan
from ...ir.source import Source
from ..kernels import shelves
from ..kernels.variant import Toolchain


@functools.cache
def toolchain() -> Toolchain:
    """What builds kernels. Where there is no Triton but a bundle, one that builds nothing.

    Raises:
        ImportError: there is neither.
    """
    try:
        return Toolchain(f"triton {version('triton')}", render, _write, ".py")
    except ImportError:
        if not shelves.serves("triton"):
            raise
        return Toolchain("", render, _write, ".py", lambda: version("triton"))


def render(plan: Plan) -> Source:
    """The text of a plan's kernel."""
    from ...codegen import triton, triton_backward, triton_decode  # with them comes jinja2, which a warm start does without

    renderers = {
        "forward": triton.render,
        "decode": triton_decode.render,
        "backward": triton_backward.render_keys,
        "backward_queries": triton_backward.render_queries,
    }
    return renderers[plan.family](plan)


def _write(source: Source, path: Path) -> None:
    """Binaries are made of it one by one, see `triton_gpu`."""
    path.write_text(source.text, encoding="utf-8")
