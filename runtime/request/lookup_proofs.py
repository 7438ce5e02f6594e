"""Where proofs of look-ups come from: memory, a loaded bundle, the cache on disk, then integer sets.

The cache keeps them in an entry of its own, beside those of kernels: one proof serves every backend, dtype and length.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ...ir.expr import Symbol
from ...ir.program import InvalidProgram, Program
from ...passes.lookups.guards import hazards
from ...passes.lookups.proof import Proofs, proof_of, symbols_bound
from ..cache.artefacts import Manifest, open_cache
from ..cache.folder import CacheUnwritable
from ..cache.index_entry import Key
from ..kernels import shelves

REMEMBERED = 256
Told = Sequence[Mapping[str, Any] | None]

_known: dict[tuple[Program, tuple[int, ...]], Proofs] = {}


def proofs_of(program: Program, values: Mapping[str, int | float]) -> Proofs:
    """A proof for each hazard of `program` where its parameters have these `values`."""
    bound = {symbol: int(values[symbol.name]) for symbol in symbols_bound(program)}
    at = program, tuple(bound.values())
    found = _known.get(at)
    if found is None:
        if len(_known) >= REMEMBERED:
            _known.clear()
        found = _known[at] = _shipped(program, bound) or _kept(program, bound)
    return found


def forget_proofs() -> None:
    """Ask the bundles, the cache and the sets again, as a new process would."""
    _known.clear()


def told(program: Program, values: Mapping[str, int | float]) -> dict[str, Any]:
    """What a bundle says of the look-ups of a program, which `shelves.proofs_found` finds again."""
    bound = {symbol: int(values[symbol.name]) for symbol in symbols_bound(program)}
    return {"program": shelves.nameless(str(program)), "bound": _words(bound), "proofs": _told(_derived(program, bound))}


def _words(bound: Mapping[Symbol, int]) -> str:
    return " ".join(f"{symbol.name}={value}" for symbol, value in bound.items())


def _told(proofs: Proofs) -> list[dict[str, Any] | None]:
    return [None if proof is None else proof.told() for proof in proofs]


def _shipped(program: Program, bound: Mapping[Symbol, int]) -> Proofs | None:
    said = shelves.proofs_found(program, _words(bound))
    return None if said is None else _read(said, program)


def _kept(program: Program, bound: Mapping[Symbol, int]) -> Proofs:
    key = Key(str(program), "look-ups", "", (("bound", _words(bound)),))
    cache = open_cache()
    entry = cache.load(key)
    found = None if entry is None else _read(entry.manifest.get("proofs"), program)
    if found is not None:
        return found
    found = _derived(program, bound)

    def build(path: Path) -> Manifest:
        path.write_text("look-ups\n", encoding="utf-8")
        return {"proofs": _told(found)}

    if cache.jit:
        with contextlib.suppress(CacheUnwritable):
            cache.rebuild(key, build, ".txt")
    return found


def _derived(program: Program, bound: Mapping[Symbol, int]) -> Proofs:
    from ...passes.lookups.lookup_sets import proofs  # islpy comes with it

    return proofs(program, bound)


def _read(said: object, program: Program) -> Proofs | None:
    """What was told of `program`; None where it is something else, and the sets are asked."""
    if not isinstance(said, list) or len(each := cast("list[Any]", said)) != len(hazards(program)):
        return None
    try:
        return tuple(None if one is None else proof_of(one, program) for one in each)
    except (InvalidProgram, KeyError, TypeError, AttributeError):
        return None
