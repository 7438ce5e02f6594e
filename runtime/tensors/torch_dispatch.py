"""What attention needs of torch's dispatcher and torch has no public name for."""

# That there is no public name is the point of this file, and torch's annotations are partial.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import Tensor
from torch._C._autograd import _profiler_enabled
from torch._C._functorch import peek_interpreter_stack
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad

below_autograd = torch._C._AutoDispatchBelowAutograd
"""A context in which operators go to their kernels, past autograd."""


def without(key: str) -> AbstractContextManager[None]:
    """A context in which the dispatch key `key`, such as `AutocastCPU`, is not looked at."""
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))
    return cast("AbstractContextManager[None]", torch._C._ExcludeDispatchKeyGuard(keys))


def in_forward_mode() -> bool:
    """Whether a level of forward-mode differentiation is open."""
    return forward_ad._current_level >= 0


def transformed() -> bool:
    """Whether a transform of torch.func is running."""
    return peek_interpreter_stack() is not None  # pyright: ignore[reportUnnecessaryComparison]  (torch's annotation leaves None out)


def asks_for_gradients(tensors: Sequence[Tensor | None]) -> bool:
    """Whether reverse mode has to see a call on these."""
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor is not None and tensor.requires_grad:
                return True
    return False


def traced_by_jit() -> bool:
    """Whether `torch.jit.trace` is recording."""
    return torch._C._get_tracing_state() is not None  # pyright: ignore[reportUnnecessaryComparison]  (torch's annotation leaves None out)


def goes_past_torch(query: Tensor, key: Tensor, value: Tensor, tables: Sequence[Tensor], spans: Sequence[Tensor | None]) -> bool:
    """Whether torch's dispatcher would do nothing for an operator on these but take it to autograd and to its kernel.

    That takes six microseconds, a third of a call.
    """
    return (
        _unwatched() and query.device.type in DEVICES and _plain(query, key, value) and (not tables or _plain(*tables)) and _plain(*spans)
    )


def _unwatched() -> bool:
    """Whether no mode, transform, tracer, profiler or autocast is there."""
    return not (
        torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or _profiler_enabled()
        or in_forward_mode()
        or transformed()
        or torch._C._is_any_autocast_enabled()
        or traced_by_jit()
        or torch.compiler.is_compiling()
    )


def _plain(*tensors: Tensor | None) -> bool:
    """Whether kernels may take tensors as they are: they are of no other class, and their memory holds their entries."""
    for tensor in tensors:  # noqa: SIM110  (a generator takes longer)
        if tensor is not None and (type(tensor) not in PLAIN or tensor.is_neg() or tensor._is_zerotensor()):
            return False
    return True


PLAIN = frozenset({Tensor, torch.nn.Parameter})
DEVICES = frozenset({"cpu", "cuda"})


def applied_at_one_level(function: type[torch.autograd.Function], *arguments: Any) -> Any:  # noqa: ANN401
    """`function.apply` of one level: transforms of torch.func are at theirs already when an autograd kernel runs."""
    apply = cast(Any, super(torch.autograd.Function, function)).apply
    if not torch._C._are_functorch_transforms_active():
        return apply(*arguments)
    with enable_single_level_autograd_function():
        return apply(*arguments)
