"""Kernels of a bundle, called from C: the example of examples/c, and what the C function refuses."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import lacuna
import numpy as np
import pytest
import torch
from lacuna.codegen.cpp_face import Face
from lacuna.codegen.environment import ENVIRONMENT, TEMPLATES
from lacuna.runtime.bundles.build import build
from lacuna.runtime.bundles.spec import KernelSpec
from lacuna.runtime.views.oracle import attention as oracle
from quick_compiler import quick_compiler

EXAMPLE = Path(__file__).parent.parent / "examples" / "c"
OTHER_ABI, BAD_CALL, NO_TERMS, TOO_LARGE = 2, 4, 5, 6
HEADS, TOKENS, DIM, WINDOW, DOCUMENT = 2, 150, 64, 40, 60


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/c, built and linked by its Makefile."""
    if shutil.which("make") is None or shutil.which("cc") is None:
        pytest.skip("there is no make or no C compiler")
    folder = tmp_path_factory.mktemp("c") / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("bundle", "attend"))
    build(folder / "kernels.py", folder / "bundle", processes=1)
    subprocess.run(["make", "link", "CFLAGS=-O1 -std=c11 -Wall -Wextra -Werror -pedantic"], cwd=folder, check=True, capture_output=True)
    return folder


def test_the_example_agrees_with_a_plain_loop_and_with_the_oracle(example: Path) -> None:
    assert len((example / "main.c").read_text().splitlines()) < 100
    moved = example.parent / "moved"
    shutil.copytree(example, moved)
    done = subprocess.run([moved / "attend", "out.bin"], cwd=moved, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("largest difference from a plain loop: ")
    index = np.arange(HEADS * TOKENS * DIM)
    query, key, value = (
        torch.as_tensor(np.sin(0.37 * index * (t + 1) + t).astype(np.float32)).view(1, HEADS, TOKENS, DIM) for t in range(3)
    )
    pattern = lacuna.patterns.sliding_window(window=WINDOW) & same(document=torch.arange(TOKENS) // DOCUMENT)
    wanted, _ = oracle(pattern.program, query, key, value, pattern.bindings)
    found = torch.as_tensor(np.fromfile(moved / "out.bin", np.float32)).view(HEADS, TOKENS, DIM)
    assert (found - wanted[0]).abs().max() < 1e-5


@lacuna.pattern
def same(q: Any, k: Any, *, document: Any) -> Any:
    return document[q] == document[k]


class Call(ctypes.Structure):
    """`lacuna_call` of templates/cpp/call.h, written down once more."""

    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("size", "version")),
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "out", "lse")),
        *((name, ctypes.c_int64) for name in ("batch", "heads", "kv_heads", "kv_batch", "q_len", "k_len")),
        *((name, ctypes.c_int64 * 3) for name in ("q_strides", "k_strides", "v_strides", "out_strides", "lse_strides")),
        *((name, ctypes.c_void_p) for name in ("q_start", "q_lens", "k_start", "k_lens", "offsets")),
        ("offset", ctypes.c_int64),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("integers", "reals", "tables", "table_strides", "table_sizes")),
        ("threads", ctypes.c_int64),
        ("terms", ctypes.c_void_p),
    ]


def test_a_call_that_does_not_fit_is_refused_before_anything_is_read(example: Path) -> None:
    (shared,) = (example / "bundle" / "kernels").rglob("*.so")
    function = getattr(ctypes.CDLL(str(shared)), "lacuna_documents_window_f32_d64_forward")  # noqa: B009
    call = Call(size=ctypes.sizeof(Call), version=1, batch=1, heads=1, kv_heads=1, kv_batch=1)
    assert function(None) == OTHER_ABI
    assert function(ctypes.byref(Call(size=8, version=1))) == OTHER_ABI
    assert function(ctypes.byref(Call(size=ctypes.sizeof(Call), version=2))) == OTHER_ABI
    assert function(ctypes.byref(call)) == BAD_CALL  # no tables
    numbers = (ctypes.c_int64 * 4)(1, 1, 1, 1)
    call.tables = call.table_strides = call.table_sizes = call.integers = ctypes.addressof(numbers)
    assert function(ctypes.byref(call)) == 0  # no rows: nothing to do
    call.q_len = call.k_len = 1
    assert function(ctypes.byref(call)) == BAD_CALL  # rows, and no tensors
    call.q = call.k = call.v = call.out = ctypes.addressof(numbers)
    assert function(ctypes.byref(call)) == NO_TERMS
    call.heads, call.kv_heads = 3, 2
    assert function(ctypes.byref(call)) == BAD_CALL
    call.heads, call.kv_heads, call.offset = 1, 1, 1
    assert function(ctypes.byref(call)) == BAD_CALL  # the kernel is for offset 0
    call.offset, call.offsets = 0, ctypes.addressof(numbers)
    assert function(ctypes.byref(call)) == BAD_CALL


