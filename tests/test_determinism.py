"""The same program gives the same text: in every process, whatever it derived before, and however busy the machine is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "derived_texts.py"
Texts = dict[str, list[str]]


def texts(count: int, order: int, *faults: str) -> Texts:
    """Digests of the texts of a process of its own, whose hashes and whose order of problems are those of `order`."""
    command = [sys.executable, str(SCRIPT), str(count), str(order), *faults]
    environment = {**os.environ, "PYTHONHASHSEED": str(order)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_texts_depend_on_no_process_order_hash_or_clock(prove: bool) -> None:
    count = 300 if prove else 6
    runs = [texts(count, 0), texts(count, 1, "slow"), *(texts(count, order) for order in range(2, 6 if prove else 2))]
    assert len(runs[0]) > 20
    for name, digests in runs[0].items():
        found = {digest for run in runs for digest in run[name]}
        assert len(found) == 1, f"`{name}` has {len(found)} texts: {[run[name] for run in runs]}"
        assert len(digests) == 1


def test_basic_sets_of_the_library_alone_would_depend_on_memory() -> None:
    """A seeded fault: with the library's own coalescing, one of the random programs has two texts in one process."""
    (digests,) = texts(0, 3, "plain").values()
    assert len(digests) == 2
