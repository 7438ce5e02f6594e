"""Keys that every row sees beside the pattern: text tokens, registers, NATTEN's additional keys."""

from __future__ import annotations

from torch import Tensor

from ...ir.advice import advice
from ...ir.expr import TRUE
from ...ir.program import Program
from ..kernels.variant import Variant
from .request import Extra, Request, check_dense

ALL = Program("extra", TRUE)


def given(
    keys: Tensor | None, values: Tensor | None, beside: tuple[Tensor, Tensor, Tensor], layout: str
) -> tuple[Tensor | None, Tensor | None]:
    """Both as `Call` has them: none of either where they hold no tokens. beside: query, key and value.

    Raises:
        TypeError, NotImplementedError: one is no dense tensor.
        ValueError: there is one without the other, or both are empty and would not fit if they were not.
    """
    if keys is None or values is None:
        if keys is not values:
            raise ValueError(advice("of `extra_keys` and `extra_values` one is given", "both, or neither"))
        return None, None
    for name, tensor in (("extra_keys", keys), ("extra_values", values)):
        check_dense(name, tensor)
    axis = layout.index("l")
    if not keys.dim() == values.dim() == 4 or keys.shape[axis] or values.shape[axis]:
        return keys, values
    if all(each.dim() == 4 for each in beside):
        query, key, value, *extra = (each.movedim(axis, 2) for each in (*beside, keys, values))
        check_extra(query, key, value, Extra(*extra))
    return None, None


def check_extra(query: Tensor, key: Tensor, value: Tensor, extra: Extra) -> None:
    """Raise unless all fit together as [batch, heads, tokens, D] tensors do, those of `extra` with the heads of `key`.

    Raises:
        ValueError: shapes, dtypes or devices do not fit.
    """
    for name, tensor, like in (("extra_keys", extra.key, key), ("extra_values", extra.value, value)):
        if (
            tensor.dim() != 4
            or tensor.shape[0] not in (1, query.shape[0])
            or (tensor.shape[1], tensor.shape[3]) != (like.shape[1], like.shape[3])
        ):
            wanted = f"batch {query.shape[0]} or 1, heads {like.shape[1]}, dimension {like.shape[3]}, as keys and values have them"
            raise ValueError(advice(f"`{name}` has the shape {tuple(tensor.shape)}, of heads first", wanted))
        if (tensor.dtype, tensor.device) != (query.dtype, query.device):
            there = f"{tensor.dtype} on {tensor.device}, the query {query.dtype} on {query.device}"
            raise ValueError(advice(f"`{name}` is {there}", f"`{name}.to(query)`"))
    if extra.key.shape[:3] != extra.value.shape[:3]:
        there = f"{tuple(extra.key.shape[:3])} and {tuple(extra.value.shape[:3])}"
        raise ValueError(advice(f"`extra_keys` and `extra_values` do not agree: {there}", "one value row for each key of each head"))


def over_extra(request: Request) -> Request:
    """The same queries and nothing but the extra keys, which all see, by their scores alone."""
    assert request.extra is not None
    key, value = request.extra
    ragged = request.ragged._replace(k_start=None, k_lens=None, offsets=None)
    plain = request._replace(key=key, value=value, program=ALL, bindings={}, k_len=key.shape[2], offset=0, ragged=ragged, positions=0)
    left = request.left - {"k_start", "k_lens", "offsets"}
    return plain._replace(from_end=False, left=left, asked=None, zero_keys=None, extra=None)


def strides(tensor: Tensor) -> tuple[int, ...]:
    """Of batch, head and token; 0 along an axis of one entry, which goes for all."""
    sizes = zip(tensor.shape[:3], tensor.stride(), strict=False)
    return tuple(0 if size == 1 else stride for size, stride in sizes)


def seeing_beside(variant: Variant, request: Request) -> Variant:
    """The variant whose rows see what those of the request see beside the pattern."""
    return variant._replace(zero_keys=request.zero_keys is not None, extra_keys=request.extra is not None)
