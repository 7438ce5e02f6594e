"""Tile shapes of C++ kernels: chosen by the model, measured by `lacuna.tune`, kept in the cache."""

# Patterns are written without annotations, and torch's are partial.
# ruff: noqa: ANN001, ANN201, ANN401
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import lacuna
import pytest
import reference
import torch
from claimed_gpu import Simulated
from lacuna.ir.configuration import Configuration
from lacuna.ir.target import Target
from lacuna.runtime.cache.artefacts import BuildForbidden
from lacuna.runtime.cache.folder import CacheUnwritable
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.calls.prepared_calls import forget_prepared
from lacuna.runtime.choices import choice_cache as choices
from lacuna.runtime.choices import configurations as chosen_configurations
from lacuna.runtime.choices import shapes as chosen_shapes
from lacuna.runtime.compilers.cpp_compiler import tally
from lacuna.runtime.cpp.variants import target_here
from lacuna.runtime.kernels.variant import Variant
from lacuna.runtime.launches.launch_values import forget_launches
from lacuna.runtime.tuning import tune as tuning
from lacuna.runtime.tuning.configurations import TunedConfigurations

pytestmark = pytest.mark.usefixtures("compiled_quickly")

attention: Any = lacuna.attention
ROWS, COLUMNS = 6, 48


@lacuna.pattern(rank=2)
def near(q, k, *, reach):
    """No product of axes, so that there are no boxes to choose among."""
    return abs(q[0] - k[0]) + abs(q[1] - k[1]) <= reach


@lacuna.pattern
def window(q, k, *, width):
    return (k <= q) & (q - k < width)


def sees_all(q: object, k: object) -> bool:
    return True


PATTERN = near(reach=2).on(ROWS, COLUMNS)


def tokens(rows: int = ROWS * COLUMNS, dim: int = 16) -> torch.Tensor:
    return torch.randn(1, 1, rows, dim, generator=torch.Generator().manual_seed(rows))


def variant(pattern: Any = PATTERN, family: str = "forward") -> Variant:
    return Variant(pattern.program, target_here(), "f32", (16, 16), (64, 64), shifted=False, family=family)


def start_anew() -> None:
    """As a new process would."""
    forget_launches()
    forget_prepared()
    chosen_shapes.forget_shapes()
    chosen_configurations.forget_configurations()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tuning")
    path.chmod(0o700)
    return path


@pytest.fixture(autouse=True)
def own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """A cache whose kernels all tests here share, without choices; one candidate beside the shape in use."""
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(folder))
    monkeypatch.setattr(tuning, "CANDIDATES", 2)
    for path in kept_files(folder):
        path.unlink()
    start_anew()
    yield folder
    start_anew()


def kept_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("index/*.json") if b'"choice"' in path.read_bytes()]


def let_the_second_win(monkeypatch: pytest.MonkeyPatch, ratio: float = 0.5, *, every: bool = False) -> None:
    """Let the clock say that the first candidate beside the shape in use takes `ratio` of its time."""

    def measured(runs: dict[tuple[int, int], Any], rounds: int, tuned: object) -> tuple[tuning.Measured, ...]:
        for run in list(runs.values())[0 if every else 1 :]:  # each compiles its kernels
            run()
        return tuple(tuning.Measured(block, 1.0, ratio if at == 1 else 1.0) for at, block in enumerate(runs))

    monkeypatch.setattr(tuning, "_measured", measured)


# -- the model's choice -----------------------------------------------------------------------------------------------


def test_kernels_on_a_grid_take_key_tiles_of_whole_rows() -> None:
    assert chosen_shapes.chosen(variant(), 288) == (64, COLUMNS)
    assert chosen_shapes.chosen(variant(family="backward"), 288) == (COLUMNS, 64)
    assert lacuna.compile(PATTERN, head_dim=16).schedule.block_k == COLUMNS
    assert chosen_shapes.chosen(variant(window(width=5)), 288) == (64, 64)


