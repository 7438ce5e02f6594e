"""Configurations of Triton kernels: which are offered, what they are counted and predicted to take, and which one a call gets."""

# Tests may look inside, and torch's types are partial.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna.ir.configuration import Configuration
from lacuna.ir.parse import parse_program
from lacuna.ir.target import Target
from lacuna.passes.costs import key_buckets, visited_tiles
from lacuna.passes.costs.gpu_configurations import offered, ranked
from lacuna.passes.costs.gpu_limits import LIMITS, limits_of
from lacuna.passes.costs.gpu_resources import Problem, fits, held_programs, pair_values, resources
from lacuna.passes.costs.key_buckets import FEW, MANY, SHORT, SOME, bucket_of, keys_per_row
from lacuna.passes.program.call_values import Launch
from lacuna.runtime.cache.contents import verify
from lacuna.runtime.cache.folder import Folder
from lacuna.runtime.choices import configurations as chosen_configurations
from lacuna.runtime.choices.configurations import chosen, forget_configurations, keep
from lacuna.runtime.kernels.variant import Variant
from triton_kernels import CAUSAL, DENSE, WINDOW, scored

DIMS = (32, 64, 80, 96, 128, 192, 256)
DOCUMENTS = "program @d(q < Lq, k < Lk; doc: i32[*]) {\n  mask = doc[q] == doc[k]\n  score = s\n  normalise = softmax\n}"
NEAR = """program @n(q < Lq, k < Lk; r: i64) on 24 x 16 {
  mask = abs(q0 - k0) <= r and abs(q1 - k1) <= r
  score = s
  normalise = softmax
}"""
EVERY_SEVENTH = "program @m(q < Lq, k < Lk) {\n  mask = (q - k) % 7 == 0\n  score = s\n  normalise = softmax\n}"


# -- what is offered --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
@pytest.mark.parametrize("dim", DIMS)
def test_there_are_six_configurations_for_every_dtype_and_dimension(target: str, dtype: str, dim: int) -> None:
    assert len(offered(Problem(target, dtype, (dim, dim)))) >= 6


def test_large_tiles_are_among_those_of_hopper() -> None:
    assert {(128, 128, 8, 2), (128, 128, 8, 3)} <= {each[:4] for each in offered(Problem("sm_90", "bf16", (64, 64)))}
    assert {(128, 64, 8, 2), (128, 64, 8, 3)} <= {each[:4] for each in offered(Problem("sm_90", "bf16", (128, 128)))}


@pytest.mark.parametrize("target", LIMITS)
@pytest.mark.parametrize("family", ["forward", "decode", "backward", "backward_queries"])
def test_something_is_offered_everywhere_and_fits(target: str, family: str) -> None:
    for dtype in ("bf16", "f32", "f64"):
        for dim in (16, 64, 160, 256):
            problem = Problem(target, dtype, (dim, dim), family)
            found = offered(problem)
            assert found
            assert len(found) == len(set(found))
            for each in found:
                assert resources(problem, each).shared_bytes <= limits_of(target).program_shared_bytes or len(found) == 1
                assert all(edge >= 16 and edge.bit_count() == 1 for edge in each.block)


def test_programs_that_keep_more_of_each_pair_are_offered_smaller_tiles() -> None:
    plain, table = parse_program(WINDOW), parse_program(scored("s + bias[q, k]", "bias: f32[*, *]"))
    scaled = parse_program(scored("s * 2.0"))
    assert pair_values(plain) == 0
    assert 0 < pair_values(scaled) < pair_values(table)
    problem = Problem("sm_90", "bf16", (64, 64))
    largest = max(each.block_q * each.block_k for each in offered(problem))
    assert largest == 128 * 128
    assert max(each.block_q * each.block_k for each in offered(problem._replace(extra=pair_values(table)))) < largest


def test_a_gpu_that_is_not_in_the_table_gets_what_every_gpu_of_its_maker_can_run() -> None:
    for name in LIMITS:
        unknown = limits_of("gfx1100" if name.startswith("gfx") else "sm_121")
        known = limits_of(name)
        assert unknown.program_shared_bytes <= known.program_shared_bytes
        assert unknown.shared_bytes <= known.shared_bytes
        assert unknown.warps <= known.warps


def test_a_multiprocessor_holds_what_its_scarcest_room_allows() -> None:
    limits = limits_of("sm_90")
    assert held_programs(limits, 4, 128, 1024) == 4  # of 65536 registers each takes 4 * 32 * 128
    assert held_programs(limits, 4, 32, 100 * 1024) == 2
    assert held_programs(limits, 16, 32, 1024) == 4
    assert held_programs(limits, 1, 16, 0) == 32
    assert held_programs(limits, 4, 33, 1024) == held_programs(limits, 4, 40, 1024)


