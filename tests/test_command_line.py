"""The command line: programs as text in, text out, and what it says of bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WINDOW = "program @window(q < Lq, k < Lk; W: i64) {\n  mask = not (q < k) and q - k < W + 0\n  score = s\n  normalise = softmax\n}\n"


def lacuna(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lacuna", *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def window(tmp_path: Path) -> str:
    file = tmp_path / "window.lacuna"
    file.write_text(WINDOW, encoding="utf-8")
    return str(file)


def test_opt_prints_the_program_after_the_passes(window: str) -> None:
    done = lacuna("opt", window, "--passes", "simplify")
    assert done.returncode == 0, done.stderr
    assert "mask = k <= q and q - k < W\n" in done.stdout


def test_a_pass_that_does_not_exist_is_named(window: str) -> None:
    done = lacuna("opt", window, "--passes", "simplify,polish")
    assert done.returncode == 2
    assert "there is no pass `polish`" in " ".join(done.stderr.replace("│", " ").split())


def test_schedule_prints_ranges_of_tiles(window: str) -> None:
    done = lacuna("schedule", window)
    assert done.returncode == 0, done.stderr
    assert "full_loops range(max(0, (128 * i - W + 191) // 64), min(Lk // 64, 2 * i))" in done.stdout
