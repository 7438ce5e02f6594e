"""Proofs of look-ups are made once: kept in memory, in the cache and in bundles, and they hold for every length and table size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lacuna
import lookup_patterns
import pytest
import torch
from lacuna.ir.parse import parse_program
from lacuna.passes.lookup_guards import hazards
from lacuna.passes.lookup_proof import proof_of
from lacuna.passes.lookup_sets import proofs
from lacuna.runtime import lookup_proofs
from lacuna.runtime.bundles.build import build
from lacuna.runtime.bundles.spec import KernelSpec
from lacuna.runtime.prepared import forget_prepared
from quick_compiler import quick_compiler

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
    specs = [
        KernelSpec(lookup_patterns.slash(near=torch.zeros(1, dtype=torch.bool)), dtypes=("f32",), head_dims=(16,), passes=("forward",)),
        KernelSpec(
            lacuna.patterns.halo(40, 4, 3),
            lookup_patterns.halo_bias(bias=torch.zeros(1, 1), block=4, rim=3),
            dtypes=("f32",),
            head_dims=(16,),
            passes=("forward",),
        ),
    ]
    with quick_compiler(tmp_path):
        build(specs, tmp_path / "bundle", targets=("cpu",))
    assert elsewhere(tmp_path / "empty", str(tmp_path / "bundle"), "refuse", LACUNA_JIT="0", PATH="/nowhere") == "as dense []\n"
    assert not (tmp_path / "empty").exists()


def test_one_proof_serves_every_length_and_table(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(program, values):  # noqa: ANN001, ANN202
        made.append(program.name)
        return proofs(program, values)

    lookup_proofs.forget_proofs()
    monkeypatch.setattr("lacuna.passes.lookup_sets.proofs", counted)
    for rows, entries in ((20, 20), (33, 40), (64, 64)):
        lacuna.schedule(lookup_patterns.slash(near=torch.ones(entries, dtype=torch.bool)), rows)
        with pytest.raises(IndexError, match=rf"`near` holds {rows - 1} entries, but `q - k` reaches {rows - 1}, as at q = {rows - 1}, k = 0"):
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
    program = parse_program("program @p(q < Lq, k < Lk; near: bool[*]) {\n  mask = k <= q and near[q - k]\n  score = s\n  normalise = softmax\n}\n")
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
        lacuna.attention(query, query, query, pattern)
    assert len(asked) == 1
