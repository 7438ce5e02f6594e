"""Scale-DiT: a large image sees itself locally, a small copy of it globally, and the text."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .blocks import block_local
from .checks import per_axis, plane, truth, wholes
from .segmented import segmented

LEAST_GROUPED = 256  # small images of up to this many tokens are seen whole
LOW_BLOCK = 256


@pattern(rank=2)
def _near(q, k, *, radius):
    return (abs(q[0] - k[0]) <= radius[0]) & (abs(q[1] - k[1]) <= radius[1])


@pattern(rank=2)
def _same_part(q, k, *, high, low):
    return (q[0] // high[0] == k[0] // low[0]) & (q[1] // high[1] == k[1] // low[1])


def hierarchical_local_guided(
    text: int,
    high: tuple[int, int],
    low: tuple[int, int],
    *,
    radius: int | tuple[int, int] = 8,
    window: int | tuple[int, int] = 16,
    text_sees_low: bool = True,
    low_sees_text: bool = True,
) -> Pattern:
    """Sequence [text | high | low]. Text sees everything and is seen by everything, unless it is said otherwise.

    high to high: |q - k| <= radius on rows and columns. high to low: all of it up to 256 tokens, else the part under the query's window.
    low to low: blocks of 256 tokens. low to high: nothing.

    text: tokens. high, low: (rows, columns) of the image and of its small copy, whose extents divide the large ones.
    radius: tokens on either side. window: tokens of the large image along each axis, a multiple of the ratio of the two images.
    text_sees_low, low_sees_text: False where text does not see the small copy, or the small copy no text, as in the authors' notebook.
    Traps: windows are clipped at the edges; the published windows of 16 tokens have radius 8, and so 17 keys along an axis.
    The order of tokens that goes with it, windows one after another, does not change the mask.
    Source: Y. Zhang et al., Scale-DiT: Ultra-High-Resolution Image Generation with Hierarchical Local Attention, 2025.
    """
    (text,) = wholes(0, text=text)
    truth(text_sees_low=text_sees_low, low_sees_text=low_sees_text)
    sizes, small = plane("high", high), plane("low", low)
    wide = per_axis("window", window, 2)
    ratio = tuple(size // each for size, each in zip(sizes, small, strict=True))
    if any(size % each for size, each in zip(sizes, small, strict=True)):
        raise ValueError(f"`low` is {low}, which does not divide {high}\n  write extents that do")
    guided: Pattern | bool = True
    if small[0] * small[1] > LEAST_GROUPED:
        if any(size % each for size, each in zip(wide, ratio, strict=True)):
            raise ValueError(f"`window` is {window}, and one token of `low` stands for {ratio} of `high`\n  write a multiple of that")
        guided = _same_part(high=wide, low=tuple(size // each for size, each in zip(wide, ratio, strict=True)))
    rules: dict[tuple[str, str], Pattern | bool] = {
        ("high", "high"): _near(radius=per_axis("radius", radius, 2, 0)),
        ("high", "low"): guided,
        ("low", "high"): False,
        ("text", "low"): text_sees_low,
        ("low", "text"): low_sees_text,
        ("low", "low"): block_local(LOW_BLOCK),
    }
    return segmented({"text": text, "high": sizes, "low": small}, rules)
