"""The system's C++ compiler: found, asked once what it can do, and run on generated text."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...codegen.cpp_targets import FLAGS
from ...ir.target import Target
from ..cache.folder import CacheUnwritable, Folder, cache_folder
from ..cache.index_entry import sealed, unsealed
from ..process.settings import settings
from ..process.temporary_folders import temporary_folder
from .trial import complaint_about

CANDIDATES = ("c++", "clang++", "g++")
OPENMP_FLAGS = (("-fopenmp",), ("-Xpreprocessor", "-fopenmp", "-lomp"))
OPENMP_PROBE = '#include <omp.h>\nextern "C" int threads() { return omp_get_max_threads(); }\n'
LONGEST_SECONDS = 300
LINES_SHOWN = 12
PROBE_FORMAT = 2
REMEDY = "write the path of g++ or clang++, or install one of them"


class CompilerMissing(RuntimeError):
    """There is no C++ compiler: the caller may go on with the eager backend, saying so once."""


class CompileFailed(RuntimeError):
    """The compiler refused a kernel. `source` is where its text was kept."""

    def __init__(self, message: str, source: Path) -> None:
        super().__init__(message)
        self.source = source


class Compiler(NamedTuple):
    """A C++ compiler that answered.

    command: the program's absolute path, then the arguments that came with it.
    kind:    `gcc`, `clang` or `unknown`.
    version: the first line of `--version`.
    stamp:   size and modification time of its files, so that an update under one name is another compiler.
    openmp:  flags that compile and link OpenMP; empty where that fails.
    """

    command: tuple[str, ...]
    kind: str
    version: str
    stamp: str
    openmp: tuple[str, ...]

    @property
    def path(self) -> Path:
        return Path(self.command[0])

    @property
    def identity(self) -> str:
        """One line for cache keys: equal only for the same compiler with the same abilities."""
        return " ".join((*self.command, self.version, self.stamp, *self.openmp))


@dataclass
class Tally:
    """How often a compiler was started in this process, for `explain` and tests. Probes count apart."""

    compilations: int = 0
    probes: int = 0


tally = Tally()


def find_compiler() -> Compiler:
    """The compiler of LACUNA_CXX, else of CXX, else the first of c++, clang++, g++ on PATH.

    What a compiler can do is asked once and remembered in the cache folder.

    Raises:
        CompilerMissing: none is there, or the named one does not run.
    """
    named = (("LACUNA_CXX", settings().cxx), ("CXX", os.environ.get("CXX", "").strip()))
    for variable, command in named:
        if command:
            return compiler_at(command, f"`{variable}` names")
    found = next((name for name in CANDIDATES if shutil.which(name)), None)
    if found is None:
        raise CompilerMissing(
            f"there is no C++ compiler: none of {', '.join(CANDIDATES)} is on PATH.\n"
            "  write `apt install g++` or the like, that is, install g++ or clang++, or set CXX"
        )
    return compiler_at(found, "PATH has")


def compiler_at(command: str, origin: str = "the call names") -> Compiler:
    """The compiler of a command such as `g++-12` or `ccache clang++`.

    Raises:
        CompilerMissing: it is not there or does not answer `--version`.
    """
    words = _words(command)
    program = shutil.which(words[0]) if words else None
    if program is None:
        raise CompilerMissing(
            f"{origin} the C++ compiler `{command}`, which is not there.\n  write the path of g++ or clang++, or install one"
        )
    resolved = (os.path.abspath(program), *words[1:])
    return _remembered(resolved, _stamp(resolved), origin)


def _words(command: str) -> list[str]:
    """Words as a shell would find them; none where a quote is not closed. No shell sees them."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


def compile_shared(text: str, target: Target, out_path: Path, compiler: Compiler | None = None, entry: str = "") -> None:
    """Compile C++ to a shared library at `out_path`. Nothing of the text, and no path, reaches the command line or the library.

    entry: a function that it must have.

    Raises:
        CompilerMissing: there is no compiler.
        CompileFailed: the compiler refused the text, ran longer than five minutes, or left what does not load; then there is no file.
    """
    chosen = compiler or find_compiler()
    tally.compilations += 1
    with temporary_folder() as folder:
        complaint = _run(chosen.command, (*FLAGS[target.name], "-fPIC", "-shared", *chosen.openmp), text, folder)
        complaint = complaint_about(folder / "kernel.so", entry) if complaint is None else complaint
        if complaint is not None:
            raise _refused(chosen, complaint, text)
        shutil.move(folder / "kernel.so", out_path)


