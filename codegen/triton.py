"""A plan as a Triton kernel.

The template holds the loop and the softmax. Filled in are: the tiles each loop runs over, what is computed of a score, and the arguments
these read. Two loop bodies whatever the number of pieces: pieces of a kind share one counter, `n`, that is mapped to the key tile `j`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from ..ir.expr import TRUE, Expr, Kind, S
from ..ir.plan import Plan
from ..ir.schedule import Piece
from ..ir.source import Source
from ..ir.target import Target
from .environment import ENVIRONMENT
from .print_triton import Names, bind, define, hoist, identifier, names_of
from .triton_arguments import LENGTHS, SCALARS, STRIDES, TURNS

TEMPLATE = "triton/forward.py.jinja"
SMALLEST_DOT = 16  # Triton's least extent of a matrix product
ARGUMENT_TYPES = {Kind.INT: "i64", Kind.BOOL: "i64"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """One of the two loops of a template.

    kind:   `full` or `partial`.
    count:  Triton i32 expression: how many tiles to try.
    select: lines that compute `j` from `n`.
    where:  Triton condition on `j`; `True` where every tile is visited.
    ragged: `True` where keys past the length may be met, else `False`.
    scores: lines that turn `s` [block_q, block_k] into what the softmax sees; of a backward kernel, see there.
    """

    kind: str
    count: str
    select: str
    where: str
    ragged: str
    scores: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """For templates/triton/forward.py.jinja. The order of the arguments stands there.

    title:      one line for the reader.
    runtime:    names of the arguments that Triton must not specialise on, as a Python list.
    arguments:  declarations of tables (pointer, strides, sizes) and parameters, each with a comma.
    scale_type: Triton's name of the type of real arguments.
    real:       Triton's type of scores, sums and the log-sum-exp.
    block_q, block_k: tile edges, powers of two from 16 on.
    head_dim, value_dim: 1..256; head, value: the same, padded to a power of two from 16 on; or the one below, and the power of two
        that holds the rest in head_rest, value_rest, else 0.
    unit:       Triton real: octaves per unit of score, without the factor LOG2E.
    bindings:   lines before the loops: parameters, what does not change along a row, bounds of the pieces.
    loops:      at most two.
    """

    title: str
    runtime: str
    entry: str
    arguments: str
    scale_type: str
    real: str
    block_q: int
    block_k: int
    head_dim: int
    value_dim: int
    head: int
    value: int
    head_rest: int
    value_rest: int
    unit: str
    bindings: str
    loops: tuple[Loop, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """Lines before the loops, and the lines of each loop."""

    before: tuple[str, ...]
    full: tuple[str, ...]
    partial: tuple[str, ...]


def render(plan: Plan) -> Source:
    """The kernel of `plan`: one @triton.jit function called `entry`.

    Raises:
        NotImplementedError: tile edges that Triton has no matrix product for.
    """
    require_edges(plan)
    context = forward(plan)
    digest = hashlib.sha256(text_of(TEMPLATE, asdict(context)).encode()).hexdigest()[:8]
    entry = f"{context.entry}_{digest}"
    return Source("python", entry, text_of(TEMPLATE, asdict(replace(context, entry=entry))))


def require_edges(plan: Plan) -> None:
    for name, edge in (("block_q", plan.block_q), ("block_k", plan.block_k)):
        if edge < SMALLEST_DOT or edge.bit_count() != 1:
            raise NotImplementedError(
                f"`{name}` is {edge}, which Triton cannot multiply by.\n  write a power of two, at least {SMALLEST_DOT}"
            )


def forward(plan: Plan) -> Forward:
    names = names_of(plan.parameters, plan.tables)
    real = "fp64" if plan.dtype == "f64" else "fp32"
    arguments = declarations(plan, names, real)
    runtime = [*LENGTHS, "lse", *SCALARS, *TURNS, *STRIDES, *(argument.split(":")[0] for argument in arguments)]
    name = identifier(plan.schedule.program.name)
    scores = score_lines(plan, names)
    bounds, loops = loops_of(plan, names, scores)
    (head, head_rest), (value, value_rest) = (parts(dim, plan.target) for dim in (plan.head_dim, plan.value_dim))
    return Forward(
        title=f"Attention forward of `{name}`: {plan.dtype}, {plan.head_dim} x {plan.value_dim}, tiles of {plan.block_q} x {plan.block_k}.",
        runtime=repr(runtime),
        entry=f"{name}_{plan.dtype}_q{plan.block_q}_k{plan.block_k}",
        arguments="\n".join(f"{argument}," for argument in arguments),
        scale_type=real,
        real=f"tl.{real.replace('fp', 'float')}",
        block_q=plan.block_q,
        block_k=plan.block_k,
        head_dim=plan.head_dim,
        value_dim=plan.value_dim,
        head=head,
        value=value,
        head_rest=head_rest,
        value_rest=value_rest,
        unit="magnitude" if plan.score is S else "tl.full([], 1.0, REAL)",
        bindings="\n".join([*casts(plan, names), *scores.before, *bounds]),
        loops=loops,
    )


def padded(dim: int) -> int:
    """The least extent Triton takes that holds `dim`."""
    return max(SMALLEST_DOT, 1 << (dim - 1).bit_length())


def parts(dim: int, target: Target) -> tuple[int, int]:
    """Powers of two that hold `dim` together: one and 0, or two where these are less and no register spills."""
    below = 1 << (dim.bit_length() - 1)
    rest = padded(dim - below) if dim > below else 0
    spills = rest > 32 and dim > 128 and target.name.startswith("sm_8")
    worthwhile = rest > 0 and below >= SMALLEST_DOT and below + rest < padded(dim)
    return (below, rest) if worthwhile and not spills else (padded(dim), 0)


def declarations(plan: Plan, names: Names, real: str) -> list[str]:
    found: list[str] = []
    for table in plan.tables:
        found.append(names.tables[table])
        found += [f'{names.tables[table]}_{what}{axis}: "i64"' for what in ("stride", "size") for axis in range(table.rank)]
    return found + [f'{names.parameters[symbol.name]}: "{ARGUMENT_TYPES.get(symbol.kind, real)}"' for symbol in plan.parameters]


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


def text_of(template: str, context: Mapping[str, object]) -> str:
    rendered = ENVIRONMENT.get_template(template).render(context)
    return "\n".join(line.rstrip() for line in rendered.splitlines()) + "\n"
