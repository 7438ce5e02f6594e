"""Which room may import which, read from the sources; and no module reaches itself while it is being imported."""

# networkx comes without types.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).resolve().parent.parent
FACE = ""  # `__init__.py` and `__main__.py`
MAY_IMPORT = {
    "ir": {"ir"},
    "passes": {"passes", "ir"},
    "codegen": {"codegen", "ir"},
    "templates": set[str](),
    "runtime": {"runtime", "ir", "passes", "codegen", "templates"},
    "patterns": {"patterns", "ir"},
    "interop": {"interop", "ir", "patterns", FACE},
    "distributed": {"distributed", FACE},
    "cli": {"cli", FACE, "ir", "passes", "codegen", "templates", "runtime", "patterns", "interop", "distributed"},
    FACE: {FACE, "cli", "ir", "passes", "codegen", "runtime", "patterns", "interop", "distributed"},
}
STANDARD_LIBRARY_ONLY = {"ir", "templates"}


@dataclass(frozen=True)
class Import:
    """One import statement, resolved.

    source, target: modules as dotted names below the package, `` for the package itself; a target outside it keeps its own name.
    early:          it runs while the source is being imported.
    """

    source: str
    target: str
    inside: bool
    early: bool
    line: int


def room(module: str) -> str:
    return module.partition(".")[0] if "." in module or module in MAY_IMPORT else FACE


def test_the_rooms_of_the_test_are_the_rooms_of_the_package() -> None:
    packages = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("*/__init__.py")}
    assert packages <= set(MAY_IMPORT) - {FACE}


def test_every_room_imports_only_what_it_may() -> None:
    assert violations(sources_of(ROOT)) == []


def test_no_module_reaches_itself_while_it_is_imported() -> None:
    assert cycles(sources_of(ROOT)) == []


SEEDS = [
    ("ir/a.py", "from ..passes import derive", "ir/a.py:1: `ir` may not import `passes`"),
    ("ir/a.py", "def f():\n    from ..runtime.cache import Cache", "ir/a.py:2: `ir` may not import `runtime`"),
    ("ir/a.py", "import numpy as np", "ir/a.py:1: `ir` may import the standard library only, not `numpy`"),
    ("passes/a.py", "from ..codegen.cpp import FLAGS", "passes/a.py:1: `passes` may not import `codegen`"),
    ("codegen/a.py", "from .. import passes", "codegen/a.py:1: `codegen` may not import `passes`"),
    ("patterns/a.py", "from ..runtime import oracle", "patterns/a.py:1: `patterns` may not import `runtime`"),
    ("interop/flex.py", "from ..passes.derive import derive", "interop/flex.py:1: `interop` may not import `passes`"),
    ("runtime/a.py", "from .. import attention", "runtime/a.py:1: `runtime` may not import the public face"),
    ("runtime/a.py", "from ..cli import report", "runtime/a.py:1: `runtime` may not import `cli`"),
    ("runtime/a.py", "import lacuna.ir", "runtime/a.py:1: inside the package imports are relative: `lacuna.ir`"),
]


@pytest.mark.parametrize(("name", "text", "complaint"), SEEDS)
def test_a_seeded_violation_is_reported(name: str, text: str, complaint: str) -> None:
    assert violations({name: text, "passes/__init__.py": "", "runtime/oracle.py": ""}) == [complaint]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("passes/a.py", "import islpy\nfrom ..ir import expr"),
        ("ir/a.py", "import re\nfrom __future__ import annotations\nfrom . import text"),
        ("interop/flex.py", "import torch\nfrom .. import attention"),
        ("__init__.py", "def __getattr__(name):\n    from .runtime.attention import attention"),
    ],
)
def test_an_allowed_import_is_not_reported(name: str, text: str) -> None:
    assert violations({name: text, "ir/expr.py": "", "ir/text.py": ""}) == []


def test_a_seeded_cycle_is_reported_and_a_late_import_breaks_it() -> None:
    early = {"ir/a.py": "from .b import f", "ir/b.py": "from . import a"}
    assert cycles(early) == ["ir.a -> ir.b -> ir.a"]
    assert cycles({**early, "ir/b.py": "def f():\n    from . import a"}) == []
    assert cycles({**early, "ir/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import a"}) == []


def sources_of(root: Path) -> dict[str, str]:
    files = [*root.glob("*.py"), *(file for name in MAY_IMPORT if name for file in (root / name).rglob("*.py"))]
    return {file.relative_to(root).as_posix(): file.read_text() for file in files}


def violations(sources: Mapping[str, str]) -> list[str]:
    return [complaint for name in sorted(sources) for found in imports(name, sources) if (complaint := judge(name, found))]


def judge(name: str, found: Import) -> str | None:
    here, place = room(found.source), f"{name}:{found.line}"
    outer = found.target.partition(".")[0]
    if found.inside:
        there = room(found.target)
        allowed = there in MAY_IMPORT[here]
        return None if allowed else f"{place}: `{here}` may not import " + (f"`{there}`" if there else "the public face")
    if outer == "lacuna":
        return f"{place}: inside the package imports are relative: `{found.target}`"
    if here in STANDARD_LIBRARY_ONLY and outer not in sys.stdlib_module_names:
        return f"{place}: `{here}` may import the standard library only, not `{outer}`"
    return None


def cycles(sources: Mapping[str, str]) -> list[str]:
    graph = networkx.DiGraph()
    graph.add_edges_from(
        (found.source, found.target) for name in sorted(sources) for found in imports(name, sources) if found.inside and found.early
    )
    return [" -> ".join([*cycle, cycle[0]]) for cycle in map(from_smallest, networkx.simple_cycles(graph))]


def from_smallest(cycle: list[str]) -> list[str]:
    first = cycle.index(min(cycle))
    return cycle[first:] + cycle[:first]


def imports(name: str, sources: Mapping[str, str]) -> Iterator[Import]:
    """Every import of one file. `from . import x` is an import of the module `x` where there is one."""
    modules = {module_of(other) for other in sources}
    modules |= {module.rpartition(".")[0] for module in modules}
    tree = ast.parse(sources[name])
    early = set(early_statements(tree.body))
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(module_of(name), alias.name, False, node in early, node.lineno)
            case ast.ImportFrom(level=0, module=str(module)):
                yield Import(module_of(name), module, False, node in early, node.lineno)
            case ast.ImportFrom(level=level, module=module, names=names):
                folder = name.split("/")[:-1]
                base = [*folder[: len(folder) - level + 1], *(module.split(".") if module else [])]
                for target in dict.fromkeys(target_of(".".join(base), alias.name, modules) for alias in names):
                    yield Import(module_of(name), target, True, node in early, node.lineno)
            case _:
                pass


def target_of(base: str, name: str, modules: set[str]) -> str:
    inner = f"{base}.{name}" if base else name
    return inner if inner in modules or inner in MAY_IMPORT else base


def module_of(name: str) -> str:
    return name.removesuffix(".py").replace("/", ".").removesuffix("__init__").removesuffix(".")


def early_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run at import: not those of functions, not those for type checkers."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If) and "TYPE_CHECKING" not in ast.unparse(statement.test):
            yield from early_statements(statement.body + statement.orelse)
        elif isinstance(statement, ast.Try | ast.With | ast.ClassDef):
            yield from early_statements(statement.body)