def cpu_target() -> Target:
    """This machine's C++ target: `avx512bf16`, `avx512`, `avx2`, `neon` or `generic`."""
    from .cpu import cpu_features, target_name

    return Target("cpp", target_name(cpu_features()))


def _run(command: tuple[str, ...], flags: tuple[str, ...], text: str, folder: Path) -> str | None:
    """Run the compiler inside `folder`, on relative names only; None, or what it complained of."""
    (folder / "kernel.cpp").write_text(text, encoding="utf-8")
    # libraries follow the files that need them
    libraries = tuple(flag for flag in flags if flag.startswith("-l"))
    others = tuple(flag for flag in flags if not flag.startswith("-l"))
    arguments = (*command, *others, "-o", "kernel.so", "kernel.cpp", *libraries)
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=LONGEST_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it had not finished after {LONGEST_SECONDS} seconds"
    except OSError as error:
        raise CompilerMissing(f"there is a C++ compiler `{shlex.join(command)}`, which does not run: {error}.\n  {REMEDY}") from error
    return (done.stdout + done.stderr or "(it said nothing)") if done.returncode else None


def _refused(compiler: Compiler, complaint: str, text: str) -> CompileFailed:
    handle, name = tempfile.mkstemp(prefix="lacuna-failed-", suffix=".cpp")
    with open(handle, "w", encoding="utf-8") as kept:
        kept.write(text)
    shown = "\n".join(f"    {line}" for line in complaint.strip().splitlines()[:LINES_SHOWN])
    return CompileFailed(
        f"`{compiler.path}` ({compiler.version}) could not compile a kernel; its text is in `{name}`.\n"
        f'{shown}\n  write `backend="eager"` to go on without it, or set CXX to another compiler',
        Path(name),
    )


def forget() -> None:
    """Ask every compiler again, as a new process would."""
    _remembered.cache_clear()


@functools.lru_cache(maxsize=16)
def _remembered(command: tuple[str, ...], stamp: str, origin: str) -> Compiler:
    name = "toolchain/" + hashlib.sha256(repr((PROBE_FORMAT, command, stamp)).encode()).hexdigest() + ".json"
    folder = cache_folder()
    known = _read(folder, name, command)
    if known is not None:
        return known
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(CacheUnwritable, TimeoutError):  # asking twice is slower, not wrong
            stack.enter_context(folder.locked(f"toolchain-{Path(name).stem}", LONGEST_SECONDS))
        return _read(folder, name, command) or _asked(folder, name, _ask(command, stamp, origin))


def _asked(folder: Folder, name: str, answer: Compiler) -> Compiler:
    with contextlib.suppress(CacheUnwritable):  # a build will say it
        folder.write(name, sealed(json.dumps(answer._asdict()).encode()))
    return answer


def _read(folder: Folder, name: str, command: tuple[str, ...]) -> Compiler | None:
    """What `_asked` wrote of this command; None where the file is missing or not what it wrote."""
    try:
        fields = json.loads(unsealed(folder.read(name) or b"") or b"")
        known = Compiler(tuple(fields["command"]), fields["kind"], fields["version"], fields["stamp"], tuple(fields["openmp"]))
        return known if known.command == command else None
    except (ValueError, KeyError, TypeError):
        return None


def _ask(command: tuple[str, ...], stamp: str, origin: str) -> Compiler:
    try:
        answer = subprocess.run((*command, "--version"), capture_output=True, text=True, errors="replace", timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise CompilerMissing(f"{origin} the C++ compiler `{shlex.join(command)}`, which does not run: {error}.\n  {REMEDY}") from error
    said = answer.stdout.strip()
    kind = "clang" if "clang" in said else "gcc" if "Free Software Foundation" in said else "unknown"
    return Compiler(command, kind, said.partition("\n")[0], stamp, _openmp(command))


def _openmp(command: tuple[str, ...]) -> tuple[str, ...]:
    for flags in OPENMP_FLAGS:
        tally.probes += 1
        with temporary_folder() as folder:
            if _run(command, (*flags, "-fPIC", "-shared"), OPENMP_PROBE, folder) is None:
                return flags
    return ()


def _stamp(command: tuple[str, ...]) -> str:
    """Size and time of every file the command names: in `ccache g++` both."""
    files = [found for word in command if (found := shutil.which(word))]
    states = [os.stat(file) for file in files]
    return ",".join(f"{state.st_size}@{state.st_mtime_ns}" for state in states)
