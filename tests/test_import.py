"""Importing Lacuna is cheap: nothing heavy is loaded, nothing is touched."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "triton", "islpy", "sympy", "networkx", "jinja2", "numpy", "matplotlib")
PROGRAM = f"""
import sys, time
start = time.perf_counter()
import lacuna
seconds = time.perf_counter() - start
print(seconds, [name for name in {HEAVY!r} if name in sys.modules])
"""
WARM = """
import torch, sys, lacuna
@lacuna.pattern
def diagonal(q, k, *, width):
    return abs(q - k) <= width
x = torch.randn(1, 1, 32, 16)
lacuna.attention(x, x, x, diagonal(width=3), backend="cpp")
print([name for name in ("islpy", "sympy", "networkx", "jinja2") if name in sys.modules])
"""


def printed(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_loads_nothing_heavy_and_takes_no_time() -> None:
    runs = [printed(PROGRAM) for _ in range(3)]
    assert all(run.endswith(" []") for run in runs)
    assert min(float(run.split()[0]) for run in runs) < 0.1


def test_a_second_process_runs_without_the_compiler_s_libraries() -> None:
    assert "islpy" in printed(WARM)
    assert printed(WARM) == "[]"


def test_rooms_refuse_a_second_identity() -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]) if len(sys.argv) > 1 else None\nimport lacuna, pathlib, importlib.util as u\n"
    program += "path = pathlib.Path(lacuna.__file__).parent / 'ir' / '__init__.py'\n"
    program += "spec = u.spec_from_file_location('ir', path)\n"
    program += "try: spec.loader.exec_module(u.module_from_spec(spec))\nexcept ImportError as error: print(error)"
    assert "`lacuna.ir` was imported as `ir`" in printed(program)