def test_a_predicted_shape_is_kept_and_read_again(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen_shapes.chosen(variant(), 288)
    assert len(kept_files(own_cache)) == 1
    start_anew()

    def again(*_: object) -> None:
        pytest.fail("it was predicted again")

    monkeypatch.setattr(chosen_shapes, "_predicted", again)
    assert chosen_shapes.chosen(variant(), 288) == found


@pytest.mark.parametrize("damage", [b"", b"{", b"lacuna-cache 1 0\n{}"])
def test_a_damaged_choice_is_a_miss(damage: bytes, own_cache: Path) -> None:
    chosen_shapes.keep(variant(), 288, (64, 32))
    (kept,) = kept_files(own_cache)
    kept.write_bytes(damage)
    chosen_shapes.forget_shapes()
    assert chosen_shapes.chosen(variant(), 288) == (64, COLUMNS)


@pytest.mark.parametrize("block", [(24, 64), (64, 33), (0, 64), (64, -2), (64, 4096), (64, "64"), (64, True), (64, 64, 64), ()])
def test_a_shape_that_no_kernel_can_have_is_a_miss(block: Any) -> None:
    chosen_shapes.keep(variant(), 288, (64, 32))
    chosen_shapes.forget_shapes()
    assert chosen_shapes.chosen(variant(), 288) == (64, 32)
    known = chosen_shapes._known(variant(), 288)  # pyright: ignore[reportPrivateUsage]  (what a newer version might write)
    choices.keep(chosen_shapes._question(known), choices.Choice(block, "model"))  # pyright: ignore[reportPrivateUsage]
    chosen_shapes.forget_shapes()
    assert chosen_shapes.chosen(variant(), 288) == (64, COLUMNS)


def test_a_choice_goes_for_its_direction_bucket_dtype_and_target_only() -> None:
    chosen_shapes.keep(variant(), 288, (64, 32))
    other = Variant(PATTERN.program, Target("cpp", "generic"), "f32", (16, 16), (64, 64), shifted=False)
    assert chosen_shapes.chosen(variant(), 33) == (64, 32)
    assert chosen_shapes.chosen(variant(near(reach=9).on(ROWS, COLUMNS)), 288) == (64, 32)
    assert chosen_shapes.chosen(variant(), 32) == (32, 64)
    assert chosen_shapes.chosen(variant(family="backward"), 288) == (COLUMNS, 64)
    assert chosen_shapes.chosen(other, 288) != (64, 32)


def test_a_cache_that_takes_no_files_does_not_stop_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise CacheUnwritable("the disk is full")

    monkeypatch.setattr(choices, "keep", full)
    assert chosen_shapes.chosen(variant(), 288) == (64, COLUMNS)


# -- tuning -----------------------------------------------------------------------------------------------------------


def test_tuning_measures_the_shape_in_use_and_the_best_candidates() -> None:
    x = tokens()
    found = lacuna.tune(x, x, x, PATTERN, rounds=3)
    assert (found.name, found.direction) == ("near", "forward")
    assert found.candidates[0].block == (64, COLUMNS)
    assert found.candidates[0].ratio == 1
    assert len({each.block for each in found.candidates}) == len(found.candidates) == 2
    assert all(each.milliseconds > 0 for each in found.candidates)
    assert found.chosen in {each.block for each in found.candidates}
    assert str(found).startswith("near, forward: tiles of queries x keys\n    64 x 48 ")
    assert str(found).count("<- chosen") == 1


def test_the_fastest_shape_serves_the_next_call_and_the_next_process(monkeypatch: pytest.MonkeyPatch) -> None:
    x = tokens()
    let_the_second_win(monkeypatch)
    before = attention(x, x, x, PATTERN, backend="cpp")
    block = lacuna.tune(x, x, x, PATTERN).chosen
    assert block not in ((64, COLUMNS), (64, 64))
    compiled = tally.compilations
    after = attention(x, x, x, PATTERN, backend="cpp")
    assert tally.compilations == compiled
    mask = lacuna.dense(PATTERN, len(x[0, 0]))[0, 0]
    reference.assert_close(after, reference.attention(x, x, x, mask)[0], 1e-5)
    assert block is not None
    assert lacuna.compile(PATTERN, head_dim=16).schedule.block_k == block[1]
    start_anew()
    again = attention(x, x, x, PATTERN, backend="cpp")
    assert tally.compilations == compiled
    assert torch.equal(again, after)
    assert not torch.equal(again, before)  # the sums are others: a choice is part of the plan
    code = "import sys, torch, lacuna\nsys.path.insert(0, sys.argv[1])\nfrom test_tuning import variant\n"
    code += "from lacuna.runtime.choices.shapes import chosen; print(chosen(variant(), 288))"
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{block}\n"


def test_gradients_are_tuned_on_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    x = tokens().requires_grad_()
    let_the_second_win(monkeypatch)
    found = lacuna.tune(x, x, x, PATTERN, backward=True)
    assert found.direction == "backward"
    assert found.candidates[0].block == (COLUMNS, 64)
    assert chosen_shapes.chosen(variant(family="backward"), 288) == found.chosen != (COLUMNS, 64)
    assert chosen_shapes.chosen(variant(), 288) == (64, COLUMNS)
    (ours,) = torch.autograd.grad(attention(x, x, x, PATTERN, backend="cpp").square().sum(), x)
    mask = lacuna.dense(PATTERN, len(x[0, 0]))[0, 0]
    scores = (x.double() @ x.double().mT / 4).masked_fill(~mask, -torch.inf)
    (exact,) = torch.autograd.grad((scores.softmax(-1) @ x.double()).square().sum(), x)
    reference.assert_close(ours, exact, 1e-4)


def test_a_shape_that_is_hardly_faster_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    x = tokens()
    let_the_second_win(monkeypatch, 0.985)
    assert lacuna.tune(x, x, x, PATTERN).chosen == (64, COLUMNS)


def test_tuning_takes_what_attention_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "CANDIDATES", 1)
    x, lengths = tokens(40).transpose(1, 2), torch.tensor([39], dtype=torch.int32)
    found = lacuna.tune(x, x, x, window(width=5), layout="blhd", q_len=lengths, kv_len=40, q_offset=0, scale=0.5, rounds=3)
    assert found.name == "window"
    assert found.candidates[0].block == (64, 64)


