"""Loading and launching compiled kernels through the drivers of NVIDIA and AMD, with nothing but ctypes and torch's streams.

    driver = driver_here()
    function = driver.function(binary, device)                      # loaded once for each device
    frame = Frame(binary.layout, programs, {"query": tensor.data_ptr(), "heads": 8, ...})
    driver.launch(function, frame, driver.stream(device))           # later: frame.words[frame.word["query"]] = other.data_ptr()

A launch allocates nothing and waits for nothing, so that it may be captured in a graph.
"""

# torch's stream of a device has no public name that costs less than a microsecond.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportAttributeAccessIssue=false
from __future__ import annotations

import ctypes
import functools
import struct
import threading
from collections.abc import Callable, Mapping
from ctypes import c_char_p, c_int, c_uint, c_uint64, c_void_p
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from ...ir.advice import advice
from .gpu_binary import HIDDEN, Binary, Layout

SHARED_BYTES = 48 * 1024  # that any kernel may have without asking
MOST_PROGRAMS = 2**31 - 1


class Attribute(ctypes.Structure):
    """`CUlaunchAttribute`. value: 64 bytes; flags and the extents of a cluster come first."""

    _fields_: ClassVar = [("kind", c_int), ("pad", c_int), ("value", c_uint * 16)]


class Config(ctypes.Structure):
    """`CUlaunchConfig`."""

    _fields_: ClassVar = [
        *((name, c_uint) for name in ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_bytes")),
        ("stream", c_void_p),
        ("attributes", c_void_p),
        ("count", c_uint),
    ]


COOPERATIVE, CLUSTER, CLUSTER_POLICY, PROGRAMMATIC = 2, 4, 5, 6  # of CUlaunchAttributeID
SPREAD = 1  # the programs of a cluster go to different multiprocessors


class Frame:
    """One launch as a driver takes it: argument memory, pointers to each argument, grid. Only addresses and the stream change later.

    words: argument memory as 8-byte words; `word[name]` is the number of a pointer's.
    lock:  held from writing addresses to the end of the launch, which has read them by then.
    """

    __slots__ = ("_kept", "config", "config_at", "layout", "lock", "pointers_at", "programs", "word", "words")

    def __init__(self, layout: Layout, programs: int, given: Mapping[str, float]) -> None:
        """given: every argument of `layout.slots` but the hidden ones; pointers as addresses, 0 for null.

        Raises:
            ValueError: there are more programs than a grid holds.
            KeyError: an argument is missing.
        """
        if programs > MOST_PROGRAMS // layout.ctas:
            raise ValueError(advice(f"a launch of `{layout.entry}` has {programs} programs, and a grid holds 2**31 - 1", "smaller batches"))
        memory = bytearray(-(-max(layout.size, 1) // 8) * 8)
        for slot, offset in zip(layout.slots, layout.offsets, strict=True):
            struct.pack_into(slot.code, memory, offset, 0 if slot.name in HIDDEN else given[slot.name])
        self.layout, self.programs, self.lock = layout, programs, threading.Lock()
        self.words = (c_uint64 * (len(memory) // 8)).from_buffer(memory)
        self.word = {slot.name: offset // 8 for slot, offset in zip(layout.slots, layout.offsets, strict=True) if slot.is_pointer}
        start = ctypes.addressof(self.words)
        pointers = (c_void_p * max(1, len(layout.slots)))(*(start + offset for offset in layout.offsets))
        attributes = _attributes(layout)
        self.config = Config(
            *(programs * layout.ctas, 1, 1, layout.threads, 1, 1, layout.shared_bytes),
            attributes=ctypes.addressof(attributes),
            count=len(attributes),
        )
        self.pointers_at, self.config_at = ctypes.addressof(pointers), ctypes.addressof(self.config)
        self._kept = (memory, pointers, attributes)


def _attributes(layout: Layout) -> ctypes.Array[Attribute]:
    found: list[tuple[int, tuple[int, ...]]] = []
    if layout.programmatic:
        found.append((PROGRAMMATIC, (1,)))
    if layout.cooperative:
        found.append((COOPERATIVE, (1,)))
    if layout.ctas > 1:
        found += [(CLUSTER, (layout.ctas, 1, 1)), (CLUSTER_POLICY, (SPREAD,))]
    return (Attribute * len(found))(*(Attribute(kind, 0, (c_uint * 16)(*value)) for kind, value in found))


class Driver(Protocol):
    """What starts kernels. Functions are handles of the driver's own."""

    def function(self, binary: Binary, device: int) -> int: ...
    def launch(self, function: int, frame: Frame, stream: int) -> None: ...
    def stream(self, device: int) -> int: ...
    def current(self) -> int: ...


class DriverError(RuntimeError):
    """The driver of the GPU refused something."""


class _Loaded:
    """What both drivers do alike: a library, checked calls, and functions that are loaded once for each device."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._functions: dict[tuple[str, str, int], int] = {}
        self._lock = threading.Lock()

    def function(self, binary: Binary, device: int) -> int:
        """A handle of the kernel on a device; the first time this loads it there, which a graph that is being captured does not take.

        Raises:
            DriverError: the device does not take the binary, or has less shared memory than it needs.
        """
        known = (binary.digest, binary.layout.entry, device)
        with self._lock:
            found = self._functions.get(known)
            if found is None:
                with torch.cuda.device(device):
                    found = self._functions[known] = self._load(binary, device)
        return found

    def stream(self, device: int) -> int:
        """torch's current stream of a device."""
        return torch._C._cuda_getCurrentRawStream(device)

    def current(self) -> int:
        """torch's current device, on which a launch is made."""
        return torch._C._cuda_getDevice()

    def _load(self, binary: Binary, device: int) -> int:
        raise NotImplementedError

    def _check(self, code: int, doing: str, layout: Layout) -> None:
        if code:
            raise DriverError(
                advice(
                    f"the driver answers {self._named(code)} to {doing} `{layout.entry}`, made for {layout.target}, with "
                    f"{layout.threads} threads and {layout.shared_bytes} bytes of shared memory",
                    '`CUDA_LAUNCH_BLOCKING=1` before the command to see which call fails, or `backend="eager"`',
                )
            )

    def _named(self, code: int) -> str:
        return str(code)


class Cuda(_Loaded):
    """libcuda."""

    def __init__(self, library: ctypes.CDLL | None = None) -> None:
        super().__init__(ctypes.CDLL("libcuda.so.1") if library is None else library)
        self._start: Callable[..., int] = self._library.cuLaunchKernelEx
        self._start.argtypes, self._start.restype = [c_void_p] * 4, c_int

    def launch(self, function: int, frame: Frame, stream: int) -> None:
        """Start the programs of a frame on a stream of the current device.

        Raises:
            DriverError: the driver refuses.
        """
        frame.config.stream = stream
        code = self._start(frame.config_at, function, frame.pointers_at, None)
        if code == INVALID_CONTEXT:  # a thread that has not met the device yet
            _make_current()
            code = self._start(frame.config_at, function, frame.pointers_at, None)
        if code:
            self._check(code, "launching", frame.layout)

    def _load(self, binary: Binary, device: int) -> int:
        layout, module, function = binary.layout, c_void_p(), c_void_p()
        _make_current()
        self._check(self._library.cuModuleLoadData(ctypes.byref(module), binary.code), "loading", layout)
        self._check(self._library.cuModuleGetFunction(ctypes.byref(function), module, layout.entry.encode()), "finding", layout)
        if layout.shared_bytes > SHARED_BYTES:
            self._check(self._library.cuFuncSetCacheConfig(function, PREFER_SHARED), "giving shared memory to", layout)
            code = self._library.cuFuncSetAttribute(function, DYNAMIC_SHARED_BYTES, layout.shared_bytes)
            self._check(code, "giving shared memory to", layout)
        if layout.ctas > PORTABLE_CLUSTER:
            self._check(self._library.cuFuncSetAttribute(function, WIDE_CLUSTER, 1), "allowing large clusters of", layout)
        assert function.value is not None
        return function.value

    def _named(self, code: int) -> str:
        name = c_char_p()
        self._library.cuGetErrorName(code, ctypes.byref(name))
        return f"{(name.value or b'?').decode()} ({code})"


INVALID_CONTEXT, PREFER_SHARED, DYNAMIC_SHARED_BYTES, WIDE_CLUSTER, PORTABLE_CLUSTER = 201, 1, 8, 14, 8


def _make_current() -> None:
    """Give this thread torch's context of its current device."""
    torch.cuda.set_device(torch.cuda.current_device())
    torch.cuda.current_stream().query()


class Hip(_Loaded):
    """libamdhip64."""

    def __init__(self, library: ctypes.CDLL | None = None) -> None:
        super().__init__(ctypes.CDLL(_hip_library()) if library is None else library)
        self._start: Callable[..., int] = self._library.hipModuleLaunchKernel
        self._start.argtypes, self._start.restype = [c_void_p, *[c_uint] * 7, *[c_void_p] * 3], c_int

    def launch(self, function: int, frame: Frame, stream: int) -> None:
        """Start the programs of a frame on a stream of the current device.

        Raises:
            DriverError: the driver refuses.
        """
        layout = frame.layout
        grid = (frame.programs, 1, 1, layout.threads, 1, 1, layout.shared_bytes)
        code = self._start(function, *grid, stream, frame.pointers_at, None)
        if code:
            self._check(code, "launching", layout)

    def _load(self, binary: Binary, device: int) -> int:
        layout, module, function = binary.layout, c_void_p(), c_void_p()
        if layout.ctas > 1 or layout.cooperative:
            what = f"`{layout.entry}` is launched in clusters, which Lacuna does not do on AMD"
            raise NotImplementedError(advice(what, "a kernel of one program each, `num_ctas=1`"))
        self._check(self._library.hipModuleLoadData(ctypes.byref(module), binary.code), "loading", layout)
        self._check(self._library.hipModuleGetFunction(ctypes.byref(function), module, layout.entry.encode()), "finding", layout)
        assert function.value is not None
        return function.value

    def _named(self, code: int) -> str:
        name: Any = self._library.hipGetErrorName
        name.restype = c_char_p
        return f"{(name(code) or b'?').decode()} ({code})"


def _hip_library() -> str:
    """The library that torch has loaded, which may not be the system's."""
    lines = Path("/proc/self/maps").read_text().splitlines() if Path("/proc/self/maps").exists() else []
    mapped = (line.split(maxsplit=5)[-1] for line in lines if "libamdhip64.so" in line)
    return next(mapped, "libamdhip64.so")


@functools.cache
def driver_here() -> Driver:
    """The driver of the GPUs that this build of torch is for."""
    return Hip() if torch.version.hip is not None else Cuda()
