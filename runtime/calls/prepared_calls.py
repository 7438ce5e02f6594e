"""Calls that were made before: of a call with the same shapes, numbers and tables only the addresses are new.

What is remembered is what every check and every proof of a call depends on: of tables and lengths what they hold, see `tensor_states`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from types import ModuleType
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from ..kernels.shelves import remade_with_bundles
from ..request.request import Request
from ..tensors.host_numbers import capturing, pin
from ..tensors.tensor_states import states_of, table_states
from .backward_call import BackwardCall
from .call import Call, lse_dtype

REMEMBERED = 256
BESIDE = Call._fields.index("zero_keys")
ALIGNMENT_BYTES = 16  # what kernels are made for
Launch = Callable[[Sequence[Tensor | None]], None]
BackwardLaunch = Callable[[Sequence[Tensor | None], Sequence[Tensor]], list[Tensor]]


class Prepared(NamedTuple):
    """launch: fills output and log-sum-exp, the last of five tensors, from query, key and value of one shape and layout.

    Zero keys, extra keys and extra values come after these, None where there are none.
    lengths: `launch` takes q_len, kv_len and q_offset after these, where they are tensors on a GPU.
    """

    launch: Launch
    out_shape: list[int]
    lse_shape: list[int]
    lse_dtype: torch.dtype
    lengths: bool = False

    def __call__(self, call: Call) -> tuple[Tensor, Tensor]:
        out = call.query.new_empty(self.out_shape)
        lse = call.query.new_empty(self.lse_shape, dtype=self.lse_dtype)
        if self.lengths:
            self.launch((call.query, call.key, call.value, out, lse, *call.beside, *call.spans[:3]))
        else:
            self.launch((call.query, call.key, call.value, out, lse, *call.beside))
        return out, lse


class PreparedBackward(NamedTuple):
    """launch: gradients of query, key, value and of some tables, from the tensors of `BackwardCall.tensors`.

    tables: numbers of those, as `launch` takes them.      places: where their gradients are in what it gives, as they are asked for.
    """

    launch: BackwardLaunch
    tables: tuple[int, ...]
    places: tuple[int, ...]
    lengths: bool = False

    def __call__(self, backward: BackwardCall) -> list[Tensor]:
        call = backward.call
        tensors = (call.query, call.key, call.value, backward.out, backward.lse, backward.grad_out, backward.grad_lse)
        if self.lengths:
            tensors = (*tensors, *call.spans[:3])
        if not self.tables:
            return self.launch(tensors, ())
        found = self.launch(tensors, [call.tables[number] for number in self.tables])
        return [*found[:3], *(found[place] for place in self.places)]


AnyPrepared = TypeVar("AnyPrepared", Prepared, PreparedBackward)
_prepared: dict[Hashable, Prepared] = {}
_backwards: dict[Hashable, PreparedBackward] = {}


def prepared(known: Hashable | None, call: Call) -> Prepared | None:
    """What an earlier call like this one left. known: `key_of` the call."""
    return _found(_prepared, known, call)


def prepared_backward(known: Hashable | None, backward: BackwardCall) -> PreparedBackward | None:
    """What an earlier backward pass like this one left. known: `backward_key_of` it."""
    return _found(_backwards, known, backward.call)


def _found(among: Mapping[Hashable, AnyPrepared], known: Hashable | None, call: Call) -> AnyPrepared | None:
    found = None if known is None else among.get(known)
    if found is None:
        return None
    if (call.tables or call.spans) and capturing(call.query.device):
        if call.layout == "packed":  # what was found out of boundaries holds now, not whenever the graph runs
            return None
        pin(found)
    return found


@remade_with_bundles
def forget_prepared() -> None:
    """Prepare every call anew, as a new process would."""
    _prepared.clear()
    _backwards.clear()


def remember(known: Hashable | None, call: Call, request: Request, room: ModuleType) -> None:
    """Keep what the next call like this one can skip, where the backend offers it.

    known: `key_of` the call, before anybody looked at what its tables hold. Where that has changed meanwhile, nothing is kept.
    """
    prepare = getattr(room, "prepare", None)
    if prepare is None or known is None or not _in_place(request, call):
        return
    launch = cast("Launch | None", prepare(request))
    if launch is not None and key_of(call) == known:
        made = Prepared(launch, *call.output_shapes(), lse_dtype(call.query), bool(request.left))
        _keep(_prepared, known, made)


def remember_backward(known: tuple[Hashable, ...] | None, backward: BackwardCall, request: Request, room: ModuleType) -> None:
    """As `remember`."""
    call = backward.call
    prepare = getattr(room, "prepare_backward", None)
    if prepare is None or known is None or not _in_place(request, call):
        return
    names = [table.name for table in request.program.tables]
    tables = sorted(backward.tables, key=lambda number: names[number])
    gradients = tuple(call.as_requested(each) for each in backward.room())
    launch = cast("BackwardLaunch | None", prepare(request, backward.saved(), gradients, [names[number] for number in tables]))
    if launch is not None and key_of(call) == known[0]:
        places = tuple(3 + tables.index(number) for number in backward.tables)
        _keep(_backwards, known, PreparedBackward(launch, tuple(tables), places, bool(request.left)))


def _keep(among: dict[Hashable, AnyPrepared], known: Hashable, made: AnyPrepared) -> None:
    if len(among) >= REMEMBERED:
        among.clear()
    among[known] = made


def _in_place(request: Request, call: Call) -> bool:
    """Whether kernels read the caller's own memory, whenever they run."""
    if call.layout == "packed" and capturing(request.query.device):
        return False  # its memory is the graph's
    if not all(table.numel() for table in call.tables):
        return False  # kernels read an entry instead
    return _strided(request, call) and _lengths_in_place(request, call)


