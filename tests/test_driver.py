"""Launching through the driver: what a binary says of its arguments, and what a library that stands for the driver is given."""

# Libraries loaded with ctypes have no types, and what is tried is private.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownArgumentType=false
from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import ClassVar
from unittest.mock import MagicMock, Mock

import kernel_metadata
import pytest
import torch
import triton.backends.nvidia
from lacuna.ir.plan import Plan
from lacuna.runtime.compilers.cpp_compiler import find_compiler
from lacuna.runtime.gpu import driver
from lacuna.runtime.gpu.driver import Config, Cuda, DriverError, Frame, Hip
from lacuna.runtime.gpu.gpu_binary import HIDDEN, Binary, Layout, Slot, Specialisation
from lacuna.runtime.gpu.recording import launched
from lacuna.runtime.triton.compile_binary import Variant, binary_of_plan
from triton_kernels import WINDOW, backward_plan, plan, scored

TABLES = scored("s * cap + slopes[h] * float(doc[k])", "slopes: f32[*], doc: i32[*], cap: f64, W: i64")
LENGTHS = frozenset({"q_start", "q_lens", "k_start", "k_lens", "offsets"})
PLANS = {
    "forward": plan(TABLES, (16, 16), (16, 16), "bf16"),
    "decode": replace(plan(WINDOW, (16, 16), (16, 16), "bf16"), family="decode"),
    "backward": backward_plan(TABLES, "backward", (16, 16), (16, 16), "bf16"),
    "backward_queries": backward_plan(TABLES, "backward_queries", (16, 16), (16, 16), "bf16"),
}
PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
TARGETS: dict[str, tuple[str, ...]] = {
    "sm_90": (*PLANS, "merge"),
    "gfx942": (*PLANS, "merge") if PROVE else ("forward", "merge"),
    **{target: tuple(PLANS) for target in ("sm_80", "sm_100", "gfx950") if PROVE},
}
COMPILED = [(family, target) for target, families in TARGETS.items() for family in families]
GIVEN_TYPES = (("query", "*bf16"), ("scale", "fp32"), ("heads", "i64"), ("flag", "i32"))
LAYOUT = Layout(
    entry="made_up",
    target="sm_90",
    family="forward",
    slots=(
        *starmap(Slot, (("query", "*bf16"), ("scale", "fp32"), ("heads", "i64"), ("flag", "i32"))),
        *(Slot(name, "*i8") for name in HIDDEN),
    ),
    special=Specialisation((("INDEX", "i32"), ("lse", None)), ("query",)),
    threads=256,
    shared_bytes=100_000,
)
GIVEN = {"query": 0x7000, "scale": 0.5, "heads": -3, "flag": 7}


@pytest.mark.parametrize(("family", "target"), COMPILED)
def test_arguments_are_packed_as_the_binary_itself_says_it_reads_them(family: str, target: str) -> None:
    made: Plan = replace(PLANS["decode" if family == "merge" else family], num_stages=1, num_warps=2)
    binary = binary_of_plan(made, target, Variant(lengths=LENGTHS, narrow=False), merge=family == "merge")
    layout = binary.layout
    read = kernel_metadata.of_cubin if target.startswith("sm") else kernel_metadata.of_hsaco
    declared = read(binary.code, layout.entry)
    assert [parameter.offset for parameter in declared] == list(layout.offsets)
    assert [parameter.size for parameter in declared] == [struct.calcsize(slot.code) for slot in layout.slots]
    assert layout.family == family
    assert layout.threads == made.num_warps * (32 if target.startswith("sm") else 64)
    assert [slot.name for slot in layout.slots[-2:]] == list(HIDDEN)
    assert Layout.of_json(json.loads(json.dumps(layout.to_json()))) == layout


def test_a_binary_says_nothing_of_where_it_was_made() -> None:
    code = binary_of_plan(plan(WINDOW), "sm_90").code
    assert b"/tmp" not in code
    assert b".py" not in code


# -- a driver that is a library of this test --------------------------------------------------------------------------

