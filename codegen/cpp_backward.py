"""Backward plans as C++: gradients of query, key, value and of the tables that the score reads, in one function."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.expr import TRUE, Const, Expr, Lookup, S, names
from ..ir.plan import Gradient, Plan
from ..ir.source import Source
from .cpp_kernel import Kernel, rendered, told
from .cpp_lines import line_function, mask_functions
from .cpp_targets import REGISTERS
from .cpp_text import loops, ordered, padded, pairs, part, tokens
from .print_cpp import Slots, printed, slots_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Backward(Kernel):
    """For templates/cpp/backward.cpp.jinja.

    backward_arguments, words, chunks: the text of the headers of these names.
    block_q:    query rows of a tile; block_k is a multiple of lanes.
    vectors, rows: registers of the block that a product keeps.
    functions:  also `slope` (the derivative of the score), `by<n>` and `entry<n>` (look-up n).
    weights:    statements for one row of a tile: weights in place of scores, the gradient of scores in place of that of weights.
    loops:      call `attend` for every scheduled query tile of key tile `i`.
    pairs:      `true` where bfloat16 is multiplied two numbers at a time, else `false`.
    ordered:    whether positions are not those of the tokens in memory; padded: whether some are of no token.
    tokens:     functions from positions to tokens.
    known:      numbers that the mask keeps of each lane.
    wanted:     look-ups whose gradient is wanted.
    """

    backward_arguments: str
    words: str
    chunks: str
    block_q: int
    vectors: int
    rows: int
    weights: str
    pairs: str
    ordered: str
    padded: str
    tokens: str
    known: int
    wanted: int


def render(plan: Plan) -> Source:
    """The kernel of `plan`, whose schedule is the transposed one. Its name carries a digest of its text."""
    name = f"{plan.schedule.program.name}_backward_{plan.dtype}_d{plan.head_dim}"
    return rendered("cpp/backward.cpp.jinja", context(plan), name)


def context(plan: Plan) -> Backward:
    gradient = plan.gradient
    assert gradient is not None
    slots = slots_of(plan.parameters, plan.tables)
    many = REGISTERS[plan.target.name] == 32
    mask = mask_functions(plan.partial, slots, "k")
    return Backward(
        **told(plan, slots),
        title=f"{plan.schedule.program.name}, backward, {plan.dtype}, for {plan.target.name}",
        backward_arguments=part("backward_arguments.h"),
        words=part("words.h"),
        chunks=part("chunks.h"),
        block_q=plan.schedule.block_k,
        block_k=plan.schedule.block_q,
        vectors=4 if many else 2,
        rows=6 if many else 4,
        known=mask.known,
        functions=_functions(plan, gradient, slots, mask.text),
        weights=_weights(plan, gradient),
        loops=loops(plan, slots, clipped=True),
        pairs=pairs(plan),
        ordered=ordered(plan),
        padded=padded(plan),
        tokens=tokens(plan, slots),
        wanted=len(gradient.by_lookup),
    )


# -- mask, score and derivatives --------------------------------------------------------------------------------------


def _functions(plan: Plan, gradient: Gradient, slots: Slots, mask: str) -> str:
    parts = [mask]
    if plan.score is not S:
        parts.append(line_function("modified", plan.score, slots, "k"))
        parts.append(line_function("slope", gradient.by_score, slots, "k"))
    for n, (lookup, by) in enumerate(gradient.by_lookup):
        parts += [line_function(f"by{n}", by, slots, "k"), _entry(n, lookup, slots)]
    return "\n\n".join(parts)


def _entry(number: int, lookup: Lookup, slots: Slots) -> str:
    """A function that says which entry of its table a look-up reads."""
    indices = [printed(index, slots) for index in lookup.indices]
    lines = [f"  const int64_t i{n} = [&] {{ {' '.join(each.lines)} return {each.value}; }}();" for n, each in enumerate(indices)]
    given = ", ".join(f"i{n}" for n in range(len(indices)))
    body = "\n".join([*lines, f"  return entry_of(at.{slots.tables[lookup.table]}, {given});"])
    arguments = "const index q, const index k, const index b, const index h, const place &at"
    unused = "  (void)q, (void)k, (void)b, (void)h, (void)at;"
    return f"template <typename index>\ninline int64_t entry{number}({arguments}) {{\n{unused}\n{body}\n}}"


AT = "q, k, b, h, at"
EACH = """\
for (index n = start; n < stop; ++n) {{
  const index k = index(first) + n;
  const real s = weight[n] * scale;
{body}
  (void)k;
}}"""
REDUCED = """\
{{
  real total[LANES] = {{}}, all = 0;
  const by{n}<index> by{{q, b, h, at}};
  for (index m = start; m < stop; m += LANES)
    for (index l = 0; l < index(LANES); ++l) {{
      const index n = m + l, k = index(first) + n;
      const bool counts = (n < live) & (weight[n] != 0);
      const real moved = risen[n] * by(scored[n], k);
      total[l] += counts ? moved : real(0);
    }}
  for (int l = 0; l < LANES; ++l) all += total[l];
  const index k = index(first);
  from.tables[{n}][entry{n}<index>({at})] += all;
}}"""
SCATTERED = """\
{{
  const by{n}<index> by{{q, b, h, at}};
  for (index n = start; n < live; ++n) {{
    const index k = index(first) + n;
    if (weight[n] != 0) from.tables[{n}][entry{n}<index>({at})] += risen[n] * by(scored[n], k);
  }}
}}"""


def _weights(plan: Plan, gradient: Gradient) -> str:
    scored = plan.score is not S
    sloped = scored and not _is_one(gradient.by_score)
    body = [f"real t = {'modified_at(s, k)' if scored else 's'};"]
    if plan.partial is not TRUE:
        body.append("if constexpr (!full) t = open[n] ? t : real(-INFINITY);")
    body.append("const real p = exponential(t - base), ds = p == 0 ? real(0) : p * (rise[n] - delta);")
    body.append("weight[n] = p;")
    slope = "p == 0 ? real(0) : ds * slope_at(s, k)" if sloped else "ds"
    body.append(f"rise[n] = scale * ({slope});")
    if gradient.by_lookup:
        body.append("scored[n] = s, risen[n] = ds;")
    blocks = ["const modified<index> modified_at{q, b, h, at};"] if scored else []
    blocks += ["const slope<index> slope_at{q, b, h, at};"] if sloped else []
    blocks += ["real scored[BK], risen[BK];"] if gradient.by_lookup else []
    blocks.append(EACH.format(body="\n".join(f"  {line}" for line in body)))
    for n, (lookup, _) in enumerate(gradient.by_lookup):
        reads = {name for index in lookup.indices for name in names(index)}
        blocks.append((SCATTERED if "k" in reads else REDUCED).format(n=n, at=AT))
    return "\n".join(f"    {line}" for block in blocks for line in block.splitlines())


def _is_one(expr: Expr) -> bool:
    return isinstance(expr, Const) and expr.value == 1
