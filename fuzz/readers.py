"""Files that are read back: each function takes any bytes and raises nothing but what is wrong with us."""

from __future__ import annotations

import contextlib
import json

from lacuna.runtime.bundles.files import checksum
from lacuna.runtime.bundles.manifest import BundleError, Manifest, unpacked
from lacuna.runtime.cache.index_entry import Stored, sealed, unpack


def index_files(data: bytes) -> None:
    """As they are, and with a digest that is right, so that what is behind it is reached."""
    for each in (data, sealed(data)):
        stored = unpack(each)
        if isinstance(stored, Stored) and unpack(stored.pack()) != stored:
            raise AssertionError("an index file does not survive packing")


def manifests(data: bytes) -> None:
    """Likewise: of a JSON object, the version and digest are made right, too."""
    with contextlib.suppress(BundleError):
        unpacked(data)
    with contextlib.suppress(BundleError, ValueError, RecursionError):  # of `json.loads` and `json.dumps`, which are not ours
        given = json.loads(data)
        if isinstance(given, dict):
            packed = json.loads(Manifest({}, (), "").pack())
            packed |= {"files": given.get("files", {}), "kernels": given.get("kernels", [])}
            del packed["digest"]
            packed["digest"] = checksum(json.dumps(packed, sort_keys=True, separators=(",", ":")).encode())
            found = unpacked(json.dumps(packed).encode())
            if unpacked(found.pack()) != found:
                raise AssertionError("a manifest does not survive packing")


def readers(data: bytes) -> None:
    """Both, chosen by the first byte."""
    (index_files, manifests)[data[0] % 2 if data else 0](data[1:])