@lacuna.pattern
def quartered(q: Any, k: Any, *, width: Any) -> Any:
    return (k <= q) & (4 * (q - k) < 4 * width)


def test_numbers_with_which_integers_could_leave_64_bits_are_refused(tmp_path: Path) -> None:
    spec = KernelSpec(quartered(width=3), dtypes=("f32",), head_dims=((8, 8),), passes=("forward",), rows=("few",), offsets=True)
    with quick_compiler(tmp_path):
        made = build(spec, tmp_path / "bundle", processes=1)
    (shared,) = (made.folder / "kernels").rglob("*.so")
    (name,) = re.findall(r"int32_t (lacuna_\w+)\(", (made.folder / "include" / "lacuna.h").read_text())
    function = getattr(ctypes.CDLL(str(shared)), name)
    query, key, value, out = (laid_out(1, 12, 8, 8) for _ in range(4))
    call = Call(size=ctypes.sizeof(Call), version=1, batch=1, heads=1, kv_heads=1, kv_batch=1, q_len=12, k_len=12, scale=0.5)
    call.q, call.k, call.v, call.out = (each.ctypes.data for each in (query, key, value, out))
    for each in (call.q_strides, call.k_strides, call.v_strides, call.out_strides):
        each[:] = (0, 0, 8)
    width = ctypes.c_int64(2**59)
    call.integers = ctypes.addressof(width)
    assert function(ctypes.byref(call)) == 0
    wanted = attention_of(query, key, value, np.tril(np.ones((12, 12), bool)))
    assert np.abs(out[0, 0] - wanted).max() < 1e-5
    for width.value in (2**62, -(2**62), 2**63 - 1):  # four times as much is 0 in 64 bits, or small
        assert function(ctypes.byref(call)) == TOO_LARGE
    width.value, call.offset = 3, 2**62
    assert function(ctypes.byref(call)) == TOO_LARGE
    offsets = ctypes.c_int64(2**62)
    call.offset, call.offsets = 0, ctypes.addressof(offsets)
    assert function(ctypes.byref(call)) == TOO_LARGE
    call.offsets, call.k_len = None, 2**41
    assert function(ctypes.byref(call)) == TOO_LARGE


