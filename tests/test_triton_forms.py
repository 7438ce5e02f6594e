"""Forms of a Triton forward kernel: the same numbers from each, and what their binaries are made of."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import lacuna
import pytest
import random_problems as problems
import torch
from lacuna.ir.plan import Plan
from lacuna.ir.program import Program
from lacuna.ir.target import Target
from lacuna.passes.costs.kernel_form import formed
from lacuna.runtime.kernels.kernel_of import Kernel as Built
from lacuna.runtime.triton import backend as triton_backend
from lacuna.runtime.triton import launch as triton_launch
from lacuna.runtime.triton.call import programs_of
from lacuna.runtime.triton.compile_binary import Compiled, cross_compile, machine_code
from lacuna.runtime.triton.kernel import Kernel
from own_products import own_products
from test_backends import check
from triton_kernels import CAUSAL, WINDOW, Options, Shape, attend, loaded, plan
from triton_kernels import call_of as call_on

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
FORMS: dict[str, dict[str, Any]] = {
    "descriptors": {"descriptors": True, "specialised": True},
    "persistent": {"persistent": 1},
    "both": {"descriptors": True, "persistent": 2},
}
MORE_ROWS = (17, 33, 63, 64, 65, 90)  # than a decode kernel takes
DOCUMENTS = "program @documents(q < Lq, k < Lk; doc: i32[*]) {\n  mask = k <= q and doc[q] == doc[k]\n  score = s\n  normalise = softmax\n}"


@pytest.fixture(autouse=True)
def triton_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [1, 2, 4])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_within_the_tolerance(form: str, together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the group: with three query heads of a key head, a tile of two or of four heads is part empty."""

    def in_form(built: Built) -> Kernel:
        return loaded(replace(built.plan, **FORMS[form]), tmp_path)

    def packed(program: Program, group: int) -> int:
        return together

    monkeypatch.setattr(triton_backend, "loaded", in_form)
    monkeypatch.setattr(triton_launch, "heads_together", packed)
    first = 3000 + 1000 * together + 200 * list(FORMS).index(form)
    for seed in range(first, first + (100 if PROVE else 1)):
        dtypes = (torch.float32, torch.bfloat16, torch.float16)
        check(problems.problem(seed, dtypes, longest=90, rows=MORE_ROWS), "triton")


@pytest.mark.parametrize("form", FORMS if PROVE else ["both"])
@pytest.mark.parametrize("dims", [(16, 32), (24, 80)] if PROVE else [(24, 80)])
def test_forms_give_the_same_bits(tmp_path: Path, form: str, dims: tuple[int, int]) -> None:
    """Of ragged lengths, shared keys and rectangles, where descriptors are used and dimensions come in two parts."""
    tensors = Shape(40, 50, *dims, batch=2, heads=2, kv_heads=1, kv_batch=1).tensors()
    options = Options({"W": 30})
    usual = plan(WINDOW, dims=dims)
    with own_products():  # descriptors bring tiles that a library would multiply in another order
        want, got = (attend(loaded(each, tmp_path), tensors, options) for each in (usual, replace(usual, **FORMS[form])))
    assert torch.equal(want[0], got[0])
    assert torch.equal(want[1], got[1])


def test_a_group_that_a_power_of_two_divides_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Built] = []
    usual = triton_launch.loaded

    def noted(built: Built) -> Kernel:
        seen.append(built)
        return usual(built)

    monkeypatch.setattr(triton_backend, "loaded", noted)
    query, key = torch.randn(1, 12, 20, 16), torch.randn(1, 2, 20, 16)
    attention: Any = lacuna.attention
    attention(query, key, key, problems.causal, backend="triton")
    attention(query[:, :8], key, key, problems.causal, backend="triton")
    attention(query, key, key, problems.per_head(windows=torch.arange(12)), backend="triton")
    assert [(built.variant.together, built.schedule.together) for built in seen] == [(2, 2), (4, 4), (1, 1)]
    assert len({built.schedule.block_q * built.schedule.together for built in seen}) == 1


# -- programs ---------------------------------------------------------------------------------------------------------


