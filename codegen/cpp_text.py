"""C++ text that every family of kernels shares: flags, types, what a (b, h) sees, functions of a position, loops over tiles."""

from __future__ import annotations

import functools

from ..ir.expr import TRUE, Const, Expr, K, Kind, Q, Select, Table, Var
from ..ir.order import Boxes, Given, Parts
from ..ir.plan import Plan
from ..ir.schedule import Piece
from .environment import TEMPLATES
from .print_cpp import Printed, Slots, printed

STORED = {"f32": "float", "f64": "double", "bf16": "bf16", "f16": "f16"}
SIGNED = {"i8": "int8_t", "i16": "int16_t", "i32": "int32_t", "i64": "int64_t"}
ENTRIES = {**SIGNED, **{name.replace("i", "u"): f"u{entry}" for name, entry in SIGNED.items()}, "bool": "bool", **STORED}
MARK = "lacuna_entry_of_this_text"


@functools.cache
def part(name: str) -> str:
    return (TEMPLATES / "cpp" / name).read_text(encoding="utf-8").strip()


def pairs(plan: Plan) -> str:
    """Whether a kernel multiplies bfloat16 two numbers at a time, as C++."""
    return "true" if plan.dtype == "bf16" and plan.target.name == "avx512bf16" else "false"


# -- tokens -----------------------------------------------------------------------------------------------------------


def ordered(plan: Plan) -> str:
    """Whether positions are not those of the tokens in memory, as C++."""
    return "false" if plan.order is None else "true"


def padded(plan: Plan) -> str:
    """Whether there are positions that no token has, as C++."""
    none = plan.order is None or (plan.order.rows.valid(Q) is TRUE and plan.order.keys.valid(K) is TRUE)
    return "false" if none else "true"


def tokens(plan: Plan, slots: Slots) -> str:
    """Functions that say how many positions tokens have, and which token of memory has a position; -1 where none has."""
    rows, keys = (None, None) if plan.order is None else plan.order
    return "\n".join(_tokens_of(*side, slots) for side in (("query", Q, rows), ("key", K, keys)))


def _tokens_of(name: str, position: Var, order: Boxes | Parts | Given | None, slots: Slots) -> str:
    token = position if order is None else order.token(position)
    valid = TRUE if order is None else order.valid(position)
    body = printed(token if valid is TRUE else Select(valid, token, Const(-1)), slots, "int64_t").function_body()
    count = str(order.positions) if isinstance(order, Boxes | Parts) else "tokens"
    return (
        f"inline int64_t {name}_positions(const int64_t tokens) {{ return (void)tokens, {count}; }}\n"
        f"inline int64_t {name}_token(const int64_t {position.name}, const place &at) {{\n  (void)at;\n{body}\n}}"
    )


# -- parameters and tables --------------------------------------------------------------------------------------------


def members(plan: Plan, slots: Slots) -> str:
    kinds = {Kind.INT: "int64_t", Kind.FLOAT: "double", Kind.BOOL: "bool"}
    lines = [f"{kinds[symbol.kind]} {slots.symbols[symbol.name]};" for symbol in plan.parameters]
    lines += [f"table<{ENTRIES[table.dtype]}, {table.rank}> {slots.tables[table]};" for table in plan.tables]
    return "\n".join(f"  {line}" for line in lines)


def settings(plan: Plan, slots: Slots) -> str:
    lines: list[str] = []
    counts = {"integers": 0, "reals": 0}
    for symbol in plan.parameters:
        array = "reals" if symbol.kind is Kind.FLOAT else "integers"
        lines.append(f"at.{slots.symbols[symbol.name]} = a.{array}[{counts[array]}];")
        counts[array] += 1
    axis = 0
    for number, table in enumerate(plan.tables):
        lines += _table_settings(f"at.{slots.tables[table]}", number, axis, table)
        axis += table.rank
    return "\n".join(f"  {line}" for line in lines)


def _table_settings(name: str, number: int, axis: int, table: Table) -> list[str]:
    lines = [f"{name}.data = static_cast<const {ENTRIES[table.dtype]} *>(a.tables[{number}]);"]
    for n in range(table.rank):
        lines.append(f"{name}.stride[{n}] = a.table_strides[{axis + n}], {name}.size[{n}] = a.table_sizes[{axis + n}];")
    return lines


# -- functions and loops ----------------------------------------------------------------------------------------------


def function(name: str, result: str, expr: Expr, first: str, slots: Slots) -> str:
    body = printed(expr, slots).function_body()
    unused = "  (void)q, (void)k, (void)b, (void)h, (void)at;"
    arguments = f"{first}const index q, const index k, const index b, const index h, const place &at"
    return f"template <typename index>\ninline {result} {name}({arguments}) {{\n{unused}\n{body}\n}}"


ATTEND = "attend<{full}, index>(w, at, from, b, h, i, j);"
NOTHING = "  (void)w, (void)at, (void)from, (void)b, (void)h, (void)i;"


def loops(plan: Plan, slots: Slots, *, clipped: bool = False, call: str = ATTEND) -> str:
    """Statements that call `attend` for every scheduled tile `j` of tile `i`; with `clipped`, for those of `first <= j < last` only.

    call: the statement, with `{full}` where `true` or `false` belongs.
    """
    masked = "false" if plan.partial is not TRUE else "true"
    blocks = [_loop(piece, call.format(full="true"), slots, clipped=clipped) for piece in plan.schedule.full_loops]
    blocks += [_loop(piece, call.format(full=masked), slots, clipped=clipped) for piece in plan.schedule.partial_loops]
    return "\n".join(blocks) if blocks or call is not ATTEND else NOTHING


CLIP = """\
  if (start < first) start += (first - start + {less}) / {step} * {step};
  if (stop > last) stop = last;"""


def _loop(piece: Piece, call: str, slots: Slots, *, clipped: bool) -> str:
    """The range of a piece; its predicate is tested once per tile."""
    start, stop, where = (printed(part, slots, "int64_t") for part in (piece.start, piece.stop, piece.where))
    tile = f"int64_t(at.{slots.tables[piece.through]}.read(n))" if piece.through is not None else "n"
    lines = ["{", *_bound("start", start), *_bound("stop", stop)]
    if clipped and piece.through is None:
        lines += CLIP.format(step=piece.step, less=piece.step - 1).splitlines()
    lines += [f"  for (int64_t n = start; n < stop; n += {piece.step}) {{", f"    const int64_t j = {tile};"]
    if clipped and piece.through is not None:
        lines.append("    if (j < first || j >= last) continue;")
    if piece.where is not TRUE:
        lines += [f"    {line}" for line in where.lines]
        lines.append(f"    if (!{where.value}) continue;")
    lines += [f"    {call}", "  }", "}"]
    return "\n".join(f"  {line}" for line in lines)


def _bound(name: str, text: Printed) -> list[str]:
    return [f"  int64_t {name};", "  {", *(f"    {line}" for line in text.lines), f"    {name} = {text.value};", "  }"]
