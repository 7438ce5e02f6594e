"""Kernels ahead of time: a specification becomes a folder that runs where there is no compiler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ir.advice import advice
from ..process.temporary_folders import temporary_folder
from .files import checksum, names_in, put
from .jobs import Job, described, jobs_of
from .manifest import FILE, SCHEMA_FILE, Manifest
from .schema import MANIFEST
from .spec import Given, specification, target_named

Progress = Callable[[int, int, str], None]
Entry = dict[str, Any]


class BuildFailed(RuntimeError):
    """A kernel of a bundle could not be built; nothing was written."""


@dataclass(frozen=True)
class Built:
    """folder: the bundle.   kernels: how many it holds, for which targets.   size_bytes: of all its files."""

    folder: Path
    kernels: int
    targets: tuple[str, ...]
    size_bytes: int


def build(
    spec: Given,
    out: str | Path,
    *,
    targets: Iterable[str] | None = None,
    progress: Progress | None = None,
    processes: int | None = None,
    replace: bool = False,
) -> Built:
    """Write every kernel of a specification for every target into the new folder `out`; the same input gives the same bytes.

    Args:
        spec:      a `KernelSpec`, several, or the name of a Python file or module that lists them as `kernels`.
        targets:   of `cpu`, `cpu:avx512`, `cpu:avx2`, `cpu:neon`, `sm_80`, `sm_90`, `sm_100`, `gfx942`, ...; those that the
                   file lists as `targets`, else `cpu`, where this is None. No GPU is needed for any.
        progress:  called with the kernels that are done, all there are, and the one just built.
        processes: that build at a time; None is one for each core.
        replace:   put the bundle in place of a bundle that is there.

    Raises:
        FileExistsError: `out` is there, and is no bundle or `replace` is false.
        BuildFailed: a kernel could not be built.
        ValueError, TypeError: the specification asks for something that there is not.
    """
    place = Path(out).absolute()
    _check_free(place, replace=replace)
    given = specification(spec)
    names = tuple(dict.fromkeys(targets if targets is not None else given.targets or ("cpu",)))
    jobs = jobs_of(given.kernels, tuple(target_named(name) for name in names))
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".lacuna-build-", dir=place.parent) as scratch:
        folder = Path(scratch, "bundle")
        folder.mkdir()
        kernels = _built(jobs, folder, progress, processes or os.cpu_count() or 1)
        size = _finish(folder, kernels)
        if place.exists():
            place.rename(Path(scratch, "old"))
        folder.rename(place)
    return Built(place, len(kernels), tuple(sorted({each["target"] for each in kernels})), size)


def _check_free(place: Path, *, replace: bool) -> None:
    if not place.exists() or (replace and (place / FILE).is_file()):
        return
    if replace:
        raise FileExistsError(advice(f"`{place}` is there and is no bundle", "the name of a new folder"))
    raise FileExistsError(
        advice(f"`{place}` is there already", "the name of a new folder, or `replace=True` (`--replace`) where it is a bundle")
    )


def _finish(folder: Path, kernels: Sequence[Entry]) -> int:
    """Write programs, headers and the manifest; how many bytes there are in all."""
    from ...codegen.c_header import headers
    from ...codegen.cuda_header import cuda_header

    entries: list[Mapping[str, Any]] = []
    for kernel in sorted(kernels, key=lambda each: (each["target"], each["name"])):
        entry = {**kernel, "program": _program(folder, kernel["program"])}
        if "order" in kernel:
            entry["order"] = {**kernel["order"], "grid": _program(folder, kernel["order"]["grid"])}
        entries.append(entry)
    of_cuda = cuda_header(entries)
    for name, text in {**headers(entries), **({"include/lacuna_cuda.h": of_cuda} if of_cuda else {})}.items():
        put(folder, name, text.encode())
    put(folder, SCHEMA_FILE, (json.dumps(MANIFEST, sort_keys=True, indent=1) + "\n").encode())
    files = {name: checksum((folder / name).read_bytes()) for name in names_in(folder)}
    put(folder, FILE, Manifest(files, tuple(entries)).pack())
    return sum((folder / name).stat().st_size for name in names_in(folder))


def _program(folder: Path, program: str) -> str:
    """Write the text of a program; the name of its file."""
    text = (program.rstrip("\n") + "\n").encode()
    name = f"programs/{checksum(text)[:16]}.txt"
    put(folder, name, text)
    return name


# -- other processes --------------------------------------------------------------------------------------------------


def _built(jobs: Sequence[Job], folder: Path, progress: Progress | None, processes: int) -> list[Entry]:
    found: list[Entry] = []
    with _workers(folder) as build_one, ThreadPoolExecutor(min(processes, len(jobs))) as pool:
        waiting = {pool.submit(build_one, job): job for job in jobs}
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                found += future.result()
                if progress is not None:
                    progress(done, len(jobs), described(waiting[future]))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return found


@contextmanager
def _workers(folder: Path) -> Generator[Callable[[Job], list[Entry]]]:
    """A function that builds a job in a process of the thread that calls it."""
    mine = threading.local()
    started: list[subprocess.Popen[str]] = []
    with temporary_folder() as private:

        def build_one(job: Job) -> list[Entry]:
            if not hasattr(mine, "process"):
                mine.process = _started(folder, private)
                started.append(mine.process)
            return _asked(mine.process, job)

        try:
            yield build_one
        finally:
            for process in started:
                process.kill()
                process.communicate()


def _started(folder: Path, private: Path) -> subprocess.Popen[str]:
    """private: for caches, so that nothing that was built or tuned before decides what is in a bundle."""
    root = __name__.partition(".runtime.")[0]
    cache = Path(tempfile.mkdtemp(dir=private))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        "LACUNA_CACHE_DIR": str(cache / "lacuna"),
        "LACUNA_JIT": "1",
        "LACUNA_DUMP": "",
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "TRITON_DISABLE_LINE_INFO": "1",  # paths of this machine
        "TRITON_INTERPRET": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }
    command = (sys.executable, "-m", f"{root}.runtime.bundles.worker", str(folder))
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _asked(process: subprocess.Popen[str], job: Job) -> list[Entry]:
    assert process.stdin is not None
    assert process.stdout is not None
    answer = ""
    try:
        process.stdin.write(job.text() + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    except OSError:
        pass  # it ended, which the empty answer says
    if not answer:
        raise BuildFailed(advice(f"the process that built {described(job)} ended", "`processes=1` (`--jobs 1`), should memory be short"))
    given: dict[str, Any] = json.loads(answer)
    if "error" in given:
        raise BuildFailed(f"{described(job)} could not be built\n  {given['error']}")
    return given["kernels"]
