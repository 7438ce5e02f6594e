"""Backward plans as Triton kernels: one owns tiles of queries and walks the schedule, one owns tiles of keys and walks it transposed.

    weight   exp(score - log-sum-exp)                    0 where hidden
    risen    gradient of the weights
    moved    gradient of scale * query . key             0 where the weight is
    moved0   gradient of what look-up 0 reads            likewise

Gradients of tables are written by the program that owns what they are summed over, and added up in a fixed order afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..ir.expr import K_LEN, Q_LEN, Const, Expr, Kind, S, substitute
from ..ir.plan import Gradient, Plan
from ..ir.schedule import Piece, Schedule
from ..ir.source import Source
from .print_triton import bind, define, hoist, identifier, names_of
from .triton import at_once, casts
from .triton_arguments import KEY_STRIDES, LENGTHS, QUERY_STRIDES, SCALARS, TURNS
from .triton_beside import Beside, beside
from .triton_kernel import Kernel, Loop, declarations, padded, rendered, told
from .triton_loops import Scores, loops_of
from .triton_order import Tokens, placed
from .triton_sums import Sum, sums_of

QUERIES_TEMPLATE = "triton/backward_queries.py.jinja"
KEYS_TEMPLATE = "triton/backward_keys.py.jinja"
PHASES_OF_QUERIES, PHASES_OF_KEYS = 2, 3  # of sums that are taken once more: what is finite, and what is not, or each infinity
EXCHANGED: dict[Expr, Expr] = {Q_LEN: K_LEN, K_LEN: Q_LEN}


@dataclass(frozen=True, kw_only=True, slots=True)
class Backward(Kernel):
    """For both templates; the `scores` of their loops turn `s` and `risen` into `weight` and `moved`.

    sums:      (table, what one number is a sum over) of each look-up that the kernel sums a gradient for, as a Python tuple.
    strides:   declarations, each with a comma.
    closing:   lines after the loops.
    loops_again: the loops of sums that are taken once more.   again: dimensions that these are taken of at a time; times_again: how often.
    beside, owned, down, there_down: as in `triton.Forward`; of the kernel that owns keys, of the queries that it meets.
    """

    sums: str
    strides: str
    closing: str
    loops_again: tuple[Loop, ...]
    again: int
    times_again: int
    beside: str
    owned: str
    down: str
    there_down: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BackwardQueries(Backward):
    """For templates/triton/backward_queries.py.jinja. more: what rows see beside the pattern; its arguments are among the strides."""

    more: Beside


@dataclass(frozen=True, kw_only=True, slots=True)
class BackwardKeys(Backward):
    """For templates/triton/backward_keys.py.jinja.

    casts:  lines before the loop over what shares the keys: parameters.
    across, there_across: as in `triton.Forward`.
    bindings_again: `bindings` without those of sums of tables.
    value_again: dimensions of values, likewise.
    """

    casts: str
    bindings_again: str
    value_again: int
    across: str
    there_across: str


def render_queries(plan: Plan) -> Source:
    """The kernel for the gradient of the queries. Raises NotImplementedError as `told` does."""
    return rendered(QUERIES_TEMPLATE, backward_queries(plan))


def render_keys(plan: Plan) -> Source:
    """The kernel for the gradients of keys and values. Raises NotImplementedError as `told` does."""
    return rendered(KEYS_TEMPLATE, backward_keys(plan))


def backward_queries(plan: Plan) -> BackwardQueries:
    tokens, sums = Tokens(plan, names_of(plan.parameters, plan.tables)), sums_of(plan, keys=False)
    scores, scores_again = _lines(tokens, sums)
    bounds, loops = loops_of(plan, tokens.names, scores)
    _, loops_again = loops_of(plan, tokens.names, scores_again)
    more, (again, _) = beside(plan), at_once(plan, padded(plan.head_dim))
    common = _told(tokens, sums, QUERY_STRIDES, more)
    common["entry"] += "_backward_queries"
    before = [*casts(plan, tokens.names), *tokens.bindings, *scores.before, *bounds]
    return BackwardQueries(
        **common,
        more=more,
        loops_again=placed(loops_again, tokens.met.select),
        again=again,
        times_again=PHASES_OF_QUERIES * -(-plan.head_dim // again),
        owned=tokens.owned("rows", "i"),
        bindings="\n".join([*before, *(line for each in sums for line in each.opening)]),
        loops=placed(loops, tokens.met.select),
    )


def backward_keys(plan: Plan) -> BackwardKeys:
    turned = replace(plan, schedule=_turned(plan.schedule))
    tokens, sums = Tokens(plan, names_of(plan.parameters, plan.tables), turned=True), sums_of(plan, keys=True)
    scores, scores_again = _lines(tokens, sums)
    bounds, loops = loops_of(turned, tokens.names, scores)
    _, loops_again = loops_of(turned, tokens.names, scores_again)
    (again, _), (value_again, _) = (at_once(plan, padded(dim)) for dim in (plan.head_dim, plan.value_dim))
    common = _told(tokens, sums, KEY_STRIDES, Beside())
    common["entry"] += "_backward_keys"
    common["block_q"], common["block_k"] = plan.block_k, plan.block_q
    before = [*tokens.bindings, *scores.before, *bounds]
    return BackwardKeys(
        **common,
        loops_again=placed(loops_again, tokens.met.select),
        again=again,
        value_again=value_again,
        times_again=PHASES_OF_KEYS * max(-(-plan.head_dim // again), -(-plan.value_dim // value_again)),
        bindings_again="\n".join(before),
        owned=tokens.owned("keys_here", "key_tile"),
        across=tokens.met.across,
        there_across=tokens.met.there_across,
        casts="\n".join(casts(plan, tokens.names)),
        bindings="\n".join([*before, *(line for each in sums for line in each.opening)]),
        loops=placed(loops, tokens.met.select),
    )


def _told(tokens: Tokens, sums: Sequence[Sum], strides: Sequence[str], more: Beside) -> dict[str, Any]:
    """What both kernels are told alike."""
    plan, known, met = tokens.plan, tokens.names, tokens.met
    arguments = [*declarations(plan, known), *(argument for each in sums for argument in each.arguments)]
    runtime = ("lse", "delta", "grad_lse", *LENGTHS, *SCALARS, *TURNS, "first_place", "first_offset", "items", *strides, *more.names)
    name = identifier(plan.schedule.program.name)
    return {
        **told(plan, arguments, runtime),
        "title": f"Attention backward of `{name}`: {plan.dtype}, {plan.head_dim} x {plan.value_dim}.",
        "sums": repr(tuple((each.lookup.table.name, each.over) for each in sums)),
        "strides": "\n".join([*(f'{stride}: "i64",' for stride in strides), *more.arguments]),
        "beside": met.beside,
        "down": met.down,
        "there_down": met.there_down,
        "closing": "\n".join(line for each in sums for line in each.closing(known)),
    }


def _turned(schedule: Schedule) -> Schedule:
    """A transposed schedule, its lengths named as the kernel names them."""
    return replace(
        schedule, full_loops=tuple(map(_exchanged, schedule.full_loops)), partial_loops=tuple(map(_exchanged, schedule.partial_loops))
    )


def _exchanged(piece: Piece) -> Piece:
    start, stop, where = (substitute(part, EXCHANGED) for part in (piece.start, piece.stop, piece.where))
    return piece._replace(start=start, stop=stop, where=where)


# -- one tile ---------------------------------------------------------------------------------------------------------


def _lines(tokens: Tokens, sums: Sequence[Sum]) -> tuple[Scores, Scores]:
    """What happens to `s` and `risen` in each loop, and in those of sums that are taken once more.

    What does not change from tile to tile is bound before the loops.
    """
    plan, known = tokens.plan, tokens.names
    gradient = plan.gradient
    assert gradient is not None
    roots = tokens.by_tile(plan.partial, plan.score, gradient.by_score, *(each.by for each in sums))
    definitions, hoisted = hoist(roots, tokens.varying)
    before, within = define(definitions, known)
    masked = bind(hoisted, within, "tile")
    unmasked = bind(hoisted[1:], within, "tile")
    hidden = f"weight = tl.where((q < Lq) & (k < Lk) & ({masked.texts[0]}), weight, 0.0)"
    clipped = ("if CLIPPED:", "    weight = tl.where(k < Lk, weight, 0.0)") if tokens.turned else ()
    spared = ("if CLIPPED:", "    moved = tl.where(weight == 0.0, 0.0, moved)") if tokens.turned else ()
    adding = [each.adding(known, tokens.met) for each in sums]
    full, seen = (_weighed(plan, gradient, texts, (sums, adding)) for texts in (unmasked.texts, masked.texts[1:]))
    scaled = () if plan.score is S else ("s = s * scale",)
    once = Scores(
        before,
        (*scaled, *unmasked.lines, full.weight, *clipped, *((*full.plain, *spared) if plan.score is S else full.selected)),
        (*scaled, *masked.lines, seen.weight, hidden, *seen.selected),
    )
    full, seen = (_weighed(plan, gradient, texts, ((), ())) for texts in (unmasked.texts[:2], masked.texts[1:3]))
    again = Scores(
        (),
        (*scaled, *unmasked.lines, full.weight, full.closed, *clipped, *full.selected),
        (*scaled, *masked.lines, seen.weight, seen.closed, hidden, *seen.selected),
    )
    return once, again


@dataclass(frozen=True, slots=True)
class _Weighed:
    """The weights; then lines from there on, where a weight of 0 may stand beside anything, and where it may not.

    closed: a score of -inf weighs 0, also beside a log-sum-exp that is NaN.
    """

    weight: str
    closed: str
    plain: tuple[str, ...]
    selected: tuple[str, ...]


def _weighed(plan: Plan, gradient: Gradient, texts: Sequence[str], summed: tuple[Sequence[Sum], Sequence[tuple[str, ...]]]) -> _Weighed:
    score, by_score, *by_sums = texts
    power = "s * unit" if plan.score is S else f"tl.broadcast_to({_real(score, plan.score)}, s.shape) * LOG2E"
    change = "weight * (risen - taken)"
    select = "tl.where(weight == 0.0, 0.0, {})"
    lines = [f"change = {select.format(change)}"]
    constant = isinstance(gradient.by_score, Const) and gradient.by_score.value == 1
    lines.append("moved = change" if constant else f"moved = {select.format(f'change * {_real(by_score, gradient.by_score)}')}")
    for each, adding, by in zip(*summed, by_sums, strict=True):
        lines += [f"moved{each.number} = {select.format(f'change * {_real(by, each.by)}')}", *adding]
    closed = f'weight = tl.where({power} == float("-inf"), 0.0, weight)'
    return _Weighed(f"weight = tl.exp2({power} - level)", closed, (f"moved = {change}",), tuple(lines))


def _real(text: str, expr: Expr) -> str:
    return f"({text})" if expr.kind is Kind.FLOAT else f"({text}).to(REAL)"
