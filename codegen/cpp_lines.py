"""Functions of one line of a tile as C++: of a lane, and what lanes or lines share computed once.

A tile is computed line by line, LANES at a time. What depends on the line alone is a constant of the line; what depends on the lane alone
is computed once for all lines of all tiles that have these lanes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..ir.expr import Binary, Expr, Kind, Lookup, Op, Symbol, Unary, Var, names, operands, substitute, walk
from .print_cpp import TYPES, Printed, Slots, printed

LINE_OF = {"q": "k", "k": "q"}  # the position that a line has, by that of its lanes
CHEAP = frozenset({Op.ADD, Op.SUB, Op.NEG})


@dataclass(frozen=True, slots=True)
class Mask:
    """text: `allowed`, of a lane, and `know_lanes`, which computes what it reads. known: numbers of each lane, at least 1."""

    text: str
    known: int


def mask_functions(expr: Expr, slots: Slots, lane: str) -> Mask:
    """The mask as a function of the lane, `q` or `k`, for one line of the other."""
    of_lanes = {node: Symbol(f"known {n}", node.kind) for n, node in enumerate(_of_lanes(expr, lane))}
    inner = substitute(expr, dict(of_lanes))
    line = _line(inner, slots, lane, {symbol.name: f"known{n}" for n, symbol in enumerate(of_lanes.values())})
    read = [f"const {TYPES[node.kind]} known{n} = {TYPES[node.kind]}(known[{n} * TILE_LANES + l]);" for n, node in enumerate(of_lanes)]
    allowed = [
        "template <typename index>\nstruct allowed {",
        f"  const index {LINE_OF[lane]}, b, h;\n  const place &at;\n  const index *const known;  // of the lanes of the tile",
        *line.before,
        f"  inline bool operator()(const index {lane}, const int32_t l) const {{\n    (void){lane}, (void)l;",
        *(f"    {each}" for each in read),
        line.body,
        "  }\n};",
    ]
    return Mask("\n".join([*allowed, "", _know_lanes(list(of_lanes), slots, lane)]), max(1, len(of_lanes)))


def _know_lanes(nodes: list[Expr], slots: Slots, lane: str) -> str:
    made = [_block(f"to[{n} * TILE_LANES + l]", printed(node, slots)) for n, node in enumerate(nodes)]
    return "\n".join(
        [
            "template <typename index>",
            "void know_lanes(index *to, const place &at, const index b, const index h, const index first) {",
            "  for (int32_t l = 0; l < TILE_LANES; ++l) {",
            f"    const index {lane} = first + l;",
            *made,
            f"    (void){lane};",
            "  }",
            "  (void)to, (void)at, (void)b, (void)h, (void)first;",
            "}",
        ]
    )


def _block(target: str, value: Printed) -> str:
    return f"    {{ {' '.join(value.lines)} {target} = index({value.value}); }}"


def _of_lanes(expr: Expr, lane: str) -> list[Expr]:
    """The largest parts of `expr` that read the lane, not the line, and are worth a load."""
    moving: set[Expr] = set()
    for node in walk(expr):  # operands come first
        if node == Var(LINE_OF[lane]) or any(part in moving for part in operands(node)):
            moving.add(node)
    outermost = dict.fromkeys(part for node in walk(expr) if node in moving for part in operands(node) if part not in moving)
    if expr not in moving:
        outermost[expr] = None
    return [node for node in outermost if lane in names(node) and node.kind is not Kind.FLOAT and not _cheap(node)]


def _cheap(node: Expr) -> bool:
    """Whether a lane computes it as fast as it loads it: a leaf, or one sum of leaves."""
    leaves = all(not operands(part) for part in operands(node))
    return not operands(node) or (leaves and isinstance(node, Binary | Unary) and node.op in CHEAP)


# -- lines ------------------------------------------------------------------------------------------------------------


def line_function(name: str, expr: Expr, slots: Slots, lane: str) -> str:
    """A real function of a score and of the lane, `q` or `k`, for one line of the other."""
    line = _line(expr, slots, lane, {})
    return "\n".join(
        [
            f"template <typename index>\nstruct {name} {{",
            f"  const index {LINE_OF[lane]}, b, h;\n  const place &at;",
            *line.before,
            f"  inline real operator()(const real s, const index {lane}) const {{\n    (void)s, (void){lane};",
            line.body,
            "  }\n};",
        ]
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """before: declarations of what the lanes of a line share. body: statements that return the value for a lane."""

    before: tuple[str, ...]
    body: str


def _line(expr: Expr, slots: Slots, lane: str, local: Mapping[str, str]) -> _Line:
    """Look-ups that lanes share are made once per line. local: text of each symbol that the caller declares."""
    shared = [node for node in walk(expr) if isinstance(node, Lookup) and lane not in names(node) and not _reads(node, local)]
    inner = {operand for node in shared for operand in walk(*node.indices)}
    outer: dict[Expr, Symbol] = {
        node: Symbol(f"fixed {n}", node.kind) for n, node in enumerate(node for node in shared if node not in inner)
    }
    fixed = {symbol.name: symbol.name.replace(" ", "") for symbol in outer.values()} | dict(local)
    known = replace(slots, symbols={**slots.symbols, **fixed}, local=frozenset(fixed))
    before = [
        f"  const {TYPES[node.kind]} {fixed[symbol.name]} = [&] {{ {' '.join(each.lines)} return {each.value}; }}();"
        for node, symbol in outer.items()
        for each in [printed(node, slots)]
    ]
    return _Line(tuple(before), printed(substitute(expr, outer), known).function_body("    "))


def _reads(node: Expr, local: Mapping[str, str]) -> bool:
    return any(isinstance(part, Symbol) and part.name in local for part in walk(node))
