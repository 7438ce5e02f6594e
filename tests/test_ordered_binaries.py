"""Kernels that cut a grid into boxes, compiled for GPUs that are not here: no forward kernel spills, boxes are copied where they can be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bound_numbers import numbers_of, values_of
from lacuna import patterns
from lacuna.ir.configuration import Cut
from lacuna.ir.order import Boxes, Parts
from lacuna.ir.pattern import Pattern
from lacuna.ir.target import Target
from lacuna.passes.costs.gpu_limits import limits_of
from lacuna.passes.program.call_values import Launch
from lacuna.runtime.choices.cuts import considered, with_cut
from lacuna.runtime.kernels.plan_of import planned
from lacuna.runtime.kernels.variant import Variant
from lacuna.runtime.triton.compile_binary import Compiled, cross_compile
from lacuna.runtime.triton.kernel import Signature, load
from lacuna.runtime.triton.toolchain import render

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
GRIDS: dict[str, Any] = {
    "video": patterns.gna((30, 48, 80), (18, 24, 24)),
    "image": patterns.gna((256, 256), 80),
    "strided": patterns.gna((30, 48, 80), (18, 24, 24), (16, 8, 8)),
    "dilated": patterns.gna((64, 66), 13, 1, (4, 2)),
    "video beside text": patterns.segmented(
        {"text": 226, "video": (30, 48, 80)}, {("video", "video"): patterns.gna((30, 48, 80), (18, 24, 24))}
    ),
    "causal": patterns.gna((16, 32, 32), (8, 9, 9), 1, 1, (True, False, False)),
}


@pytest.fixture(autouse=True, scope="module")
def triton_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


def variant(grid: str, target: str, dim: int, family: str = "forward", together: int = 1) -> Variant:
    return Variant(GRIDS[grid].program, Target("triton", target), "bf16", (dim, dim), (0, 0), False, family, together=together)


AGAIN = 8  # bytes spilled since sums with NaN are taken once more; in which loop they are was not looked at


def pattern_of(of: Variant) -> Pattern:
    (pattern,) = [each for each in GRIDS.values() if each.program == of.program]
    return pattern


def in_boxes(of: Variant) -> list[Cut]:
    found = [each.cut for each in considered(of, values_of(pattern_of(of))) if each.cut.order is not None]
    assert found
    return found


def compiled(of: Variant, found: Cut, folder: Path) -> Compiled:
    order = found.order
    assert order is not None
    kernel = with_cut(of, found)
    launch = kernel.launch(Launch(order.rows.positions, order.keys.positions, parameters=numbers_of(pattern_of(of))))
    plan = planned(kernel, launch)
    assert plan.schedule.route == "axes"
    source = render(plan)
    path = folder / f"{source.entry}.py"
    path.write_text(source.text)
    made = cross_compile(load(path, Signature.of(plan, source), interpret=False), plan, of.target.name)
    assert made.resources.shared_bytes <= limits_of(of.target.name).program_shared_bytes
    return made


CASES = [(grid, dim, target) for grid in GRIDS if grid != "video beside text" for dim in (64, 128) for target in ("sm_80", "sm_90")]
QUICK = [("video", 128, "sm_90"), ("dilated", 64, "sm_90"), ("video", 128, "sm_80")]
BACKWARD = [("sm_90", "backward"), ("sm_90", "backward_queries"), ("sm_80", "backward"), ("gfx950", "backward_queries")]
OTHERS = [("gfx942", "forward"), *BACKWARD]


@pytest.mark.parametrize(("grid", "dim", "target"), CASES if PROVE else QUICK)
def test_no_forward_kernel_in_boxes_spills_more_than_a_little(grid: str, dim: int, target: str, tmp_path: Path) -> None:
    of = variant(grid, target, dim)
    for found in in_boxes(of)[: None if PROVE else 1]:
        made = compiled(of, found, tmp_path)
        assert made.resources.spills <= AGAIN, str(found)
        copy = f"cp.async.bulk.tensor.{len(of.program.space.extents) + 1}d" if target == "sm_90" else "cp.async"
        assert copy in made.assembly
        assert ("wgmma.mma_async" if target == "sm_90" else "mma.sync") in made.assembly


SEQUENCES = [("sm_90", 128), ("sm_90", 64), ("sm_80", 128), ("sm_80", 64)]


@pytest.mark.parametrize(("target", "dim"), SEQUENCES if PROVE else SEQUENCES[:1])
def test_no_forward_kernel_of_a_sequence_in_boxes_spills(target: str, dim: int, tmp_path: Path) -> None:
    of = variant("video beside text", target, dim)
    for found in in_boxes(of)[: None if PROVE else 1]:
        assert isinstance(found.order and found.order.rows, Parts)
        assert compiled(of, found, tmp_path).resources.spills <= AGAIN, str(found)


@pytest.mark.parametrize(("target", "family"), OTHERS if PROVE else OTHERS[:2])
def test_kernels_of_other_gpus_and_gradients_compile(
    target: str, family: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    of = variant("video", target, 128, family)
    made = compiled(of, in_boxes(of)[0], tmp_path)
    record_property("resources", str(made.resources))
    assert {"gf": "v_mfma", "sm": "mma"}[target[:2]] in made.assembly
    assert family != "forward" or made.resources.spills <= AGAIN
    assert "atom" not in made.assembly


def test_query_heads_that_share_keys_share_boxes(tmp_path: Path) -> None:
    of = variant("video", "sm_90", 128, together=4)
    found = in_boxes(of)[0]
    assert found.order is not None
    assert isinstance(found.order.rows, Boxes)
    assert found.order.rows.tokens * 4 == found.configuration.block_q
    assert compiled(of, found, tmp_path).resources.spills <= AGAIN
