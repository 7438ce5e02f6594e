"""Keys that are zero: they add to the softmax's denominator and nothing to its numerator, so no kernel has to see them."""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import functools
import numbers
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from ...ir.advice import advice
from ...ir.expr import FALSE
from ...ir.program import Program
from ..tensors.torch_dispatch import PLAIN, transformed
from .request import check_dense

if TYPE_CHECKING:
    from .request import Request

Counts = Tensor | Sequence[float] | float
"""Of the zero keys that rows see."""
NUMBERS = "a number for each row, in a tuple or a tensor"


def zero_keys(out: Tensor, lse: Tensor, count: Tensor | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Attention as if every row saw `count` more keys, of score 0 and value 0: what zero padding around an image comes to.

    For those who have outputs already; `lacuna.attention(..., zero_keys=count)` counts them in its kernel.

    Args:
        out:   [B, H, L, D] of `lacuna.attention(..., return_lse=True)`, in the layout "bhld".
        lse:   [B, H, L], its log-sum-exp.
        count: keys of each row, [L] or anything that broadcasts to the shape of `lse`, such as `lacuna.patterns.halo_padding(...)`. Padded
               keys whose score is a bias count exp(bias) each: then it is their sum, and may require a gradient where it is not 0.

    Returns:
        out * exp(lse) / (exp(lse) + count), and log(exp(lse) + count). Both are differentiable through `out`, `lse` and `count`. A row that
        sees nothing stays 0.

    Raises:
        ValueError: shapes do not fit, or a count is negative.
    """
    counts = torch.as_tensor(cast(Tensor, count), device=lse.device).to(lse.dtype)
    if out.dim() != 4 or out.shape[:-1] != lse.shape:
        what = f"`out` has the shape {tuple(out.shape)} and `lse` {tuple(lse.shape)}"
        raise ValueError(advice(what, "[B, H, L, D] and [B, H, L], as `lacuna.attention(..., return_lse=True)` returns them"))
    _check("count", counts, lse.shape)
    if not torch.compiler.is_compiling():
        _check_signs("count", counts)
    padded = counts > 0
    mass = torch.where(padded, counts, 1).log()  # a logarithm of 0 would have a gradient that is no number
    more = torch.logaddexp(lse, mass)
    share = torch.where(padded, torch.sigmoid(lse - mass), 1)
    return (out * share.unsqueeze(-1)).to(out.dtype), torch.where(padded, more, lse)


def counts_of(query: Tensor, count: object, layout: str) -> Tensor:
    """How many zero keys each row sees, as `Call` has it: of the shape and the dtype of the log-sum-exp, expanded and not copied.

    query: in `layout`.   count: numbers, or a tensor on the device of the query.

    Raises:
        TypeError:  it is neither.
        ValueError: it does not broadcast to the rows, is elsewhere, or is negative. What lies on a GPU is not looked at.
    """
    check_dense("query", query)
    dtype = torch.float64 if query.dtype is torch.float64 else torch.float32
    if isinstance(count, Tensor):
        check_dense("zero_keys", count)
        if count.is_complex():
            raise TypeError(advice(f"`zero_keys` is of {count.dtype}", NUMBERS))
    counts = count if isinstance(count, Tensor) else _tensor(count, query, dtype)
    sizes = query.shape
    if len(sizes) != (3 if layout == "packed" else 4):
        return counts  # which is said of the query
    rows = (sizes[1], sizes[0]) if layout == "packed" else (sizes[0], sizes[layout.index("h")], sizes[layout.index("l")])
    _check("zero_keys", counts, rows)
    if counts.device != query.device:
        raise ValueError(
            advice(f"`zero_keys` is on {counts.device}, the query on {query.device}", f"`zero_keys.to({str(query.device)!r})`")
        )
    if counts is count and _may_be_looked_at(counts):
        _check_signs("zero_keys", counts)
    return counts.to(dtype).expand(rows)


def _may_be_looked_at(counts: Tensor) -> bool:
    """Whether nothing waits for the entries: they are here, and no tracer or transform has them."""
    return counts.device.type == "cpu" and type(counts) in PLAIN and not (torch.compiler.is_compiling() or transformed())


def check_counts(counts: Tensor, rows: Sequence[int], of: tuple[torch.dtype, torch.device]) -> None:
    """Raise unless an operator was given as many counts as there are rows. of: dtype of the log-sum-exp, device of the query."""
    if list(counts.shape) != list(rows) or (counts.dtype, counts.device) != of:
        given = f"`zero_keys` is {counts.dtype} of shape {tuple(counts.shape)} on {counts.device}"
        raise ValueError(advice(given, f"{of[0]} of shape {tuple(rows)} on {of[1]}, one number for each row"))


def _tensor(count: object, query: Tensor, dtype: torch.dtype) -> Tensor:
    if isinstance(count, bool) or not isinstance(count, numbers.Real | list | tuple | np.ndarray):
        raise TypeError(advice(f"`zero_keys` is a {type(count).__name__}", NUMBERS))
    if torch.compiler.is_compiling():
        return torch.tensor(count, dtype=dtype, device=query.device)
    kind = "float64" if dtype is torch.float64 else "float32"
    try:
        found = torch.from_numpy(_array(cast(Hashable, count), kind) if isinstance(count, tuple) else np.array(count, kind))
    except (TypeError, ValueError):
        raise TypeError(advice(f"`zero_keys` is {count!r:.60}, which is not all numbers", NUMBERS)) from None
    _check_signs("zero_keys", found)
    return found.to(query.device)


@functools.lru_cache(maxsize=64)
def _array(count: Hashable, dtype: str) -> np.ndarray:
    """Remembered: a pattern hands out the same thousands of numbers at every call."""
    return np.array(count, dtype)


def _check(name: str, counts: Tensor, rows: Sequence[int]) -> None:
    sizes = zip(reversed(counts.shape), reversed(rows), strict=False)
    if counts.dim() > len(rows) or not all(size in (1, there) for size, there in sizes):
        wrong = f"`{name}` has the shape {tuple(counts.shape)}, of {tuple(rows)} rows"
        raise ValueError(advice(wrong, "one number for each row, [L]"))


def _check_signs(name: str, counts: Tensor) -> None:
    if not bool((counts.detach() >= 0).all()):
        raise ValueError(
            advice(
                f"`{name}` has negative entries, or some that are no numbers", "how many keys are padded, or the sum of exp(bias) over them"
            )
        )


def seeing_nothing(request: Request) -> Request:
    """A request without keys as one whose rows see none of a key: kernels have a tile of keys at least."""
    query, ragged = request.query, request.ragged._replace(k_start=None, k_lens=None, offsets=None)
    key, value = (query.new_zeros((1, request.kv_heads, 1, dim)) for dim in (request.head_dim, request.value_dim))
    plain = request._replace(key=key, value=value, program=NOTHING, bindings={}, ragged=ragged, asked=None)
    return plain._replace(k_len=1, offset=0, from_end=False, left=request.left - {"k_start", "k_lens", "offsets"})


NOTHING = Program("nothing", FALSE)


def gradient_of_counts(lse: Tensor, delta: Tensor) -> Tensor:
    """The gradient of the counts, which every row has as many of as the log-sum-exp: 0 where a row sees nothing.

    delta: out . grad_out - grad_lse, anything in rows that do not count.
    """
    return torch.where((lse == -torch.inf) | (delta == 0), 0, -delta * torch.exp(-lse))
