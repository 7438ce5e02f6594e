"""Random programs over tables that often just hold what is read where it counts, and their meaning pair by pair, in plain Python."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lacuna.ir.expr import K_LEN, OFFSET, Q_LEN
from lacuna.passes.program.call_values import Launch

# numpy's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

# -- programs as nested tuples, which this file reads in its own way ----------------------------------------------------

Node = Any  # ("op", operand, ...), an integer, a truth value or a name
INFIX = {"+", "-", "*", "//", "%", "<", "<=", "==", "!=", "and", "or", "xor"}


def text(node: Node) -> str:
    match node:
        case bool():
            return "true" if node else "false"
        case int() | float() | str():
            return str(node)
        case ("[]", table, *indices):
            return f"{table}[{', '.join(map(text, indices))}]"
        case ("not", a):
            return f"(not {text(a)})"
        case (op, a, b) if op in INFIX:
            return f"({text(a)} {op} {text(b)})"
        case (op, *parts):
            return f"{op}({', '.join(map(text, parts))})"
        case _:
            raise AssertionError(node)


ARITHMETIC: dict[str, Callable[[int, int], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "xor": lambda a, b: a != b,
    "min": min,
    "max": max,
}


def value(node: Node, at: dict[str, Any], tables: dict[str, np.ndarray]) -> Any:  # noqa: ANN401
    """The value at one pair; None where a table was read outside and that matters."""
    match node:
        case int() | float():
            return node
        case str():
            return at[node]
        case ("[]", table, *indices):
            where = tuple(value(index, at, tables) for index in indices)
            array = tables[table]
            inside = all(i is not None and 0 <= i < size for i, size in zip(where, array.shape, strict=True))
            return array[where].item() if inside else None
        case ("and" | "or" as op, a, b):
            sides = {value(a, at, tables), value(b, at, tables)}
            settled = op == "or"
            return settled if settled in sides else None if None in sides else not settled
        case ("where", condition, a, b):
            chosen = value(condition, at, tables)
            return None if chosen is None else value(a if chosen else b, at, tables)
        case ("not", a):
            found = value(a, at, tables)
            return None if found is None else not found
        case ("abs", a):
            found = value(a, at, tables)
            return None if found is None else abs(found)
        case (op, a, b):
            x, y = value(a, at, tables), value(b, at, tables)
            return None if x is None or y is None else ARITHMETIC[op](x, y)
        case _:
            raise AssertionError(node)


# -- random problems ---------------------------------------------------------------------------------------------------


@dataclass
class Problem:
    """items: (q_len, k_len, offset) of each batch item.   extents: of a grid, or none."""

    chance: random.Random
    items: list[tuple[int, int, int]]
    heads: int
    extents: tuple[int, ...]
    mask: Node = True
    score: Node = 0.0
    tables: dict[str, np.ndarray] = field(default_factory=dict)
    number: int = 3

    @property
    def names(self) -> list[str]:
        axes = range(len(self.extents))
        return [f"{side}{axis}" for side in "qk" for axis in axes] if self.extents else ["q", "k"]

    def pairs(self) -> Iterator[dict[str, int]]:
        for b, (q_len, k_len, offset) in enumerate(self.items):
            for h, row, k in itertools.product(range(self.heads), range(q_len), range(k_len)):
                places = {"q": offset + row, "k": k}
                if self.extents:
                    outer, inner = self.extents
                    places = {f"{side}{axis}": (at // inner, at % inner)[axis] for side, at in places.items() for axis in range(2)}
                    assert max(places["q0"], places["k0"]) < outer
                yield {**places, "b": b, "h": h, "row": row, "col": k, "Lq": q_len, "Lk": k_len, "offset": offset, "W": self.number}

    def program(self) -> str:
        kinds = {"b": "bool", "i": "i32", "f": "f32"}
        declared = [f"{name}: {kinds[array.dtype.kind]}[{', '.join('*' * array.ndim)}]" for name, array in self.tables.items()]
        space = f" on {' x '.join(map(str, self.extents))}" if self.extents else ""
        head = "; ".join(["q < Lq, k < Lk", ", ".join(["W: i64", *declared])])
        score = "s" if self.score == 0.0 else f"s + {text(self.score)}"
        return f"program @random({head}){space} {{\n  mask = {text(self.mask)}\n  score = {score}\n  normalise = softmax\n}}\n"

    def launch(self) -> Launch:
        q_len, k_len = (max(each[axis] for each in self.items) for axis in (0, 1))
        arrays = {name: array for name, array in self.tables.items() if array.dtype.kind != "f"}
        offset = min(each[2] for each in self.items)
        found = Launch(q_len, k_len, offset, len(self.items), self.heads, {"W": self.number}, arrays, shifted=True)
        if len(set(self.items)) == 1:
            return found
        columns = np.array(self.items, np.int64).T
        return found._replace(ragged=dict(zip((Q_LEN, K_LEN, OFFSET), columns, strict=True)))

    def harmful(self) -> list[dict[str, int]]:
        """Pairs whose mask, or whose score where they are visible, reads outside."""
        found: list[dict[str, int]] = []
        for at in self.pairs():
            seen = value(self.mask, at, self.tables)
            if seen is None or (seen and value(self.score, at, self.tables) is None):
                found.append(at)
        return found


def index(problem: Problem, depth: int = 2) -> Node:
    chance = problem.chance
    leaf = lambda: chance.choice([*problem.names * 3, "h", "b", "W", chance.randint(-3, 3)])  # noqa: E731
    if depth == 0:
        return leaf()
    kind = chance.randrange(8)
    if kind < 4:
        return (chance.choice("+--"), index(problem, depth - 1), leaf())
    if kind == 4:
        return (chance.choice(["//", "%"]), index(problem, depth - 1), chance.randint(1, 4))
    if kind == 5:
        return (chance.choice(["min", "max"]), index(problem, depth - 1), leaf())
    if kind == 6:
        return ("*", chance.randint(-2, 2), index(problem, depth - 1))
    return ("abs", index(problem, depth - 1))


def condition(problem: Problem, depth: int = 2) -> Node:
    chance = problem.chance
    if depth and chance.random() < 0.6:
        kind = chance.randrange(7)
        a, b = condition(problem, depth - 1), condition(problem, depth - 1)
        if kind < 5:
            return (("and", "and", "and", "or", "xor")[kind], a, b)
        return ("not", a) if kind == 5 else ("where", a, b, condition(problem, depth - 1))
    return (chance.choice(["<", "<=", "<=", "==", "!="]), index(problem, 1), index(problem, 1))


def guarded(problem: Problem, guard: Node, look: Node) -> Node:
    """A condition in which the look-up counts where the guard holds, in one of many ways."""
    other = condition(problem, 1)
    ways: list[Node] = [
        ("and", guard, look),
        ("and", look, guard),
        ("and", ("and", other, look), guard),
        ("or", ("not", guard), look),
        ("or", look, ("not", guard)),
        ("where", guard, look, other),
        ("where", ("not", guard), other, look),
        ("not", ("or", ("not", look), ("not", guard))),
        ("and", guard, ("<", ("where", look, 1, 0), 1)),
        ("and", other, look),
    ]
    return problem.chance.choice(ways)


def table(problem: Problem, name: str, guard: Node, dtype: str) -> Node:
    """A look-up in a new table that often just holds what is read where the guard holds."""
    chance = problem.chance
    rank = chance.choice([1, 1, 2])
    indices = [index(problem) for _ in range(rank)]
    if chance.random() < 0.3 and any(array.dtype.kind == "i" for array in problem.tables.values()):
        inner = next(each for each, array in problem.tables.items() if array.dtype.kind == "i" and array.ndim == 1)
        indices[0] = ("[]", inner, index(problem, 1))
    sizes: list[int] = []
    for axis, each in enumerate(indices):
        seen = [at for at in problem.pairs() if value(guard, at, problem.tables)]
        reach = [found for at in seen if (found := value(each, at, problem.tables)) is not None] or [0]
        shift = chance.choice([0, 0, 0, -1, 1]) - min(reach)
        if shift and chance.random() < 0.8:
            indices[axis] = ("+", each, shift) if shift > 0 else ("-", each, -shift)
            reach = [found + shift for found in reach]
        sizes.append(max(1, min(max(reach) + chance.choice([1, 1, 1, 0, 2]), 40)))
    numbers = np.random.default_rng(chance.randrange(1 << 30))
    problem.tables[name] = numbers.integers(-1, 3, sizes).astype(dtype) if dtype != "float32" else numbers.normal(size=sizes).astype(dtype)
    return ("[]", name, *indices)


def random_problem(seed: int) -> Problem:
    chance = random.Random(seed)
    extents = (chance.randint(1, 3), chance.randint(1, 3)) if chance.random() < 0.3 else ()
    if extents:
        rows = math.prod(extents) if chance.random() < 0.5 else chance.randint(1, math.prod(extents))
        items = [(rows, chance.choice([math.prod(extents), rows]), chance.randint(0, math.prod(extents) - rows))]
    else:
        items = [(chance.randint(1, 6), chance.randint(1, 6), chance.randint(-2, 4)) for _ in range(chance.choice([1, 1, 2, 3]))]
    problem = Problem(chance, items, chance.randint(1, 2), extents, number=chance.randint(-2, 5))
    if chance.random() < 0.3:
        table(problem, "ids", condition(problem, 1), "int32")
        if problem.tables["ids"].ndim > 1:
            del problem.tables["ids"]
    guard = condition(problem)
    problem.mask = guarded(problem, guard, table(problem, "seen", guard, "bool")) if chance.random() < 0.7 else guard
    if chance.random() < 0.5:
        inner = condition(problem, 1)
        both = ("and", problem.mask, inner) if chance.random() < 0.5 else problem.mask
        look = table(problem, "bias", both, "float32")
        problem.score = ("where", inner, look, 0.0) if both != problem.mask else look
    return problem
