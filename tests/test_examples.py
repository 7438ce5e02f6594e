"""Every example runs; the demo with few pixels and without its peers."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
TORCH_WARNS = pytest.mark.filterwarnings("ignore")  # its compiler and its exporter do, of themselves
SMALL = [
    pytest.param(path.name, marks=[TORCH_WARNS] if path.name == "compiled.py" else [])
    for path in sorted(EXAMPLES.glob("*.py"))
    if path.name != "denoise.py"
]


@pytest.mark.parametrize("name", SMALL)
def test_example_runs_and_fits_a_page(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = EXAMPLES / name
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60


def test_the_demo_denoises(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["denoise.py", "--rows", "48", "--cols", "64", "--no-peers", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(EXAMPLES / "denoise.py"), run_name="__main__")
    text = capsys.readouterr().out
    before, after = (float(word) for word in text.split("PSNR ")[1].replace("dB", "").replace("before,", "").split()[:2])
    assert after > before + 3
    assert (tmp_path / "denoised.png").stat().st_size > 10_000
    assert (tmp_path / "tiles.png").stat().st_size > 1_000
