"""The C++ kernels of targets that this machine would not choose, compiled and run; the context and the warnings of the backward kernel."""

# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
import test_backends
import test_gradients
import torch
from case_samples import crossed
from jinja2 import meta
from lacuna.codegen.cpp_backward import Backward, render
from lacuna.codegen.cpp_targets import FLAGS
from lacuna.codegen.environment import ENVIRONMENT, TEMPLATES
from lacuna.ir.parse import parse_program
from lacuna.ir.plan import Plan
from lacuna.ir.target import Target
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.lower import backward_plan_of
from lacuna.passes.schedules.transpose import transposed
from lacuna.runtime.calls import prepared_calls
from lacuna.runtime.compilers.cpu import AVX2, AVX512, AVX512_BF16, cpu_features, target_name
from lacuna.runtime.cpp import backend as cpp_backend
from lacuna.runtime.cpp import backward as cpp_backward
from random_problems import problem
from test_cpp_kernels import PROGRAM, compiled

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
NEEDS = {"generic": frozenset[str](), "avx2": AVX2, "avx512": AVX512, "avx512bf16": AVX512_BF16}
HERE = target_name(cpu_features())
each_target = pytest.mark.parametrize("target", NEEDS)


def plan(target: str, dtype: str = "f32") -> Plan:
    schedule = derive(transposed(parse_program(PROGRAM)), 64, 64).schedule
    return backward_plan_of(schedule, Target("cpp", target), dtype, (64, 40), ("near",))


@pytest.fixture
def chosen(target: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Calls of this test run the kernels of `target`."""
    if not NEEDS[target] <= cpu_features() or HERE == "neon":
        pytest.skip(f"this processor does not run the kernels of {target}")
    for room in (cpp_backend, cpp_backward):
        monkeypatch.setattr(room, "target_here", lambda: Target("cpp", target))
    monkeypatch.setattr(prepared_calls, "_prepared", {})
    return target


def test_the_backward_template_reads_exactly_its_context() -> None:
    read = meta.find_undeclared_variables(ENVIRONMENT.parse((TEMPLATES / "cpp" / "backward.cpp.jinja").read_text()))
    assert read == {field.name for field in dataclasses.fields(Backward)}


@pytest.mark.parametrize(("target", "dtype"), crossed(list(NEEDS), ["f32", "bf16", "f16", "f64"]))
def test_backward_kernels_compile_without_a_warning(target: str, dtype: str, tmp_path: Path) -> None:
    if shutil.which("g++") is None or HERE == "neon":
        pytest.skip("needs g++ on x86-64")
    compiled(render(plan(target, dtype)), FLAGS[target], tmp_path)


def test_backward_kernels_for_neon_compile_with_a_cross_compiler(tmp_path: Path) -> None:
    compiler = shutil.which("aarch64-linux-gnu-g++")
    if compiler is None:
        pytest.skip("there is no aarch64 cross compiler here: not run")
    compiled(render(plan("neon")), FLAGS["neon"], tmp_path, compiler)


@each_target
@pytest.mark.parametrize("seed", range(1000, 1030 if PROVE else 1001))
def test_other_targets_are_within_the_tolerance(chosen: str, seed: int) -> None:
    if chosen != HERE:  # which every other test runs
        dtypes = (torch.bfloat16, torch.float32, torch.float16)
        test_backends.check(problem(seed, dtypes, rows=(17, 64, 100, 129)), "cpp")
        test_gradients.check(problem(seed, dtypes, longest=100), "cpp", seed)
