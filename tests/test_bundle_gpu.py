"""GPU kernels of a bundle, on machines without one: what they would be launched with, from Python without Triton and from C."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lacuna
import pytest
import torch
from lacuna.codegen.cuda_header import cuda_header
from lacuna.runtime.bundles.build import build
from lacuna.runtime.bundles.load import forget_bundles
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.gpu.gpu_binary import Layout
from lacuna.runtime.gpu.recording import Launched, Recording

pytest.importorskip("triton")
HERE = Path(__file__).parent
SPEC = """
import torch, lacuna

@lacuna.score
def alibi(s, h, q, k, *, slopes):
    return s + slopes[h] * (k - q)

kernels = [
    lacuna.KernelSpec(
        lacuna.patterns.sliding_window(window=9), alibi(slopes=torch.zeros(1)), dtypes=("bf16",), passes=("forward",), rows=("long",)
    )
]
targets = "sm_90"
"""


@lacuna.score
def alibi(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:
    return s + slopes[h] * (k - q)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "spec.py").write_text(SPEC)
    build(folder / "spec.py", folder / "built", processes=1)
    shutil.move(folder / "built", folder / "bundle")
    yield folder / "bundle"
    forget_bundles()


def entry_of(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "manifest.json").read_text())["kernels"][0]


def test_binaries_are_code_and_say_nothing_of_this_machine(bundle: Path) -> None:
    cubins = sorted((bundle / "kernels" / "sm_90").iterdir())
    assert [path.suffix for path in cubins] == [".cubin"] * 3
    for path in cubins:
        data = path.read_bytes()
        assert data.startswith(b"\x7fELF")
        assert not [place for place in (str(bundle.parent), os.getcwd(), "/tmp", str(Path.home())) if place.encode() in data]


def tensors(rows: int, keys: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    query, key, value = (torch.zeros(2, heads, n, 64, dtype=torch.bfloat16) for heads, n in ((4, rows), (2, keys), (2, keys)))
    return query, key, value


def launches_of(bundle: Path, rows: int, keys: int, **lengths: torch.Tensor) -> list[Launched]:
    with claimed("sm_90", Recording()) as driver, torch.no_grad():
        lacuna.load(bundle)
        score = alibi(slopes=torch.zeros(4))
        lacuna.attention(*tensors(rows, keys), lacuna.patterns.sliding_window(window=12), score=score, backend="triton", **lengths)  # pyright: ignore
    return driver.launches


def test_a_call_is_launched_from_the_bundle_and_lengths_that_differ_by_a_binary_of_their_own(bundle: Path) -> None:
    (plain,) = launches_of(bundle, 100, 300)
    (ragged,) = launches_of(bundle, 100, 300, kv_len=torch.tensor([300, 7], dtype=torch.int32))
    assert plain.layout == Layout.of_json(entry_of(bundle)["binaries"][0]["layout"])
    assert ragged.layout == Layout.of_json(entry_of(bundle)["binaries"][1]["layout"])
    assert plain.arguments["given_window"] == ragged.arguments["given_window"] == 12
    assert ragged.arguments["k_lens"] != 0
    assert ragged.arguments["q_lens"] != 0  # filled in: the kernel takes all three or none


def test_neither_triton_nor_a_compiler_is_needed(bundle: Path, tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import without_compiler, torch, lacuna
from lacuna.runtime.bundles.load import forget_bundles
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.gpu.recording import Recording
with claimed("sm_90", Recording()) as driver, torch.no_grad():
    print(lacuna.load({str(bundle)!r}))
    query = torch.zeros(1, 2, 40, 64, dtype=torch.bfloat16)
    score = without_compiler.alibi(slopes=torch.zeros(2))
    lacuna.attention(query, query, query, lacuna.patterns.sliding_window(window=3), score=score, backend="triton")
    lacuna.attention(query, query, query, lacuna.patterns.sliding_window(window=4), score=score, backend="triton")
    print(len(driver.launches), [name for name in without_compiler.REFUSED if name in sys.modules])
    try:
        lacuna.attention(query, query, query, lacuna.patterns.causal(), backend="triton")
    except (RuntimeError, ImportError) as error:
        print(error)
"""
    known = {"PATH": "/nowhere", "PYTHONPATH": os.pathsep.join(sys.path), "LACUNA_CACHE_DIR": str(tmp_path / "none"), "LACUNA_JIT": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "\n2 []\n" in done.stdout
    assert "no loaded bundle holds this kernel (forward of `_causal`, bf16, D 64, Dv 64, for sm_90), and " in done.stdout
    assert "--target sm_90 -o DIR`" in done.stdout


MAIN = """
#include <stdio.h>
#include "lacuna_cuda.h"
int main(int count, char **arguments) {{
  const int64_t integers[] = {{12}}, strides[] = {{1}}, sizes[] = {{4}};
  const void *const tables[] = {{(const void *)0x6000}};
  lacuna_call call = {{0}};
  call.size = sizeof call, call.version = LACUNA_ABI;
  call.q = (void *)0x1000, call.k = (void *)0x2000, call.v = (void *)0x3000, call.out = (void *)0x4000, call.lse = (void *)0x5000;
  call.batch = 2, call.heads = 4, call.kv_heads = 2, call.kv_batch = 2, call.q_len = 100, call.k_len = 300, call.scale = 0.125;
  const int64_t of_rows[3] = {{25600, 6400, 64}}, of_keys[3] = {{38400, 19200, 64}}, of_lse[3] = {{400, 100, 1}};
  for (int n = 0; n < 3; ++n) {{
    call.q_strides[n] = call.out_strides[n] = of_rows[n], call.k_strides[n] = call.v_strides[n] = of_keys[n];
    call.lse_strides[n] = of_lse[n];
  }}
  call.integers = integers, call.tables = tables, call.table_strides = strides, call.table_sizes = sizes;
  lacuna_cuda_kernel kernel;
  int32_t status = {name}_load(&kernel, arguments[1], 90);
  if (count < 3 && status == LACUNA_OK) status = {name}_launch(&kernel, &call, (void *)0x99);
  printf("status %d\\n", status);
  status = {name}_launch(&kernel, &call, (void *)0xbad);
  printf("failed %d %d\\n", status == LACUNA_CUDA_REFUSED, kernel.error);
  printf("again %d\\n", {name}_launch(&kernel, &call, (void *)0x99));
  call.offset = 1;
  printf("offset %d\\n", {name}_launch(&kernel, &call, NULL) == LACUNA_BAD_CALL);
  call.offset = 0, call.tables = NULL;
  printf("no tables %d\\n", {name}_launch(&kernel, &call, NULL) == LACUNA_BAD_CALL);
  call.tables = tables, call.q = (void *)0x1001;
  printf("unaligned %d\\n", {name}_launch(&kernel, &call, NULL) == LACUNA_CUDA_UNALIGNED);
  call.q = (void *)0x1000, call.k_len = (int64_t)1 << 40;
  printf("too large %d\\n", {name}_launch(&kernel, &call, NULL) == LACUNA_CUDA_TOO_LARGE);
  call.size = 8;
  printf("other abi %d\\n", {name}_launch(&kernel, &call, NULL) == LACUNA_OTHER_ABI);
  printf("no binary %d\\n", {name}_load(&kernel, arguments[1], 75) == LACUNA_CUDA_NO_FILE);
  return 0;
}}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_c_header_packs_a_launch_as_python_does(bundle: Path, tmp_path: Path) -> None:
    (python,) = launches_of(bundle, 100, 300)
    layout = python.layout
    (tmp_path / "main.c").write_text(MAIN.format(name="lacuna_sliding_alibi_bf16_d64_forward"))
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, f"-I{bundle / 'include'}", "main.c", "-o", "main", "-ldl"], cwd=tmp_path, check=True)
    subprocess.run(["cc", *flags, "-shared", "-fPIC", str(HERE / "stub_cuda.c"), "-o", "libcuda.so.1"], cwd=tmp_path, check=True)
    sizes = "".join(str(struct.calcsize(slot.code)) for slot in layout.slots)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "LACUNA_STUB_ARGUMENTS": sizes}
    done = subprocess.run([tmp_path / "main", bundle], env=environment, check=True, capture_output=True, text=True)
    said = done.stdout.splitlines()
    first = said[: said.index("status 0")]
    assert said[:2] == ["load 7f454c46", f"function {layout.entry}"]
    assert f"launch 0x20 {python.programs} 1 1 {layout.threads} 1 1 {layout.shared_bytes} 0x99 0" in said
    found = dict(
        zip((slot.name for slot in layout.slots), (int(line.split()[1]) for line in first if line.startswith("argument")), strict=True)
    )
    places = {"query": 0x1000, "key": 0x2000, "value": 0x3000, "out": 0x4000, "lse": 0x5000, "table_slopes": 0x6000}
    for slot in layout.slots:
        wanted = python.arguments[slot.name]
        if slot.is_pointer:
            assert found[slot.name] == places.get(slot.name, 0x7000 if slot.name == "global scratch" and layout.scratch_bytes else 0), slot
        else:
            code = slot.code
            assert struct.unpack(code, struct.pack("<Q", found[slot.name])[: struct.calcsize(code)])[0] == pytest.approx(wanted), slot
    if layout.scratch_bytes:
        assert f"allocate {layout.scratch_bytes * python.programs} 0x99" in said
        assert "release 7000 0x99" in said
    asked = ("load", "function", "attribute", "launch", "argument", "allocate", "release")
    answers = [line for line in said if line.split()[0] not in asked]
    refused = ["offset 1", "no tables 1", "unaligned 1", "too large 1", "other abi 1", "no binary 1"]
    assert answers == ["status 0", "failed 1 1", "again 0", *refused]


ONE_KEY_HEAD = """
#include <stdio.h>
#include "lacuna_cuda.h"
int main(int count, char **arguments) {{
  const int64_t integers[] = {{12}}, strides[] = {{1}}, sizes[] = {{4}};
  const void *const tables[] = {{(const void *)0x6000}};
  lacuna_call call = {{0}};
  call.size = sizeof call, call.version = LACUNA_ABI, call.scale = 0.125;
  call.q = (void *)0x1000, call.k = (void *)0x2000, call.v = (void *)0x3000, call.out = (void *)0x4000, call.lse = (void *)0x5000;
  call.batch = 1, call.heads = 4, call.kv_heads = 1, call.kv_batch = 1, call.q_len = 100, call.k_len = 300;
  for (int n = 0; n < 3; ++n) call.q_strides[n] = call.out_strides[n] = call.k_strides[n] = call.v_strides[n] = 64 * (n + 1);
  for (int n = 0; n < 3; ++n) call.lse_strides[n] = n + 1;
  call.integers = integers, call.tables = tables, call.table_strides = strides, call.table_sizes = sizes;
  lacuna_cuda_kernel kernel;
  if ({name}_load(&kernel, arguments[1], 90)) return 1;
  int32_t status = {name}_launch(&kernel, &call, (void *)0xbad);
  printf("failed %d %d\\n", status == LACUNA_CUDA_REFUSED, kernel.error);
  printf("again %d\\n", {name}_launch(&kernel, &call, (void *)0x99));
  return 0;
}}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_launch_without_scratch_memory_is_not_refused_for_an_earlier_one(bundle: Path, tmp_path: Path) -> None:
    """And a dimension of one entry has stride 0, those of queries and of keys each by their own extents."""
    entry = entry_of(bundle)
    for each in entry["binaries"]:
        each["layout"]["scratch_bytes"] = 0
    header = cuda_header([entry])
    assert header is not None
    (tmp_path / "lacuna_cuda.h").write_text(header)
    (tmp_path / "main.c").write_text(ONE_KEY_HEAD.format(name="lacuna_sliding_alibi_bf16_d64_forward"))
    subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", "main.c", "-o", "main", "-ldl"], cwd=tmp_path, check=True)
    subprocess.run(["cc", "-shared", "-fPIC", str(HERE / "stub_cuda.c"), "-o", "libcuda.so.1"], cwd=tmp_path, check=True)
    slots = Layout.of_json(entry["binaries"][0]["layout"]).slots
    sizes = "".join(str(struct.calcsize(slot.code)) for slot in slots)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "LACUNA_STUB_ARGUMENTS": sizes}
    said = subprocess.run([tmp_path / "main", bundle], env=environment, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line for line in said if line.startswith(("failed", "again"))] == ["failed 1 1", "again 0"]
    found = dict(zip((slot.name for slot in slots), (int(line.split()[1]) for line in said if line.startswith("argument")), strict=True))
    assert [found[f"{tensor}_batch"] for tensor in ("q", "k", "v", "out")] == [0, 0, 0, 0]
    assert [found[f"{tensor}_head"] for tensor in ("q", "k", "v", "out")] == [16, 0, 0, 16]
    assert [found[f"{tensor}_token"] for tensor in ("q", "k", "v", "out")] == [24, 24, 24, 24]
