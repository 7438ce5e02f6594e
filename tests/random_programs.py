"""Random masks with their values, by seed: what the soundness tests derive and compare with brute force."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
from brute_force import Problem, classes, dense
from lacuna.ir.expr import TRUE, Binary, Const, Expr, H, K, Lookup, Op, Q, Select, Symbol, Table, Unary
from lacuna.ir.program import Program
from lacuna.passes.program.call_values import Launch

BLOCKS = ((1, 1), (5, 7), (4, 4), (8, 4), (4, 8), (6, 3), (3, 5), (7, 7), (2, 9))
HEADS = 2


@dataclass(frozen=True)
class Case:
    """One derivation problem: a program, the values of one call, a tile shape."""

    program: Program
    launch: Launch
    block: tuple[int, int]
    affine: bool
    residue: bool


@dataclass
class Draw:
    """A generator of expressions over one launch; remembers what it declared."""

    rng: random.Random
    q_len: int
    k_len: int
    offset: int
    affine: bool = True
    parameters: dict[str, int] = field(default_factory=dict[str, int])
    tables: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    declared: dict[str, Table] = field(default_factory=dict[str, Table])

    def small(self, most: int = 7) -> Const:
        return Const(self.rng.randint(-most, most))

    def position(self) -> Expr:
        """a*q + b*k + c, often one side only."""
        a, b = self.rng.choice([(1, 0), (0, 1), (1, -1), (self.rng.randint(-7, 7), self.rng.randint(-7, 7))])
        parts = [
            Binary(Op.MUL, Const(factor), side) if abs(factor) != 1 else _signed(factor, side)
            for factor, side in ((a, Q), (b, K))
            if factor
        ]
        whole = parts[0] if len(parts) == 1 else Binary(Op.ADD, parts[0], parts[1]) if parts else Const(0)
        return whole if self.rng.random() < 0.5 else Binary(Op.ADD, whole, self.small())

    def value(self, depth: int = 2) -> Expr:
        """An integer: positions under quotients, remainders, minima, maxima, absolute values and choices."""
        kind = self.rng.choice(["position", "position", "quotient", "extremum", "abs", "where", "scaled"]) if depth else "position"
        if kind == "quotient":
            by = self.rng.choice([2, 3, 4, 5, 7, 8, -2, -3])
            return Binary(self.rng.choice([Op.FLOORDIV, Op.MOD]), self.value(depth - 1), self.divisor(by))
        if kind == "extremum":
            return Binary(self.rng.choice([Op.MIN, Op.MAX]), self.value(depth - 1), self.rng.choice([self.small(30), self.value(0)]))
        if kind == "abs":
            return Unary(self.rng.choice([Op.ABS, Op.ABS, Op.NEG]), self.value(depth - 1))
        if kind == "where":
            return Select(self.compared(self.position(), self.bound()), self.value(depth - 1), self.value(0))
        if kind == "scaled":
            return Binary(Op.MUL, self.divisor(self.rng.randint(-7, 7)), self.position())
        return self.position()

    def divisor(self, value: int) -> Expr:
        return self.symbol(value) if self.rng.random() < 0.1 else Const(value)

    def symbol(self, value: int) -> Symbol:
        name = f"P{len(self.parameters)}"
        self.parameters[name] = value
        return Symbol(name)

    def bound(self) -> Expr:
        value = self.rng.randint(-10, 30)
        return self.symbol(value) if self.rng.random() < 0.25 else Const(value)

    def compared(self, a: Expr, b: Expr) -> Expr:
        op = self.rng.choice([Op.LT, Op.LE, Op.LT, Op.LE, Op.EQ, Op.NE])
        return Binary(op, a, b) if self.rng.random() < 0.5 else Binary(op, b, a)

    # -- atoms

    def atom(self) -> Expr:
        kind = self.rng.random()
        if kind < 0.2:
            return self.window()
        if kind < 0.75 or self.affine:
            return self.compared(self.value(), self.rng.choice([self.bound(), self.bound(), self.value(1)]))
        return self.rng.choice([self.ids, self.level, self.flag, self.diagonal, self.plane, self.head, self.per_head_ids])()

    def window(self) -> Expr:
        distance = Binary(Op.SUB, Q, K)
        near = Binary(Op.LT, distance, Const(self.rng.randint(0, 30)))
        return Binary(Op.AND, Binary(Op.LE, K, Q), near) if self.rng.random() < 0.5 else near

    def residue(self) -> Expr:
        """A remainder of an expression in both q and k."""
        a, b = (self.rng.choice([-1, 1]) * self.rng.randint(1, 7) for _ in range(2))
        both = Binary(Op.ADD, Binary(Op.MUL, Const(a), Q), Binary(Op.MUL, Const(b), K))
        modulus = self.rng.choice([2, 3, 4, 5, 6, 7, 8])
        return self.compared(Binary(Op.MOD, Binary(Op.ADD, both, self.small()), Const(modulus)), Const(self.rng.randint(0, modulus - 1)))

    def table(self, shape: tuple[int, ...], *, most: int = 4, truth: bool = False, sorted_: bool = False) -> Table:
        name = f"t{len(self.tables)}"
        values = np.array([self.rng.randint(0, most) for _ in range(int(np.prod(shape)))], np.int64).reshape(shape)
        values = np.sort(values, -1) if sorted_ else values
        self.tables[name] = values > most // 2 if truth else values
        self.declared[name] = Table(name, "bool" if truth else "i64", len(shape))
        return self.declared[name]

    def ids(self) -> Expr:
        """Equal ids of the query and the key, or one order of them."""
        ordered = self.rng.random() < 0.5
        mine, theirs = self.table((self.q_len + self.offset,), sorted_=ordered), self.table((self.k_len,), sorted_=ordered)
        return Binary(self.rng.choice([Op.EQ, Op.LE]), Lookup(mine, (Q,)), Lookup(theirs, (K,)))

    def level(self) -> Expr:
        side, size = self.rng.choice([(Q, self.q_len + self.offset), (K, self.k_len)])
        return self.compared(
            Lookup(self.table((size,), most=20, sorted_=True), (side,)), self.rng.choice([self.small(10), self.position()])
        )

    def flag(self) -> Expr:
        side, size = self.rng.choice([(Q, self.q_len + self.offset), (K, self.k_len)])
        return Lookup(self.table((size,), truth=True, sorted_=self.rng.random() < 0.7), (side,))

    def diagonal(self) -> Expr:
        size = self.q_len + self.offset + self.k_len
        index = Binary(Op.ADD, Binary(Op.SUB, Q, K), Const(self.k_len - 1))
        return Binary(Op.LT, Lookup(self.table((size,), most=9, sorted_=self.rng.random() < 0.5), (index,)), self.small(8))

    def plane(self) -> Expr:
        return Binary(Op.LE, Lookup(self.table((self.q_len + self.offset, self.k_len), most=9), (Q, K)), Const(self.rng.randint(0, 9)))

    def head(self) -> Expr:
        wide = Lookup(self.table((HEADS,), most=30), (H,))
        bound: Expr = wide if self.rng.random() < 0.6 else Binary(Op.MUL, Const(self.rng.randint(1, 7)), H)
        return Binary(Op.LE, Binary(Op.SUB, Q, K), bound)

    def per_head_ids(self) -> Expr:
        mine, theirs = self.table((HEADS, self.q_len + self.offset)), self.table((HEADS, self.k_len))
        return Binary(Op.EQ, Lookup(mine, (H, Q)), Lookup(theirs, (H, K)))

    def mask(self, atoms: int, *, residue: bool) -> Expr:
        parts = [self.atom() for _ in range(atoms - residue)] + ([self.residue()] if residue else [])
        self.rng.shuffle(parts)
        whole = TRUE
        for part in parts:
            turned = Unary(Op.NOT, part) if self.rng.random() < 0.15 else part
            op = self.rng.choice([Op.AND, Op.OR, Op.AND, Op.OR, Op.XOR])
            whole = turned if whole is TRUE else Binary(op, whole, turned)
        return whole


def _signed(factor: int, side: Expr) -> Expr:
    return side if factor > 0 else Unary(Op.NEG, side)


def random_case(seed: int) -> Case:
    """Case number `seed`; every third has a residue of both sides. Half of them are drawn again until all three classes occur."""
    rng = random.Random(seed)
    wanted = rng.random() < 0.5
    case = _drawn(rng, f"case{seed}", residue=seed % 3 == 0)
    for _ in range(12):
        if not wanted or len(np.unique(wanted_classes(case))) == 3:
            break
        case = _drawn(rng, f"case{seed}", residue=seed % 3 == 0)
    return case


def problem(case: Case) -> Problem:
    launch = case.launch
    integers = {name: int(value) for name, value in launch.parameters.items()}
    return Problem(case.program.mask, launch.q_len, launch.k_len, launch.offset, integers, launch.tables)


def wanted_classes(case: Case, h: int = 0) -> np.ndarray:
    """uint8[q_tiles, k_tiles] by looking at every pair."""
    return classes(dense(problem(case), 0, h), *case.block)


def _drawn(rng: random.Random, name: str, *, residue: bool) -> Case:
    q_len = rng.randint(1, 40)
    k_len = q_len if rng.random() < 0.3 else rng.randint(1, 40)
    affine = rng.random() < 0.6
    offset = rng.choice([0, 0, 0, rng.randint(1, 20), -rng.randint(1, 9) if affine else 3])
    draw = Draw(rng, q_len, k_len, offset, affine)
    mask = draw.mask(rng.randint(1, 5), residue=residue)
    symbols = tuple(Symbol(name) for name in draw.parameters)
    program = Program(name, mask, parameters=symbols, tables=tuple(draw.declared.values()))
    launch = Launch(q_len, k_len, offset, heads=HEADS, parameters=draw.parameters, tables=draw.tables)
    return Case(program, launch, rng.choice(BLOCKS), affine, residue)
