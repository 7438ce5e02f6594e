"""Plans as C++: one translation unit, one C function, no header but the standard library's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..ir.expr import TRUE, S
from ..ir.plan import Plan
from ..ir.source import Source
from ..ir.target import CHUNK
from .cpp_beside import Beside, of_tiles
from .cpp_kernel import Kernel, rendered, told
from .cpp_lines import line_function, mask_functions
from .cpp_targets import REGISTERS
from .cpp_text import loops, ordered, padded, pairs, part, tokens
from .print_cpp import Slots, slots_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward(Kernel):
    """For templates/cpp/forward.cpp.jinja.

    words, chunks: the text of the headers of these names.
    block_q:    query rows of a tile, a multiple of lanes * vectors.
    vectors, rows: registers of the block that a product keeps.
    chunk:      rows of a partial tile that are handled together, a multiple of lanes.
    pairs:      `true` where bfloat16 is multiplied two numbers at a time, else `false`.
    ordered:    whether positions are not those of the tokens in memory; padded: whether some are of no token.
    tokens:     functions from positions to tokens.
    known:      numbers that the mask keeps of each lane.
    more:       what rows see beside the pattern.
    functions:  also `weigh`: mask and score over a part of a tile.
    loops:      call `attend` for every scheduled tile of query tile `i`.
    """

    words: str
    chunks: str
    block_q: int
    vectors: int
    rows: int
    chunk: int
    pairs: str
    ordered: str
    padded: str
    tokens: str
    known: int
    more: Beside


def render(plan: Plan) -> Source:
    """The kernel of `plan`. Its name carries a digest of its text."""
    name = f"{plan.schedule.program.name}_{plan.dtype}_d{plan.head_dim}_q{plan.block_q}_k{plan.block_k}"
    return rendered("cpp/forward.cpp.jinja", context(plan), name)


def context(plan: Plan) -> Forward:
    slots = slots_of(plan.parameters, plan.tables)
    common = told(plan, slots)
    vectors = _vectors(plan, common["lanes"])
    mask = mask_functions(plan.partial, slots, "q")
    return Forward(
        **common,
        title=f"{plan.schedule.program.name}, {plan.dtype}, for {plan.target.name}",
        words=part("words.h"),
        chunks=part("chunks.h"),
        block_q=plan.block_q,
        block_k=plan.block_k,
        vectors=vectors,
        rows=(REGISTERS[plan.target.name] - vectors) // vectors - 1 if vectors > 1 else 6,
        chunk=math.gcd(plan.block_q, CHUNK),
        pairs=pairs(plan),
        ordered=ordered(plan),
        padded=padded(plan),
        tokens=tokens(plan, slots),
        known=mask.known,
        more=of_tiles(plan),
        functions=_functions(plan, slots, mask.text),
        loops=loops(plan, slots),
    )


def _vectors(plan: Plan, lanes: int) -> int:
    """Registers along the rows: as many as divide the tile, up to four (two where there are sixteen registers)."""
    most = 4 if REGISTERS[plan.target.name] == 32 else 2
    fitting = [n for n in range(1, most + 1) if plan.block_q % (n * lanes) == 0]
    if not fitting:
        raise ValueError(f"block_q is {plan.block_q}, which is no multiple of {lanes} lanes\n  write a multiple of {lanes}")
    return fitting[-1]


# -- mask, score, loops -----------------------------------------------------------------------------------------------

WEIGH = """\
template <int64_t width, bool full, typename index>
inline void weigh(workspace &w, const place &at, index b, index h, int64_t row, int64_t first, const part &of) {{
  for (int64_t n = of.key; n < of.stop; ++n) {{
    real *__restrict line = w.score + n * BQ + of.row;
    const int32_t *open = w.open + n * BQ + of.row;
    const index k = index(first + n), q = index(row + of.row);
{body}
    (void)line, (void)open, (void)k, (void)q;
  }}
  (void)at, (void)b, (void)h;
}}"""
LINE = "    for (index r = 0; r < index(width); ++r)"
SCORED = f"    const modified<index> score{{k, b, h, at}};\n{LINE} line[r] = score(line[r], q + r);"
HIDDEN = f"    if constexpr (!full)\n  {LINE} line[r] = open[r] ? line[r] : real(-INFINITY);"


def _functions(plan: Plan, slots: Slots, mask: str) -> str:
    parts = [mask]
    body: list[str] = []
    if plan.score is not S:
        parts.append(line_function("modified", plan.score, slots, "q"))
        body.append(SCORED)
    if plan.partial is not TRUE:
        body.append(HIDDEN)
    return "\n\n".join([*parts, WEIGH.format(body="\n".join(body))])