def test_what_would_spill_does_not_fit() -> None:
    problem = Problem("sm_80", "bf16", (256, 256))
    assert not fits(problem, Configuration(128, 64, 8, 2))
    assert not fits(problem._replace(dtype="f32"), Configuration(64, 64, 8, 2))
    assert not fits(Problem("sm_86", "bf16", (128, 128)), Configuration(128, 64, 8, 3))  # 128 KB of shared memory
    assert not fits(Problem("sm_80", "bf16", (80, 80)), Configuration(128, 128, 8, 3))  # a dimension in two parts
    assert fits(Problem("sm_80", "bf16", (80, 80)), Configuration(128, 128, 8, 2))
    assert fits(problem, Configuration(64, 64, 8, 2))


# -- counts -----------------------------------------------------------------------------------------------------------


MASKS: dict[str, Callable[[Any, Any, int], Any]] = {
    WINDOW: lambda q, k, value: (k <= q) & (q - k < value),
    CAUSAL: lambda q, k, _: k <= q,
    DENSE: lambda q, k, _: (k >= 0) & (q >= 0),
    EVERY_SEVENTH: lambda q, k, _: (q - k) % 7 == 0,
    NEAR: lambda q, k, r: (abs(q // 16 - k // 16) <= r) & (abs(q % 16 - k % 16) <= r),
}


@settings(max_examples=30)
@given(st.sampled_from(list(MASKS)), st.sampled_from([16, 32, 64, 128]), st.sampled_from([16, 32, 64, 128]), st.booleans())
def test_tiles_are_those_of_brute_force(text: str, rows: int, met: int, turned: bool) -> None:
    program = parse_program(text)
    launch = visited_tiles.standing(program, FEW)
    assert launch is not None
    n = launch.q_len
    held = MASKS[text](np.arange(n)[:, None], np.arange(n)[None, :], int(next(iter(launch.parameters.values()), 0)))
    held = held.T if turned else held
    tiles = [held[top : top + rows, left : left + met] for top in range(0, n, rows) for left in range(0, n, met)]
    full = sum(bool(tile.all()) and tile.shape[1] == met for tile in tiles)
    partial = sum(bool(tile.any()) for tile in tiles) - full
    slabs, visited_tiles.SLABS = visited_tiles.SLABS, 10_000
    try:
        visited_tiles.cells_of.cache_clear()
        visited_tiles.area_of.cache_clear()
        found = visited_tiles.area_of(program, FEW, (rows, met), turned)
    finally:
        visited_tiles.SLABS = slabs
        visited_tiles.cells_of.cache_clear()
        visited_tiles.area_of.cache_clear()
    assert found == pytest.approx((full * 1024 / n, partial * 1024 / n))


@pytest.mark.parametrize(("text", "bucket", "keys"), [(WINDOW, FEW, 256), (WINDOW, SOME, 1536), (CAUSAL, MANY, 8192), (DENSE, FEW, 256)])
def test_the_launch_that_stands_for_a_bucket_has_about_its_keys(text: str, bucket: str, keys: int) -> None:
    launch = visited_tiles.standing(parse_program(text), bucket)
    assert launch is not None
    assert keys / 1.5 <= keys_per_row(parse_program(text), launch) <= keys * 1.5


def test_masks_that_read_tables_are_counted_as_a_box_of_keys() -> None:
    program = parse_program(DOCUMENTS)
    assert visited_tiles.standing(program, SOME) is None
    found = visited_tiles.area_of(program, SOME, (64, 64), False)
    assert found.full > found.partial > 0


# -- buckets ----------------------------------------------------------------------------------------------------------


def test_calls_fall_into_four_buckets_by_rows_and_keys() -> None:
    window, causal = parse_program(WINDOW), parse_program(CAUSAL)
    assert bucket_of(causal, Launch(64, 100_000)) == SHORT
    assert bucket_of(causal, Launch(1000, 1000)) == FEW
    assert bucket_of(causal, Launch(8000, 8000)) == SOME
    assert bucket_of(causal, Launch(9000, 9000)) == MANY
    assert bucket_of(causal, Launch(500, 9000, offset=8500)) == MANY
    assert bucket_of(window, Launch(100_000, 100_000, parameters={"W": 256})) == FEW
    assert bucket_of(window, Launch(100_000, 100_000, parameters={"W": 4000})) == SOME
    assert bucket_of(parse_program(DOCUMENTS), Launch(5000, 5000)) == MANY
    assert len(key_buckets.BUCKETS) == 4


@settings(max_examples=30)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 500))
def test_keys_per_row_are_those_of_brute_force(q_len: int, k_len: int, width: int) -> None:
    count = min(key_buckets.SAMPLED_ROWS, q_len)
    rows = [(2 * n + 1) * q_len // (2 * count) for n in range(count)]
    exact = sum(sum(k <= q and q - k < width for k in range(k_len)) for q in rows) / count
    found = keys_per_row(parse_program(WINDOW), Launch(q_len, k_len, parameters={"W": width}))
    assert abs(found - exact) <= key_buckets.CELL


# -- the order --------------------------------------------------------------------------------------------------------


def test_long_rows_get_large_tiles_and_narrow_windows_smaller_ones() -> None:
    causal, window = parse_program(CAUSAL), parse_program(WINDOW)
    assert ranked(causal, Problem("sm_90", "bf16", (64, 64)), MANY)[0].block == (128, 128)
    assert ranked(causal, Problem("sm_90", "bf16", (128, 128)), MANY)[0].block == (128, 64)
    few = ranked(window, Problem("sm_90", "bf16", (128, 128)), FEW)[0]
    assert few.block_q * few.block_k < 128 * 64


def test_lengths_of_their_own_take_registers() -> None:
    """A window of D 64 in 128 x 128 spilled 48 bytes on sm_90 with them, and nothing without."""
    causal, problem = parse_program(CAUSAL), Problem("sm_90", "bf16", (64, 64))
    assert (128, 128) in {each.block for each in ranked(causal, problem, MANY)}
    assert (128, 128) not in {each.block for each in ranked(causal, problem, MANY + key_buckets.RAGGED)}


@pytest.mark.parametrize("family", ["forward", "backward", "backward_queries"])
def test_everything_that_is_offered_is_ranked(family: str) -> None:
    program, problem = parse_program(WINDOW), Problem("sm_80", "bf16", (64, 64), family)
    assert sorted(ranked(program, problem, SOME)) == sorted(offered(problem))


# -- the choice -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path))
    forget_configurations()
    yield tmp_path
    forget_configurations()


def variant(text: str = WINDOW, target: str = "sm_90", family: str = "forward") -> Variant:
    return Variant(parse_program(text), Target("triton", target), "bf16", (64, 64), (0, 0), False, family)


def kept_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("index/*.json") if b"configuration" in path.read_bytes()]


