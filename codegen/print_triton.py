"""Expressions as Triton text.

shared nodes    get a line of their own:  `tile0 = q - k`
query side      what does not change along a row of tiles is bound once, before the loops (`hoist`)
shapes          `q` is [block_q, 1], `k` is [1, block_k], everything else broadcasts
integers        have the type INDEX, reals the type REAL; both are names the kernel defines
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..ir.expr import Binary, Const, Expr, Kind, Lookup, Op, Select, Symbol, Table, Unary, Var, operands, substitute, walk

COMPARISON, OR, XOR, AND, SHIFT, SUM, PRODUCT, PREFIX, ATOM = range(9)  # how tightly Python binds, loosest first
DEEPEST = 12  # levels of nesting before a node gets a line: Python's parser and Triton's visitor are recursive
KNOWN = frozenset({"Lq", "Lk", "offset"})

INFIX: dict[Op, tuple[str, int]] = {
    Op.ADD: ("+", SUM),
    Op.SUB: ("-", SUM),
    Op.MUL: ("*", PRODUCT),
    Op.DIV: ("/", PRODUCT),
    Op.BITAND: ("&", AND),
    Op.BITOR: ("|", OR),
    Op.BITXOR: ("^", XOR),
    Op.AND: ("&", AND),
    Op.OR: ("|", OR),
    Op.XOR: ("^", XOR),
    Op.LT: ("<", COMPARISON),
    Op.LE: ("<=", COMPARISON),
    Op.EQ: ("==", COMPARISON),
    Op.NE: ("!=", COMPARISON),
}
CALLS: dict[Op, str] = {
    Op.FLOORDIV: "floor_div",
    Op.MOD: "floor_mod",
    Op.SHL: "shift_left",
    Op.SHR: "shift_right",
    Op.MIN: "tl.minimum",
    Op.MAX: "tl.maximum",
    Op.POW: "power",
    Op.ABS: "tl.abs",
    Op.EXP: "tl.exp",
    Op.EXP2: "tl.exp2",
    Op.LOG: "tl.log",
    Op.LOG2: "tl.log2",
    Op.SQRT: "tl.sqrt",
    Op.TANH: "tanh",
    Op.SIN: "tl.sin",
    Op.COS: "tl.cos",
    Op.SIGMOID: "sigmoid",
    Op.ERF: "tl.erf",
}
TRUTH: dict[Op, str] = {Op.LT: "~{} & {}", Op.LE: "~{} | {}", Op.EQ: "~({} ^ {})", Op.NE: "{} ^ {}"}  # comparisons of truth values
_DERIVED = re.compile(r"_(stride|size)\d+$")  # what follows the name of a table in those of its strides and sizes
TYPES: dict[Kind, str] = {Kind.INT: "INDEX", Kind.FLOAT: "REAL", Kind.BOOL: "tl.int1"}


@dataclass(frozen=True, slots=True)
class Text:
    """A printed node. A literal is a Python number: Triton has no operation on two of them."""

    text: str
    binds: int = ATOM
    depth: int = 0
    literal: bool = False

    def within(self, binds: int) -> str:
        """The text where an operand must bind at least as tightly as `binds`."""
        return self.text if self.binds >= binds else f"({self.text})"


@dataclass(frozen=True, slots=True)
class Names:
    """What the arguments of a kernel are called: `given_W`, `table_doc`, `table_doc_stride0`, `table_doc_size0`.

    The prefixes keep a user's names clear of the kernel's own.
    """

    parameters: Mapping[str, str]
    tables: Mapping[Table, str]

    def symbol(self, symbol: Symbol) -> str:
        return symbol.name if symbol.name in KNOWN else self.parameters[symbol.name]


@dataclass(frozen=True, slots=True)
class Bound:
    """Lines to run first, then the text of each root."""

    lines: tuple[str, ...]
    texts: tuple[str, ...]


def names_of(parameters: Sequence[Symbol], tables: Sequence[Table]) -> Names:
    given = parameter_arguments([symbol.name for symbol in parameters])
    read = table_arguments([table.name for table in tables])
    return Names(dict(zip((symbol.name for symbol in parameters), given, strict=True)), dict(zip(tables, read, strict=True)))


def parameter_arguments(names: Sequence[str]) -> list[str]:
    """What a kernel calls the parameters of these names, in this order."""
    return _distinct("given_", names)


def table_arguments(names: Sequence[str]) -> list[str]:
    """What a kernel calls the tables of these names, in this order; strides and sizes are `NAME_stride0`, `NAME_size0`."""
    return _distinct("table_", [f"{name}_" if _DERIVED.search(name) else name for name in names])


def identifier(name: str) -> str:
    """`name` with everything replaced that a kernel's text cannot hold."""
    return re.sub(r"[^0-9A-Za-z_]", "_", name)