def attention_of(query: np.ndarray, key: np.ndarray, value: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of one head, scaled by a half."""
    scores = np.where(seen, query[0, 0] @ key[0, 0].T / 2, -np.inf)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True) @ value[0, 0]


@lacuna.score
def scaled(s: Any, *, by: Any) -> Any:
    return s * by


def laid_out(heads: int, tokens: int, width: int, row: int) -> np.ndarray:
    """float32[1, heads, tokens, width] in rows that are `row` apart, with a gap after each head."""
    return np.random.default_rng(row).standard_normal((1, heads, tokens + 1, row)).astype(np.float32)[:, :, :tokens, :width]


def test_a_decoding_kernel_takes_every_offset_and_layout_and_no_more_rows_than_it_is_for(tmp_path: Path) -> None:
    spec = KernelSpec(lacuna.patterns.causal(), scaled(by=1.0), dtypes=("f32",), head_dims=((8, 4),), passes=("forward",), rows=("few",))
    with quick_compiler(tmp_path):
        made = build(spec, tmp_path / "bundle", processes=1)
    (shared,) = (made.folder / "kernels").rglob("*.so")
    (name,) = re.findall(r"int32_t (lacuna_\w+)\(", (made.folder / "include" / "lacuna.h").read_text())
    function = getattr(ctypes.CDLL(str(shared)), name)
    query, key, value, out = laid_out(4, 16, 8, 9), laid_out(2, 20, 8, 10), laid_out(2, 20, 4, 11), laid_out(4, 16, 4, 12)
    call = Call(size=ctypes.sizeof(Call), version=1, batch=1, heads=4, kv_heads=2, kv_batch=1, q_len=16, k_len=20, offset=4, scale=0.5)
    call.q, call.k, call.v, call.out = (each.ctypes.data for each in (query, key, value, out))
    for field, tensor in (("q", query), ("k", key), ("v", value), ("out", out)):
        getattr(call, f"{field}_strides")[:] = [stride // 4 for stride in tensor.strides[:3]]
    assert function(ctypes.byref(call)) == BAD_CALL  # no reals
    by = ctypes.c_double(3.0)
    call.reals = ctypes.addressof(by)
    call.q_len = 17
    assert function(ctypes.byref(call)) == BAD_CALL
    call.q_len = 16
    assert function(ctypes.byref(call)) == 0
    scores = 3.0 * 0.5 * query[0] @ np.repeat(key[0], 2, 0).swapaxes(1, 2)
    weights = np.exp(np.where(np.arange(20)[None] <= np.arange(16)[:, None] + 4, scores, -np.inf))
    wanted = weights / weights.sum(-1, keepdims=True) @ np.repeat(value[0], 2, 0)
    assert np.allclose(out[0], wanted, atol=1e-5)


def test_the_header_compiles_as_c_and_as_cpp(example: Path, tmp_path: Path) -> None:
    for name, compiler, standard in (("a.c", "cc", "c11"), ("a.cpp", "c++", "c++17")):
        (tmp_path / name).write_text('#include "lacuna.h"\n#include "lacuna.h"\nint main(void) { return LACUNA_OK; }\n')
        flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", f"-std={standard}", f"-I{example / 'bundle' / 'include'}", "-fsyntax-only"]
        subprocess.run([compiler, *flags, name], cwd=tmp_path, check=True)


def test_backward_kernels_and_listed_tiles_are_said_to_be_for_python(tmp_path: Path) -> None:
    from lacuna.codegen.c_header import headers

    entry = {"name": "n", "target": "cpu:avx2", "dtype": "f32", "dims": [8, 8], "rows": "long", "shifted": False, "c": None}
    text = headers([{**entry, "family": "backward"}, {**entry, "name": "m", "family": "forward"}])["include/lacuna.h"]
    assert "/* n: f32, D 8, Dv 8, any q_len, offset 0; for cpu:avx2.\n   A backward kernel: Python calls it. */" in text
    assert "Its tiles are listed anew for each call, which Python does. */" in text


def test_template_and_context_of_the_c_function_agree() -> None:
    from dataclasses import fields

    from jinja2 import meta

    read = meta.find_undeclared_variables(ENVIRONMENT.parse((TEMPLATES / "cpp" / "face.cpp.jinja").read_text()))
    assert read == {field.name for field in fields(Face)}


@lacuna.pattern
def near(q: Any, k: Any, *, reach: Any) -> Any:
    return reach[q - k + 200] > 0


def test_terms_along_the_diagonal_are_filled_as_python_fills_them(tmp_path: Path) -> None:
    """The shared object's bounds of a look-up at `q - k`, against those that `lacuna.attention` gives its kernel."""
    from lacuna.ir.parse import parse_schedule
    from lacuna.passes.program.call_values import Launch
    from lacuna.runtime.bundles.manifest import read_manifest
    from lacuna.runtime.launches.term_arrays import term_arrays

    table = (torch.arange(401) % 37 == 0).to(torch.int32)
    spec = KernelSpec(near(reach=table), dtypes=("f32",), head_dims=(8,), passes=("forward",), rows=("long",))
    with quick_compiler(tmp_path):
        made = build(spec, tmp_path / "bundle", processes=1)
    (entry,) = read_manifest(made.folder).kernels
    assert entry["c"] == {"function": "lacuna_near_f32_d8_forward", "terms": True}
    shared = ctypes.CDLL(str(made.folder / entry["binary"]))
    strides, sizes = (ctypes.c_int64 * 1)(1), (ctypes.c_int64 * 1)(401)
    tables = (ctypes.c_void_p * 1)(table.data_ptr())
    addresses = {name: ctypes.addressof(each) for name, each in (("tables", tables), ("table_strides", strides), ("table_sizes", sizes))}
    call = Call(size=ctypes.sizeof(Call), version=1, batch=1, heads=1, kv_heads=1, kv_batch=1, q_len=150, k_len=190, **addresses)
    call.q = call.k = call.v = call.out = ctypes.addressof(strides)
    size = shared.lacuna_near_f32_d8_forward_terms_size
    size.restype = ctypes.c_int64
    room = np.zeros(size(ctypes.byref(call)), np.int64)
    assert shared.lacuna_near_f32_d8_forward_terms(ctypes.byref(call), ctypes.c_void_p(room.ctypes.data)) == 0
    arrays = term_arrays(parse_schedule(entry["schedule"]), Launch(150, 190, tables={"reach": table.numpy()}))
    assert np.array_equal(room, np.concatenate([array.ravel() for array in arrays.values()]))
