"""The operators `lacuna::attention` and `lacuna::attention_backward`: what torch's transforms, compiler and exporter see.

Importing this file registers them.
"""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import autograd, batching
from .backends import room_of
from .backward_calls import BackwardCall
from .calls import Call, lse_dtype
from .description import bindings_of, program_of
from .dispatch import without
from .prepared import prepared, prepared_backward, remember, remember_backward
from .request import DTYPES
from .table_checks import check_bound_tensors

if TYPE_CHECKING:
    from .gradients import Gradients

CALL = (
    "Tensor query, Tensor key, Tensor value, Tensor[] tables, Tensor?[] spans, SymInt? q_len, SymInt? kv_len, SymInt? q_offset, "
    "SymInt[] integers, float[] reals, str program, float? scale, str layout, str backend"
)
"""See `Call`."""


def attention(*arguments: object) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp in the layout of the call, contiguous."""
    call = Call(*arguments)  # pyright: ignore[reportArgumentType]  (the schema has checked them)
    known = prepared(call)
    if known is not None:
        return known(call)
    request = call.request()
    room = room_of(call.backend or None, request.query.device.type)
    out, lse = room.run(request)
    remember(call, request, room)
    return request.as_given(out, lse)


def _attention_shapes(*arguments: object) -> tuple[Tensor, Tensor]:
    call = Call(*arguments)  # pyright: ignore[reportArgumentType]
    query, _, _ = call.heads_first()
    program = program_of(call.program)
    check_bound_tensors(program, bindings_of(program, call.tables, call.integers, call.reals), query.device)
    out, lse = call.output_shapes()
    return call.query.new_empty(out), call.query.new_empty(lse, dtype=lse_dtype(call.query))


def attention_backward(
    grad_out: Tensor | None, grad_lse: Tensor | None, out: Tensor, lse: Tensor, wanted: Sequence[int], *arguments: object
) -> list[Tensor]:
    """Gradients of query, key, value and of the tables number `wanted`, laid out like what they are gradients of."""
    call = Call(*arguments)  # pyright: ignore[reportArgumentType]
    backward = BackwardCall.of(call, (out, lse), (grad_out, grad_lse), wanted)
    known = prepared_backward(backward)
    if known is not None:
        return known(backward)
    request = call.request()
    names = [request.program.tables[index].name for index in wanted]
    room = room_of(call.backend or None, request.query.device.type)
    found: Gradients = room.run_backward(request, backward.saved(), frozenset(names))
    remember_backward(backward, request, room)
    gradients = [*(call.as_given(each) for each in (found.query, found.key, found.value)), *(found.tables[name] for name in names)]
    likes = (call.query, call.key, call.value, *(call.tables[index] for index in wanted))
    return [_laid_out_like(like, gradient) for like, gradient in zip(likes, gradients, strict=True)]


def _laid_out_like(like: Tensor, gradient: Tensor) -> Tensor:
    """`gradient` with the strides that `torch.empty_like(like)` has, which a compiler may rely on."""
    room = torch.empty_like(like)
    return gradient if gradient.stride() == room.stride() else room.copy_(gradient)


def _backward_shapes(
    grad_out: Tensor | None, grad_lse: Tensor | None, out: Tensor, lse: Tensor, wanted: Sequence[int], *arguments: object
) -> list[Tensor]:
    call = Call(*arguments)  # pyright: ignore[reportArgumentType]
    return [torch.empty_like(each) for each in (call.query, call.key, call.value, *(call.tables[index] for index in wanted))]


def _autocast(*arguments: object) -> tuple[Tensor, Tensor]:
    """As `scaled_dot_product_attention` does it: query, key and value in the dtype of the region, float64 left alone."""
    call = Call(*arguments)  # pyright: ignore[reportArgumentType]
    device = call.query.device.type
    dtype = torch.get_autocast_dtype(device)

    def cast_to(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.dtype in DTYPES and tensor.dtype is not torch.float64 else tensor

    with without(AUTOCAST[device]):
        return torch.ops.lacuna.attention.default(cast_to(call.query), cast_to(call.key), cast_to(call.value), *call[3:])


AUTOCAST = {"cpu": "AutocastCPU", "cuda": "AutocastCUDA"}


def _register() -> torch.library.Library:
    inspect.modulesbyfile[__file__] = __name__  # else torch, which asks for its caller, looks through every module there is: 5 ms
    library = torch.library.Library("lacuna", "DEF")
    tags = (torch.Tag.pt2_compliant_tag,)
    library.define(f"attention({CALL}) -> (Tensor out, Tensor lse)", tags=tags)
    library.define(
        f"attention_backward(Tensor? grad_out, Tensor? grad_lse, Tensor out, Tensor lse, int[] wanted, {CALL}) -> Tensor[]", tags=tags
    )
    library.impl("attention", attention, "CompositeExplicitAutograd")
    library.impl("attention_backward", attention_backward, "CompositeExplicitAutograd")
    library.impl("attention", autograd.attention, "Autograd")
    library.impl("attention_backward", autograd.attention_backward, "Autograd")
    for key in AUTOCAST.values():
        library.impl("attention", _autocast, key)
    torch.library.register_fake("lacuna::attention", _attention_shapes, lib=library)
    torch.library.register_fake("lacuna::attention_backward", _backward_shapes, lib=library)
    torch.library.register_vmap("lacuna::attention", batching.attention, lib=library)
    torch.library.register_vmap("lacuna::attention_backward", batching.attention_backward, lib=library)
    return library


LIBRARY = _register()
