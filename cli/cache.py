"""`lacuna cache`: what the cache of compiled kernels holds, whether it is whole, and how to empty it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .answers import FAILED, AnsweringGroup
from .options import Json
from .report import Fact, Facts, Listing, Part, Text, show, show_json, size_text
from .terminal import examples, working

if TYPE_CHECKING:
    from ..runtime.cache.contents import Damage, StoredEntry
    from ..runtime.cache.folder import Folder

LIST_EXAMPLES = ("lacuna cache list", "lacuna cache list --json")
VERIFY_EXAMPLES = ("lacuna cache verify",)
CLEAR_EXAMPLES = ("lacuna cache clear --damaged", "lacuna cache clear --yes")
PATH_EXAMPLES = ("lacuna cache path",)
EVERY_EXAMPLE = (*LIST_EXAMPLES, *VERIFY_EXAMPLES, *PATH_EXAMPLES)

app = typer.Typer(cls=AnsweringGroup, no_args_is_help=True, help="Look at the cache of compiled kernels.", epilog=examples(*EVERY_EXAMPLE))


@dataclass(frozen=True)
class Kernel:
    """One entry. used: seconds since 1970; `current`: built by this version of the sources, so that a call may take it."""

    program: str
    target: str
    options: dict[str, str]
    bytes: int
    used: float
    current: bool
    index_file: str
    artefact: str


@dataclass(frozen=True)
class Contents:
    """kernels: the one used last first. bytes: of all of them."""

    path: Path
    bytes: int
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True)
class Verdict:
    """kernels: entries that are readable. faults: each is a miss, never a wrong kernel."""

    path: Path
    kernels: int
    faults: tuple[Damage, ...]


@app.command("path", epilog=examples(*PATH_EXAMPLES))
def path() -> None:
    """Print the folder of the cache, which need not be there yet."""
    typer.echo(os.fsencode(_folder().root))  # as bytes: for a shell to use, whatever they are


@app.command("list", epilog=examples(*LIST_EXAMPLES))
def list_(as_json: Json = False) -> None:
    """List the kernels in the cache, the one used last first."""
    found = contents(_folder())
    if as_json:
        show_json(found)
    else:
        show(_listed(found))


@app.command("verify", epilog=examples(*VERIFY_EXAMPLES))
def verify(as_json: Json = False) -> None:
    """Read every file of the cache and name those that are damaged or foreign.

    Exit code 1 where there are any. A damaged file is a miss, never a wrong kernel: `lacuna cache clear --damaged` removes them.
    """
    from ..runtime.cache import contents as cache_contents

    folder = _folder()
    with working("reading the cache", short=True):
        faults = tuple(cache_contents.verify(folder))
        found = Verdict(folder.root, sum(1 for _ in cache_contents.entries(folder)), faults)
    if as_json:
        show_json(found)
    else:
        show(_judged(found))
    if faults:
        raise typer.Exit(FAILED)


@app.command("clear", epilog=examples(*CLEAR_EXAMPLES))
def clear(
    damaged: Annotated[bool, typer.Option("--damaged", help="only what `lacuna cache verify` complains of")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Remove the kernels of the cache.

    Without `--yes` and `--damaged` it asks first. What a process uses stays, and is listed.
    """
    from ..runtime.cache import contents as cache_contents

    folder = _folder()
    if not (yes or damaged):
        typer.confirm(f"remove every kernel in {folder.root}?", abort=True, err=True)
    only = [each.name for each in cache_contents.verify(folder)] if damaged else None
    done = cache_contents.clear(folder, only=only)
    facts = [Fact("removed", f"{len(done.removed)} files, {size_text(done.bytes)}")]
    show([Facts(str(folder.root), [*facts, *(Fact("in use", name) for name in done.in_use)])])


def contents(folder: Folder) -> Contents:
    from ..runtime.cache.contents import entries, size
    from ..runtime.process.version import sources

    kernels = tuple(_kernel(each, sources()) for each in entries(folder))
    return Contents(folder.root, size(folder), kernels[::-1])


def _kernel(entry: StoredEntry, now: str) -> Kernel:
    current = entry.sources == now
    return Kernel(entry.program, entry.target, dict(entry.options), entry.bytes, entry.used, current, entry.index_file, entry.artefact)


def _folder() -> Folder:
    from ..runtime.cache.folder import cache_folder

    return cache_folder()


# -- as text ----------------------------------------------------------------------------------------------------------


def _listed(found: Contents) -> list[Part]:
    told = Text(f"{found.path}: {len(found.kernels)} kernels, {size_text(found.bytes)}")
    if not found.kernels:
        return [told]
    header = ("program", "target", "what", "dtype", "dimensions", "of this version", "used", "KiB")
    return [Listing(header, [_row(each) for each in found.kernels], right=7), told]


def _row(kernel: Kernel) -> tuple[str, ...]:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(kernel.used))
    what = kernel.options.get("choice") or kernel.options.get("family", "")
    numbers = (kernel.options.get(name, "") for name in ("dtype", "dims"))
    return (kernel.program, kernel.target, what, *numbers, "yes" if kernel.current else "no", used, f"{kernel.bytes / 1024:.1f}")


def _judged(found: Verdict) -> list[Part]:
    told = f"{found.path}: {found.kernels} kernels, " + (f"{len(found.faults)} files of no use" if found.faults else "every file is whole")
    return [Facts(told, [Fact(fault.name, fault.reason, "bad") for fault in found.faults])]
