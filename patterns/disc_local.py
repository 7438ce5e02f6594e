"""CLEAR: pixels see a disc around themselves and all of the text; pooled keys stand for the rest of the image."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import at_least, plane, wholes
from .segmented import segmented


@pattern(rank=2)
def _disc(q, k, *, radius):
    return (q[0] - k[0]) ** 2 + (q[1] - k[1]) ** 2 < radius * radius


def disc_local(extents: tuple[int, int], radius: int, *, text: int = 0, pool: int | None = None) -> Pattern:
    """|q - k|^2 < radius^2 between pixels; everything from and to text. With `pool`, pixels see every pooled key as well.

    extents: (rows, columns) of the image. radius: tokens, 8, 16 or 32 in the published models. text: tokens in front of the image.
    pool:    side of the squares of pixels that one pooled key stands for; it divides both extents. Sequence [text | image], keys
             [text | image | pooled], so there are more keys than queries.

    Traps: the comparison is strict; discs are clipped at the edges, so that corners see fewer keys; text does not see pooled keys.
    Source: S. Liu et al., CLEAR: Conv-Like Linearization Revs Pre-Trained Diffusion Transformers Up, 2024.
    """
    rows, cols = plane("extents", extents)
    at_least(1, radius=radius)
    (text,) = wholes(0, text=text)
    disc = _disc(radius=radius)
    if pool is None and not text:
        return disc.on(rows, cols)
    segments: dict[str, int | tuple[int, ...]] = {"text": text, "image": (rows, cols)}
    if pool is not None:
        (pool,) = wholes(1, pool=pool)
        if rows % pool or cols % pool:
            raise ValueError(f"`pool` is {pool}, which does not divide {rows} x {cols}\n  write a divisor of both")
        segments["pooled"] = (rows // pool, cols // pool)
    rules: dict[tuple[str, str], Pattern | bool] = {("image", "image"): disc}
    if pool is not None:
        rules["text", "pooled"] = False
    return segmented(segments, rules, queries=("text", "image"))
