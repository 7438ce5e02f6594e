"""Random masks over integers of any size, by seed, and what they are by Python's own integers, which never wrap.

A mask is text that runs twice: traced by lacuna, and at every pair on numbers that note whether any of them left 64 bits. It shares nothing
with the package but its operators.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lacuna
import numpy as np
import torch
from lacuna.ir.pattern import Pattern

LOWEST, HIGHEST = -(2**63), 2**63 - 1
DTYPES: dict[torch.dtype, tuple[int, int]] = {
    torch.int8: (-(2**7), 2**7 - 1),
    torch.int16: (-(2**15), 2**15 - 1),
    torch.int32: (-(2**31), 2**31 - 1),
    torch.int64: (LOWEST, HIGHEST),
    torch.uint8: (0, 2**8 - 1),
    torch.uint16: (0, 2**16 - 1),
    torch.uint32: (0, 2**32 - 1),
    torch.uint64: (0, HIGHEST),
}
BLOCKS = ((1, 1), (4, 4), (8, 4), (5, 7), (3, 8), (16, 16))
PARAMETERS = "mnop"


class Exact:
    """A number of Python's. A zero divisor gives 0; `left` is set once any of them does not fit in 64 bits, or a shift is negative."""

    left = False

    def __init__(self, value: int) -> None:
        self.value = value
        Exact.left |= not LOWEST <= value <= HIGHEST

    @staticmethod
    def of(other: Exact | int) -> int:
        return other.value if isinstance(other, Exact) else Exact(other).value

    def by(self, other: Exact | int, operation: Callable[[int, int], int]) -> Exact:
        return Exact(operation(self.value, Exact.of(other)))

    def __add__(self, other: Exact | int) -> Exact:
        return self.by(other, lambda a, b: a + b)

    def __sub__(self, other: Exact | int) -> Exact:
        return self.by(other, lambda a, b: a - b)

    def __mul__(self, other: Exact | int) -> Exact:
        return self.by(other, lambda a, b: a * b)

    def __floordiv__(self, other: Exact | int) -> Exact:
        return self.by(other, lambda a, b: a // b if b else 0)

    def __mod__(self, other: Exact | int) -> Exact:
        return self.by(other, lambda a, b: a % b if b else 0)

    def __and__(self, other: Exact | int) -> Exact:
        return self.by(other, lambda a, b: a & b)

    def __or__(self, other: Exact | int) -> Exact:
        return self.by(other, lambda a, b: a | b)

    def __xor__(self, other: Exact | int) -> Exact:
        return self.by(other, lambda a, b: a ^ b)

    def __lshift__(self, other: Exact | int) -> Exact:
        return self.by(other, _moved_left)

    def __rshift__(self, other: Exact | int) -> Exact:
        return self.by(other, _moved_right)

    def __neg__(self) -> Exact:
        return Exact(-self.value)

    def __abs__(self) -> Exact:
        return Exact(abs(self.value))

    def __lt__(self, other: Exact | int) -> bool:
        return self.value < Exact.of(other)

    def __le__(self, other: Exact | int) -> bool:
        return self.value <= Exact.of(other)

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Exact | int)
        return self.value == Exact.of(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.value)


def _moved_left(a: int, by: int) -> int:
    Exact.left |= by < 0
    return a << min(max(by, 0), 200)


def _moved_right(a: int, by: int) -> int:
    Exact.left |= by < 0
    return a >> max(by, 0)


class Entries:
    """A table of Python's numbers."""

    def __init__(self, values: Sequence[int]) -> None:
        self.values = values

    def __getitem__(self, index: Exact) -> Exact:
        return Exact(self.values[index.value])


def _less(a: Exact, b: Exact | int) -> Exact:
    return a if a.value < Exact.of(b) else Exact(Exact.of(b))


def _more(a: Exact, b: Exact | int) -> Exact:
    return a if a.value > Exact.of(b) else Exact(Exact.of(b))


@dataclass(frozen=True)
class Wide:
    """A mask as text over `q`, `k`, the tables `t`, `u` and parameters, and everything a call of it needs."""

    text: str
    q_len: int
    k_len: int
    offset: int
    block: tuple[int, int]
    tables: dict[str, tuple[torch.dtype, list[int]]]
    parameters: dict[str, int]

    def function(self, **names: Any) -> Callable[..., Any]:  # noqa: ANN401 (what the text reads)
        arguments = ", ".join((*self.tables, *self.parameters))
        scope: dict[str, Any] = names
        exec(f"def mask(q, k{', *, ' if arguments else ''}{arguments}): return {self.text}", scope)
        return scope["mask"]

    @property
    def pattern(self) -> Pattern:
        made = lacuna.pattern(self.function(less=lacuna.minimum, more=lacuna.maximum))
        held = {name: torch.tensor(values, dtype=dtype) for name, (dtype, values) in self.tables.items()}
        return made(**held, **self.parameters)

    def exact(self) -> tuple[np.ndarray, bool]:
        """bool[q_len, k_len], and whether every number on the way fits in 64 bits."""
        function = self.function(less=_less, more=_more)
        held: dict[str, Any] = {name: Entries(values) for name, (_, values) in self.tables.items()}
        held |= {name: Exact(value) for name, value in self.parameters.items()}
        Exact.left = False
        rows = [[bool(function(Exact(q + self.offset), Exact(k), **held)) for k in range(self.k_len)] for q in range(self.q_len)]
        return np.array(rows, bool).reshape(self.q_len, self.k_len), not Exact.left


