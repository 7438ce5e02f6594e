"""Many processes, one cache: sixteen want one key, builders are killed, and the bound removes entries all the time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lacuna.runtime.compilers.cpp_compiler import CANDIDATES

COMPILER = next(filter(None, map(shutil.which, CANDIDATES)), None)
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler on PATH")

ATTENTION = """
import os, sys, traceback
import torch, lacuna
import islpy, networkx, jinja2                           # once, instead of in every child
from lacuna.runtime.calls import attention
from lacuna.runtime.cpp import backend as cpp_backend
torch.manual_seed(0), torch.set_num_threads(1)           # a forked child has no threads of its parent
query, key, value = torch.randn(3, 1, 2, 40, 16).unbind()

@lacuna.pattern
def near(q, k, *, window):
    return (k <= q) & (q - k < window)

q = torch.arange(40)
seen = (q <= q[:, None]) & (q[:, None] - q < 7)
wanted = (query @ key.mT / 4).masked_fill(~seen, -torch.inf).softmax(-1) @ value

def right():
    return torch.allclose(lacuna.attention(query, key, value, near(window=7), backend="cpp"), wanted, atol=1e-5)

def child():
    if (pid := os.fork()) == 0:
        try:
            os._exit(0 if right() else 3)
        except BaseException:
            traceback.print_exc()
            os._exit(4)
    return pid
"""

SIXTEEN = """
children = [child() for _ in range(16)]
print([os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in children])
"""

LIBRARIES = """
import ctypes, os, pathlib, random, shutil, signal, sys, time, traceback
from lacuna.runtime.cache.artefacts import Cache, Key
from lacuna.runtime.cache.folder import Folder
from lacuna.runtime.compilers.cpp_compiler import compile_shared
from lacuna.ir.target import Target

root, seed, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
random.seed(seed)

def text(number):
    return f'extern "C" int answer() {{ return {number}; }}'

def forked(run):
    if (pid := os.fork()) == 0:
        try:
            run()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(4)
    return pid

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

KILLED = """
cache = Cache(Folder(root / "cache"))

def use(number):
    def build(path):
        compile_shared(text(number), Target("cpp", "generic"), path)
        return {"answer": number}
    entry = cache.get_or_build(Key(str(number), "t", "c", sources="s"), build)
    assert entry.manifest == {"answer": number} and ctypes.CDLL(str(entry.path)).answer() == number

compile_shared(text(0), Target("cpp", "generic"), root / "probe.so")        # the compiler is known from here on
started = time.monotonic()
assert ended(forked(lambda: use(10_000))) == 0
longest = 1.2 * (time.monotonic() - started)
for round in range(count):
    builders = [forked(lambda: use(round)) for _ in range(3)]
    time.sleep(random.uniform(0, longest))
    for each in builders:
        os.kill(each, signal.SIGKILL)
    assert all(ended(each) in (0, -signal.SIGKILL) for each in builders)
    started = time.monotonic()
    assert ended(forked(lambda: use(round))) == 0
    assert time.monotonic() - started < 60, "a lock outlived its process"
print("done")
"""

EVICTED = """
cache = Cache(Folder(root / "cache"), bound=1)          # every build removes whatever nobody uses
MADE = [root / f"{number}.so" for number in range(40)]
compile_shared('extern "C" int answer() { static volatile int number = 0x12345678; return number; }', Target("cpp", "generic"), MADE[0])
data = MADE[0].read_bytes()
assert data.count(0x12345678.to_bytes(4, sys.byteorder)) == 1
for number, path in enumerate(MADE):
    path.write_bytes(data.replace(0x12345678.to_bytes(4, sys.byteorder), number.to_bytes(4, sys.byteorder)))

def use():
    random.seed(os.getpid())
    for number in random.sample(range(40), 3):
        def build(path):
            shutil.copyfile(MADE[number], path)
            with open(root / "builds", "a") as log:
                log.write("+")
            return {"answer": number}
        entry = cache.get_or_build(Key(str(number), "t", "c", sources="s"), build)
        time.sleep(random.uniform(0, 0.003))            # between `load` and `dlopen`
        assert entry.manifest == {"answer": number} and ctypes.CDLL(str(entry.path)).answer() == number
        time.sleep(random.uniform(0, 0.003))
        assert entry.path.exists()

def work():
    for _ in range(count):
        assert ended(forked(use)) == 0

workers = [forked(work) for _ in range(4)]
assert [ended(each) for each in workers] == [0] * 4
from lacuna.runtime.cache.contents import make_room, size
make_room(cache.folder, 1)
assert size(cache.folder) == 0, list((root / "cache").rglob("*"))
print(len((root / "builds").read_text()))
"""


def ran(code: str, folder: Path, *arguments: object, **environment: str) -> str:
    temporary = folder / "temporary"  # where killed compilers leave their files
    temporary.mkdir(exist_ok=True)
    given = {**os.environ, "TMPDIR": str(temporary), "LACUNA_CACHE_DIR": str(folder / "cache"), **environment}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.strip()


def counting_compiler(folder: Path) -> tuple[Path, Path]:
    """A compiler that writes a line per start, and its log."""
    script, log = folder / "compiler", folder / "log"
    script.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec {COMPILER} "$@"\n')
    script.chmod(0o755)
    return script, log


def test_sixteen_processes_compile_a_cold_key_once_and_all_answer_right(tmp_path: Path) -> None:
    script, log = counting_compiler(tmp_path)
    assert ran(ATTENTION + SIXTEEN, tmp_path, LACUNA_CXX=str(script), LACUNA_THREADS="1") == str([0] * 16)
    started = log.read_text().splitlines()
    assert len([line for line in started if "-O" in line]) == 1
    assert len(started) == 3, "the compiler is asked for its version and for OpenMP once, too"


def test_builders_killed_at_any_moment_leave_no_wrong_answer_and_no_stuck_lock(tmp_path: Path, prove: bool) -> None:
    seed = int.from_bytes(os.urandom(2)) if prove else 1
    assert ran(LIBRARIES + KILLED, tmp_path, tmp_path, seed, 20 if prove else 3) == "done"


def test_answers_are_right_while_the_bound_removes_entries_all_the_time(tmp_path: Path, prove: bool) -> None:
    rounds = 200 if prove else 15
    builds = ran(LIBRARIES + EVICTED, tmp_path, tmp_path, 0, rounds)
    assert int(builds) > rounds, "entries came and went"
