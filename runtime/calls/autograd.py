"""Attention under autograd: what is saved for the backward pass, and what cannot be differentiated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ...ir.advice import advice
from ..tensors.torch_dispatch import applied_at_one_level, asks_for_gradients, below_autograd, goes_past_torch, in_forward_mode
from . import compute
from .backend_of import default, room_of
from .call import Call
from .written_since import held_by, require_unwritten

Outputs = tuple[Tensor, Tensor]
BACKEND = Call._fields.index("backend") + 1
"""Where the arguments that are no tensors of other arguments' shapes end."""


def attention(*arguments: Any) -> Outputs:  # noqa: ANN401  (the arguments of an operator, as its schema has them)
    """The operator above the kernels: recorded where something asks for a gradient.

    Raises:
        NotImplementedError: the backend of the call has no backward pass.
    """
    call = Call(*arguments)
    if _recorded((call.query, call.key, call.value, *call.tables, *call.beside)):
        _require_backward(call)
        return applied_at_one_level(_Attention, call[4:BACKEND], call.query, call.key, call.value, *call.beside, *call.tables)
    return computed(*arguments)


def computed(*arguments: Any) -> Outputs:  # noqa: ANN401
    """The operator below autograd."""
    with below_autograd():
        query, key, value, tables, spans, *_ = arguments
        if goes_past_torch(query, key, value, tables, [*spans, *arguments[BACKEND:]]):
            return compute.attention(*arguments)
        return torch.ops.lacuna.attention.default(*arguments)


def attention_backward(*arguments: Any) -> list[Tensor]:  # noqa: ANN401
    grad_out, grad_lse, out, lse, wanted, *others = arguments
    call = Call(*others)
    given = (grad_out, grad_lse, out, lse, call.query, call.key, call.value, *call.beside, *call.tables)
    if _recorded(given):
        return list(applied_at_one_level(_Backward, (wanted, call[4:BACKEND]), *given))
    with below_autograd():
        return torch.ops.lacuna.attention_backward.default(*arguments)


def _recorded(tensors: Sequence[Tensor | None]) -> bool:
    """Whether autograd has to see a call on these; forward mode has, to refuse it."""
    return in_forward_mode() or asks_for_gradients(tensors)


def _require_backward(call: Call) -> None:
    room = room_of(call.backend or None, call.query.device.type)
    if not hasattr(room, "run_backward"):
        name = call.backend or default(call.query.device.type)
        raise NotImplementedError(
            advice(
                f"query, key, value or a table requires a gradient, and backend `{name}` has no backward pass yet",
                "`with torch.no_grad():` around the call, or `.detach()`",
            )
        )


OWN = 6
"""Tensors of a call that is recorded, before its tables: query, key, value, and what is beside them."""


class _Attention(torch.autograd.Function):
    """`apply(rest, query, key, value, *beside, *tables)`, `rest` being the arguments from `spans` to `backend`."""

    @staticmethod
    def forward(rest: tuple[Any, ...], *tensors: Any) -> Outputs:  # noqa: ANN401
        query, key, value, *beside = tensors[:OWN]
        return computed(query, key, value, list(tensors[OWN:]), *rest, *beside)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:  # noqa: ANN401
        (spans, *ctx.numbers), *tensors = inputs
        ctx.given = tuple(span is not None for span in spans)
        ctx.tables = len(tensors) - OWN
        ctx.save_for_backward(*output, *tensors, *(span for span in spans if span is not None))  # a change in place is an error
        ctx.held = held_by((*tensors[OWN:], *spans))  # and so is one that torch does not see
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        grad_out, grad_lse = grad_outputs
        if grad_out is None and grad_lse is None:
            return (None,) * (1 + OWN + ctx.tables)
        out, lse, query, key, value, *others = ctx.saved_tensors
        beside, others = others[: OWN - 3], others[OWN - 3 :]
        tables, spans = others[: ctx.tables], iter(others[ctx.tables :])
        needed = (*ctx.needs_input_grad[1 + OWN :], *ctx.needs_input_grad[4 : 1 + OWN])  # tables first, see `BackwardCall`
        wanted = [number for number, each in enumerate(needed) if each]
        given = [next(spans) if there else None for there in ctx.given]
        arguments = (grad_out, grad_lse, out, lse, wanted, query, key, value, tables, given, *ctx.numbers, *beside)
        require_unwritten(ctx.held, Call(*arguments[5:]))
        found: Iterator[Tensor] = iter(_gradients(*arguments))
        first = [next(found) for _ in range(3)]
        rest = [next(found) if each else None for each in needed]
        return (None, *first, *rest[ctx.tables :], *rest[: ctx.tables])

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: object) -> None:  # noqa: ANN401
        raise NotImplementedError(advice("attention has no forward-mode derivative yet", "`torch.func.vjp` or `loss.backward()`"))


def _gradients(*arguments: Any) -> list[Tensor]:  # noqa: ANN401
    """The operator of the backward pass; its kernel at once where nobody differentiates what it does or is between."""
    query, key, value, tables, spans = arguments[5:10]
    if torch.is_grad_enabled() or not goes_past_torch(query, key, value, tables, [*spans, *arguments[:2], *arguments[3 - OWN :]]):
        return torch.ops.lacuna.attention_backward.default(*arguments)
    with below_autograd():
        return compute.attention_backward(*arguments)


class _Backward(torch.autograd.Function):
    """`apply((wanted, rest), grad_out, grad_lse, out, lse, query, key, value, *beside, *tables)`, `rest` as in `_Attention`."""

    @staticmethod
    def forward(numbers: tuple[list[int], list[Any]], *given: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        wanted, rest = numbers
        with below_autograd():
            tables, beside = list(given[4 + OWN :]), given[7 : 4 + OWN]
            return tuple(torch.ops.lacuna.attention_backward.default(*given[:4], wanted, *given[4:7], tables, *rest, *beside))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
        pass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> None:  # noqa: ANN401
        raise NotImplementedError(
            advice(
                "attention is differentiated twice, and its backward pass has no derivative yet", "`loss.backward()` without `create_graph`"
            )
        )

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: object) -> None:  # noqa: ANN401
        raise NotImplementedError(advice("attention has no forward-mode derivative yet", "`torch.func.vjp` or `loss.backward()`"))