def _distinct(prefix: str, wanted: Sequence[str]) -> list[str]:
    """One identifier per name, told apart by a number where two come out alike."""
    found: list[str] = []
    for name in wanted:
        plain = chosen = prefix + identifier(name)
        number = 1
        while chosen in found:
            number += 1
            chosen = f"{plain}__{number}"
        found.append(chosen)
    return found


def hoist(roots: Sequence[Expr], varying: Collection[str]) -> tuple[dict[Symbol, Expr], tuple[Expr, ...]]:
    """Take out what is the same for every value of the variables `varying`.

    Returns the definitions of new symbols, and `roots` reading them instead. Leaves stay where they are.
    """
    moving: set[Expr] = set()
    for node in walk(*roots):
        if (isinstance(node, Var) and node.name in varying) or any(part in moving for part in operands(node)):
            moving.add(node)
    still = dict.fromkeys(part for node in walk(*roots) if node in moving for part in operands(node) if part not in moving)
    still |= dict.fromkeys(root for root in roots if root not in moving)
    fixed = {node: Symbol(f"%row{number}", node.kind) for number, node in enumerate(node for node in still if operands(node))}
    return {symbol: node for node, symbol in fixed.items()}, tuple(substitute(root, fixed) for root in roots)


def define(definitions: Mapping[Symbol, Expr], names: Names) -> tuple[tuple[str, ...], Names]:
    """One line per definition, `row0 = ...`, and names that know them."""
    known = Names({**names.parameters, **{symbol.name: symbol.name[1:] for symbol in definitions}}, names.tables)
    bound = bind(tuple(definitions.values()), names, "fixed")
    lines = [f"{symbol.name[1:]} = {text}" for symbol, text in zip(definitions, bound.texts, strict=True)]
    return (*bound.lines, *lines), known


def bind(roots: Sequence[Expr], names: Names, prefix: str) -> Bound:
    """Print `roots`; nodes that are read twice or stand too deep become lines `prefix0 = ...`."""
    printer = _Printer(names, prefix, _uses(roots))
    for node in walk(*roots):
        printer.add(node)
    return Bound(tuple(printer.lines), tuple(printer.value(root) for root in roots))


def _uses(roots: Sequence[Expr]) -> Counter[Expr]:
    read = Counter(part for node in walk(*roots) for part in operands(node))
    read.update(set(roots))
    return read


