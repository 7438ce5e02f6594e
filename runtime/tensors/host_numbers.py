"""Numbers that lie on a GPU: which the host leaves there, and the one place where it reads some, once for each state of a tensor.

A kernel looks at lengths and offsets itself and holds them inside the room that the tensors have. What a schedule must know on the host
is read when a tensor in its state is first seen; that waits for the device, and cannot be done while a graph is captured.
"""

# torch's annotations are partial, and a tensor's version has no public name.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...ir.advice import advice

CLAIMED: set[str] = set()
"""Types of devices whose tensors count as a GPU's, see `calls.claimed`."""
REMEMBERED = 256


def on_gpu(tensor: Tensor) -> bool:
    """Whether the host would wait for a device if it looked at the numbers of a tensor."""
    return not tensor.is_cpu or "cpu" in CLAIMED


def is_gpu(device: torch.device) -> bool:
    """Whether tensors there are on a GPU."""
    return device.type != "cpu" or "cpu" in CLAIMED


def capturing(device: torch.device) -> bool:
    """Whether torch's current stream is being captured in a graph, so that nothing runs and nothing can be read."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


class Seen(NamedTuple):
    reference: weakref.ref[Tensor]
    version: int
    address: int
    numbers: np.ndarray


_seen: dict[int, Seen] = {}


def numbers_of(name: str, tensor: Tensor) -> np.ndarray:
    """The entries of a tensor of integers; of one on a device read once for each state of it, of one on the host its own memory.

    name: what a message calls it.

    Raises:
        NotImplementedError: it lies on a GPU whose stream is being captured, and was not read before.
    """
    if not on_gpu(tensor) or tensor.is_inference():  # a change in place does not show
        return _read(name, tensor)
    known = _seen.get(id(tensor))
    if known is not None and known.reference() is tensor and (known.version, known.address) == (tensor._version, tensor.data_ptr()):
        return known.numbers
    return _remembered(tensor, _read(name, tensor))


def moved(numbers: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, where nobody will have to read it back."""
    found = numbers.to(device)
    if on_gpu(found) and not found.is_inference():
        _remembered(found, numbers.numpy())
    return found


def _remembered(tensor: Tensor, numbers: np.ndarray) -> np.ndarray:
    if len(_seen) >= REMEMBERED:
        _seen.clear()
    _seen[id(tensor)] = Seen(weakref.ref(tensor), tensor._version, tensor.data_ptr(), numbers)
    return numbers


def _read(name: str, tensor: Tensor) -> np.ndarray:
    if capturing(tensor.device):
        raise NotImplementedError(
            advice(
                f"this pattern needs the numbers of `{name}` on the host, and a graph that is being captured cannot wait for them",
                f"a call with the same `{name}` before the capture, or `{name}` as a tensor on the CPU",
            )
        )
    return tensor.detach().cpu().numpy()


_pinned: list[object] = []


def pin(what: object) -> None:
    """Keep what a graph will read for as long as the process lives: nobody says when the graph is gone."""
    _pinned.append(what)


class Unread:
    """Stands for an array of integers that is read when someone looks at an entry.

    read: gives the array, see `numbers_of`.
    """

    def __init__(self, read: Callable[[], np.ndarray]) -> None:
        self._read = read
        self.was_read = False

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: ANN401  (numpy's protocol)
        self.was_read = True
        return np.array(self._read(), dtype=dtype)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401
        return np.asarray(self)[index]