def _strided(request: Request, call: Call) -> bool:
    """Whether kernels read the caller's own memory."""
    return all(
        mine.data_ptr() == given.data_ptr()
        for mine, given in zip(
            (request.query, request.key, request.value, *(request.extra or ())),
            (call.query, call.key, call.value, *(call.extra or ())),
            strict=True,
        )
    )


def _lengths_in_place(request: Request, call: Call) -> bool:
    """Whether kernels read the caller's own lengths, where these were left on a GPU."""
    if not request.left:
        return True
    ours = (request.ragged.q_lens, request.ragged.k_lens, request.ragged.offsets)
    return all(
        given is None or (mine is not None and mine.data_ptr() == given.data_ptr()) for given, mine in zip(call.spans, ours, strict=False)
    )


def key_of(call: Call) -> Hashable | None:
    """Everything that the checks and the launch depend on; None where a change in place cannot be seen."""
    query, key, value = call.query, call.key, call.value
    seen = _seen(call) if call.tables or call.spans else ()
    if seen is None:
        return None
    return (
        (query.shape, key.shape, value.shape, query.stride(), key.stride(), value.stride()),
        (query.dtype, key.dtype, value.dtype, query.device, key.device, value.device),
        seen,
        (query.data_ptr() | key.data_ptr() | value.data_ptr()) % ALIGNMENT_BYTES == 0,
        query.dtype is torch.float32 and torch.backends.cuda.matmul.allow_tf32,
        call[5:8],
        tuple(call.integers),
        tuple(call.reals),
        call[10:BESIDE],
        () if call.zero_keys is None and call.extra_keys is None else _forms_beside(call),
    )


def _seen(call: Call) -> Hashable | None:
    """What a call reads beside query, key and value: tables in their place, and lengths, of which launches hold copies."""
    tables = table_states(call.tables)
    lengths = _forms(call.spans[:3]) if call.spans and call.leaves_lengths else states_of(call.spans)
    return None if tables is None or lengths is None else (tables, lengths)


def _forms(lengths: Sequence[Tensor | None]) -> tuple[Hashable, ...]:
    return tuple(map(_form, lengths))


def _forms_beside(call: Call) -> Hashable:
    _, *extra = call.beside
    return tuple(map(_form, call.beside)), all(each is None or each.data_ptr() % ALIGNMENT_BYTES == 0 for each in extra)


def _form(lengths: Tensor | None) -> Hashable:
    return None if lengths is None else (lengths.dtype, lengths.shape, lengths.stride(), lengths.device)


def backward_key_of(backward: BackwardCall) -> tuple[Hashable, ...] | None:
    """As `key_of`, which comes first in it."""
    known = key_of(backward.call)
    if known is None:
        return None
    out, lse, grad_out, grad_lse = backward[1:5]
    return (
        known,
        (out.shape, lse.shape, grad_out.shape, out.stride(), grad_out.stride(), out.dtype, grad_out.dtype),
        None if grad_lse is None else grad_lse.shape,
        (out.data_ptr() | grad_out.data_ptr()) % ALIGNMENT_BYTES == 0,
        tuple(backward.wanted),
    )
