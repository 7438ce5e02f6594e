"""What the operators compute: as an earlier call like this one left it, or by a backend."""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..request.zero_keys import seeing_nothing
from .backend_of import room_of
from .backward_call import BackwardCall, laid_out_like
from .call import Call
from .missing_kernels import missing_kernels_named
from .prepared_calls import backward_key_of, key_of, prepared, prepared_backward, remember, remember_backward

if TYPE_CHECKING:
    from ..request.gradients import Gradients


def attention(*arguments: object) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp in the layout of the call, contiguous."""
    call = Call(*arguments)  # pyright: ignore[reportArgumentType]  (the schema has checked them)
    known = key_of(call)
    found = prepared(known, call)
    if found is not None:
        return found(call)
    request = call.request()
    if request.sees_beside and not request.k_len:
        request = seeing_nothing(request)
    room = room_of(call.backend or None, request.query.device.type)
    with missing_kernels_named():
        out, lse = room.run(request)
    remember(known, call, request, room)
    return request.as_given(out, lse)


def attention_backward(
    grad_out: Tensor | None, grad_lse: Tensor | None, out: Tensor, lse: Tensor, wanted: Sequence[int], *arguments: object
) -> list[Tensor]:
    """Gradients of query, key, value and of what is `wanted`, laid out like what they are gradients of."""
    call = Call(*arguments)  # pyright: ignore[reportArgumentType]
    backward = BackwardCall.of(call, (out, lse), (grad_out, grad_lse), wanted)
    known = backward_key_of(backward)
    ready = prepared_backward(known, backward)
    if ready is not None:
        return [*ready(backward), *backward.of_counts()]
    request = call.request()._replace(zero_keys=None)  # they are in the log-sum-exp: the rest is as it would be without them
    names = [request.program.tables[index].name for index in backward.tables]
    room = room_of(call.backend or None, request.query.device.type)
    found: Gradients
    if request.sees_beside and not request.k_len:
        with missing_kernels_named():
            found = room.run_backward(seeing_nothing(request), backward.saved(), frozenset())
        tables = {name: torch.zeros_like(call.tables[index]) for name, index in zip(names, backward.tables, strict=True)}
        found = replace(found, key=torch.zeros_like(request.key), value=torch.zeros_like(request.value), tables=tables)
    else:
        with missing_kernels_named():
            found = room.run_backward(request, backward.saved(), frozenset(names))
    remember_backward(known, backward, request, room)
    gradients = [*(call.as_given(each) for each in (found.query, found.key, found.value)), *(found.tables[name] for name in names)]
    likes = (call.query, call.key, call.value, *(call.tables[index] for index in backward.tables))
    laid_out = [laid_out_like(like, gradient) for like, gradient in zip(likes, gradients, strict=True)]
    return [*laid_out, *backward.of_counts(), *backward.of_extra(found.extra)]
