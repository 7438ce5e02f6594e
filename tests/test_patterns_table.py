"""patterns/README.md is what its script writes today: each row's text, and the figures of some rows, of all in `make prove`."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SAMPLE = 10


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "patterns_table.py"))


def lines() -> list[str]:
    return [line for line in (ROOT / "patterns" / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| A")]


def test_every_row_of_the_catalogue_has_its_line(table: dict[str, Any]) -> None:
    text = (ROOT / "patterns" / "README.md").read_text(encoding="utf-8")
    assert text.startswith(table["HEAD"])
    assert text.endswith(table["FOOT"])
    assert [line.split(" | ")[0] for line in lines()] == [f"| A{row}" for row in range(1, 31)]
    assert [row.name for row in table["ROWS"]] == [f"A{row}" for row in range(1, 31)]


def test_figures_are_those_of_today(table: dict[str, Any], prove: bool) -> None:
    for line, row in list(zip(lines(), table["ROWS"], strict=True))[:: 1 if prove else len(lines()) // SAMPLE]:
        assert line == str(row), "write `python benchmarks/patterns_table.py`"


def test_each_row_names_a_test_that_is_there(table: dict[str, Any]) -> None:
    for row in table["ROWS"]:
        file, test = row.oracle.split("::")
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), row.oracle
