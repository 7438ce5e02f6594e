"""Text and images in one sequence."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

from ..ir.pattern import Pattern, pattern
from ..ir.trace import is_tensor
from .per_item import PerItem, of, spans

if TYPE_CHECKING:
    from torch import Tensor


@pattern
def _mutual(q, k, b, *, image_start, image_stop, text_start, text_stop):
    image = (of(image_start, b) <= q) & (q < of(image_stop, b))
    question = (of(text_start, b) <= k) & (k < of(text_stop, b))
    return (k <= q) | (image & question)


@pattern
def _composite(q, k, b, *, visual):
    visual = of(visual, b)
    return (q >= visual) & ((k < visual) | (k <= q))


Span: TypeAlias = "tuple[PerItem, PerItem] | Tensor"
"""(start, stop) in tokens, stop exclusive: each an integer or an integer tensor [batch]. Or an integer tensor [batch, 2] of such pairs."""


def modality_mutual(image: Span, question: Span) -> Pattern:
    """k <= q, or q in the image and k in the question: image tokens see the question that comes after them.

    image, question: (start, stop) in tokens, stop exclusive; each an integer or an integer tensor [batch]. Or one tensor [batch, 2].
    A batch item without an image has start = stop.
    Source: W. Wang et al., Seeing is Understanding: Modality-Mutual Attention, 2025.
    """
    (image_start, image_stop), (text_start, text_stop) = _ends("image", image), _ends("question", question)
    return _mutual(image_start=image_start, image_stop=image_stop, text_start=text_start, text_stop=text_stop)


def _ends(name: str, given: object) -> tuple[object, object]:
    """Start and stop.

    Raises:
        ValueError: they are none, or stop is before start.
    """
    if is_tensor(given) and len(given.shape) == 2 and given.shape[1] == 2:
        pairs = cast("Tensor", given)
        start, stop = pairs[:, 0], pairs[:, 1]
    elif isinstance(given, tuple | list) and len(cast("tuple[object, ...]", given)) == 2:
        start, stop = cast("tuple[object, object]", tuple(cast("tuple[object, object]", given)))
    else:
        raise _no_range(name, given)
    spans(0, **{f"{name}[0]": start, f"{name}[1]": stop})
    if isinstance(start, int) and isinstance(stop, int) and start > stop:
        raise _no_range(name, given)
    return start, stop


def _no_range(name: str, given: object) -> ValueError:
    fix = "(start, stop) with 0 <= start <= stop, each an integer or an integer tensor [batch]"
    return ValueError(f"`{name}` is {given!r:.60}, which is no range of tokens\n  write {fix}")


def composite_modality(visual: PerItem) -> Pattern:
    """q >= visual and (k < visual or k <= q): visual tokens ask nothing, text sees all of them and the text before.

    visual: tokens in front, or an integer tensor [batch] of them.
    Pass only the text rows as queries, with `q_offset=visual`, and no row is wasted.
    Source: F. Ma et al., EE-MLLM, 2024.
    """
    spans(0, visual=visual)
    return _composite(visual=visual)
