"""Few query rows against many keys: the decode kernels of the C++ backend, against float64 attention."""

# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lacuna
import pytest
import random_problems as problems
import reference
import torch
from jinja2 import meta
from lacuna.codegen.cpp_decode import Decode, render
from lacuna.codegen.cpp_targets import FLAGS
from lacuna.codegen.environment import ENVIRONMENT, TEMPLATES
from lacuna.ir.plan import Plan
from lacuna.runtime.compilers.cpu import cpu_features, target_name
from test_backends import check
from test_cpp_kernels import compiled, plan
from torch import Tensor

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
ROWS = (1, 1, 1, 2, 3, 5, 8, 15, 16)
attention: Callable[..., Any] = lacuna.attention


def checked(query: Tensor, key: Tensor, value: Tensor, pattern: object, mask: Tensor, **options: object) -> Tensor:
    """The output of attention, after a look at it and its log-sum-exp."""
    out, lse = attention(query, key, value, pattern, backend="cpp", return_lse=True, **options)
    exact_out, exact_lse = reference.attention(query, key, value, mask)
    allowed = reference.tolerance(query, key, value, mask)
    reference.assert_close(out, exact_out, allowed.out)
    reference.assert_close(lse, exact_lse, allowed.lse)
    return out


@contextmanager
def threads(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def no_compilation() -> Generator[None]:
    from lacuna.runtime.compilers.cpp_compiler import tally

    before = tally.compilations
    yield
    assert tally.compilations == before


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2000, 2300 if PROVE else 2003))
def test_few_rows_are_within_the_tolerance(seed: int) -> None:
    check(problems.problem(seed, rows=ROWS), "cpp")


def test_one_kernel_serves_every_window_group_length_and_offset() -> None:
    key, value = torch.randn(2, 2, 300, 40), torch.randn(2, 2, 300, 33)
    attention(torch.randn(2, 2, 1, 40), key, value, problems.sliding(window=3), backend="cpp")
    k = torch.arange(300).view(1, 1, 1, -1)
    with no_compilation():
        for window in (0, -1, 1, 5, 70, 2**31 - 1, 2**40):
            for rows, group in ((1, 1), (1, 8), (2, 3), (7, 2), (16, 12)):
                query = torch.randn(2, 2 * group, rows, 40)
                lengths = torch.tensor([300, 65 + rows])
                for offset in (0, 3, "end", torch.tensor([250, -4])):
                    start = lengths - rows if isinstance(offset, str) else torch.as_tensor(offset).expand(2)
                    q = torch.arange(rows).view(1, 1, -1, 1) + start.view(-1, 1, 1, 1)
                    mask = (k <= q) & (q - k < window) & (k < lengths.view(-1, 1, 1, 1))
                    checked(query, key, value, problems.sliding(window=window), mask, q_offset=offset, kv_len=lengths)


def test_heads_that_share_keys_may_see_different_tiles() -> None:
    windows = torch.tensor([0, 1, 64, 2000, 130, 5, 0, 700])
    query, key, value = torch.randn(2, 8, 3, 32), torch.randn(2, 2, 1900, 32), torch.randn(2, 2, 1900, 32)
    q, k = torch.arange(1897, 1900).view(-1, 1), torch.arange(1900)
    mask = ((q - k).abs() < windows.view(-1, 1, 1)).expand(2, 8, 3, 1900)
    out = checked(query, key, value, problems.per_head(windows=windows), mask, q_offset="end")
    assert out[:, [0, 6]].eq(0).all()


def test_packed_sequences_of_few_rows_see_only_themselves() -> None:
    rows, keys = [1, 0, 3, 16, 2], [200, 7, 0, 1100, 64]
    starts, key_starts = (torch.tensor([0, *each]).cumsum(0).int() for each in (rows, keys))
    query, key = torch.randn(sum(rows), 6, 64), torch.randn(sum(keys), 2, 64)
    boundaries: dict[str, Any] = {"cu_seqlens_q": starts, "cu_seqlens_k": key_starts}
    out, lse = lacuna.varlen_attention(query, key, key, problems.causal, q_offset="end", return_lse=True, backend="cpp", **boundaries)
    for n in range(len(rows)):
        part = query[starts[n] : starts[n + 1]].transpose(0, 1).unsqueeze(0)
        cache = key[key_starts[n] : key_starts[n + 1]].transpose(0, 1).unsqueeze(0)
        mask = torch.arange(keys[n]) <= torch.arange(rows[n]).view(-1, 1) + keys[n] - rows[n]
        exact_out, exact_lse = reference.attention(part, cache, cache, mask)
        reference.assert_close(out[starts[n] : starts[n + 1]].transpose(0, 1).unsqueeze(0), exact_out, 1e-5)
        reference.assert_close(lse[:, starts[n] : starts[n + 1]].unsqueeze(0), exact_lse, 1e-5)


