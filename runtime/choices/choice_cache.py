"""What was chosen of a kernel beside its text, kept in the cache: by the model, which would say it again, or by measurement."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ...ir.program import Program
from ...ir.target import Target
from ..cache.artefacts import Manifest, open_cache
from ..cache.folder import CacheUnwritable
from ..cache.index_entry import Key, Stored, unpack

if TYPE_CHECKING:
    from ..kernels.variant import Variant

Known = TypeVar("Known")
Chosen = TypeVar("Chosen")
MODEL, MEASURED = "model", "measured"
MOST_NUMBERS = 5 + 3 * 4 * 8  # of a cut of eight parts on grids of four axes


class Subject(NamedTuple):
    """The calls that a choice is made for. bucket: of calls, as the one who asks tells them apart."""

    program: Program
    target: Target
    dtype: str
    dims: tuple[int, int]
    family: str
    bucket: str

    @staticmethod
    def of(variant: Variant, bucket: str) -> Subject:
        return Subject(variant.program, variant.target, variant.dtype, variant.dims, variant.family, bucket)


class Question(NamedTuple):
    """What a choice is made for.

    what:     `tile shape` or `token order` (C++), or `configuration` or `cut` (Triton).
    compiler: identity of what compiles kernels; another one may want another choice.
    """

    what: str
    subject: Subject
    compiler: str

    @property
    def key(self) -> Key:
        of = self.subject
        options = (
            ("choice", self.what),
            ("dtype", of.dtype),
            ("dims", f"{of.dims[0]} {of.dims[1]}"),
            ("family", of.family),
            ("bucket", of.bucket),
        )
        return Key(str(of.program), f"{of.target.backend} {of.target.name}", self.compiler, options)


class Choice(NamedTuple):
    """numbers: edges of a tile, the fields of a `Configuration`, or a cut as `cuts` writes it.   origin: MODEL or MEASURED."""

    numbers: tuple[int, ...]
    origin: str


@contextlib.contextmanager
def instead(chosen: dict[Known, Chosen], known: Known, other: Chosen) -> Generator[None]:
    """Let `other` be the choice of this process for a while."""
    before = {known: chosen[known]} if known in chosen else {}
    chosen[known] = other
    try:
        yield
    finally:
        del chosen[known]
        chosen.update(before)


def kept(question: Question) -> Choice | None:
    """What the cache holds; None where that is nothing, or damaged."""
    entry = open_cache().load(question.key)
    return None if entry is None else choice_of(entry.manifest)


def keep(question: Question, choice: Choice) -> None:
    """Put a choice in place of whatever there is.

    Raises:
        CacheUnwritable: the cache folder takes no files.
    """

    def build(path: Path) -> Manifest:
        path.write_text(f"{question.what}\n", encoding="utf-8")  # one file for all of a kind: none is left over by a later choice
        return {"choice": list(choice.numbers), "origin": choice.origin}

    open_cache().rebuild(question.key, build, ".txt")


def keep_predicted(question: Question, numbers: tuple[int, ...]) -> None:
    """Keep what the model says, where that is allowed and possible: predicting it again takes longer and gives the same."""
    if open_cache().jit:
        with contextlib.suppress(CacheUnwritable):
            keep(question, Choice(numbers, MODEL))


def measured() -> Iterator[tuple[Key, Choice]]:
    """Every measured choice in the cache, whichever version of the package made it."""
    from ..cache.contents import entries  # lists folders, which no call needs

    folder = open_cache().folder
    for entry in entries(folder):
        stored = unpack(folder.read(entry.index_file) or b"") if "choice" in entry.options else ""
        choice = choice_of(stored.manifest) if isinstance(stored, Stored) else None
        if isinstance(stored, Stored) and choice is not None and choice.origin == MEASURED:
            yield stored.key, choice


def choice_of(manifest: Manifest) -> Choice | None:
    match manifest:
        case {"choice": [*numbers], "origin": "model" | "measured" as origin}:
            return Choice(tuple(numbers), origin) if _whole(numbers) else None
        case _:
            return None


def _whole(numbers: list[Any]) -> bool:
    return 0 < len(numbers) <= MOST_NUMBERS and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
