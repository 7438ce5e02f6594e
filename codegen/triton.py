"""A plan as a Triton kernel.

The template holds the loop and the softmax. Filled in are: the tiles each loop runs over, what is computed of a score, and the arguments
these read. Two loop bodies whatever the number of pieces: pieces of a kind share one counter, `n`, that is mapped to the key tile `j`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.expr import TRUE, Expr, Kind, S
from ..ir.plan import Plan
from ..ir.schedule import Piece
from ..ir.source import Source
from ..ir.target import Target
from .print_triton import Names, bind, define, hoist, identifier, names_of
from .triton_arguments import LENGTHS, SCALARS, STRIDES, TURNS
from .triton_kernel import SMALLEST_DOT, Kernel, Loop, declarations, padded, rendered, told

TEMPLATE = "triton/forward.py.jinja"


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward(Kernel):
    """For templates/triton/forward.py.jinja.

    head, value: padded to a power of two; or the one below, and the power of two that holds the rest in head_rest, value_rest, else 0.
    unit:        Triton real: octaves per unit of score, without the factor LOG2E.
    """

    head_rest: int
    value_rest: int
    unit: str


@dataclass(frozen=True, slots=True)
class Scores:
    """Lines before the loops, and the lines of each loop."""

    before: tuple[str, ...]
    full: tuple[str, ...]
    partial: tuple[str, ...]


def render(plan: Plan) -> Source:
    """The kernel of `plan`. Raises NotImplementedError as `told` does."""
    return rendered(TEMPLATE, forward(plan))


def forward(plan: Plan) -> Forward:
    names = names_of(plan.parameters, plan.tables)
    scores = score_lines(plan, names)
    bounds, loops = loops_of(plan, names, scores)
    (head, head_rest), (value, value_rest) = (parts(dim, plan.target) for dim in (plan.head_dim, plan.value_dim))
    common = told(plan, declarations(plan, names), (*LENGTHS, "lse", *SCALARS, *TURNS, *STRIDES), head=head, value=value)
    name = identifier(plan.schedule.program.name)
    return Forward(
        **common,
        title=f"Attention forward of `{name}`: {plan.dtype}, {plan.head_dim} x {plan.value_dim}, tiles of {plan.block_q} x {plan.block_k}.",
        head_rest=head_rest,
        value_rest=value_rest,
        unit="magnitude" if plan.score is S else "tl.full([], 1.0, REAL)",
        bindings="\n".join([*casts(plan, names), *scores.before, *bounds]),
        loops=loops,
    )


def parts(dim: int, target: Target) -> tuple[int, int]:
    """Powers of two that hold `dim` together: one and 0, or two where these are less and no register spills."""
    below = 1 << (dim.bit_length() - 1)
    rest = padded(dim - below) if dim > below else 0
    spills = rest > 32 and dim > 128 and target.name.startswith("sm_8")
    worthwhile = rest > 0 and below >= SMALLEST_DOT and below + rest < padded(dim)
    return (below, rest) if worthwhile and not spills else (padded(dim), 0)


def casts(plan: Plan, names: Names) -> list[str]:
    """Parameters in the types expressions compute with."""
    text = {Kind.INT: "tl.full([], {0}, INDEX)", Kind.FLOAT: "tl.full([], {0}, REAL)", Kind.BOOL: "tl.full([], {0}, tl.int64) != 0"}
    return [f"{name} = {text[symbol.kind].format(name)}" for symbol in plan.parameters for name in [names.parameters[symbol.name]]]


# -- scores -----------------------------------------------------------------------------------------------------------


def score_lines(plan: Plan, names: Names) -> Scores:
    """What happens to `s` in each loop. The mask selects, after the score; what only depends on the row is bound before the loops."""
    definitions, (partial, score) = hoist((plan.partial, plan.score), ("k", "s"))
    before, known = define(definitions, names)
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


# -- loops ------------------------------------------------------------------------------------------------------------


def loops_of(plan: Plan, names: Names, scores: Scores) -> tuple[list[str], tuple[Loop, ...]]:
    """Lines that compute the bounds of every piece, and the loops that have pieces."""
    pieces = {"full": plan.schedule.full_loops, "partial": plan.schedule.partial_loops}
    every = [(f"{kind}_start{n}", f"{kind}_stop{n}", piece) for kind, of_kind in pieces.items() for n, piece in enumerate(of_kind)]
    bound = bind([bound for _, _, piece in every for bound in (piece.start, piece.stop)], names, "bound")
    targets = [target for start, stop, _ in every for target in (start, stop)]
    lines = [*bound.lines, *(f"{target} = {text}" for target, text in zip(targets, bound.texts, strict=True))]
    for kind, of_kind in pieces.items():
        lines += [_count(kind, n, piece) for n, piece in enumerate(of_kind)]
    body = {"full": scores.full, "partial": scores.partial}
    return lines, tuple(_loop(kind, of_kind, names, body[kind]) for kind, of_kind in pieces.items() if of_kind)


def _count(kind: str, n: int, piece: Piece) -> str:
    """Piece n of a kind is met while the counter is below `KIND_end{n}`."""
    before = f"{kind}_end{n - 1} + " if n else ""
    return f"{kind}_end{n} = {before}counted({kind}_start{n}, {kind}_stop{n}, {piece.step}, live)"


def _loop(kind: str, pieces: Sequence[Piece], names: Names, scores: Sequence[str]) -> Loop:
    select = [f"j = {_tile(kind, 0, pieces[0], names)}"]
    for n, piece in enumerate(pieces[1:], start=1):
        select.append(f"j = tl.where(n < {kind}_end{n - 1}, j, {_tile(kind, n, piece, names)})")
    guards = bind([piece.where for piece in pieces], names, "guard")
    where = guards.texts[-1]
    for n, text in reversed(list(enumerate(guards.texts[:-1]))):
        where = f"tl.where(n < {kind}_end{n}, {text}, {where})"
    return Loop(
        kind=kind,
        count=f"{kind}_end{len(pieces) - 1}",
        select="\n".join([*select, *guards.lines]),
        where=where if guarded(pieces) else "True",
        ragged=str(kind == "partial"),
        scores="\n".join(scores) or "# scores stay as they are",
    )


def guarded(pieces: Sequence[Piece]) -> bool:
    """Whether some tile is visited only on a condition: an `if` that Triton's pipeliner does not see through."""
    return any(piece.where is not TRUE for piece in pieces)


def _tile(kind: str, n: int, piece: Piece, names: Names) -> str:
    """The key tile at counter `n` of a piece."""
    number = f"(n - {kind}_end{n - 1})" if n else "n"
    entry = f"{kind}_start{n} + {number}" + (f" * {piece.step}" if piece.step != 1 else "")
    if piece.through is None:
        return entry
    table = names.tables[piece.through]
    return f"tl.load({table} + clamped({entry}, {table}_size0) * {table}_stride0).to(INDEX)"