def test_rows_past_a_length_and_rows_that_see_nothing_are_zero() -> None:
    query, key = torch.randn(3, 4, 4, 8), torch.randn(3, 2, 90, 8)
    options: dict[str, Any] = {"q_len": torch.tensor([4, 0, 2]), "kv_len": torch.tensor([90, 90, 0])}
    out, lse = attention(query, key, key, problems.later(gap=87), backend="cpp", return_lse=True, **options)
    empty = torch.ones(3, 4, 4, dtype=torch.bool)
    empty[0, :, :2] = False
    assert torch.equal(lse == -torch.inf, empty)
    assert torch.equal((out == 0).all(-1), empty)


def test_what_is_hidden_or_past_the_length_is_never_read() -> None:
    """A window over a long cache: NaN anywhere else would show, 0 * NaN being NaN."""
    query, key = torch.randn(1, 4, 1, 40), torch.randn(1, 2, 3000, 40)
    seen = torch.arange(2350, 2450)
    poisoned = torch.full_like(key, torch.nan)
    poisoned[:, :, seen] = key[:, :, seen]
    values = poisoned[..., :33]
    out = attention(query, poisoned, values, problems.sliding(window=100), q_offset="end", kv_len=2450, backend="cpp")
    exact, _ = reference.attention(query, key[:, :, seen], key[:, :, seen, :33], None)
    reference.assert_close(out, exact, 1e-5)


def test_nan_propagates_across_splits_of_the_keys() -> None:
    query, key = torch.randn(1, 2, 2, 64), torch.randn(1, 1, 5000, 64)
    key[0, 0, 4999] = torch.nan
    out, lse = attention(query, key, torch.ones_like(key), problems.causal, q_offset="end", backend="cpp", return_lse=True)
    assert torch.equal(lse.isnan(), torch.tensor([[[False, True]] * 2]))
    assert torch.equal(out.isnan().all(-1), lse.isnan())


# -- steps ------------------------------------------------------------------------------------------------------------


def test_a_thousand_steps_with_a_growing_cache_compile_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna.runtime.compilers.cpp_compiler import tally
    from lacuna.runtime.kernels.kernel_of import forget_kernels

    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path / "cache"))
    forget_kernels()
    key, value = torch.randn(1, 1, 1000, 24), torch.randn(1, 1, 1000, 24)
    before = tally.compilations
    for length in range(1, 1001):
        query = torch.randn(1, 3, 1, 24)
        out = attention(query, key[:, :, :length], value[:, :, :length], problems.sliding(window=200), q_offset="end", backend="cpp")
        if length % 97 == 1:
            live = slice(max(0, length - 200), length)
            exact, _ = reference.attention(query, key[:, :, live], value[:, :, live], None)
            reference.assert_close(out, exact, 1e-5)
    assert tally.compilations == before + 1


def test_bits_do_not_depend_on_threads_runs_or_other_sequences() -> None:
    query, key, value = torch.randn(3, 6, 2, 64), torch.randn(3, 2, 5000, 64), torch.randn(3, 2, 5000, 64)
    lengths = torch.tensor([5000, 4321, 1])
    pattern: Any = problems.causal

    def run(items: slice = slice(None)) -> tuple[Tensor, Tensor]:
        some = lengths[items]
        return attention(query[items], key[items], value[items], pattern, q_offset="end", kv_len=some, return_lse=True, backend="cpp")

    with threads(1):
        one = run()
    with threads(2):
        for _ in range(10):
            assert all(map(torch.equal, run(), one))
    for n in range(3):
        assert all(torch.equal(alone[0], both[n]) for alone, both in zip(run(slice(n, n + 1)), one, strict=True))


# -- text -------------------------------------------------------------------------------------------------------------


def decode_plan(target: str, dtype: str, dims: tuple[int, int] = (64, 40)) -> Plan:
    return dataclasses.replace(plan(target, dtype, dims, 16), family="decode")


def test_the_template_reads_exactly_its_context() -> None:
    read = meta.find_undeclared_variables(ENVIRONMENT.parse((TEMPLATES / "cpp" / "decode.cpp.jinja").read_text()))
    assert read == {field.name for field in dataclasses.fields(Decode)}


@pytest.mark.parametrize(("target", "dtype", "dims"), [("avx512", "bf16", (64, 40)), ("avx2", "f16", (17, 1)), ("generic", "f64", (3, 24))])
def test_kernels_compile_without_a_warning(target: str, dtype: str, dims: tuple[int, int], tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no g++ here")
    if target_name(cpu_features()) == "neon":
        pytest.skip("flags of x86-64 on another processor")
    compiled(render(decode_plan(target, dtype, dims)), FLAGS[target], tmp_path)


def test_neon_kernels_compile_with_a_cross_compiler(tmp_path: Path) -> None:
    compiler = shutil.which("aarch64-linux-gnu-g++")
    if compiler is None:
        pytest.skip("there is no aarch64 cross compiler here: not run")
    compiled(render(decode_plan("neon", "bf16")), FLAGS["neon"], tmp_path, compiler)


def test_a_tile_of_keys_that_is_no_multiple_of_the_vector_is_refused() -> None:
    narrow = decode_plan("avx512", "f32")
    with pytest.raises(ValueError, match="block_k is 24, which is no multiple of 16 lanes"):
        render(dataclasses.replace(narrow, schedule=dataclasses.replace(narrow.schedule, block_k=24)))
