"""Change one token of the package at a time and see whether a test notices: `make mutants`, or

    python fuzz/mutants.py [--count 100] [--seed 14] [--first 0] [--results FILE] [--only TEXT]

Needs universalmutator and coverage (`pip install -e '.[mutants]'`). Each mutant is tried in a copy of the tree by the files of tests that
run its line, until the first of them fails. Mutants of templates that no compiler takes are not counted. Hours for a hundred; what was
tried is in the file of results, from which a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from mutations import ROOT, Mutant, drawn
from reach import Reach, reach

LONGEST_SECONDS = 1800  # of the tests of one mutant: a loop without end is noticed too
KILLED, SURVIVED, STILLBORN, UNREACHED = "killed", "survived", "stillborn", "unreached"
TRY = """
import torch, lacuna, sys
for dtype in (torch.float32, torch.bfloat16):
    for rows in (70, 3):
        query, key, value = (torch.randn(1, 4, length, 40, dtype=dtype, requires_grad=True) for length in (rows, 70, 70))
        lacuna.attention(query, key, value, lacuna.patterns.causal(), backend="cpp").sum().backward()
"""
TRY_TRITON = """
import os; os.environ["TRITON_INTERPRET"] = "1"
import torch, lacuna
for rows in (70, 3):
    query, key, value = (torch.randn(1, 2, length, 16, requires_grad=True) for length in (rows, 70, 70))
    lacuna.attention(query, key, value, lacuna.patterns.causal(), backend="triton").sum().backward()
"""


class Tried(NamedTuple):
    mutant: Mutant
    outcome: str
    by: str  # the test that failed, or the files that did not
    seconds: float


class Copy(NamedTuple):
    """A copy of the tree in a folder of its own, which is first on Python's path."""

    folder: Path

    @property
    def tree(self) -> Path:
        return self.folder / "lacuna"

    def run(self, arguments: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "LACUNA_TEST_PROFILE": "quick",
            "LACUNA_CACHE_DIR": str(self.folder / "cache"),
        }
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.tree, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )

    def put(self, file: str, text: str) -> None:
        path = self.tree / file
        path.write_text(text, encoding="utf-8")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):  # which a file of the same size and second would not replace
            compiled.unlink()


def copied() -> Copy:
    folder = Path(tempfile.mkdtemp(prefix="lacuna-mutants-"))
    shutil.copytree(ROOT, folder / "lacuna", ignore=shutil.ignore_patterns(".git", ".venv", "build", "__pycache__"))
    (folder / "cache").mkdir(mode=0o700)
    return Copy(folder)


def tried(mutant: Mutant, copy: Copy, known: Reach) -> Tried:
    started = time.monotonic()
    copy.put(mutant.file, mutant.text())
    try:
        outcome, by = _outcome(mutant, copy, known.of(mutant.file, mutant.line))
    finally:
        copy.put(mutant.file, (ROOT / mutant.file).read_text(encoding="utf-8"))
    return Tried(mutant, outcome, by, time.monotonic() - started)


def _outcome(mutant: Mutant, copy: Copy, tests: list[str]) -> tuple[str, str]:
    if not tests:
        return UNREACHED, ""
    if mutant.file.startswith("templates/") and _no_compiler_takes_it(mutant, copy):
        return STILLBORN, ""
    try:
        done = copy.run(["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests], LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        return KILLED, "time"
    if done.returncode == 0:
        return SURVIVED, " ".join(tests)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return KILLED, failed[0][:200] if failed else done.stdout[-200:]


def _no_compiler_takes_it(mutant: Mutant, copy: Copy) -> bool:
    try:
        done = copy.run(["-c", TRY_TRITON if "triton" in mutant.file else TRY], 300)
    except subprocess.TimeoutExpired:
        return False
    return "CompileFailed" in done.stderr or "CompilationError" in done.stderr or "SyntaxError" in done.stderr or "NameError" in done.stderr


def _tried_before(results: Path) -> dict[Mutant, Tried]:
    if not results.exists():
        return {}
    read = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return {Mutant(*each["mutant"]): Tried(Mutant(*each["mutant"]), *list(each.values())[1:]) for each in read}


def _all(arguments: argparse.Namespace) -> Iterator[Tried]:
    """One after the other, those that no compiler takes replaced by the next."""
    results, counted = Path(arguments.results), 0
    before, copy, known = _tried_before(results), copied(), reach(sys.executable)
    try:
        for mutant in islice(drawn(arguments.seed), arguments.first, None):
            if counted == arguments.count:
                return
            if arguments.only not in mutant.file:
                continue
            found = before.get(mutant) or tried(mutant, copy, known)
            if mutant not in before:
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found._asdict()) + "\n")
            counted += found.outcome != STILLBORN
            yield found
    finally:
        shutil.rmtree(copy.folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--first", type=int, default=0, help="how many drawn ones to pass over")
    parser.add_argument("--results", default=str(ROOT / "build" / "mutants.jsonl"))
    parser.add_argument("--only", default="", help="mutants of files whose name holds this")
    counts: Counter[str] = Counter()
    for number, found in enumerate(_all(parser.parse_args()), 1):
        counts[found.outcome] += 1
        print(f"{number:4} {found.outcome} in {found.seconds:.0f} s: {found.mutant}", flush=True)
        if found.outcome == KILLED:
            print(f"    by {found.by}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
