"""Which file imports which, those of functions and of annotations too: no circles, but the printer's of the nouns that it prints."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).parent.parent
ROOMS = ("ir", "passes", "codegen", "runtime", "patterns", "interop", "cli")
PRINTED = frozenset(f"lacuna.ir.{name}" for name in ("expr", "grid", "program", "schedule", "space", "text"))
"""A noun's text is printed by a file that knows all nouns."""


def files() -> dict[str, Path]:
    """Every file of the package by the name of its module."""
    paths = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    return {".".join(("lacuna", *_parts(path))): path for path in paths}


def _parts(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(module: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    folder = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1] if node.level else []
            base = ".".join((*above, *([node.module] if node.module else [])))
            yield from (f"{base}.{each.name}" if f"{base}.{each.name}" in known else base for each in node.names)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


def graph() -> nx.DiGraph[str]:
    known = files()
    found: nx.DiGraph[str] = nx.DiGraph()
    for module, path in known.items():
        found.add_edges_from((module, met) for met in imports(module, path, known) if met in known and met != module)
    return found


def test_no_files_import_one_another_in_a_circle() -> None:
    drawn = graph()
    assert len(drawn) > 350
    circles = [frozenset(each) for each in nx.strongly_connected_components(drawn) if len(each) > 1]
    assert circles == [PRINTED], [sorted(each) for each in circles if each != PRINTED]