FAKE = r"""
#include <cuda.h>
#include <cstring>
extern "C" {
struct Seen {
  unsigned long long stream, function;
  unsigned grid[3], block[3], shared, count, kinds[4], values[4][3];
  unsigned char arguments[64];
  int set[4], shared_set;
} seen;
int answer = 0, invalid_first = 0, sizes[8], arguments = 0;
CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  *module = (CUmodule)0x11;
  return (CUresult)(memcmp(image, "cubin", 5) ? 200 : 0);
}
CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
  *function = (CUfunction)0x22;
  return (CUresult)(strcmp(name, "made_up") ? 500 : 0);
}
CUresult cuFuncSetCacheConfig(CUfunction, CUfunc_cache config) { seen.set[0] = config; return CUDA_SUCCESS; }
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute attribute, int value) {
  if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) seen.shared_set = value;
  if (attribute == CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED) seen.set[1] = value;
  return CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult, const char** name) { *name = "CUDA_ERROR_MADE_UP"; return CUDA_SUCCESS; }
CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra) {
  if (invalid_first) { invalid_first = 0; return CUDA_ERROR_INVALID_CONTEXT; }
  if (answer || extra) return (CUresult)answer;
  seen.stream = (unsigned long long)config->hStream; seen.function = (unsigned long long)function;
  unsigned grid[] = {config->gridDimX, config->gridDimY, config->gridDimZ};
  unsigned block[] = {config->blockDimX, config->blockDimY, config->blockDimZ};
  memcpy(seen.grid, grid, sizeof grid); memcpy(seen.block, block, sizeof block);
  seen.shared = config->sharedMemBytes; seen.count = config->numAttrs;
  for (unsigned n = 0; n < config->numAttrs; ++n) {
    seen.kinds[n] = config->attrs[n].id;
    unsigned value[3] = {config->attrs[n].value.clusterDim.x, config->attrs[n].value.clusterDim.y, config->attrs[n].value.clusterDim.z};
    memcpy(seen.values[n], value, sizeof value);
  }
  unsigned char* to = seen.arguments;
  for (int n = 0; n < arguments; ++n) { memcpy(to, parameters[n], sizes[n]); to += sizes[n]; }
  return CUDA_SUCCESS;
}
}
"""


