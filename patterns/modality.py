"""Text and images in one sequence."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import at_least


@pattern
def _mutual(q, k, *, image_start, image_stop, text_start, text_stop):
    image = (image_start <= q) & (q < image_stop)
    question = (text_start <= k) & (k < text_stop)
    return (k <= q) | (image & question)


@pattern
def _composite(q, k, *, visual):
    return (q >= visual) & ((k < visual) | (k <= q))


def modality_mutual(image: tuple[int, int], question: tuple[int, int]) -> Pattern:
    """k <= q, or q in the image and k in the question: image tokens see the question that comes after them.

    image, question: (start, stop) in tokens, stop exclusive.
    Source: W. Wang et al., Seeing is Understanding: Modality-Mutual Attention, 2025.
    """
    for name, given in (("image", image), ("question", question)):
        if not _is_range(given):
            raise ValueError(f"`{name}` is {given}, which is no range of tokens\n  write (start, stop) with 0 <= start <= stop")
    return _mutual(image_start=image[0], image_stop=image[1], text_start=question[0], text_stop=question[1])


def _is_range(given: object) -> bool:
    match given:
        case (int(start), int(stop)):
            return 0 <= start <= stop
        case _:
            return False


def composite_modality(visual: int) -> Pattern:
    """q >= visual and (k < visual or k <= q): visual tokens ask nothing, text sees all of them and the text before.

    visual: tokens in front. Pass only the text rows as queries, with `q_offset=visual`, and no row is wasted.
    Source: F. Ma et al., EE-MLLM, 2024.
    """
    at_least(0, visual=visual)
    return _composite(visual=visual)
