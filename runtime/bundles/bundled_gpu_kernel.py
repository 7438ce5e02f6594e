"""A GPU kernel of a loaded bundle: for every launch the binary that was made for it, or one that serves it as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from ...ir.advice import advice
from ..cache.artefacts import BuildForbidden
from ..gpu.devices import gpu_of
from ..gpu.driver import Frame
from ..gpu.gpu_binary import Binary, Fixed, Layout, Specialisation
from ..triton.gpu_kernel import ENTRIES, OPEN, GpuKernel, Ready, packed, specialisation
from ..triton.kernel import ALIGNMENT_BYTES, Given, Signature, Start
from .bundled_kernel import BundledKernel
from .manifest import REMEDY, BundleError

UNITS = ("q", "k", "v", "out", "rise", "grad", "grad_key", "grad_value")
"""Tensors whose strides a kernel counts in units."""
FILLED = {"q_lens": "q_len", "k_lens": "k_len", "offsets": "offset"}
"""Lengths of each batch item, and the number that serves them all where there are none."""


class Shipped(NamedTuple):
    merge: bool
    binary: Binary


class KeepingFrame(Frame):
    """A frame that keeps the tensors which stand in for what a launch does not give: it may start again after the call is forgotten."""

    __slots__ = ("given",)

    def __init__(self, layout: Layout, programs: int, given: Given) -> None:
        super().__init__(layout, programs, packed(layout, given))
        self.given = {name: given[name] for name in (*OPEN, "grad_lse") if name in given}


class BundledGpuKernel(GpuKernel):
    """Compiles only what the bundle lacks, and where Triton is there to do it."""

    def __init__(self, built: BundledKernel, signature: Signature) -> None:
        super().__init__(built, signature)
        self._shipped = _shipped(built)

    def ready(self, start: Start, device: torch.device) -> Ready:
        """As `GpuKernel.ready`.

        Raises:
            BuildForbidden: the bundle has no binary for the launch, and none may be made.
        """
        found = _serving(self._shipped, start, _items(start.given))
        if found is None:
            return self._compiled(start, device)
        binary, given = found
        gpu = gpu_of(device)
        assert gpu is not None
        return Ready(gpu, gpu.driver.function(binary, gpu.index), KeepingFrame(binary.layout, start.programs, given))

    def _compiled(self, start: Start, device: torch.device) -> Ready:
        try:
            return super().ready(start, device)
        except (BuildForbidden, ImportError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise BuildForbidden(
                advice(
                    f"the bundle has `{self.built.key}`, but no binary of it for this launch ({_told(start.given)}), and {reason}",
                    "tensors whose rows start at multiples of 16 bytes, `ragged=True` in the KernelSpec (`lacuna build --ragged`) "
                    "for lengths that differ, or a call without a bundle",
                )
            ) from None


def gpu_kernel(built: BundledKernel) -> BundledGpuKernel:
    """Raises:
    BundleError: the manifest does not say how to launch it.
    """
    try:
        return BundledGpuKernel(built, Signature.of_json(built.loaded.entry["launch"]))
    except (KeyError, TypeError, ValueError) as error:
        where = f"`{built.loaded.entry['name']}` in the bundle `{built.loaded.folder}`"
        raise BundleError(advice(f"the manifest does not say how {where} is launched: {error}", REMEDY)) from None


def _shipped(built: BundledKernel) -> tuple[Shipped, ...]:
    entry, folder = built.loaded.entry, built.loaded.folder
    return tuple(
        Shipped(each["merge"], Binary(Layout.of_json(each["layout"]), (folder / each["binary"]).read_bytes())) for each in entry["binaries"]
    )


# -- which binary -----------------------------------------------------------------------------------------------------


def _serving(shipped: Sequence[Shipped], start: Start, items: int) -> tuple[Binary, Given] | None:
    """The first binary that serves a launch, and its arguments as that binary takes them."""
    wanted = specialisation(start.given)
    for merge, binary in shipped:
        if merge == start.merge and binary.layout.special == wanted:
            return binary, start.given
    for merge, binary in shipped:
        given = _fitted(start.given, binary.layout.special, items) if merge == start.merge else None
        if given is not None:
            return binary, given
    return None


def _items(given: Given) -> int:
    """Batch items of a launch that is not packed."""
    query = given.get("query", given.get("out"))
    return query.shape[0] if isinstance(query, Tensor) else 1


def _fitted(given: Given, special: Specialisation, items: int) -> Given | None:
    """The arguments for a binary that was made for more than this launch asks; None where it does not serve it."""
    fixed = dict(special.fixed)
    if any(name not in given or not _general(name, given[name], value) for name, value in fixed.items()):
        return None
    filled: dict[str, Any] = {**given, **fixed, **_strides(given, fixed)}
    for name in [name for name, value in given.items() if value is None and name not in fixed]:
        tensor = _stand_in(name, given, items, dict(special.pointers))
        if tensor is None:
            return None
        filled[name] = tensor
    if any(ENTRIES[cast("Tensor", filled[name]).dtype] != kind for name, kind in special.pointers):
        return None
    aligned = all(cast("Tensor", filled[name]).data_ptr() % ALIGNMENT_BYTES == 0 for name in special.aligned)
    return filled if aligned else None


def _general(name: str, wanted: object, value: Fixed) -> bool:
    """Whether a kernel made for `value` of an argument that is part of its text does what one made for `wanted` does."""
    if value == wanted:
        return True
    match name:
        case "INDEX":
            return value == "i64"
        case "UNIT":
            return value == 1
        case "PRECISION":
            return value == "ieee"
        case "BLOCK_Q":
            return isinstance(value, int) and isinstance(wanted, int) and value > wanted
        case _:
            return False


def _strides(given: Given, fixed: Mapping[str, Fixed]) -> dict[str, int]:
    """Strides in the units of the binary."""
    unit, theirs = given.get("UNIT", 1), fixed.get("UNIT", 1)
    if unit == theirs or not isinstance(unit, int):
        return {}
    names = [f"{tensor}_{axis}" for tensor in UNITS for axis in ("batch", "head", "token")]
    return {name: cast(int, given[name]) * unit for name in names if name in given}


def _stand_in(name: str, given: Given, items: int, kinds: Mapping[str, str]) -> Tensor | None:
    """A tensor that says of every batch item what one number says of all; None where there is none."""
    device = next(value.device for value in given.values() if isinstance(value, Tensor))
    if name == "grad_lse":
        return torch.zeros_like(cast("Tensor", given["lse"]))
    number = given.get(FILLED.get(name, ""), given.get("first_offset") if name == "offsets" else None)
    packed_already = given.get("q_start") is not None
    if not isinstance(number, int) or (packed_already and name != "offsets"):
        return None
    dtype = torch.int32 if kinds.get(name) == "*i32" else torch.int64
    if not torch.iinfo(dtype).min <= number <= torch.iinfo(dtype).max:
        return None
    lengths = given.get("q_lens")
    count = lengths.shape[0] if packed_already and isinstance(lengths, Tensor) else items
    return torch.full((count,), number, dtype=dtype, device=device)


def _told(given: Given) -> str:
    words = [f"{name} {value}" for name, value in sorted(given.items()) if name.isupper()]
    return ", ".join([*words, *(f"with {name}" for name in OPEN if given.get(name) is not None)])
