"""Where a compiled kernel keeps what has no register: instructions on local memory in its innermost loops, read off the machine code."""

# Triton comes without types.
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import triton

DISASSEMBLER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
LABEL, LINE, JUMP = re.compile(r"(\.L_\w+):"), re.compile(r"/\*[0-9a-f]{4,}\*/\s+(.*?);"), re.compile(r"\bBRA\b.*?(\.L_\w+)")
WORD = re.compile(r"\b(STL|LDL|HMMA|HGMMA)\b")


def innermost_loops(code: bytes) -> Iterator[Counter[str]]:
    """What WORD names in each loop of a cubin that multiplies matrices and holds no other loop."""
    lines, labels = _disassembled(code)
    jumps = ((at, JUMP.search(line)) for at, line in enumerate(lines))
    loops = {(labels[found[1]], at) for at, found in jumps if found and labels.get(found[1], at + 1) <= at}
    for first, last in sorted(loops):
        inner = any((first, last) != (a, b) and first <= a and b <= last for a, b in loops)
        counts = Counter(found[1] for line in lines[first : last + 1] if (found := WORD.search(line)))
        if not inner and counts["HMMA"] + counts["HGMMA"]:
            yield counts


def _disassembled(code: bytes) -> tuple[list[str], dict[str, int]]:
    """Instructions, and which of them each label is before."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(code)
        text = subprocess.run([DISASSEMBLER, "-c", path], capture_output=True, text=True, check=True).stdout
    lines: list[str] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if found := LABEL.match(line.strip()):
            labels[found[1]] = len(lines)
        elif found := LINE.search(line):
            lines.append(found[1])
    return lines, labels
