"""Numbers of tokens that may differ between the items of a batch: an integer for all of them, or a tensor with one for each."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN201
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

import numbers

from ..ir.trace import TensorLike, Traced, TracedTable, is_tensor
from .checks import whole

PerItem = int | TensorLike
"""Tokens, or an integer tensor [batch] of them."""


def spans(least: int, **named: object) -> None:
    """Raise ValueError unless each named value is an integer of at least `least`, or an integer tensor [batch].

    What tensors hold is known at the call and not looked at.
    """
    for name, value in named.items():
        if isinstance(value, Traced):  # `lacuna.kv_len`, known at the call as well
            continue
        if not is_tensor(value) or isinstance(value, numbers.Integral):
            _not_a_list(name, value)
            whole(name, value, least, 2**63 - 1)
        elif len(value.shape) > 1 or "int" not in str(value.dtype):
            shape = ", ".join(str(size) for size in value.shape)
            raise ValueError(f"`{name}` is {value.dtype}[{shape}]\n  write an integer, or an integer tensor [batch]")


def _not_a_list(name: str, value: object) -> None:
    if isinstance(value, list | tuple):
        raise ValueError(
            f"`{name}` is {value!r:.60}, which is no integer\n  write one, or `torch.tensor([...])` with one for each batch item"
        )


def of(value, b):
    """The number of one batch item, inside of a pattern."""
    return value[b] if isinstance(value, TracedTable) else value
