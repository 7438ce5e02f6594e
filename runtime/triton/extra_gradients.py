"""Gradients of keys and values that every row sees: a launch of their own, after those of the pattern."""

from __future__ import annotations

import torch

from ..parts.views_of_request import Part
from ..request.extra_keys import over_extra
from ..request.gradients import Saved
from ..request.request import Extra, Request
from .backward_kernels import Work, nothing_to_do, of_keys
from .kernel import start


def extra_gradients(request: Request, saved: Saved) -> Extra:
    """What they do to the queries the kernel of the queries has added.

    With the log-sum-exp of all that a row sees, the weights of any of it are what they were: this is the backward pass of attention that
    sees nothing else.
    """
    alone = over_extra(request)
    room = Extra(torch.zeros_like(alone.key), torch.zeros_like(alone.value))
    if nothing_to_do(alone):
        return room
    lse, delta = saved.lse.contiguous(), saved.delta.contiguous()
    step = of_keys(Work(alone, saved, lse, delta, None, alone.query, *room, {}, Part(alone)))
    start(step.kernel, step.what, alone.query.device)
    return room
