"""Plans as C++: one translation unit, one C function, no header but the standard library's."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import asdict, dataclass

from ..ir.expr import TRUE, Expr, Kind, S, Table
from ..ir.plan import Plan
from ..ir.schedule import Piece
from ..ir.source import Source
from .environment import ENVIRONMENT, TEMPLATES
from .print_cpp import Printed, Slots, printed, slots_of

COMMON = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-unknown-pragmas")
FLAGS: dict[str, tuple[str, ...]] = {
    "avx512": (*COMMON, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mf16c", "-mprefer-vector-width=512"),
    "avx2": (*COMMON, "-mavx2", "-mfma", "-mf16c"),
    "neon": COMMON,
    "generic": COMMON,
}
VECTOR_BYTES = {"avx512": 64, "avx2": 32, "neon": 16, "generic": 16}
REGISTERS = {"avx512": 32, "avx2": 16, "neon": 32, "generic": 16}
STORED = {"f32": "float", "f64": "double", "bf16": "bf16", "f16": "f16"}
ENTRIES = {"i8": "int8_t", "i16": "int16_t", "i32": "int32_t", "i64": "int64_t", "bool": "bool", **STORED}
MARK = "lacuna_entry_of_this_text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """For templates/cpp/forward.cpp.jinja.

    title:      one comment line about the kernel.
    arguments, arithmetic: the text of arguments.h and arithmetic.h.
    real:       type that is computed in; stored: type of tensors in memory.
    block_q, block_k: tile edge in tokens; block_q is a multiple of lanes * vectors.
    lanes:      reals in a vector register; vectors, rows: registers of the block that a product keeps.
    members, settings: declarations of what one (b, h) sees, and the statements that fill them in.
    functions:  `allowed` (the mask), `modified` (the score) and `weigh` (both, over a tile).
    loops:      statements that call `attend` for every scheduled tile of query tile `i`.
    entry:      name of the C function.
    """

    title: str
    arguments: str
    arithmetic: str
    real: str
    stored: str
    block_q: int
    block_k: int
    head_dim: int
    value_dim: int
    lanes: int
    vectors: int
    rows: int
    members: str
    settings: str
    functions: str
    loops: str
    entry: str


def render(plan: Plan) -> Source:
    """The kernel of `plan`. Its name carries a digest of its text."""
    template = ENVIRONMENT.get_template("cpp/forward.cpp.jinja")
    text = template.render(asdict(context(plan)))
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    entry = f"{plan.schedule.program.name}_{plan.dtype}_d{plan.head_dim}_q{plan.block_q}_k{plan.block_k}_{digest}"
    return Source("c++", f"lacuna_{entry}", text.replace(MARK, f"lacuna_{entry}"))


def context(plan: Plan) -> Forward:
    slots = slots_of(plan.parameters, plan.tables)
    real = "double" if plan.dtype == "f64" else "float"
    lanes = VECTOR_BYTES[plan.target.name] // (8 if real == "double" else 4)
    vectors = _vectors(plan, lanes)
    return Forward(
        title=f"{plan.schedule.program.name}, {plan.dtype}, for {plan.target.name}",
        arguments=_part("arguments.h"),
        arithmetic=_part("arithmetic.h"),
        real=real,
        stored=STORED[plan.dtype],
        block_q=plan.block_q,
        block_k=plan.block_k,
        head_dim=plan.head_dim,
        value_dim=plan.value_dim,
        lanes=lanes,
        vectors=vectors,
        rows=(REGISTERS[plan.target.name] - vectors) // vectors - 1 if vectors > 1 else 6,
        members=_members(plan, slots),
        settings=_settings(plan, slots),
        functions=_functions(plan, slots),
        loops=_loops(plan, slots),
        entry=MARK,
    )


def _vectors(plan: Plan, lanes: int) -> int:
    """Registers along the rows: as many as divide the tile, up to four (two where there are sixteen registers)."""
    most = 4 if REGISTERS[plan.target.name] == 32 else 2
    fitting = [n for n in range(1, most + 1) if plan.block_q % (n * lanes) == 0]
    if not fitting:
        raise ValueError(f"block_q is {plan.block_q}, which is no multiple of {lanes} lanes\n  write a multiple of {lanes}")
    return fitting[-1]


@functools.cache
def _part(name: str) -> str:
    return (TEMPLATES / "cpp" / name).read_text(encoding="utf-8").strip()


# -- parameters and tables --------------------------------------------------------------------------------------------


def _members(plan: Plan, slots: Slots) -> str:
    kinds = {Kind.INT: "int64_t", Kind.FLOAT: "double", Kind.BOOL: "bool"}
    lines = [f"{kinds[symbol.kind]} {slots.symbols[symbol.name]};" for symbol in plan.parameters]
    lines += [f"table<{ENTRIES[table.dtype]}, {table.rank}> {slots.tables[table]};" for table in plan.tables]
    return "\n".join(f"  {line}" for line in lines)


def _settings(plan: Plan, slots: Slots) -> str:
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


# -- mask, score, loops -----------------------------------------------------------------------------------------------

WEIGH = """\
template <bool full, typename index>
inline void weigh(workspace &w, const place &at, index b, index h, int64_t row, int64_t first, int64_t keys) {{
  for (int64_t n = 0; n < keys; ++n) {{
    real *line = w.score + n * BQ;
    const index k = index(first + n);
{body}
  }}
  (void)at, (void)b, (void)h, (void)row;
}}"""
LINE = "    for (index r = 0; r < index(BQ); ++r) {"


def _functions(plan: Plan, slots: Slots) -> str:
    scored = plan.score is not S
    parts = [_function("modified", "real", plan.score, "const real s, ", slots)] if scored else []
    masked = plan.partial is not TRUE
    if masked:
        parts.append(_function("allowed", "bool", plan.partial, "", slots))
    body: list[str] = []
    if scored:
        body.append(f"{LINE}\n      line[r] = modified<index>(line[r], index(row) + r, k, b, h, at);\n    }}")
    if masked:
        select = "line[r] = allowed<index>(index(row) + r, k, b, h, at) ? line[r] : real(-INFINITY);"
        body.append(f"    if constexpr (!full)\n  {LINE}\n        {select}\n      }}")
    if not body:
        body.append("    (void)line, (void)k;")
    return "\n\n".join([*parts, WEIGH.format(body="\n".join(body))])


def _function(name: str, result: str, expr: Expr, first: str, slots: Slots) -> str:
    body = printed(expr, slots).function_body()
    unused = "  (void)q, (void)k, (void)b, (void)h, (void)at;"
    arguments = f"{first}const index q, const index k, const index b, const index h, const place &at"
    return f"template <typename index>\ninline {result} {name}({arguments}) {{\n{unused}\n{body}\n}}"


def _loops(plan: Plan, slots: Slots) -> str:
    schedule = plan.schedule
    blocks = [_loop(piece, "true", slots) for piece in schedule.full_loops]
    masked = "false" if plan.partial is not TRUE else "true"
    blocks += [_loop(piece, masked, slots) for piece in schedule.partial_loops]
    return "\n".join(blocks) if blocks else "  (void)w, (void)at, (void)from, (void)b, (void)h, (void)i;"


def _loop(piece: Piece, full: str, slots: Slots) -> str:
    """The range of a piece; its predicate is tested once per tile."""
    start, stop, where = (printed(part, slots, "int64_t") for part in (piece.start, piece.stop, piece.where))
    tile = f"int64_t(at.{slots.tables[piece.through]}.read(n))" if piece.through is not None else "n"
    lines = ["{", *_bound("start", start), *_bound("stop", stop), f"  for (int64_t n = start; n < stop; n += {piece.step}) {{"]
    lines.append(f"    const int64_t j = {tile};")
    if piece.where is not TRUE:
        lines += [f"    {line}" for line in where.lines]
        lines.append(f"    if (!{where.value}) continue;")
    lines += [f"    attend<{full}, index>(w, at, from, b, h, i, j);", "  }", "}"]
    return "\n".join(f"  {line}" for line in lines)


def _bound(name: str, text: Printed) -> list[str]:
    return [f"  int64_t {name};", "  {", *(f"    {line}" for line in text.lines), f"    {name} = {text.value};", "  }"]