@dataclass(slots=True)
class _Printer:
    names: Names
    prefix: str
    uses: Counter[Expr]
    lines: list[str] = field(default_factory=list[str])
    texts: dict[Expr, Text] = field(default_factory=dict[Expr, Text])

    def add(self, node: Expr) -> None:
        text = self.printed(node)
        if operands(node) and (self.uses[node] > 1 or text.depth > DEEPEST):
            name = f"{self.prefix}{len(self.lines)}"
            self.lines.append(f"{name} = {text.text}")
            text = Text(name)
        self.texts[node] = text

    def value(self, root: Expr) -> str:
        """The text of a root: never a bare Python number."""
        return _tensor(self.texts[root], root.kind).text

    def printed(self, node: Expr) -> Text:
        match node:
            case Const(value=value):
                return _literal(value)
            case Var(name=name):
                return Text(name)
            case Symbol():
                return Text(self.names.symbol(node))
            case Lookup():
                return self.load(node)
            case Select(condition=condition, a=a, b=b):
                chosen = _nonliteral([self.operand(a, node.kind), self.operand(b, node.kind)], node.kind)
                return _call("tl.where", [_tensor(self.texts[condition], Kind.BOOL), *chosen])
            case Unary():
                return self.unary(node)
            case Binary():
                return self.binary(node)
            case _:
                raise NotImplementedError(f"the Triton printer has no text for `{type(node).__name__}`")

    def operand(self, node: Expr, kind: Kind) -> Text:
        """`node` as a value of `kind`: integers become reals where reals are computed with."""
        text = self.texts[node]
        if kind is not Kind.FLOAT or node.kind is Kind.FLOAT:
            return text
        return _literal(float(text.text)) if text.literal else Text(f"{text.within(ATOM)}.to(REAL)", ATOM, text.depth + 1)

    def unary(self, node: Unary) -> Text:
        if node.op is Op.FLOAT:
            a = _tensor(self.texts[node.a], node.a.kind)
            return Text(f"{a.within(ATOM)}.to(REAL)", ATOM, a.depth + 1)
        a = _tensor(self.operand(node.a, node.kind), node.kind)
        if node.op in (Op.NEG, Op.NOT):
            return Text(("-" if node.op is Op.NEG else "~") + a.within(PREFIX), PREFIX, a.depth + 1)
        return _call(CALLS[node.op], [a])

    def binary(self, node: Binary) -> Text:
        op = node.op
        kind = _working_kind(node)
        a, b = _nonliteral([self.operand(node.a, kind), self.operand(node.b, kind)], kind)
        if kind is Kind.BOOL and op in TRUTH:
            return Text(f"({TRUTH[op].format(a.within(PREFIX), b.within(PREFIX))})", ATOM, max(a.depth, b.depth) + 1)
        if kind is Kind.INT and b.literal and (cheaper := _cheaper(op, a, int(b.text))):
            return cheaper
        if op in INFIX:
            return _infix(*INFIX[op], a, b)
        reals = [Text("propagate_nan=tl.PropagateNan.ALL")] if op in (Op.MIN, Op.MAX) and kind is Kind.FLOAT else []
        return _call(CALLS[op], [a, b, *reals])

    def load(self, node: Lookup) -> Text:
        """Indices are held inside the table: rows and keys past their lengths may ask for anything."""
        table = self.names.tables[node.table]
        indices = [_tensor(self.texts[index], Kind.INT) for index in node.indices]
        steps = [f"clamped({index.text}, {table}_size{axis}) * {table}_stride{axis}" for axis, index in enumerate(indices)]
        cast = "" if node.kind is Kind.BOOL else f".to({TYPES[node.kind]})"
        return Text(f"tl.load({' + '.join([table, *steps])}){cast}", ATOM, _deepest(indices) + 1)


def _working_kind(node: Binary) -> Kind:
    """What the operands of `node` are converted to."""
    if node.kind is Kind.FLOAT or Kind.FLOAT in (node.a.kind, node.b.kind):
        return Kind.FLOAT
    return node.a.kind


def _cheaper(op: Op, a: Text, b: int) -> Text | None:
    """Division by a power of two, and shifts within the narrower type, are one instruction and need no helper."""
    if op in (Op.FLOORDIV, Op.MOD) and b > 0 and b.bit_count() == 1:
        shift = b.bit_length() - 1
        return _infix(">>", SHIFT, a, _literal(shift)) if op is Op.FLOORDIV else _infix("&", AND, a, _literal(b - 1))
    if op in (Op.SHL, Op.SHR) and 0 <= b < 31:
        return _infix(op.value, SHIFT, a, _literal(b))
    return None


def _literal(value: int | bool | float) -> Text:
    if isinstance(value, bool):
        return Text(f"tl.full([], {value}, tl.int1)")
    if isinstance(value, float) and not math.isfinite(value):
        return Text(f'float("{value}")', literal=True)
    return Text(repr(value), PREFIX if math.copysign(1, value) < 0 else ATOM, literal=True)


def _tensor(text: Text, kind: Kind) -> Text:
    return Text(f"tl.full([], {text.text}, {TYPES[kind]})") if text.literal else text


def _nonliteral(texts: Sequence[Text], kind: Kind) -> list[Text]:
    """`texts`, the first of them a tensor where all are literals."""
    return [_tensor(texts[0], kind), *texts[1:]] if all(text.literal for text in texts) else list(texts)


def _infix(symbol: str, binds: int, a: Text, b: Text) -> Text:
    left = binds + 1 if binds == COMPARISON else binds  # comparisons chain in Python, and must not
    return Text(f"{a.within(left)} {symbol} {b.within(binds + 1)}", binds, max(a.depth, b.depth) + 1)


def _call(function: str, arguments: Sequence[Text]) -> Text:
    return Text(f"{function}({', '.join(argument.text for argument in arguments)})", ATOM, _deepest(arguments) + 1)


def _deepest(texts: Iterable[Text]) -> int:
    return max((text.depth for text in texts), default=0)
