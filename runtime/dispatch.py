"""What attention needs of torch's dispatcher and torch has no public name for."""

# That there is no public name is the point of this file, and torch's annotations are partial.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, cast

import torch
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


def applied_at_one_level(function: type[torch.autograd.Function], *arguments: Any) -> Any:  # noqa: ANN401
    """`function.apply` of one level: transforms of torch.func are at theirs already when an autograd kernel runs."""
    apply = cast(Any, super(torch.autograd.Function, function)).apply
    if not torch._C._are_functorch_transforms_active():
        return apply(*arguments)
    with enable_single_level_autograd_function():
        return apply(*arguments)
