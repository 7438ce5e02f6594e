"""Every example runs."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("compiled_quickly")

EXAMPLES = Path(__file__).parent.parent / "examples"
TORCH_WARNS = pytest.mark.filterwarnings("ignore")  # its compiler and its exporter do, of themselves
SMALL = [pytest.param(path.name, marks=[TORCH_WARNS] if path.name == "compiled.py" else []) for path in sorted(EXAMPLES.glob("*.py"))]


@pytest.mark.parametrize("name", SMALL)
def test_example_runs_and_fits_a_page(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = EXAMPLES / name
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
