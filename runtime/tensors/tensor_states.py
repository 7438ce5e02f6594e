"""Whether a tensor of integers still holds what it held: whatever is remembered of its numbers asks this.

Memory of the host is written past torch: through numpy, `.data`, the kernels of others, other processes. None of them counts a version, and
tensors of inference mode have none. So what a tensor there held is kept and compared, at the speed of memory. On a device that would wait
for it: there torch's count of versions is asked.
"""

# A tensor's version has no public name.
# pyright: reportPrivateUsage=false
from __future__ import annotations

import ctypes
import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from torch import Tensor

from .host_numbers import on_gpu

FEW_BYTES = 512  # as long in a key as a copy takes to be compared
MOST_COPIES = 1024
MOST_BYTES = 2**30

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
_memcmp.restype = ctypes.c_int


class Copy(NamedTuple):
    """What a tensor held. number: no other copy has it."""

    held: bytes
    number: int


class Copies:
    """Copies by where the tensors are, the newest last; the oldest go where there are many."""

    def __init__(self) -> None:
        self.of = OrderedDict[Hashable, Copy]()
        self.bytes = 0

    def keep(self, place: Hashable, held: bytes) -> Copy:
        """What is there now, instead of what was there."""
        before = self.of.pop(place, None)
        made = self.of[place] = Copy(held, next(_numbers))
        self.bytes += len(held) - (0 if before is None else len(before.held))
        while len(self.of) > MOST_COPIES or (self.bytes > MOST_BYTES and len(self.of) > 1):
            self.bytes -= len(self.of.popitem(last=False)[1].held)
        return made


_numbers = itertools.count()
_copies = Copies()
_lock = threading.Lock()


def state_of(tensor: Tensor, few: int = FEW_BYTES) -> Hashable | None:
    """What is the same for as long as a tensor holds the same numbers: of `few` bytes they themselves, wherever they lie.

    None where a change could not be told: on a device, tensors of inference mode have no version. There a state is one of this tensor, and
    of none that has its place in memory later.
    """
    if on_gpu(tensor):
        return None if tensor.is_inference() else (_number_of(tensor), tensor._version, tensor.data_ptr())
    if tensor.nbytes <= few:
        return tensor.dtype, tensor.shape, _bytes(_dense(tensor))
    return _known(tensor).number


def place_of(tensor: Tensor) -> Hashable:
    """Where kernels that were made ready for a tensor read, and as what."""
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device


def table_state(table: Tensor) -> Hashable | None:
    """Of a table that kernels read in place: where it is, and what it holds. Reals decide no tile, and are read by kernels alone."""
    if table.is_floating_point():
        return place_of(table)
    state = state_of(table)
    return None if state is None else (state, place_of(table))


def table_states(tables: Iterable[Tensor]) -> tuple[Hashable, ...] | None:
    """Of each; None where one could change unseen."""
    found: list[Hashable] = []
    for table in tables:
        state = table_state(table)
        if state is None:
            return None
        found.append(state)
    return tuple(found)


def states_of(tensors: Iterable[Tensor | None], few: int = FEW_BYTES) -> tuple[Hashable, ...] | None:
    """What tensors of integers hold, see `state_of`; None where one could change unseen."""
    found: list[Hashable] = []
    for tensor in tensors:
        state = None if tensor is None else state_of(tensor, few)
        if state is None and tensor is not None:
            return None
        found.append(state)
    return tuple(found)


def copy_of(tensor: Tensor) -> bytes:
    """What a tensor of the host holds now, shared with all who asked since it changed."""
    return _bytes(_dense(tensor)) if tensor.nbytes <= FEW_BYTES else _known(tensor).held


def holds(tensor: Tensor, held: bytes) -> bool:
    """Whether a tensor of the host holds what `copy_of` gave, wherever it is by now."""
    dense = _dense(tensor)
    return dense.nbytes == len(held) and _equal(dense, held)


# -- on devices -------------------------------------------------------------------------------------------------------

_numbered: dict[int, tuple[weakref.ref[Tensor], int]] = {}


def _number_of(tensor: Tensor) -> int:
    """One that no other tensor has, of those that are gone neither."""
    known = _numbered.get(id(tensor))
    if known is None or known[0]() is not tensor:
        if len(_numbered) >= MOST_COPIES:
            _numbered.clear()
        known = _numbered[id(tensor)] = weakref.ref(tensor), next(_numbers)
    return known[1]


# -- copies -----------------------------------------------------------------------------------------------------------


def _known(tensor: Tensor) -> Copy:
    """The copy that equals a tensor of the host, which is made where none does."""
    place = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
    dense = _dense(tensor)
    known = _copies.of.get(place)
    if known is None or not _equal(dense, known.held):
        with _lock:
            known = _copies.of.get(place)
            if known is None or not _equal(dense, known.held):
                known = _copies.keep(place, _bytes(dense))
    return known


def _bytes(dense: Tensor) -> bytes:
    return ctypes.string_at(dense.data_ptr(), dense.nbytes)


def _equal(dense: Tensor, held: bytes) -> bool:
    return _memcmp(dense.data_ptr(), held, dense.nbytes) == 0


def _dense(tensor: Tensor) -> Tensor:
    """Its entries one after another; of an axis along which all are one and the same, one."""
    if tensor.is_contiguous():
        return tensor
    for axis, stride in enumerate(tensor.stride()):
        tensor = tensor.narrow(axis, 0, 1) if stride == 0 else tensor
    return tensor.detach().contiguous()
