"""A plan as a Triton kernel.

The template holds the loop and the softmax. Filled in are: the tiles each loop runs over, what is computed of a score, and the arguments
these read. What the plan says of descriptors, persistence and warps changes neither: the template holds every form.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.expr import Expr, Kind, S
from ..ir.plan import Plan
from ..ir.source import Source
from ..ir.target import Target
from .print_triton import Names, bind, define, hoist, identifier, names_of
from .triton_arguments import LENGTHS, SCALARS, STRIDES, TURNS
from .triton_beside import Beside, beside
from .triton_boxes import boxes_fit, copied
from .triton_kernel import SMALLEST_DOT, Kernel, declarations, padded, rendered, told
from .triton_loops import Scores, Spans, loops_of
from .triton_order import Tokens, placed

TEMPLATE = "triton/forward.py.jinja"


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward(Kernel):
    """For templates/triton/forward.py.jinja.

    head, value: padded to a power of two; or the one below, and the power of two that holds the rest in head_rest, value_rest, else 0.
    unit:        Triton real: octaves per unit of score, without the factor LOG2E.
    block_q:     rows of a tile; tokens: of each query head in it; together: heads in it.
    strides:     declarations, each with a comma.
    heads_seen:  Triton integer: the query head of the tile, or that of each row.
    casts:       lines before everything: parameters.
    beside, owned: lines that say which tokens the steps of a tile are, and the rows; across, down, there_across, there_down:
                 see `triton_order.Met`.
    descriptors: keys and values come through tensor descriptors, where their strides allow; they are `key_box`, `value_box`, and those of
                 the rest of a dimension; `corner` is that of a tile, `placed` lines before they are made.
    persistent:  programs of each multiprocessor, or 0: every tile has its own.
    specialised: warps share the work of a loop by kind, where descriptors are used.
    more:        what rows see beside the pattern; its arguments are among the strides.
    again, rest_again: dimensions of values that sums are taken once more of at a time, where some are not finite; times_again: how often.
    """

    head_rest: int
    value_rest: int
    unit: str
    tokens: int
    together: int
    strides: str
    heads_seen: str
    casts: str
    beside: str
    owned: str
    across: str
    down: str
    there_across: str
    there_down: str
    descriptors: bool
    placed: str
    corner: str
    key_box: str
    value_box: str
    more_key_box: str
    more_value_box: str
    persistent: int
    specialised: bool
    more: Beside
    again: int
    rest_again: int
    times_again: int


def render(plan: Plan) -> Source:
    """The kernel of `plan`. Raises NotImplementedError as `told` does."""
    return rendered(TEMPLATE, forward(plan))


def forward(plan: Plan, spans: Spans | None = None) -> Forward:
    """The context of a forward kernel. spans: as `loops_of` takes them."""
    names = names_of(plan.parameters, plan.tables)
    tokens = Tokens(plan, names)
    scores, met, boxes = score_lines(plan, tokens), tokens.met, copied(plan, names)
    bounds, loops = loops_of(plan, names, scores, spans)
    (head, head_rest), (value, value_rest) = (parts(dim, plan.target) for dim in (plan.head_dim, plan.value_dim))
    more, again = beside(plan), at_once(plan, value, value_rest)
    runtime = (*LENGTHS, "lse", *SCALARS, *TURNS, *STRIDES, *more.names)
    common = told(plan, declarations(plan, names), runtime, head=head, value=value)
    name = identifier(plan.schedule.program.name)
    return Forward(
        **common,
        title=f"Attention forward of `{name}`: {plan.dtype}, {plan.head_dim} x {plan.value_dim}, tiles of {plan.rows} x {plan.block_k}.",
        head_rest=head_rest,
        value_rest=value_rest,
        unit="magnitude" if plan.score is S else "tl.full([], 1.0, REAL)",
        tokens=plan.block_q,
        together=plan.schedule.together,
        strides="\n".join([*(f'{stride}: "i64",' for stride in STRIDES), *more.arguments]),
        heads_seen="head[:, None].to(INDEX)" if plan.schedule.together > 1 else "first_h",
        casts="\n".join(casts(plan, names)),
        beside=met.beside,
        owned=tokens.owned("rows", "i"),
        across=met.across,
        down=met.down,
        there_across=met.there_across,
        there_down=met.there_down,
        descriptors=plan.descriptors and boxes_fit(plan),
        placed="\n".join(boxes.before) or "# a tile of keys is a run of rows, or a box of the grid",
        corner=boxes.corner,
        key_box=boxes.descriptor("keys_at", "(k_token * UNIT)", "HEAD_DIM", "HEAD"),
        value_box=boxes.descriptor("values_at", "(v_token * UNIT)", "VALUE_DIM", "VALUE"),
        more_key_box=boxes.descriptor("keys_at", "(k_token * UNIT)", "HEAD_DIM", "HEAD_REST"),
        more_value_box=boxes.descriptor("values_at", "(v_token * UNIT)", "VALUE_DIM", "VALUE_REST"),
        persistent=plan.persistent,
        specialised=plan.specialised,
        more=more,
        again=again[0],
        rest_again=again[1],
        times_again=PHASES * -(-(plan.value_dim - again[1]) // again[0]),
        bindings="\n".join([*tokens.bindings, *scores.before, *bounds]),
        loops=placed(loops, (*met.select, *boxes.select)),
    )


def parts(dim: int, target: Target) -> tuple[int, int]:
    """Powers of two that hold `dim` together: one and 0, or two where these are less and no register spills."""
    below = 1 << (dim.bit_length() - 1)
    rest = padded(dim - below) if dim > below else 0
    spills = rest > 32 and dim > 128 and target.name.startswith("sm_8")
    worthwhile = rest > 0 and below >= SMALLEST_DOT and below + rest < padded(dim)
    return (below, rest) if worthwhile and not spills else (padded(dim), 0)


AT_ONCE = {"bf16": 16, "f16": 16, "f32": 32, "f64": 32}
PHASES = 4  # of sums that are taken once more: what is finite, each infinity, and what weighs nothing


def at_once(plan: Plan, width: int, rest: int = 0) -> tuple[int, int]:
    """Dimensions that sums are taken once more of at a time, and of the rest of two parts.

    Few, so that a kernel asks for no more registers; where NumPy multiplies, as many as the first time, or it would round differently.
    """
    return (width, rest) if plan.target.name == "interpreter" else (min(width, AT_ONCE[plan.dtype]), 0)


def casts(plan: Plan, names: Names) -> list[str]:
    """Parameters in the types expressions compute with."""
    text = {Kind.INT: "tl.full([], {0}, INDEX)", Kind.FLOAT: "tl.full([], {0}, REAL)", Kind.BOOL: "tl.full([], {0}, tl.int64) != 0"}
    return [f"{name} = {text[symbol.kind].format(name)}" for symbol in plan.parameters for name in [names.parameters[symbol.name]]]


# -- scores -----------------------------------------------------------------------------------------------------------


def score_lines(plan: Plan, tokens: Tokens) -> Scores:
    """What happens to `s` in each loop. The mask selects, after the score; what only depends on the row is bound before the loops."""
    definitions, (partial, score) = hoist(tokens.by_tile(plan.partial, plan.score), tokens.varying)
    before, known = define(definitions, tokens.names)
    scaled = () if plan.score is S else ("s = s * magnitude",)
    masked = bind((partial, score), known, "tile")
    unmasked = bind((score,), known, "tile")
    select = f's = tl.where((k < Lk) & ({masked.texts[0]}), s, float("-inf"))'
    return Scores(
        before,
        (*scaled, *_scored(score, unmasked.lines, unmasked.texts[0])),
        (*scaled, *_scored(score, masked.lines, masked.texts[1]), select),
    )


def _scored(score: Expr, lines: tuple[str, ...], text: str) -> tuple[str, ...]:
    if score is S:
        return lines
    real = text if score.kind is Kind.FLOAT else f"({text}).to(REAL)"
    return (*lines, f"s = tl.broadcast_to({real}, [BLOCK_Q, BLOCK_K])")
