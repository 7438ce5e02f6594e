"""Which files of tests run a line of the package, by coverage of each file alone; kept in build/reach.jsonl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from coverage import CoverageData

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "build" / "reach.jsonl"
RENDERERS = {"cpp": "codegen/cpp", "triton": "codegen/triton", "cuda": "codegen/cuda_header"}  # what fills the templates of a language


class Reach(NamedTuple):
    """lines: of each file of tests, the lines that it runs by file of the package.      seconds: that it takes."""

    lines: dict[str, dict[str, frozenset[int]]]
    seconds: dict[str, float]

    def of(self, file: str, line: int) -> list[str]:
        """Files of tests that run a line, those first whose names share a word with its file, then the quick ones.

        A template is run by those that run a function of what fills the templates of its language.
        """
        if file.startswith("templates/"):
            found = self._rendering(RENDERERS[file.split("/")[1]])
        else:
            found = [test for test, ran in self.lines.items() if line in ran.get(file, ())]
        words = set(Path(file).name.partition(".")[0].split("_"))
        return sorted(found, key=lambda test: (not words & set(Path(test).stem.split("_")), self.seconds[test]))

    def _rendering(self, renderer: str) -> list[str]:
        """Tests that run more of the files whose names begin so than what an import runs."""
        ran = {test: sum(len(lines) for file, lines in files.items() if file.startswith(renderer)) for test, files in self.lines.items()}
        files = len(list(ROOT.glob(f"{renderer}*.py")))
        imported = min((lines for lines in ran.values() if lines >= files), default=0)
        return [test for test, lines in ran.items() if lines > imported]


def reach(python: str) -> Reach:
    """Measured once, each file of tests when it is first asked for; remove build/reach.jsonl to measure anew."""
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.touch()
    known = {test: (seconds, ran) for test, seconds, ran in map(json.loads, KEPT.read_text(encoding="utf-8").splitlines())}
    for test in _tests():
        if test not in known:
            known[test] = _measured(python, test)
            with KEPT.open("a", encoding="utf-8") as file:
                file.write(json.dumps([test, *known[test]]) + "\n")
    lines = {test: {file: frozenset(numbers) for file, numbers in ran.items()} for test, (_, ran) in known.items()}
    return Reach(lines, {test: seconds for test, (seconds, _) in known.items()})


def _tests() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/test_*.py"))


def _measured(python: str, test: str) -> tuple[float, dict[str, list[int]]]:
    data = KEPT.with_name(f"{Path(test).stem}.coverage")
    started = time.monotonic()
    command = [python, "-m", "coverage", "run", f"--data-file={data}", f"--source={ROOT}", "-m", "pytest", "-q", test]
    environment = {**os.environ, "LACUNA_TEST_PROFILE": "quick"}
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=3600, check=False)
    seconds = time.monotonic() - started
    read = CoverageData(str(data))
    read.read()
    ran = {Path(file).relative_to(ROOT).as_posix(): sorted(read.lines(file) or ()) for file in read.measured_files()}
    data.unlink(missing_ok=True)
    print(f"{test}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return seconds, {file: numbers for file, numbers in ran.items() if not file.startswith(("tests/", "."))}