class Draw:
    """Text, tables and parameters by one generator."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.q_len, self.k_len = self.rng.randint(1, 20), self.rng.randint(1, 20)
        self.tables: dict[str, tuple[torch.dtype, list[int]]] = {}
        self.parameters: dict[str, int] = {}
        self.offset = self.rng.choice([0, 0, 0, 5])

    def number(self, low: int = LOWEST, high: int = HIGHEST) -> int:
        """Anywhere: small, near a power of two or an end, or any."""
        near = self.rng.choice([0, 0, 2**31, -(2**31), 2**53, 2**60, 2**61, 2**62, -(2**62), low, high])
        value = self.rng.choice([near + self.rng.randint(-3, 20), near + self.rng.randint(-3, 3), self.rng.randint(low, high)])
        return min(max(value, low), high)

    def parameter(self) -> str:
        if len(self.parameters) == len(PARAMETERS) or (self.parameters and self.rng.random() < 0.2):
            return self.rng.choice(list(self.parameters))
        name = PARAMETERS[len(self.parameters)]
        self.parameters[name] = self.number()
        return name

    def table(self) -> str:
        if len(self.tables) == 2 or (self.tables and self.rng.random() < 0.5):
            return self.rng.choice(list(self.tables))
        dtype = self.rng.choice(list(DTYPES))
        low, high = DTYPES[dtype]
        some = [self.number(low, high) for _ in range(self.rng.choice([2, 3, 25]))]
        values = [self.rng.choice(some) for _ in range(25)]
        name = "tu"[len(self.tables)]
        self.tables[name] = (dtype, sorted(values) if self.rng.random() < 0.5 else values)
        return name

    def leaf(self) -> str:
        table = self.table() if self.rng.random() < 0.6 else ""
        return self.rng.choice([f"{table}[q]", f"{table}[k]"] if table else ["q", "k", "q - k", "q", "k", self.parameter()])

    def value(self, depth: int) -> str:
        """An integer; constants that scale are small, so that not everything is refused."""
        if not depth or self.rng.random() < 0.3:
            return self.leaf()
        a, b, small = self.value(depth - 1), self.rng.choice([self.value(depth - 1), self.parameter()]), self.rng.choice([2, 3, 7, 64, 256])
        forms = [f"({a} + {b})", f"({a} - {b})", f"({a} * {small})", f"({a} * {b})", f"({a} // {b})", f"({a} // {small})", f"({a} % {b})"]
        forms += [f"({a} % {small})", f"({a} & {b})", f"({a} | {b})", f"({a} ^ {b})", f"abs({a})", f"less({a}, {b})", f"more({a}, {b})"]
        moved = f"less(more({b}, 0), {self.rng.choice([3, 31, 40, 62])})"
        forms += [f"({a} >> {moved})", f"({a} << {small % 5})", f"({a} >> {small % 60})", f"(less(more({a}, 0), 7) << {moved})", f"-{a}"]
        return self.rng.choice(forms)

    def condition(self) -> str:
        kind = self.rng.randrange(7)
        table, parameter = self.table(), self.parameter()
        same = self.rng.choice(["==", "<=", "<", "!="])
        if kind == 0:
            return self.rng.choice(["(k <= q)", f"((k <= q) & (q - k < {parameter}))", f"(k <= q + {parameter})"])
        if kind == 1:
            return f"({table}[q] {same} {table}[k])"
        if kind == 2:
            factor = self.rng.choice([2, 64, 256, 2**20])
            return f"({table}[q] * {factor} {same} {self.table()}[k] * {factor})"
        if kind == 3:
            return f"(abs({table}[q] - {self.table()}[k]) < {parameter})"
        return f"({self.value(2)} {same} {self.rng.choice([parameter, self.value(1), self.value(0)])})"

    def mask(self) -> str:
        whole = self.condition()
        for _ in range(self.rng.choice([0, 0, 1, 1, 2])):
            whole = f"({whole} {self.rng.choice('&&|^')} {self.condition()})"
        return whole


def wide_program(seed: int) -> Wide:
    draw = Draw(seed)
    text = draw.mask()
    tables = {name: held for name, held in draw.tables.items() if f"{name}[" in text}
    offset = draw.offset if tables or draw.rng.random() < 0.5 else draw.rng.choice([2**31, -(2**40), 2**61])
    parameters = {name: value for name, value in draw.parameters.items() if re.search(rf"\b{name}\b", text)}
    return Wide(text, draw.q_len, draw.k_len, offset, draw.rng.choice(BLOCKS), tables, parameters)