def test_packed_heads_take_as_many_programs_fewer(tmp_path: Path) -> None:
    call = call_on(Shape(64, 64, batch=3, heads=8, kv_heads=2).tensors())
    alone, packed, walking = (
        loaded(each, tmp_path) for each in (plan(CAUSAL), plan(CAUSAL, together=4), replace(plan(CAUSAL), persistent=2))
    )
    assert programs_of(alone, call) == 3 * 8 * 2
    assert programs_of(packed, call) == 3 * 2 * 8
    assert programs_of(walking, call) == 2 * 3


# -- binaries ---------------------------------------------------------------------------------------------------------


AGAIN = 16  # bytes that sm_80 spills since sums with NaN are taken once more; in which loop was not looked at


def made(kernel_plan: Plan, target: str, folder: Path, stages: int = 3) -> Compiled:
    kernel_plan = replace(kernel_plan, num_warps=8, num_stages=stages, target=Target("triton", target))
    return cross_compile(loaded(kernel_plan, folder, interpret=False), kernel_plan, target)


def bf16(text: str, dim: int = 64, together: int = 1, target: str = "sm_90") -> Plan:
    return formed(replace(plan(text, (128, 64), (dim, dim), "bf16", together), target=Target("triton", target)))


@pytest.mark.parametrize("dim", [64, 128] if PROVE else [128])
def test_descriptors_copy_keys_without_a_register_more(tmp_path: Path, dim: int) -> None:
    found = bf16(WINDOW, dim)
    assert found.descriptors
    box, pointers = (made(each, "sm_90", tmp_path) for each in (found, replace(found, descriptors=False)))
    assert "UTMALDG" in machine_code(box)
    assert "LDGSTS" not in machine_code(box)
    assert "UTMALDG" not in machine_code(pointers)
    assert "LDGSTS" in machine_code(pointers)
    assert box.resources.spills == pointers.resources.spills == 0
    assert box.resources.registers <= pointers.resources.registers
    assert box.binary.layout.scratch_bytes == 2 * 128  # a descriptor each of keys and values
    assert pointers.binary.layout.scratch_bytes == 0


@pytest.mark.skipif(not PROVE, reason="one more compilation")
def test_strides_that_the_tensor_unit_cannot_take_are_read_through_pointers(tmp_path: Path) -> None:
    from lacuna.runtime.triton.compile_binary import Variant

    found = replace(bf16(WINDOW), num_warps=8)
    uneven = cross_compile(loaded(found, tmp_path, interpret=False), found, "sm_90", Variant(aligned=False))
    assert "UTMALDG" not in machine_code(uneven)
    assert uneven.binary.layout.scratch_bytes == 0


def test_blackwell_specialises_warps(tmp_path: Path) -> None:
    found = bf16(WINDOW, target="sm_100")
    assert found.specialised
    shared = made(found, "sm_100", tmp_path)
    assert shared.resources.spills == 0
    assert shared.binary.layout.threads > 8 * 32
    assert "USETMAXREG" in machine_code(shared)
    assert "UTMALDG" in machine_code(shared)


@pytest.mark.parametrize("target", ["sm_80", "gfx942"])
def test_older_and_other_gpus_have_neither(tmp_path: Path, target: str) -> None:
    found = bf16(WINDOW, target=target)
    assert not found.descriptors
    assert not found.specialised
    assert not bf16(WINDOW, 128, target="sm_100").specialised
    packed = made(bf16(WINDOW, together=4, target=target), target, tmp_path, stages=3 if target == "sm_80" else 2)
    assert packed.resources.spills <= AGAIN
    assert packed.binary.layout.scratch_bytes == 0


@pytest.mark.parametrize("target", ["sm_90", "sm_100"] if PROVE else ["sm_90"])
def test_packed_heads_and_walking_programs_do_not_spill(tmp_path: Path, target: str) -> None:
    found = bf16(WINDOW, together=4, target=target)
    assert made(found, target, tmp_path).resources.spills == 0
    assert made(replace(found, persistent=1), target, tmp_path).resources.spills == 0


@pytest.mark.parametrize(("target", "copies"), [("sm_80", "LDGSTS"), ("sm_90", "UTMALDG")] if PROVE else [("sm_80", "LDGSTS")])
def test_tiles_that_are_met_on_a_condition_are_copied_ahead(tmp_path: Path, target: str, copies: str) -> None:
    """An `if` in the loop would leave no copy that runs ahead of it."""
    found = made(bf16(DOCUMENTS, target=target), target, tmp_path)
    assert copies in machine_code(found)
    assert found.resources.spills <= AGAIN
