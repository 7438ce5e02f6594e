"""Ten kernels for four targets, as the command line builds them; too long for every day."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROFILE
from lacuna.runtime.compilers.cpu import cpu_features, target_name

pytestmark = [
    pytest.mark.skipif(PROFILE != "prove", reason="builds 80 binaries: LACUNA_TEST_PROFILE=prove"),
    pytest.mark.skipif(not target_name(cpu_features()).startswith("avx512"), reason="the processor does not run cpu:avx512"),
]
SPEC = Path(__file__).parent / "ten_kernels.py"
MOST_SECONDS = 180


def built(spec: Path, out: Path) -> tuple[str, float]:
    """What the command said on standard error, and the processor time that it and its children took."""
    pytest.importorskip("triton")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "lacuna", "build", str(spec), "-o", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=out.parent, env=environment, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stderr, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_ten_kernels_for_four_targets_build_fast_alike_and_run_elsewhere(tmp_path: Path) -> None:
    said, seconds = built(SPEC, tmp_path / "first")
    assert len([line for line in said.splitlines() if line.startswith("building ")]) == 40
    assert seconds < MOST_SECONDS  # of processor time, whatever else the machine does
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(SPEC, tmp_path / "elsewhere" / "again.py")
    built(tmp_path / "elsewhere" / "again.py", tmp_path / "elsewhere" / "second")
    names = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file())
    for name in names:
        data = (tmp_path / "first" / name).read_bytes()
        assert data == (tmp_path / "elsewhere" / "second" / name).read_bytes(), name
        assert not [place for place in (str(tmp_path), "/tmp/", str(SPEC.parent), str(Path.home()) + "/") if place.encode() in data], name
    shutil.move(tmp_path / "first", tmp_path / "elsewhere" / "moved")
    known = {"PATH": "/nowhere", "PYTHONPATH": os.pathsep.join(sys.path), "LACUNA_CACHE_DIR": str(tmp_path / "none"), "LACUNA_JIT": "0"}
    command = [sys.executable, str(SPEC), str(tmp_path / "elsewhere" / "moved")]
    used = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
    assert used.stdout.endswith("ten kernels, four targets: right\n"), used.stderr