def test_arguments_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x, few, none = tokens(), tokens(16), tokens(0)
    call: Any = lacuna.tune
    with pytest.raises(ValueError, match=r"`rounds` is 2.\n  write an integer from 3 to 1000"):
        call(x, x, x, PATTERN, rounds=2)
    with pytest.raises(ValueError, match="`rounds` is True"):
        call(x, x, x, PATTERN, rounds=True)
    with pytest.raises(ValueError, match="there is no layout 'lbhd'"):
        call(x, x, x, PATTERN, layout="lbhd")
    with pytest.raises(ValueError, match=r"kernels for up to 16 query rows have one tile shape.\n  write a query of more rows than 16"):
        call(few, few, few, window(width=3))
    with pytest.raises(ValueError, match="there is nothing to time: a tensor is empty"):
        call(none, none, none, window(width=3))
    with pytest.raises(TypeError, match="`pattern` is the plain function `sees_all`"):
        call(x, x, x, sees_all)
    with pytest.raises(ValueError, match="the grid 6 x 48 holds positions 0 to 287"):
        call(tokens(300), x, x, PATTERN)
    monkeypatch.setenv("LACUNA_JIT", "0")
    unseen = tokens(dim=8)
    with pytest.raises(BuildForbidden, match="LACUNA_JIT=0"):
        call(unseen, unseen, unseen, PATTERN)


# -- other machines ---------------------------------------------------------------------------------------------------


