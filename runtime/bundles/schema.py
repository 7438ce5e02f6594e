"""What a manifest looks like: a JSON schema that is shipped beside it, and the part of JSON Schema that it takes to check one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from .files import NAME
from .spec import DTYPES, ROWS, TARGETS

FAMILIES = ("forward", "decode", "backward", "backward_queries")
Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
WORD: Schema = {"type": "string", "pattern": "^[^\\W\\d]\\w*$"}
FILE: Schema = {"type": "string", "pattern": f"^{NAME.pattern}$"}
DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
COUNT: Schema = {"type": "integer", "minimum": 0}
EDGE: Schema = {"type": "integer", "minimum": 1, "maximum": 65536}
TRUTH: Schema = {"type": "boolean"}


def _list(items: Schema, **limits: int) -> Schema:
    return {"type": "array", "items": items, **limits}


def _one_of(values: tuple[str, ...]) -> Schema:
    return {"enum": list(values)}


def _object(properties: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": sorted(properties),
        "additionalProperties": False,
    }


LAYOUT = _object(
    {
        "entry": WORD,
        "target": TEXT,
        "family": TEXT,
        "slots": _list(_list(TEXT, minItems=2, maxItems=2)),
        "special": _list({"type": "array"}, minItems=3, maxItems=3),
        "threads": EDGE,
        "shared_bytes": COUNT,
        "ctas": EDGE,
        "scratch_bytes": COUNT,
        "scratch_alignment": COUNT,
        "cooperative": TRUTH,
        "programmatic": TRUTH,
    }
)
BINARY = _object({"binary": FILE, "merge": TRUTH, "layout": LAYOUT}, {"c": _object({"prefix": WORD})})
PROOF = _object({"where": TEXT, "opaque": _list(TEXT)})
KERNEL = _object(
    {
        "name": WORD,
        "program": FILE,
        "target": _one_of(TARGETS),
        "dtype": _one_of(DTYPES),
        "dims": _list(EDGE, minItems=2, maxItems=2),
        "family": _one_of(FAMILIES),
        "rows": _one_of(ROWS),
        "shifted": TRUTH,
        "wanted": _list(WORD),
        "bound": TEXT,
        "tiling": _object(
            {"block": _list(EDGE, minItems=2, maxItems=2), "together": EDGE, "warps": COUNT, "stages": COUNT, "registers": COUNT}
        ),
        "route": TEXT,
        "entry": WORD,
        "schedule": TEXT,
        "parameters": _list(_object({"name": TEXT, "kind": TEXT})),
        "tables": _list(_object({"name": TEXT, "dtype": TEXT, "rank": COUNT, "given": TRUTH})),
        "gradients": _list(TEXT),
        "source": FILE,
        "compiler": TEXT,
    },
    {
        "binary": FILE,
        "order": _object({"grid": FILE, "rows": TEXT, "keys": TEXT, "asked": TRUTH}),
        "c": {"anyOf": [{"type": "null"}, _object({"function": WORD, "terms": TRUTH})]},
        "binaries": _list(BINARY),
        "launch": {"type": "object"},
        "reach": COUNT,
        "lookups": _object({"program": TEXT, "bound": TEXT, "proofs": _list({"anyOf": [{"type": "null"}, PROOF]})}),
    },
)
MANIFEST: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Manifest of a bundle of attention kernels",
    "description": "docs/bundles.md says what each field means.",
    **_object(
        {
            "format": _one_of(("lacuna-bundle",)),
            "version": {"type": "integer", "minimum": 1},
            "lacuna": TEXT,
            "digest": DIGEST,
            "files": {"type": "object", "additionalProperties": DIGEST, "propertyNames": FILE},
            "kernels": _list(KERNEL, minItems=1),
        }
    ),
}

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}


def faults(value: object, schema: Schema, at: str = "the manifest") -> Iterator[str]:
    """What of `value` does not keep to `schema`, each with the place where it stands."""
    if "anyOf" in schema:
        if all(next(faults(value, each, at), None) for each in schema["anyOf"]):
            yield f"{at} is none of what it may be"
        return
    if "enum" in schema and (not isinstance(value, str) or value not in schema["enum"]):
        yield f"{at} is {_shown(value)}, not one of {', '.join(schema['enum'])}"
        return
    wanted = schema.get("type")
    if wanted is not None and (not isinstance(value, TYPES[wanted]) or (wanted == "integer" and isinstance(value, bool))):
        yield f"{at} is {_shown(value)}, not of type {wanted}"
        return
    yield from _inner_faults(value, schema, at)


def _inner_faults(value: object, schema: Schema, at: str) -> Iterator[str]:
    match value:
        case str():
            if "pattern" in schema and re.fullmatch(schema["pattern"].removeprefix("^").removesuffix("$"), value) is None:
                yield f"{at} is {_shown(value)}, which has letters that do not belong there"
        case bool():
            pass
        case int():
            if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
                yield f"{at} is {value}, out of range"
        case list():
            yield from _list_faults(cast("list[object]", value), schema, at)
        case dict():
            yield from _object_faults(cast("dict[str, object]", value), schema, at)
        case _:
            pass


def _list_faults(value: list[object], schema: Schema, at: str) -> Iterator[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield f"{at} has {len(value)} entries"
    for number, each in enumerate(value):
        yield from faults(each, schema.get("items", {}), f"{at}, entry {number}")


def _object_faults(value: dict[str, object], schema: Schema, at: str) -> Iterator[str]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at} has no `{name}`"
    for name, each in value.items():
        if "propertyNames" in schema:
            yield from faults(name, schema["propertyNames"], f"a name in {at}")
        if name in properties:
            yield from faults(each, properties[name], f"`{name}` of {at}")
        elif others is False:
            yield f"{at} has a field {_shown(name)} that this version does not know"
        else:
            yield from faults(each, others, f"`{name}` of {at}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
