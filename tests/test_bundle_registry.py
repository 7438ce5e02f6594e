"""Which kernel of which bundle a call finds, and which kernels a specification comes to; nothing is compiled here."""

# ruff: noqa: ANN401 (masks are functions of anything that has operators)
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lacuna
import pytest
from lacuna.ir.target import Target
from lacuna.runtime.bundles.jobs import Job, jobs_of
from lacuna.runtime.bundles.load import _opened as opened  # pyright: ignore[reportPrivateUsage]
from lacuna.runtime.bundles.load import forget_bundles
from lacuna.runtime.bundles.spec import KernelSpec
from lacuna.runtime.kernels.shelves import Loaded, Sought, found, meaning_of, register, serves, tiling_found, tiling_of
from lacuna.runtime.kernels.variant import Variant

NAMES = ("generic", "avx2", "avx512", "avx512bf16")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    forget_bundles()
    yield
    forget_bundles()


def variant(target: str, *, shifted: bool = False, block: tuple[int, int] = (64, 64)) -> Variant:
    return Variant(lacuna.patterns.causal().program, Target("cpp", target), "f32", (8, 8), block, shifted)


def loaded(of: Variant, name: str, folder: str = "/a") -> Loaded:
    return Loaded({"name": name}, Path(folder), "long", Sought(meaning_of(of), of.target, tiling_of(of), of.shifted, ""), opened)


def name_found(of: Variant) -> str | None:
    kernel = found(of, "")
    return None if kernel is None else kernel.entry["name"]


@pytest.mark.parametrize("here", NAMES)
def test_a_processor_runs_the_widest_kernel_that_it_can_and_none_that_it_cannot(here: str) -> None:
    for count, name in enumerate(NAMES):
        register(loaded(variant(name), name))
        assert name_found(variant(here)) == NAMES[min(count, NAMES.index(here))]
    assert name_found(variant("neon")) == "generic"


def test_tiles_are_those_of_the_widest_kernel_that_runs() -> None:
    for name, block in (("avx512", (64, 64)), ("avx2", (32, 64)), ("avx512bf16", (128, 128))):
        register(loaded(variant(name, block=block), name))
    found = tiling_found(variant("avx512"), 100)
    assert found is not None
    assert found.block == (64, 64)


def test_later_gpus_of_the_ampere_family_run_sm_80_and_others_nothing_but_their_own() -> None:
    on = {name: variant("avx2")._replace(target=Target("triton", name)) for name in ("sm_80", "sm_86", "sm_89", "sm_90", "gfx942")}
    register(loaded(on["sm_80"], "ampere"))
    assert [name for name, of in on.items() if name_found(of)] == ["sm_80", "sm_86", "sm_89"]


def test_a_kernel_for_every_offset_serves_none_but_not_the_other_way_round() -> None:
    register(loaded(variant("avx2"), "unmoved"))
    assert name_found(variant("avx2", shifted=True)) is None
    forget_bundles()
    register(loaded(variant("avx2", shifted=True), "moved"))
    assert name_found(variant("avx2")) == "moved"


def test_the_bundle_that_was_loaded_first_serves_until_it_is_forgotten() -> None:
    from lacuna.runtime.kernels.shelves import forget_loaded

    register(loaded(variant("avx2"), "first", "/a"))
    register(loaded(variant("avx2"), "second", "/b"))
    assert name_found(variant("avx2")) == "first"
    forget_loaded(Path("/a"))
    assert name_found(variant("avx2")) == "second"
    assert serves("cpp")
    forget_loaded(Path("/b"))
    assert name_found(variant("avx2")) is None
    assert not serves("cpp")
    assert tiling_found(variant("avx2"), 100) is None


# -- specifications ---------------------------------------------------------------------------------------------------


def jobs(*specs: KernelSpec, target: str = "avx2", backend: str = "cpp") -> list[Job]:
    return jobs_of(specs, (Target(backend, target),))


def one(pattern: Any, **options: Any) -> KernelSpec:
    return KernelSpec(pattern, dtypes=("f32",), passes=("forward",), rows=("long",), **options)


def test_specifications_that_differ_in_values_of_arguments_are_one_kernel() -> None:
    narrow, wide = (lacuna.patterns.sliding_window(window=window) for window in (4, 4000))
    (job,) = jobs(one(narrow), one(wide))
    assert job.name == "sliding_f32_d64_forward"
    (job,) = jobs(one(narrow), one(wide), target="sm_90", backend="triton")  # calls look for one choice of tiles


@pytest.mark.parametrize("first", [True, False])
def test_lengths_that_differ_are_served_where_any_of_the_same_kernels_asks_for_them(first: bool) -> None:
    pattern = lacuna.patterns.causal()
    (job,) = jobs(one(pattern, ragged=first), one(pattern, ragged=not first))
    assert job.ragged


@lacuna.pattern
def every(q: Any, k: Any, *, stride: Any, window: Any) -> Any:
    return ((q - k) // stride % 2 == 0) & (abs(q - k) < window)


def test_kernels_that_differ_in_bound_values_alone_have_the_same_tiles() -> None:
    few, many = one(every(stride=3, window=8)), one(every(stride=5, window=100_000))
    found = jobs(few, many, target="sm_90", backend="triton")
    assert sorted(job.launch.parameters["stride"] for job in found) == [3, 5]
    assert len({tiling_of(job.variant) for job in found}) == 1
    assert len({tiling_of(job.variant) for spec in (few, many) for job in jobs(spec, target="sm_90", backend="triton")}) == 2


@pytest.mark.parametrize("target", ["avx512", "avx2", "sm_90"])
def test_jobs_survive_the_way_to_another_process(target: str) -> None:
    @lacuna.pattern(rank=2)
    def near(q: Any, k: Any, *, r: Any) -> Any:
        return (abs(q[0] - k[0]) <= r) & (abs(q[1] - k[1]) <= r)

    specs = (KernelSpec(near(r=6).on(64, 64)), KernelSpec(every(stride=3, window=8), offsets=True))
    found = jobs(*specs, target=target, backend="triton" if target == "sm_90" else "cpp")
    assert any(job.variant.order is not None for job in found)
    for job in found:
        again = Job.of(job.text())
        assert again.text() == job.text()
        assert again.variant == job.variant
        assert again.launch.q_len == (4096 if "near" in job.name else 256)
