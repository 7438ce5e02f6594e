"""Triton kernels on a GPU: specialised for a launch, compiled or found in the cache, and started through the driver.

Triton itself is loaded only to compile: a process whose kernels are in the cache does without it.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Generator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor

from ...ir.advice import advice
from ..cache.artefacts import Entry, Key, Manifest, open_cache
from ..gpu.devices import Gpu, gpu_of
from ..gpu.driver import Frame
from ..gpu.gpu_binary import Binary, Layout, Specialisation
from ..kernels.kernel_of import Kernel as Built
from .kernel import ALIGNED, ALIGNMENT_BYTES, Given, Signature, Start, options

ENTRIES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float64: "*fp64",
    torch.bool: "*i1",
    torch.int8: "*i8",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.uint8: "*u8",
    torch.uint16: "*u16",
    torch.uint32: "*u32",
    torch.uint64: "*u64",
}
"""Triton's type of a pointer to the entries of a tensor."""
OPEN = ("q_start", "q_lens", "k_start", "k_lens", "offsets")
"""Pointers whose entries may be 32 or 64 bits wide: what a caller gave goes to the kernel as it is."""


Sources = Mapping[str, tuple[int, Tensor]]
"""By name of an argument, number and memory of the tensor that it lies in, of those whose address differs between calls."""


class Moving(NamedTuple):
    """An address that differs between calls: which word of argument memory, and how many bytes past the start of tensor `source`."""

    word: int
    source: int
    offset: int


class Ready(NamedTuple):
    """A launch but for its stream, and for the addresses that differ between calls.

    kept: tensors at the addresses that do not.
    """

    gpu: Gpu
    function: int
    frame: Frame
    moving: tuple[Moving, ...] = ()
    kept: tuple[Tensor, ...] = ()

    def __call__(self, stream: int, starts: Sequence[int] = ()) -> None:
        """Start it on a stream of the current device. starts: addresses of the tensors that `moving` counts."""
        frame = self.frame
        scratch = scratch_of(frame.layout, frame.programs, self.gpu) if frame.layout.scratch_bytes else None
        words = frame.words
        with frame.lock:
            for word, source, offset in self.moving:
                words[word] = starts[source] + offset
            if scratch is not None:
                words[frame.word["global scratch"]] = scratch.data_ptr()
            self.gpu.driver.launch(self.function, frame, stream)

    def moved_by(self, given: Given, sources: Sources) -> Ready:
        """With addresses that follow those of `sources`."""
        moving: list[Moving] = []
        for name, (source, whole) in sources.items():
            word, tensor = self.frame.word.get(name), given.get(name)
            if word is not None and isinstance(tensor, Tensor):
                moving.append(Moving(word, source, tensor.data_ptr() - whole.data_ptr()))
        kept = tuple(each for name, each in given.items() if isinstance(each, Tensor) and name not in sources)
        return self._replace(moving=tuple(moving), kept=kept)


@contextlib.contextmanager
def on(gpu: Gpu) -> Generator[int]:
    """torch's current stream of a GPU, which is the current one inside."""
    with torch.cuda.device(gpu.index) if gpu.driver.current() != gpu.index else contextlib.nullcontext():
        yield gpu.driver.stream(gpu.index)


def scratch_of(layout: Layout, programs: int, gpu: Gpu) -> Tensor:
    """Global memory that programs ask for, of torch's allocator, which keeps it until the launch is over."""
    size = layout.scratch_bytes * programs * layout.ctas
    return torch.empty(size, dtype=torch.uint8, device=gpu.device)  # at multiples of 512 bytes