def test_measured_choices_travel_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen_shapes.keep(variant(), 288, (64, 32))
    chosen_shapes.chosen(variant(family="backward"), 288)  # predicted: every machine predicts it
    gpu = Variant(PATTERN.program, Target("triton", "sm_90"), "bf16", (64, 64), (0, 0), False)
    mine = Configuration(32, 64, 4, 2)
    chosen_configurations.keep(gpu, "few", mine)
    assert lacuna.export_tuning(tmp_path / "tuning.json") == 2
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(other))
    start_anew()
    assert chosen_shapes.chosen(variant(), 288) == (64, COLUMNS)
    assert lacuna.import_tuning(tmp_path / "tuning.json") == 2
    assert chosen_shapes.chosen(variant(), 288) == (64, 32)
    assert chosen_configurations.chosen(gpu, "few", 288) == mine
    start_anew()
    assert chosen_shapes.chosen(variant(), 288) == (64, 32)
    assert chosen_configurations.chosen(gpu, "few", 288) == mine
    assert chosen_configurations.chosen(gpu, "many", 288) != mine
    assert lacuna.export_tuning(tmp_path / "again.json") == 2
    assert (tmp_path / "again.json").read_text() == (tmp_path / "tuning.json").read_text()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("numbers", [64, 33], "no kernel can have the tiles"),
        ("numbers", "64", "no kernel can have the tiles"),
        ("family", "sideways", "`family` is 'sideways'"),
        ("target", "abacus wood", "there is no backend 'abacus'"),
        ("program", "program @p(", "holds no choices"),
        ("dtype", None, "`dtype` is None"),
    ],
)
def test_a_file_that_is_not_sound_changes_nothing(tmp_path: Path, field: str, value: object, reason: str) -> None:
    path = tmp_path / "tuning.json"
    chosen_shapes.keep(variant(), 288, (64, 32))
    lacuna.export_tuning(path)
    said = json.loads(path.read_text())
    said["choices"].append({**said["choices"][0], field: value})
    said["choices"][0]["numbers"] = [32, 32]
    path.write_text(json.dumps(said))
    with pytest.raises(ValueError, match=reason) as caught:
        lacuna.import_tuning(path)
    assert "tuning.json` holds no choices that can be taken over" in str(caught.value)
    assert "write a file that `lacuna.export_tuning` made" in str(caught.value)
    assert chosen_shapes.chosen(variant(), 288) == (64, 32)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "lacuna-tuning 0", "choices": []}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="holds no choices that can be taken over"):
        lacuna.import_tuning(path)


# -- a GPU ------------------------------------------------------------------------------------------------------------


def test_configurations_are_tuned_on_the_kernels_that_a_gpu_would_run(monkeypatch: pytest.MonkeyPatch) -> None:
    x, mask = tokens(40, 16), lacuna.dense(window(width=9), 40)[0, 0]
    let_the_second_win(monkeypatch, every=True)
    with claimed("sm_90", Simulated()) as driver:
        found = lacuna.tune(x, x, x, window(width=9))
        in_use, second = (each.block for each in found.candidates)
        assert in_use != found.chosen == second
        assert isinstance(second, Configuration)
        assert str(found).startswith("window, forward: tiles of queries x keys\n")
        assert f"{second.warps:2} warps {second.stages} stages" in str(found)
        assert len(driver.launches) == 2
        chosen_configurations.forget_configurations()  # as a new process would find it
        out = attention(x, x, x, window(width=9), backend="triton")
        reference.assert_close(out, reference.attention(x, x, x, mask)[0], 1e-5)
        assert driver.launches[-1].layout.threads == 32 * second.warps
        assert f"q{second.block_q}_k{second.block_k}_" in driver.launches[-1].layout.entry


def test_every_kernel_of_a_backward_pass_is_tuned_on_a_gpu(monkeypatch: pytest.MonkeyPatch, prove: bool) -> None:
    if not prove:
        pytest.skip("three more compilations: LACUNA_TEST_PROFILE=prove")
    monkeypatch.setattr(tuning, "CANDIDATES", 1)
    x = tokens(20, 16)
    let_the_second_win(monkeypatch)
    with claimed("sm_80", Simulated()):
        found = lacuna.tune(x, x, x, window(width=9), backward=True)
    assert [found.direction, *(each.direction for each in found.others)] == ["backward", "backward_queries"]
    assert str(found).count("<- chosen") == 2


def test_the_gpus_clock_counts_runs_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            log.append("record")

        def synchronize(self) -> None:
            log.append("wait")

        def elapsed_time(self, end: Event) -> float:
            return 6.0  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    tuned = TunedConfigurations.__new__(TunedConfigurations)
    assert tuned.seconds(lambda: log.append("run"), 3) == pytest.approx(0.002)
    assert log == ["record", "run", "run", "run", "record", "wait"]