def test_a_choice_is_predicted_once_and_then_read(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen(variant(), MANY, 4096)
    assert found.block == (128, 128)
    assert len(kept_files(own_cache)) == 1
    forget_configurations()
    monkeypatch.setattr(chosen_configurations, "_predicted", lambda _: pytest.fail("the model was asked again"))
    assert chosen(variant(), MANY, 4096) == found


def test_a_choice_goes_for_its_family_bucket_target_and_program_only() -> None:
    mine = Configuration(64, 32, 4, 2)
    keep(variant(), MANY, mine)
    forget_configurations()
    assert chosen(variant(), MANY, 4096) == mine
    assert chosen(variant(), SOME, 4096) != mine
    assert chosen(variant(CAUSAL), MANY, 4096) != mine
    assert chosen(variant(target="sm_80"), MANY, 4096) != mine
    assert chosen(variant(family="backward"), MANY, 4096) != mine


@pytest.mark.parametrize(
    "numbers", [(64, 32), (60, 32, 4, 2, 0), (64, 32, 3, 2, 0), (64, 8, 4, 2, 0), (64, 32, 4, 0, 0), (512, 64, 4, 2, 0)]
)
def test_what_no_kernel_can_have_is_a_miss(numbers: tuple[int, ...]) -> None:
    from lacuna.runtime.choices.choice_cache import Choice, Subject
    from lacuna.runtime.choices.choice_cache import keep as keep_choice

    known = Subject.of(variant(), MANY)
    keep_choice(chosen_configurations._question(known), Choice(numbers, "model"))
    assert chosen(variant(), MANY, 4096).block == (128, 128)


def test_a_later_choice_leaves_nothing_of_an_earlier_one(own_cache: Path) -> None:
    for stages in (2, 3):
        keep(variant(), MANY, Configuration(64, 32, 4, stages))
    assert verify(Folder(own_cache)) == []
    forget_configurations()
    assert chosen(variant(), MANY, 4096).stages == 3


def test_the_interpreter_keeps_small_tiles(own_cache: Path) -> None:
    assert chosen(variant(target="interpreter"), MANY, 4096).block == (64, 32)
    assert not kept_files(own_cache)


def test_a_warm_choice_loads_no_model() -> None:
    lean = "import sys\nfrom lacuna.ir.parse import parse_program\nfrom lacuna.ir.target import Target\n"
    lean += "from lacuna.runtime.kernels.variant import Variant\nfrom lacuna.runtime.choices.configurations import chosen\n"
    lean += f"variant = Variant(parse_program({WINDOW!r}), Target('triton', 'sm_90'), 'bf16', (64, 64), (0, 0), False)\n"
    lean += "print(tuple(chosen(variant, 'many', 4096)), sorted({'islpy', 'sympy', 'networkx', 'jinja2', 'triton'} & set(sys.modules)), "
    lean += "'lacuna.passes.costs.gpu_configurations' in sys.modules)"
    runs = [subprocess.run([sys.executable, "-c", lean], capture_output=True, text=True, check=True, timeout=60).stdout for _ in range(2)]
    assert runs == ["(128, 128, 8, 2, 0) [] True\n", "(128, 128, 8, 2, 0) [] False\n"]
