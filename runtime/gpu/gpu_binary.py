"""A compiled GPU kernel: the bytes that a driver loads, and how they are launched, which is JSON.

    layout = Layout.of_json(json.loads(text))
    for slot, offset in zip(layout.slots, layout.offsets): ...      # name, type and place of every argument, in the kernel's order

Neither Triton nor torch is needed to read one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

Fixed = int | str | bool | None

CODES = {"i1": "b", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "fp32": "f", "fp64": "d"}
"""How `struct` packs an argument that is no pointer."""
SIZES = {"b": 1, "h": 2, "i": 4, "f": 4, "q": 8, "Q": 8, "d": 8}
HIDDEN = ("global scratch", "profile scratch")
"""Pointers that Triton appends to the arguments of every kernel since 3.4, on NVIDIA and on AMD; null where nothing is asked of them."""


class Slot(NamedTuple):
    """One argument in memory. type: as Triton writes it: `*bf16`, `*i64`, `i64`, `fp32`."""

    name: str
    type: str

    @property
    def code(self) -> str:
        """How `struct` packs it; `Q` is an address."""
        return "Q" if self.type.startswith("*") else CODES[self.type]

    @property
    def is_pointer(self) -> bool:
        return self.type.startswith("*")


class Specialisation(NamedTuple):
    """What a launch decides of the text of a kernel.

    fixed:    by name, sorted: a value that is part of the text; None is an optional tensor that is not there.
    aligned:  pointers known to be multiples of 16 bytes, sorted.
    pointers: by name, sorted: types of pointers that the plan leaves open, such as `*i32` for lengths.
    """

    fixed: tuple[tuple[str, Fixed], ...]
    aligned: tuple[str, ...]
    pointers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Layout:
    """How a binary is launched. `to_json` of it is JSON, and `of_json` reads that.

    entry:   name of the function in the binary.           target: `sm_90`, `gfx942`.
    family:  which rule says how many programs there are: `forward`, `decode`, `merge`, `backward`, `backward_queries`.
    slots:   arguments in order, without those that are `fixed`; the hidden ones last, named as in HIDDEN.
    special: what is part of the text.
    threads: of a program, along x: warps times 32, or 64 on AMD.        shared_bytes: dynamic shared memory of a program.
    ctas:    programs of a cluster; 1 is no cluster.
    scratch_bytes, scratch_alignment: of global memory for each program, behind the first hidden pointer; 0 is a null pointer.
    cooperative, programmatic: attributes of the launch.
    """

    entry: str
    target: str
    family: str
    slots: tuple[Slot, ...]
    special: Specialisation
    threads: int
    shared_bytes: int
    ctas: int = 1
    scratch_bytes: int = 0
    scratch_alignment: int = 1
    cooperative: bool = False
    programmatic: bool = False

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Of every slot in argument memory, in bytes: each at a multiple of its size, as in a C structure."""
        found: list[int] = []
        end = 0
        for slot in self.slots:
            size = SIZES[slot.code]
            start = -(-end // size) * size
            found.append(start)
            end = start + size
        return tuple(found)

    @cached_property
    def size(self) -> int:
        """Of argument memory, in bytes."""
        return self.offsets[-1] + SIZES[self.slots[-1].code] if self.slots else 0

    @cached_property
    def place(self) -> Mapping[str, int]:
        """Offset of each slot by name."""
        return {slot.name: offset for slot, offset in zip(self.slots, self.offsets, strict=True)}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, manifest: Mapping[str, Any]) -> Layout:
        slots = tuple(Slot(*each) for each in manifest["slots"])
        fixed, aligned, pointers = manifest["special"]
        special = Specialisation(
            tuple((name, value) for name, value in fixed), tuple(aligned), tuple((name, kind) for name, kind in pointers)
        )
        given: dict[str, Any] = {**manifest, "slots": slots, "special": special}
        return cls(**given)


@dataclass(frozen=True)
class Binary:
    """code: a cubin or an hsaco, as a driver loads it."""

    layout: Layout
    code: bytes

    @cached_property
    def digest(self) -> str:
        """Of the code: equal binaries are loaded once."""
        return hashlib.sha256(self.code).hexdigest()
