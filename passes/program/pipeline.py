"""Named rewrites of a program, ordered by what each needs, verified after every step and watched by observers."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import networkx as nx

from ...ir.program import Program
from ...ir.verify import InvalidProgram, verify


class Pass(Protocol):
    """A frozen dataclass with a name; `needs` names the passes that must have run before, when they run at all."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]

    def __call__(self, program: Program) -> Program: ...


class PassBroke(Exception):
    """A pass turned a valid program into an invalid one: a fault of the compiler, not of its user."""


Observer = Callable[[int, str, Program], None]


def ordered(passes: Iterable[Pass]) -> tuple[Pass, ...]:
    """Passes in an order that respects their needs; passes that do not depend on each other keep the order given.

    Raises:
        ValueError: the needs form a cycle.
    """
    given = {each.name: each for each in passes}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(given)
    graph.add_edges_from((need, each.name) for each in given.values() for need in each.needs if need in given)
    position = {name: at for at, name in enumerate(given)}
    try:
        return tuple(given[name] for name in nx.lexicographical_topological_sort(graph, key=position.__getitem__))
    except nx.NetworkXUnfeasible:
        edges: list[tuple[str, str]] = list(nx.find_cycle(graph))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] (untyped)
        cycle = " -> ".join(source for source, _ in edges)
        raise ValueError(f"these passes need each other: {cycle}\n  write `needs` so that one of them can come first") from None


def run(program: Program, passes: Iterable[Pass], observers: Iterable[Observer] = ()) -> Program:
    """Apply `passes` in order, the verifier after each. Observers see every program first, so a broken one is on record."""
    observers = tuple(observers)
    verify(program)
    for observe in observers:
        observe(0, "input", program)
    for step, each in enumerate(ordered(passes), start=1):
        before, program = program, each(program)
        for observe in observers:
            observe(step, each.name, program)
        if program == before:
            continue
        try:
            verify(program)
        except InvalidProgram as error:
            raise PassBroke(f"{each.name}: {error}\nbefore:\n{before}\nafter:\n{program}") from error
    return program


# -- observers --------------------------------------------------------------------------------------------------------


def dump_to(folder: Path) -> Observer:
    """Write `00-input.lacuna`, `01-flatten-grid.lacuna`, ... for reading with `diff`."""
    folder.mkdir(parents=True, exist_ok=True)

    def observe(step: int, name: str, program: Program) -> None:
        (folder / f"{step:02d}-{name}.lacuna").write_text(f"{program}\n", encoding="utf-8")

    return observe


@dataclass
class Trace:
    """Remembers every step: its program, the seconds since the step before, and what changed."""

    steps: list[tuple[str, Program, float]] = field(default_factory=list[tuple[str, Program, float]])
    started: float = field(default_factory=time.perf_counter)

    def __call__(self, step: int, name: str, program: Program) -> None:
        now = time.perf_counter()
        self.steps.append((name, program, now - self.started))
        self.started = now

    def diffs(self) -> list[tuple[str, str, float]]:
        """(pass, unified diff of the program's text, seconds) of each step; an empty diff where nothing changed."""
        found: list[tuple[str, str, float]] = []
        for (_, before, _), (name, after, seconds) in zip(self.steps, self.steps[1:], strict=False):
            lines = difflib.unified_diff(str(before).splitlines(), str(after).splitlines(), lineterm="", n=0)
            body = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
            found.append((name, "\n".join(body), seconds))
        return found