class GpuKernel:
    """A kernel that was built for the target of a GPU. Every binary of it is loaded when a launch first needs it."""

    def __init__(self, built: Built, signature: Signature) -> None:
        self.built = built
        self.signature = signature
        self._sums: tuple[tuple[str, str], ...] | None = None
        self._binaries: dict[tuple[Specialisation, bool], Binary] = {}

    @property
    def operand(self) -> str:
        return self.signature.dtype

    @cached_property
    def text(self) -> str:
        return self.built.path.read_text(encoding="utf-8")

    @property
    def sums(self) -> tuple[tuple[str, str], ...]:
        """As the module would say it, which loading would load Triton for."""
        if self._sums is None:
            found = re.search(r"^SUMS = (.*)$", self.text, re.MULTILINE)
            self._sums = tuple(ast.literal_eval(found[1].partition("#")[0].strip())) if found else ()
        return self._sums

    def run(self, start: Start, device: torch.device) -> None:
        ready = self.ready(start, device)
        with on(ready.gpu) as stream:
            ready(stream)

    def ready(self, start: Start, device: torch.device) -> Ready:
        """A launch with everything but its stream.

        Raises:
            DriverError: the device does not take the binary.
            NotImplementedError: Triton has no such kernel for the device.
        """
        gpu = gpu_of(device)
        assert gpu is not None, "the interpreter's kernels are loaded another way"
        binary = self.binary(specialisation(start.given), merge=start.merge)
        function = gpu.driver.function(binary, gpu.index)
        return Ready(gpu, function, Frame(binary.layout, start.programs, packed(binary.layout, start.given)))

    def ready_for(self, start: Start, gpu: Gpu, sources: Sources) -> Ready:
        """A launch with everything but its stream and the addresses of `sources`."""
        return self.ready(start, gpu.device).moved_by(start.given, sources)

    def binary(self, special: Specialisation, *, merge: bool = False) -> Binary:
        """Of memory, of the cache, or of the compiler."""
        known = (special, merge)
        found = self._binaries.get(known)
        if found is None:
            found = self._binaries[known] = self._opened(special, merge)
        return found

    def _opened(self, special: Specialisation, merge: bool) -> Binary:
        variant = self.built.variant
        choices = (("special", repr(special)), ("merge", f"{merge}"), ("options", repr(options(self.signature))))
        key = Key(self.text, f"binary {variant.target.name}", self.built.toolchain.identity, choices)

        def build(path: Path) -> Manifest:
            from .compile_binary import specialised  # Triton comes with it
            from .kernel import load

            loaded = load(self.built.path, self.signature, interpret=False)
            binary = specialised(loaded, self.built.plan, variant.target.name, special, merge=merge).binary
            path.write_bytes(binary.code)
            return binary.layout.to_json()

        return _binary(open_cache().get_or_build(key, build, SUFFIXES[variant.target.name[:2]]))


SUFFIXES = {"sm": ".cubin", "gf": ".hsaco"}


def _binary(entry: Entry) -> Binary:
    return Binary(Layout.of_json(entry.manifest), entry.path.read_bytes())


def specialisation(given: Given) -> Specialisation:
    """What of a launch is part of the text."""
    fixed = sorted((name, value) for name, value in given.items() if name.isupper() or value is None)
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    one = given.get("UNIT") == 1
    aligned = [name for name in ALIGNED if name in tensors and not one and tensors[name].data_ptr() % ALIGNMENT_BYTES == 0]
    pointers = [(name, ENTRIES[tensors[name].dtype]) for name in OPEN if name in tensors]
    return Specialisation(cast("tuple[tuple[str, int], ...]", tuple(fixed)), tuple(sorted(aligned)), tuple(sorted(pointers)))


def packed(layout: Layout, given: Given) -> Mapping[str, float]:
    """Addresses and numbers of every slot of a layout.

    Raises:
        TypeError: an argument is of another type than the binary takes.
    """
    found: dict[str, float] = {}
    fixed = {name for name, _ in layout.special.fixed}
    for slot in layout.slots:
        if slot.name in given:
            found[slot.name] = _word(slot.name, slot.type, given[slot.name])
    unknown = given.keys() - found.keys() - fixed
    if unknown:
        raise TypeError(f"`{layout.entry}` has no arguments {sorted(unknown)}")
    return found


def _word(name: str, kind: str, value: object) -> float:
    if isinstance(value, Tensor):
        if ENTRIES[value.dtype] == kind:
            return value.data_ptr()
    elif isinstance(value, int | float) and not kind.startswith("*"):
        return value if kind.startswith("fp") else int(value)
    raise TypeError(advice(f"argument `{name}` of a kernel is `{kind}`, and a launch gives it {value!r:.60}", f"`{name}` as {kind}"))
