"""Which file imports which, those of functions and of annotations too: no circle but a printer's, no arrow between rooms that runs back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).parent.parent
ROOMS = ("ir", "passes", "codegen", "runtime", "patterns", "interop", "cli")
PRINTED = (("expr", "expr_text"), ("program", "schedule", "text"))
"""Nouns of `ir`, and what prints them for a person."""
LONGEST = 17  # files that an import loads one inside the other


def files() -> dict[str, Path]:
    """Every file of the package by the name of its module."""
    paths = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    return {".".join(("lacuna", *_parts(path))): path for path in paths}


def _parts(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(module: str, path: Path, known: dict[str, Path], *, at_once: bool) -> Iterator[str]:
    """Modules that a file imports; only those that are loaded with it where that is asked."""
    folder = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8")), at_once):
        if isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1] if node.level else []
            base = ".".join((*above, *([node.module] if node.module else [])))
            yield from (f"{base}.{each.name}" if f"{base}.{each.name}" in known else base for each in node.names)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


def _nodes(tree: ast.AST, at_once: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        later = isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        if not (at_once and later):
            yield node
            yield from _nodes(node, at_once)


def graph(*, at_once: bool = False) -> nx.DiGraph[str]:
    known = files()
    found: nx.DiGraph[str] = nx.DiGraph()
    for module, path in known.items():
        met = imports(module, path, known, at_once=at_once)
        found.add_edges_from((module, each) for each in met if each in known and each != module)
    return found


def circles(drawn: nx.DiGraph[str]) -> list[list[str]]:
    return sorted(sorted(each) for each in nx.strongly_connected_components(drawn) if len(each) > 1)


def test_no_files_import_one_another_in_a_circle() -> None:
    drawn = graph()
    assert len(drawn) > 350
    assert circles(drawn) == [[f"lacuna.ir.{name}" for name in names] for names in PRINTED]


def test_no_arrow_between_rooms_runs_back_up() -> None:
    """A room is a folder; files beside the rooms stand for themselves."""
    known = files()
    room = {name: name if path.name == "__init__.py" or path.parent == ROOT else name.rpartition(".")[0] for name, path in known.items()}
    rooms: nx.DiGraph[str] = nx.DiGraph((room[a], room[b]) for a, b in graph().edges if room[a] != room[b])
    assert len(rooms) > 30
    assert circles(rooms) == []


def test_an_import_loads_few_files_one_inside_the_other() -> None:
    drawn = graph(at_once=True)
    longest: list[str] = nx.dag_longest_path(drawn)
    assert 10 < len(longest) <= LONGEST, " > ".join(longest)
