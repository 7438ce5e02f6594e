"""The manifest of a bundle: what it holds, by name and checksum. JSON, of which nothing is run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ir.advice import advice
from ..process.version import VERSION
from .files import checksum, is_name
from .schema import MANIFEST, faults

FORMAT, FORMAT_VERSION = "lacuna-bundle", 1
FILE, SCHEMA_FILE = "manifest.json", "manifest.schema.json"
MOST_BYTES = 2**28
REMEDY = "`lacuna build SPEC -o DIR` again, or fetch the bundle again"


class BundleError(ValueError):
    """A bundle that is damaged, foreign or for other machines. The message says which, and what to do."""


@dataclass(frozen=True)
class Manifest:
    """files: sha256 of every file but the manifest, by name.   kernels: as `bundle_schema.KERNEL` has them."""

    files: Mapping[str, str]
    kernels: tuple[Mapping[str, Any], ...]
    lacuna: str = VERSION

    def pack(self) -> bytes:
        """The same bytes for equal manifests, with a digest of the rest in `digest`."""
        body: dict[str, Any] = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "lacuna": self.lacuna,
            "files": dict(self.files),
            "kernels": list(self.kernels),
        }
        return (json.dumps({**body, "digest": _digest(body)}, sort_keys=True, indent=1) + "\n").encode()


def unpacked(data: bytes, where: str = "the bundle") -> Manifest:
    """The manifest that `data` is.

    Raises:
        BundleError: it is none, of another version, or damaged.
    """
    given = _parsed(data, where)
    if given.get("format") != FORMAT:
        raise BundleError(advice(f"{where} is no bundle of Lacuna: its manifest has format {_short(given.get('format'))}", REMEDY))
    if given.get("version") != FORMAT_VERSION:
        raise BundleError(
            advice(
                f"{where} has format version {_short(given.get('version'))}, made by Lacuna {_short(given.get('lacuna'))}; this is Lacuna "
                f"{VERSION}, which reads version {FORMAT_VERSION}",
                "`lacuna build SPEC -o DIR` with this version",
            )
        )
    try:
        fault = next(faults(given, MANIFEST), None)
    except RecursionError:
        fault = "it is nested too deeply"
    if fault is not None:
        raise BundleError(advice(f"the manifest of {where} does not keep its schema: {fault}", REMEDY))
    if given.pop("digest") != _digest(given):
        raise BundleError(advice(f"the manifest of {where} is damaged: it does not have its digest", REMEDY))
    manifest = Manifest(given["files"], tuple(given["kernels"]), given["lacuna"])
    _check_files(manifest, where)
    return manifest


def files_of(kernel: Mapping[str, Any]) -> Iterable[str]:
    """Names of the files that one kernel takes."""
    yield from (kernel[name] for name in ("program", "source", "binary") if name in kernel)
    yield from (each["binary"] for each in kernel.get("binaries", ()))
    if "order" in kernel:
        yield kernel["order"]["grid"]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the bundle in `folder`, and its files seen to be what it says.

    Raises:
        BundleError: there is none, or a file is missing or changed.
    """
    where = f"the bundle `{folder}`"
    manifest = unpacked(_bytes(folder, FILE, where), where)
    for name, digest in manifest.files.items():
        if checksum(_bytes(folder, name, where)) != digest:
            raise BundleError(advice(f"`{name}` in {where} is damaged: its sha256 is not that of the manifest", REMEDY))
    return manifest


def _bytes(folder: Path, name: str, where: str) -> bytes:
    path = folder / name
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BundleError(advice(f"`{name}` in {where} is larger than {MOST_BYTES} bytes", REMEDY))
        return path.read_bytes()
    except OSError as error:
        what = (
            f"{where} has no `{name}`" if isinstance(error, FileNotFoundError) else f"`{name}` in {where} cannot be read: {error.strerror}"
        )
        raise BundleError(advice(what, REMEDY)) from None


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    try:
        given: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise BundleError(advice(f"the manifest of {where} is damaged: it is no JSON", REMEDY)) from None
    if not isinstance(given, dict):
        raise BundleError(advice(f"the manifest of {where} is damaged: it is no JSON object", REMEDY))
    return given  # pyright: ignore[reportUnknownVariableType]


def _check_files(manifest: Manifest, where: str) -> None:
    for kernel in manifest.kernels:
        for name in files_of(kernel):
            if name not in manifest.files or not is_name(name):
                raise BundleError(advice(f"the manifest of {where} is damaged: it has no checksum of `{name}`", REMEDY))


def _digest(body: Mapping[str, Any]) -> str:
    return checksum(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _short(value: object) -> str:
    return repr(value)[:40]