class Seen(ctypes.Structure):
    """What the last launch was given, see FAKE."""

    _fields_: ClassVar = [
        ("stream", ctypes.c_ulonglong),
        ("function", ctypes.c_ulonglong),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("count", ctypes.c_uint),
        ("kinds", ctypes.c_uint * 4),
        ("values", (ctypes.c_uint * 3) * 4),
        ("arguments", ctypes.c_ubyte * 64),
        ("set", ctypes.c_int * 4),
        ("shared_set", ctypes.c_int),
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Compiled against the header of the real one, so that the structures are the real ones."""
    folder = tmp_path_factory.mktemp("fake")
    (folder / "fake.cpp").write_text(FAKE)
    headers = Path(triton.backends.nvidia.__path__[0], "include")
    made = folder / "libfake.so"
    subprocess.run([find_compiler().path, "-shared", "-fPIC", "-I", headers, folder / "fake.cpp", "-o", made], check=True)
    loaded = ctypes.CDLL(str(made))
    sizes = (ctypes.c_int * 8).in_dll(loaded, "sizes")
    for number, slot in enumerate(LAYOUT.slots):
        sizes[number] = struct.calcsize(slot.code)
    ctypes.c_int.in_dll(loaded, "arguments").value = len(LAYOUT.slots)
    return loaded


@pytest.fixture
def cuda(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    monkeypatch.setattr(torch.cuda, "device", MagicMock())
    monkeypatch.setattr(driver, "_make_current", Mock())
    ctypes.memset(ctypes.addressof(Seen.in_dll(library, "seen")), 0, ctypes.sizeof(Seen))
    return Cuda(library)


def started(cuda: Cuda, layout: Layout, programs: int = 12) -> Seen:
    function = cuda.function(Binary(layout, f"cubin {layout.ctas}".encode()), 0)
    cuda.launch(function, Frame(layout, programs, GIVEN), 0x55)
    return Seen.in_dll(cuda._library, "seen")


def test_the_driver_is_given_grid_threads_shared_memory_stream_and_arguments(cuda: Cuda) -> None:
    seen = started(cuda, LAYOUT)
    assert (list(seen.grid), list(seen.block)) == ([12, 1, 1], [256, 1, 1])
    assert (seen.shared, seen.shared_set, seen.set[0]) == (100_000, 100_000, 1)
    assert (seen.stream, seen.function, seen.count) == (0x55, 0x22, 0)
    assert struct.unpack_from("<QfqiQQ", bytes(seen.arguments)) == (0x7000, 0.5, -3, 7, 0, 0)
    assert ctypes.sizeof(Config) == 56


def test_clusters_and_other_attributes_reach_the_driver(cuda: Cuda) -> None:
    seen = started(cuda, replace(LAYOUT, ctas=2, cooperative=True, programmatic=True))
    assert seen.grid[0] == 24
    assert [(seen.kinds[n], *seen.values[n]) for n in range(seen.count)] == [(6, 1, 0, 0), (2, 1, 0, 0), (4, 2, 1, 1), (5, 1, 0, 0)]
    assert started(cuda, replace(LAYOUT, ctas=16)).set[1] == 1


def test_only_addresses_and_the_stream_change_from_one_launch_to_the_next(cuda: Cuda) -> None:
    frame = Frame(LAYOUT, 1, GIVEN)
    frame.words[frame.word["query"]] = 0xABC0
    assert launched(frame, 3).arguments == {**GIVEN, "query": 0xABC0, **dict.fromkeys(HIDDEN, 0)}
    cuda.launch(cuda.function(Binary(LAYOUT, b"cubin"), 0), frame, 9)
    assert Seen.in_dll(cuda._library, "seen").stream == 9


def test_a_thread_that_has_not_met_the_device_launches_all_the_same(cuda: Cuda, library: ctypes.CDLL) -> None:
    ctypes.c_int.in_dll(library, "invalid_first").value = 1
    assert started(cuda, LAYOUT).grid[0] == 12


def test_what_the_driver_refuses_is_said_with_its_name(cuda: Cuda, library: ctypes.CDLL) -> None:
    answer = ctypes.c_int.in_dll(library, "answer")
    answer.value = 700
    try:
        with pytest.raises(DriverError, match=r"CUDA_ERROR_MADE_UP \(700\) to launching `made_up`, made for sm_90.*\n  write `CUDA"):
            started(cuda, LAYOUT)
    finally:
        answer.value = 0
    with pytest.raises(DriverError, match=r"\(200\) to loading `made_up`"):
        cuda.function(Binary(LAYOUT, b"torn"), 0)
    with pytest.raises(ValueError, match=r"has 3000000000 programs, and a grid holds 2\*\*31 - 1"):
        Frame(LAYOUT, 3_000_000_000, GIVEN)


def test_amd_is_given_the_same_and_refuses_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device", MagicMock())
    given: list[tuple[object, ...]] = []

    def start(*arguments: object) -> int:
        given.append(arguments)
        return 0

    def handed(value: int) -> Mock:
        def fill(out: object, *_: object) -> int:
            out._obj.value = value  # pyright: ignore[reportAttributeAccessIssue]  (of ctypes.byref)
            return 0

        return Mock(side_effect=fill)

    library = Mock(hipModuleLoadData=handed(1), hipModuleGetFunction=handed(2), hipModuleLaunchKernel=Mock(side_effect=start))
    hip = Hip(library)
    frame = Frame(replace(LAYOUT, target="gfx942"), 12, GIVEN)
    hip.launch(hip.function(Binary(LAYOUT, b"hsaco"), 0), frame, 7)
    assert given == [(2, 12, 1, 1, 256, 1, 1, 100_000, 7, frame.pointers_at, None)]
    with pytest.raises(NotImplementedError, match="launched in clusters, which Lacuna does not do on AMD"):
        hip.function(Binary(replace(LAYOUT, ctas=2), b"other"), 0)
