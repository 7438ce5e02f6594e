"""An index file of the cache: what decides a kernel, and which artefact is the kernel."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, cast

from ..process.version import sources

FORMAT = b"lacuna-cache 2"
_ARTEFACT = re.compile(r"artefacts/([0-9a-f]{64})(\.[a-z]+)?", re.ASCII)
_PROGRAM = re.compile(r"program @(\w+)\(", re.ASCII)

Manifest = Mapping[str, Any]
"""How to launch an artefact: a JSON object (tuples come back as lists, keys are strings)."""


@dataclass(frozen=True, slots=True)
class Key:
    """Everything that decides an artefact and its manifest; equal keys share one kernel.

    subject:  what is built: the text of the program (a request), or the rendered text of a kernel.
    options:  name and value of every further choice: dtype, dimensions, tile shape, bucket, layout flags.
    target:   backend and resolved CPU features or architecture, such as `cpp avx512`.
    compiler: `Compiler.identity`, or the version of Triton.
    sources:  version and state of this package.

    Left out, because a kernel takes them as arguments: lengths, offsets, strides, batch, heads, the values of parameters, the
    contents of tables, the number of threads. Left out, because they are not seen: the machine (the folder is its own).
    """

    subject: str
    target: str
    compiler: str
    options: tuple[tuple[str, str], ...] = ()
    sources: str = field(default_factory=sources)

    @property
    def parts(self) -> dict[str, object]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def digest(self) -> str:
        return hashlib.sha256(canonical(self.parts)).hexdigest()

    @property
    def index_name(self) -> str:
        return f"index/{self.digest}.json"

    @property
    def program(self) -> str:
        """The name of the program, or the beginning of what else is built."""
        found = _PROGRAM.match(self.subject)
        return found[1] if found else self.subject[:40]


class Stored(NamedTuple):
    """What an index file says: the format and a digest of the rest on the first line, then JSON that repeats the key."""

    key: Key
    artefact: str
    manifest: Manifest

    @property
    def sha256(self) -> str:
        return self.artefact.removeprefix("artefacts/").partition(".")[0]

    def pack(self) -> bytes:
        return sealed(canonical({"key": self.key.parts, "artefact": self.artefact, "manifest": self.manifest}))


def unpack(data: bytes) -> Stored | str:
    """What `pack` wrote, or what is wrong with the bytes. Raises nothing, whatever they are."""
    if not data.startswith(FORMAT + b" "):
        return "written by another version" if data.startswith(b"lacuna-cache ") else "not an index file"
    body = unsealed(data)
    if body is None:
        return "its digest is wrong"
    try:
        return _stored(json.loads(body))
    except (ValueError, KeyError, TypeError, RecursionError):
        return "its fields are not those of an index file"


def _stored(said: Any) -> Stored:  # noqa: ANN401 (any JSON)
    key, artefact, manifest = said["key"], said["artefact"], said["manifest"]
    if not isinstance(manifest, dict) or not isinstance(artefact, str) or not _ARTEFACT.fullmatch(artefact):
        raise ValueError(artefact)
    words: list[Any] = [key[name] for name in ("subject", "target", "compiler", "sources")]
    options = tuple((str(name), str(value)) for name, value in key["options"])
    if not all(isinstance(word, str) for word in words):
        raise ValueError(words)
    subject, target, compiler, state = words
    return Stored(Key(subject, target, compiler, options, state), artefact, cast(Manifest, manifest))


def sealed(body: bytes) -> bytes:
    """A body below a line with the format and its digest."""
    return FORMAT + b" " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def unsealed(data: bytes) -> bytes | None:
    """What `sealed` was given; None where the bytes are not what it made of anything."""
    body = data[data.find(b"\n") + 1 :]
    return body if data == sealed(body) else None


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no choice left, so that equal values are equal bytes in every process."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
