"""Proofs of look-ups are made once: kept in memory, in the cache and in bundles, and they hold for every length and table size."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# torch's annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lacuna
import lookup_patterns
import pytest
import torch
from lacuna.ir.expr import Symbol
from lacuna.ir.parse import parse_program
from lacuna.ir.program import Program
from lacuna.passes.lookups.guards import hazards
from lacuna.passes.lookups.lookup_sets import proofs
from lacuna.passes.lookups.proof import Proofs, proof_of
from lacuna.runtime.bundles.build import build
from lacuna.runtime.bundles.spec import KernelSpec
from lacuna.runtime.calls.prepared_calls import forget_prepared
from lacuna.runtime.request import lookup_proofs
from quick_compiler import quick_compiler

attention: Any = lacuna.attention
SCRIPT = Path(__file__).with_name("lookup_patterns.py")


def elsewhere(cache: Path, *what: str, **environment: str) -> str:
    known = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LACUNA_CACHE_DIR": str(cache), **environment}
    done = subprocess.run([sys.executable, str(SCRIPT), *what], env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_warm_start_proves_look_ups_without_integer_sets(tmp_path: Path) -> None:
    with quick_compiler(tmp_path):
        elsewhere(tmp_path / "cache", "-")
        assert elsewhere(tmp_path / "cache", "-", "refuse", LACUNA_JIT="0") == "as dense []\n"


def test_a_bundle_brings_proofs_to_where_there_are_no_integer_sets(tmp_path: Path) -> None:
    score = lookup_patterns.halo_bias(bias=torch.zeros(1, 1), block=4, rim=3)
    made = ((lookup_patterns.slash(near=torch.zeros(1, dtype=torch.bool)), None), (lacuna.patterns.halo(40, 4, 3), score))
    specs = [KernelSpec(*each, dtypes=("f32",), head_dims=(16,), passes=("forward",), rows=("long",)) for each in made]
    with quick_compiler(tmp_path):
        build(specs, tmp_path / "bundle", targets=("cpu",))
    assert elsewhere(tmp_path / "empty", str(tmp_path / "bundle"), "refuse", LACUNA_JIT="0", PATH="/nowhere") == "as dense []\n"
    assert not (tmp_path / "empty").exists()


def test_one_proof_serves_every_length_and_table(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(program: Program, values: Mapping[Symbol, int]) -> Proofs:
        made.append(program.name)
        return proofs(program, values)

    lookup_proofs.forget_proofs()
    monkeypatch.setattr("lacuna.passes.lookups.lookup_sets.proofs", counted)
    for rows, entries in ((20, 20), (33, 40), (64, 64)):
        lacuna.schedule(lookup_patterns.slash(near=torch.ones(entries, dtype=torch.bool)), rows)
        with pytest.raises(
            IndexError, match=rf"`near` holds {rows - 1} entries, but `q - k` reaches {rows - 1}, as at q = {rows - 1}, k = 0"
        ):
            lacuna.schedule(lookup_patterns.slash(near=torch.ones(rows - 1, dtype=torch.bool)), rows)
    assert len(made) <= 1  # none where an earlier test left it in the cache


def test_proofs_come_back_from_text() -> None:
    program = parse_program(
        "program @p(q < Lq, k < Lk; near: bool[*], ids: i32[*], Lx: i64) {\n"
        "  mask = k <= q and near[q - k + Lx] and near[ids[k] * ids[q]]\n  score = s\n  normalise = softmax\n}\n"
    )
    made = proofs(program, {})
    assert len(made) == len(hazards(program)) == 4
    for each in made:
        assert each is not None
        assert proof_of(each.told(), program) == each


def test_what_a_cache_holds_of_another_program_is_made_anew() -> None:
    program = parse_program(
        "program @p(q < Lq, k < Lk; near: bool[*]) {\n  mask = k <= q and near[q - k]\n  score = s\n  normalise = softmax\n}\n"
    )
    for said in ("", None, [], [{}], [{"where": "unknown < 0", "opaque": []}], [3], [{"where": 1, "opaque": []}]):
        assert lookup_proofs._read(said, program) is None  # pyright: ignore[reportPrivateUsage]


def test_a_prepared_call_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(*arguments: object) -> None:
        asked.append(len(arguments))

    monkeypatch.setattr("lacuna.runtime.calls.call.check_reads", counted)
    forget_prepared()
    query = torch.randn(1, 1, 24, 8)
    pattern = lookup_patterns.slash(near=torch.ones(24, dtype=torch.bool))
    for _ in range(3):
        attention(query, query, query, pattern)
    assert len(asked) == 1


@lacuna.pattern
def past(q: Any, k: Any, *, t: Any) -> Any:
    return (k <= q) & ((q - k <= 40) | t[q - k - 41, 0])


@lacuna.score
def far(s: Any, q: Any, k: Any, *, u: Any) -> Any:
    return s + lacuna.where(k > q + 40, u[k - q - 41], 0.0)


@lacuna.score
def by_sign(s: Any, *, u: Any) -> Any:
    return s + u[lacuna.where(s > 0, 0, 1)]


@pytest.mark.parametrize("backend", ["eager", "cpp", "triton"])
@pytest.mark.usefixtures("compiled_quickly")
def test_a_table_without_entries_is_taken_where_nothing_is_read(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    query = torch.randn(1, 1, 40, 8)
    wanted = attention(query, query, query, lacuna.patterns.causal(), backend=backend)
    for shape in ((0, 4), (4, 0)):
        pattern = past(t=torch.zeros(shape, dtype=torch.bool))
        for _ in range(2):
            assert torch.equal(attention(query, query, query, pattern, backend=backend), wanted)
    empty = torch.zeros(0, requires_grad=True)
    found = attention(query, query, query, score=far(u=empty), backend=backend)
    plain = attention(query, query, query, backend=backend)
    assert (found - plain).abs().max() < 1e-5
    (gradient,) = torch.autograd.grad(found.sum(), (empty,))
    assert gradient.shape == (0,)
    query, pattern = torch.randn(1, 1, 42, 8), past(t=torch.zeros((0, 4), dtype=torch.bool))
    with pytest.raises(IndexError, match=r"table `t` holds 0 entries along axis 0, but `q - k - 41` reaches 0, as at q = 41, k = 0"):
        attention(query, query, query, pattern, backend=backend)


@pytest.mark.parametrize("backend", ["eager", "cpp", "triton"])
@pytest.mark.usefixtures("compiled_quickly")
def test_scores_may_decide_between_indices_of_which_all_are_inside(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    torch.manual_seed(0)
    query, table = torch.randn(1, 1, 12, 8), torch.tensor([0.5, -2.0])
    scores = query @ query.transpose(-1, -2) / 8**0.5
    wanted = torch.softmax(scores + torch.where(scores > 0, table[0], table[1]), -1) @ query
    found = attention(query, query, query, score=by_sign(u=table), backend=backend)
    assert (found - wanted).abs().max() < 1e-5
    with pytest.raises(
        IndexError, match=r"holds 1 entry, and nothing proves that `where\(0.0 < s, 0, 1\)` stays inside, which may run from 0 to 1"
    ):
        attention(query, query, query, score=by_sign(u=table[:1]), backend=backend)
