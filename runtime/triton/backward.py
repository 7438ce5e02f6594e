"""The backward pass of the Triton backend: one kernel for the queries, one for keys and values, sums of tables afterwards.

No two programs write the same number, so that the same call gives the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..parts.views_of_request import Part, parts, places
from ..request.gradients import Gradients, Saved
from ..request.request import Request
from .backward_kernels import clear, nothing_to_do, steps, summed, table_of, unseen_keys, works, zeros_of
from .kernel import start
from .key_gradients import Room, with_places, without_places


def run_backward(request: Request, saved: Saved, tables: frozenset[str]) -> Gradients:
    """Gradients of query, key, value, of `tables` and of the extra keys."""
    room = torch.empty_like(request.query), torch.empty_like(request.key), torch.empty_like(request.value)
    totals = {name: zeros_of(table_of(request, name)) for name in sorted(tables)}
    if nothing_to_do(request):
        for each in room:
            each.zero_()
    else:
        found = parts(request)
        room = _filled(request, saved, (found, with_places(room, places(found))), totals)
        clear(unseen_keys(request, room))
    extra = None
    if request.extra is not None:
        from .extra_gradients import extra_gradients  # few calls need it

        extra = extra_gradients(request, saved)
    return Gradients(*room, {name: summed(table_of(request, name), total) for name, total in totals.items()}, extra)


def _filled(request: Request, saved: Saved, given: tuple[Sequence[Part], Room], totals: Mapping[str, Tensor]) -> Room:
    """Gradients of query, key and value; those of tables are added to `totals`. given: parts, and room that has their places."""
    found, room = given
    for work in works(found, saved, room, totals):
        for step in steps(work):
            start(step.kernel, step.what, request.query.device)
            step.slots.add_to(totals)
    return without_places(room, (request.key, request.value))
