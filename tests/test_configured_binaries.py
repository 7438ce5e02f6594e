"""Kernels in the configurations that are offered, compiled for GPUs that are not here: no forward kernel spills, and all use their GPU."""

# The table of the benchmarks is not a package that types are looked for in.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from case_samples import crossed
from lacuna.ir.configuration import Configuration
from lacuna.ir.target import Target
from lacuna.passes.costs.gpu_configurations import offered
from lacuna.passes.costs.gpu_limits import limits_of
from lacuna.passes.costs.key_buckets import MANY
from lacuna.runtime.choices.configurations import ranking, with_configuration
from lacuna.runtime.kernels.variant import Variant
from lacuna.runtime.triton.compile_binary import Compiled, Resources

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import kernel_resources

DIMS = (32, 64, 80, 96, 128, 192, 256)
PROGRAMS = ("window", "causal", "grid", "alibi", "capped", "documents", "all")
WAYS = {  # how a target multiplies matrices of 16-bit numbers and, of NVIDIA, copies them past the registers
    "sm_80": ("mma.sync", "cp.async"),
    "sm_90": ("wgmma.mma_async", "cp.async"),
    "gfx942": ("v_mfma",),
    "gfx950": ("v_mfma",),
}


@pytest.fixture(autouse=True, scope="module")
def triton_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


def variant(target: str, dim: int, *, dtype: str = "bf16", family: str = "forward", program: str = "window") -> Variant:
    known = kernel_resources.programs()[program]
    return Variant(known, Target("triton", target), dtype, (dim, dim), (0, 0), False, family)


def compiled(of: Variant, configuration: Configuration, *, ragged: bool = False) -> Compiled:
    made = kernel_resources.compiled(with_configuration(of, configuration), ragged=ragged)
    limits = limits_of(of.target.name)
    assert made.resources.shared_bytes <= limits.program_shared_bytes
    assert made.resources.registers <= limits.thread_registers
    return made


def named(target: str, configuration: tuple[int, ...], dim: int) -> Configuration:
    return next(each for each in offered(kernel_resources.problem_of(variant(target, dim))) if each[:4] == configuration)


@pytest.mark.parametrize(("target", "large"), crossed(["sm_80", "sm_90"], [(64, (128, 128, 8, 2)), (128, (128, 64, 8, 3))]))
def test_large_tiles_do_not_spill_and_use_matrix_units_and_copies(target: str, large: tuple[int, tuple[int, ...]]) -> None:
    dim, configuration = large
    made = compiled(variant(target, dim), named(target, configuration, dim))
    assert made.resources.spills == 0
    for instruction in WAYS[target]:
        assert instruction in made.assembly


def test_a_kernel_that_the_assembler_holds_down_gets_the_registers_there_are() -> None:
    """Left alone it spills 8 bytes at 128 registers, so that four programs run at once."""
    made = compiled(variant("sm_80", 32), named("sm_80", (128, 32, 4, 3), 32)).resources
    assert made.spills == 0 < 128 < made.registers


@pytest.mark.parametrize(("target", "read"), crossed(["sm_80", "sm_90"], [("all", "bf16"), ("window", "f32")]))
def test_what_a_call_gets_does_not_spill(target: str, read: tuple[str, str]) -> None:
    program, dtype = read
    of = variant(target, 128, dtype=dtype, program=program)
    assert compiled(of, ranking(of, MANY)[0], ragged=program == "all").resources.spills == 0


def beside(of: Variant, configuration: Configuration) -> dict[bool, Resources]:
    """What a kernel takes whose rows see their own keys, and one whose rows see zero keys and extra keys as well."""
    zero = of.family != "backward_queries"
    return {more: compiled(of._replace(zero_keys=more and zero, extra_keys=more), configuration).resources for more in (False, True)}


# At most so many bytes are spilled, where sums are taken once more: that happens beside NaN alone, and more registers hold fewer programs.
BESIDE = [("sm_80", 96, "forward", 96), ("sm_90", 128, "backward_queries", 0), ("sm_90", 64, "decode", 40)]


@pytest.mark.parametrize(("target", "dim", "family", "spilled"), BESIDE)
def test_keys_beside_the_pattern_make_no_kernel_spill_and_take_no_shared_memory(target: str, dim: int, family: str, spilled: int) -> None:
    of = variant(target, dim, family=family)
    found = beside(of, ranking(of, MANY)[0])
    assert max(found[False].spills, found[True].spills) <= spilled
    assert found[False].shared_bytes == found[True].shared_bytes


@pytest.mark.parametrize(("target", "family"), crossed(["gfx942", "gfx950"], ["forward", "backward_queries", "backward"]))
def test_kernels_of_amd_do_not_spill_and_use_matrix_units(target: str, family: str) -> None:
    of = variant(target, 128, family=family)
    made = compiled(of, ranking(of, MANY)[0])
    assert made.resources.spills == 0
    for instruction in WAYS[target]:
        assert instruction in made.assembly


@pytest.mark.parametrize(("target", "family"), crossed(["sm_80", "sm_90"], ["decode", "backward_queries", "backward"]))
def test_other_kernels_fit_and_use_matrix_units(target: str, family: str, record_property: Callable[[str, object], None]) -> None:
    of = variant(target, 128, family=family)
    made = compiled(of, ranking(of, MANY)[0])
    record_property("resources", str(made.resources))  # `benchmarks/kernel_resources.py` prints it
    assert family != "decode" or made.resources.spills == 0
    assert "mma" in made.assembly
    assert "cp.async" in made.assembly
    assert "atom" not in made.assembly


# -- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
@pytest.mark.parametrize("dim", DIMS)
def test_no_forward_kernel_that_is_offered_spills(target: str, dtype: str, dim: int, prove: bool) -> None:
    if not prove:
        pytest.skip("a thousand compilations: LACUNA_TEST_PROFILE=prove")
    of = variant(target, dim, dtype=dtype)
    found = offered(kernel_resources.problem_of(of))
    assert len(found) >= 6
    assert {each: made.spills for each in found if (made := compiled(of, each).resources).spills} == {}


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize("ragged", [False, True])
def test_no_forward_kernel_of_any_program_spills(target: str, program: str, dim: int, ragged: bool, prove: bool) -> None:
    if not prove:
        pytest.skip("hundreds of compilations: LACUNA_TEST_PROFILE=prove")
    of = variant(target, dim, program=program)
    found = offered(kernel_resources.problem_of(of, ragged=ragged))
    assert {each: made.spills for each in found if (made := compiled(of, each, ragged=ragged).resources).spills} == {}


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("family", ["forward", "decode"])
def test_keys_beside_the_pattern_make_no_kernel_of_any_program_spill(target: str, program: str, dim: int, family: str, prove: bool) -> None:
    if not prove:
        pytest.skip("hundreds of compilations: LACUNA_TEST_PROFILE=prove")
    of = variant(target, dim, program=program, family=family)
    found = {each: beside(of, each) for each in ranking(of, MANY)[:2]}
    assert {each: made[True].spills for each, made in found.items() if made[True].spills and not made[False].spills} == {}


@pytest.mark.parametrize("target", ["gfx942", "gfx950"])
@pytest.mark.parametrize("dim", DIMS)
def test_no_forward_kernel_of_amd_that_is_offered_spills(target: str, dim: int, prove: bool) -> None:
    if not prove:
        pytest.skip("a hundred compilations: LACUNA_TEST_PROFILE=prove")
    of = variant(target, dim)
    found = offered(kernel_resources.problem_of(of))
    assert {each: made.spills for each in found if (made := compiled(of, each).resources).spills} == {}
