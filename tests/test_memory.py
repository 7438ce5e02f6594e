"""What a call adds to the memory that its operands and its output take."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import PROFILE

FORWARD = """
import re, torch, lacuna
from lacuna import patterns
from pathlib import Path

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

def attend(tokens):
    query, key, value = (torch.ones(1, 4, tokens, 64, dtype=torch.DTYPE) for _ in range(3))
    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    out = lacuna.attention(query, key, value, patterns.sliding_window(1024), backend="cpp")
    return kilobytes("VmHWM") - before, out.nbytes // 1024

attend(2048)  # builds the kernel, starts the threads
added, each = attend(65536)
print(added - each, 4 * each)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of resident memory from /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"] if PROFILE == "prove" else ["float32"])
def test_a_forward_pass_adds_less_than_a_twentieth_of_its_operands_and_output(dtype: str) -> None:
    run = subprocess.run([sys.executable, "-c", FORWARD.replace("DTYPE", dtype)], capture_output=True, text=True, check=True)
    added, operands = map(int, run.stdout.split())
    assert operands == 4 * 65536 * 4 * 64 * (4 if dtype == "float32" else 2) // 1024
    assert added < operands / 20, f"{added} kB beside {operands} kB"
