"""The C function of a C++ kernel: a stable structure in, status out, and term bounds filled in by a function of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from ..ir.expr import K_LEN, OFFSET, Q_LEN, Kind, Table, names, walk
from ..ir.plan import Plan
from ..ir.schedule import Term
from ..ir.source import Source
from .cpp_text import function, part, settings
from .environment import ENVIRONMENT
from .print_cpp import Slots, slots_of

FEATURES: Mapping[str, tuple[str, ...]] = {
    "avx512bf16": ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512bf16"),
    "avx512": ("avx512f", "avx512bw", "avx512vl", "avx512dq"),
    "avx2": ("avx2", "fma"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Face:
    """For templates/cpp/face.cpp.jinja.

    call:       the text of call.h.
    name, entry: of the function that C calls, and of the kernel.
    narrow:     largest length or parameter for which 32-bit indices are proved to do; 0 where none is.
    wide:       the same of offsets and parameters for 64 bits, lengths being `most_tokens` at most; 0: nothing is proved, or refused.
    shifted:    `true` where the kernel holds for every offset.
    most_rows:  query rows of a call at most; 0 for any.
    integers, reals: parameters of either kind.
    user_tables, user_axes, tables, axes: of the caller, and with those of terms.
    terms:      `true` where there are any.
    runs_here:  C++ condition: the processor has what the kernel needs.
    term_functions, with_terms, exports: extents and bounds of terms, statements that add them to the tables, and functions for C.
    """

    call: str
    name: str
    entry: str
    narrow: int
    wide: int
    most_tokens: int
    shifted: str
    most_rows: int
    integers: int
    reals: int
    user_tables: int
    user_axes: int
    tables: int
    axes: int
    terms: str
    runs_here: str
    term_functions: str
    with_terms: str
    exports: str


def callable_from_c(plan: Plan) -> bool:
    """Whether a caller without Python can know every table: lists of tiles are Python's."""
    of_terms = {table.name for term in plan.schedule.terms for table in (term.low, term.high)}
    given = {table.name for table in plan.schedule.program.tables}
    forward = plan.family in ("forward", "decode") and plan.schedule.together == 1
    return forward and {table.name for table in plan.tables} <= of_terms | given


class Reach(NamedTuple):
    """How far the numbers of a call may go, as `Face` has it."""

    narrow: int
    wide: int
    most_tokens: int


def with_face(plan: Plan, source: Source, name: str, reach: Reach, *, shifted: bool) -> str:
    """The text of a kernel and its C function `name`; other arguments as in `Face`."""
    context = asdict(face(plan, source.entry, name, reach, shifted=shifted))
    return source.text + ENVIRONMENT.get_template("cpp/face.cpp.jinja").render(context)


def face(plan: Plan, entry: str, name: str, reach: Reach, *, shifted: bool) -> Face:
    slots = slots_of(plan.parameters, plan.tables)
    user = user_tables(plan)
    terms = _terms_read(plan)
    return Face(
        call=part("call.h"),
        name=name,
        entry=entry,
        **reach._asdict(),
        shifted="true" if shifted else "false",
        most_rows=plan.block_q if plan.family == "decode" else 0,
        integers=sum(symbol.kind is not Kind.FLOAT for symbol in plan.parameters),
        reals=sum(symbol.kind is Kind.FLOAT for symbol in plan.parameters),
        user_tables=len(user),
        user_axes=sum(table.rank for table in user),
        tables=len(plan.tables),
        axes=sum(table.rank for table in plan.tables),
        terms="true" if terms else "false",
        runs_here=" && ".join(f'__builtin_cpu_supports("{each}")' for each in FEATURES.get(plan.target.name, ())) or "true",
        term_functions="\n".join([_place(plan, slots), BOUNDS, *(_term(at, term, plan, slots) for at, term in terms)]) if terms else "",
        with_terms=_with_terms(plan, terms) if terms else "",
        exports=_exports(name, terms) if terms else "",
    )


def user_tables(plan: Plan) -> tuple[Table, ...]:
    """Tables that the caller gives."""
    given = set(plan.schedule.program.tables)
    return tuple(table for table in plan.tables if table in given)


# -- terms ------------------------------------------------------------------------------------------------------------

_Terms = tuple[tuple[int, Term], ...]


def _terms_read(plan: Plan) -> _Terms:
    read = set(plan.tables)
    return tuple((at, term) for at, term in enumerate(plan.schedule.terms) if term.low in read or term.high in read)


