"""Neighborhood attention: windows that shift inward at the edges instead of being clipped, along a sequence or on a grid."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.functions import kv_len
from ..ir.pattern import Pattern, pattern
from .checks import truth, wholes
from .gna import PerAxis, gna, require_window, seen


@pattern
def _neighborhood(q, k, *, window, stride, dilation, causal):
    return seen(q, k, kv_len, window, stride, dilation, causal)


def neighborhood(
    window: PerAxis,
    *,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    causal: bool | tuple[bool, ...] = False,
    length: int | tuple[int, ...] | None = None,
) -> Pattern:
    """`gna` with strides and dilations of 1 where they are not given: the keys nearest to the query, `window` of them on each axis.

    window: keys per query, one number, or on a grid one for each axis.
    length: tokens along the axis, where the last window ends; None means the number of keys of the call. A tuple is a grid.
    Traps: as of `gna`; a call shorter than window * dilation sees its whole residue class, where NATTEN refuses it.
    Source: A. Hassani et al., Neighborhood Attention Transformer, 2022; Faster Neighborhood Attention, 2024.
    """
    if length is not None:
        return gna(length, window, stride, dilation, causal)
    if any(isinstance(each, tuple | list) for each in (window, stride, dilation, causal)):
        raise ValueError(
            f"`window` is {window}, and a number is given for each axis of a grid\n  write its extents too, `length=(rows, columns)`"
        )
    wide, step, apart = wholes(1, window=window, stride=stride, dilation=dilation)
    truth(causal=causal)
    require_window(None, wide, step, apart)
    return _neighborhood(window=wide, stride=step, dilation=apart, causal=causal)


def dilated_neighborhood(
    window: PerAxis, dilation: PerAxis, *, causal: bool | tuple[bool, ...] = False, length: int | tuple[int, ...] | None = None
) -> Pattern:
    """`neighborhood` among the tokens that are a multiple of `dilation` apart, on each axis.

    At dilation = length / window it is the grid attention of MaxViT. Source: A. Hassani et al., Dilated Neighborhood Attention, 2022.
    """
    return neighborhood(window, dilation=dilation, causal=causal, length=length)