PLACE = """\
place place_of(const lacuna_args &a, int64_t b) {{
  place at = {{}};
  at.Lq = a.q_lens ? a.q_lens[b] : a.q_len;
  at.Lk = a.k_lens ? a.k_lens[b] : a.k_len;
  at.offset = a.offsets ? a.offsets[b] : a.offset;
{settings}
  return at;
}}
"""
BOUNDS = """\
// Extrema of `width` values from `first` of a tile on; a tile of no values has 1 and 0, its minimum above its maximum.
template <typename S, typename F>
void bounds(const lacuna_args &a, const shape &of, int64_t *room, S first, int64_t width, F value) {
  int64_t *low = room, *high = room + of.count();
  for (int64_t b = 0; b < of.batch; ++b) {
    const place at = place_of(a, b);
    for (int64_t h = 0; h < of.heads; ++h)
      for (int64_t t = 0; t < of.tiles; ++t, ++low, ++high) {
        *low = INT64_MAX, *high = INT64_MIN;
        for (int64_t n = first(t); n < first(t) + width; ++n) {
          int64_t found = 0;
          if (!value(at, b, h, n, found)) continue;
          *low = smaller(*low, found), *high = larger(*high, found);
        }
        if (*low > *high) *low = 1, *high = 0;
      }
  }
}
"""
TERM = """\
{function}
shape shape{at}(const lacuna_args &a) {{
  (void)a;
  return {{{batch}, {heads}, {tiles}}};
}}
void fill{at}(const lacuna_args &a, int64_t *room) {{
  const auto first = [](int64_t t) -> int64_t {{ return {first}; }};
  bounds(a, shape{at}(a), room, first, {width}, [&a](const place &at, int64_t b, int64_t h, int64_t n, int64_t &found) {{
    {guard}
    found = term{at}<int64_t>({q}, {k}, b, h, at);
    return true;
  }});
}}
"""
DIAGONAL = """\
if (n <= -a.k_len || n >= a.q_len) return false;
    const int64_t q = larger(int64_t(0), smaller(n, a.q_len - 1));"""


def _place(plan: Plan, slots: Slots) -> str:
    return PLACE.format(settings=settings(replace(plan, tables=user_tables(plan)), slots))


def _term(at: int, term: Term, plan: Plan, slots: Slots) -> str:
    block_q, block_k = plan.block_q, plan.block_k
    q_tiles, k_tiles = (f"(a.{length} + {block - 1}) / {block}" for length, block in (("q_len", block_q), ("k_len", block_k)))
    read = names(term.expr)
    ragged = any(node in (Q_LEN, K_LEN, OFFSET) for node in walk(term.expr))
    extents = {"batch": "a.batch" if "b" in read or ragged else "1", "heads": "a.heads" if "h" in read else "1"}
    text = function(f"term{at}", "int64_t", term.expr, "", slots)
    if term.axis == "diagonal":
        unit = math.gcd(block_q, block_k)
        tiles = f"larger({q_tiles} * {block_q}, {k_tiles} * {block_k}) / {unit} * 2 + 1"
        first = f"(t % 2 ? -(t + 1) / 2 : t / 2) * {unit} - {block_k} + 1"
        where = {"first": first, "width": block_q + block_k - 1, "tiles": tiles}
        return TERM.format(at=at, function=text, guard=DIAGONAL, q="q", k="q - n", **extents, **where)
    length, block, tiles = ("q_len", block_q, q_tiles) if term.axis == "q" else ("k_len", block_k, k_tiles)
    position = {"q": "n", "k": "0"} if term.axis == "q" else {"q": "0", "k": "n"}
    where = {"first": f"t * {block}", "width": block, "tiles": tiles}
    return TERM.format(at=at, function=text, guard=f"if (n >= a.{length}) return false;", **position, **extents, **where)


USER = """\
  const void *tables[face::TABLES];
  int64_t strides[face::AXES], sizes[face::AXES];
  for (int64_t n = 0; n < face::USER_TABLES; ++n) tables[n] = a.tables[n];
  for (int64_t n = 0; n < face::USER_AXES; ++n) strides[n] = a.table_strides[n], sizes[n] = a.table_sizes[n];
  const int64_t *room = call->terms;"""
STEP = """\
  {{
    const face::shape of = face::shape{at}(a);
{tables}
    room += 2 * of.count();
  }}"""
ONE = """\
    tables[{number}] = room{high};
    sizes[{axis}] = of.batch, sizes[{axis} + 1] = of.heads, sizes[{axis} + 2] = of.tiles;
    strides[{axis}] = of.batch == 1 ? 0 : of.heads * of.tiles;
    strides[{axis} + 1] = of.heads == 1 ? 0 : of.tiles, strides[{axis} + 2] = 1;"""


def _with_terms(plan: Plan, terms: _Terms) -> str:
    axes = [sum(table.rank for table in plan.tables[:number]) for number in range(len(plan.tables))]
    places = {table: (number, axis) for number, (table, axis) in enumerate(zip(plan.tables, axes, strict=True))}
    steps: list[str] = []
    for at, term in terms:
        both = ((term.low, ""), (term.high, " + of.count()"))
        parts = [ONE.format(number=places[table][0], axis=places[table][1], high=high) for table, high in both if table in places]
        steps.append(STEP.format(at=at, tables="\n".join(parts)))
    return "\n".join([USER, *steps, "  a.tables = tables, a.table_strides = strides, a.table_sizes = sizes;"])


EXPORTS = """
// Numbers that {name}_terms writes; negative where the call is refused.
extern "C" int64_t {name}_terms_size(const lacuna_call *call) {{
  if (face::refused(call)) return -1;
  const lacuna_args a = face::args_of(*call);
  return 2 * ({counts});
}}

// Fill `room` for every call with these lengths, parameters and tables.
extern "C" int32_t {name}_terms(const lacuna_call *call, int64_t *room) {{
  const int32_t refused = face::refused(call);
  if (refused) return refused;
  if (!room) return LACUNA_NO_TERMS;
  const lacuna_args a = face::args_of(*call);
{fills}
  return LACUNA_OK;
}}
"""


def _exports(name: str, terms: _Terms) -> str:
    counts = " + ".join(f"face::shape{at}(a).count()" for at, _ in terms)
    fills = "\n".join(f"  face::fill{at}(a, room), room += 2 * face::shape{at}(a).count();" for at, _ in terms)
    return EXPORTS.format(name=name, counts=counts, fills=fills)
