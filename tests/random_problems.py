"""Random attention problems, the same ones for every backend.

A mask or a score is given twice: as a pattern, and as tensors that its function, or another one, makes of tensors of positions.
"""

# ruff: noqa: ANN001, ANN201 (masks are functions of anything that has operators)
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false
from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import lacuna
import torch
from hypothesis import strategies as st
from torch import Tensor

Choose = Callable[[Sequence[Any]], Any]
Scored = Callable[[Tensor], Tensor] | None
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
DIMENSIONS = (1, 2, 3, 8, 16, 17, 31, 32, 40, 64, 65, 80, 96, 127, 128, 192, 255, 256)
LENGTHS = (0, 1, 2, 7, 16, 33, 63, 64, 65, 90, 128, 129, 150)
WINDOWS = (0, -1, 1, 5, 30, 2**31 - 1, 2**40)
COLUMNS = (1, 5, 8, 13)


# -- masks and scores, as users write them ----------------------------------------------------------------------------


@lacuna.pattern
def causal(q, k):
    return k <= q


@lacuna.pattern
def sliding(q, k, *, window):
    return (k <= q) & (q - k < window)


@lacuna.pattern
def later(q, k, *, gap):
    return k > q + gap


@lacuna.pattern
def blocks(q, k, *, size):
    return q // size == k // size


@lacuna.pattern
def dilated(q, k, *, step):
    return ((q - k) % step == 0) & (abs(q - k) < 9 * step)


@lacuna.pattern
def parabola(q, k, *, width):
    return (q - k) * (q - k) < width + k


@lacuna.pattern
def per_head(q, k, h, *, windows):
    return abs(q - k) < windows[h]


@lacuna.pattern
def per_item(q, k, b, *, prefix):
    return (k < prefix[b]) | (k <= q)


@lacuna.pattern
def same_document(q, k, *, query_ids, key_ids):
    return query_ids[q] == key_ids[k]


@lacuna.pattern
def packed(q, k, *, document):
    return (document[q] == document[k]) & (k <= q)


@lacuna.pattern
def listed(q, k, b, *, seen):
    return seen[b, q, k]


@lacuna.pattern
def at_distance(q, k, *, far):
    return far[abs(q - k)]


@lacuna.pattern
def newest(q, k, *, count):
    return (k >= lacuna.kv_len - count) | (q == 0)


@lacuna.pattern(rank=2)
def near(q, k, *, r):
    return (abs(q[0] - k[0]) <= r) & (abs(q[1] - k[1]) <= r)


@lacuna.score
def alibi(s, h, q, k, *, slopes):
    return s + slopes[h] * (k - q)


@lacuna.score
def soft(s):
    return s / (1 + abs(s))


@lacuna.score
def capped(s, *, cap):
    return cap * lacuna.tanh(s / cap)


@lacuna.score
def biased(s, b, k, *, bias):
    return s + bias[b, k]


@lacuna.score
def closed(s, k):
    return lacuna.where(k % 3 == 1, -float("inf"), s)


# -- problems ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """A call, and its mask bool[B, Hq, Lq, Lk] and score as tensors."""

    query: Tensor
    key: Tensor
    value: Tensor
    pattern: object
    options: dict[str, object]
    mask: Tensor
    scale: float
    scored: Scored = None
    name: str = field(default="")


@dataclass(frozen=True)
class Places:
    """Positions and lengths of every pair, broadcasting to [B, Hq, Lq, Lk], and how far they reach."""

    q: Tensor
    k: Tensor
    b: Tensor
    h: Tensor
    rows: Tensor
    keys: Tensor

    @property
    def lowest(self) -> int:
        return int(self.q.min()) if self.q.numel() else 0

    @property
    def reach(self) -> int:
        return 1 + max([0, *(int(each.max()) for each in (self.q, self.k) if each.numel())])

    def called(self, function: Callable[..., Tensor], *first: Tensor, **values: object) -> Tensor:
        """`function`, as a user wrote it, on tensors of positions."""
        positions = [name for name, each in inspect.signature(function).parameters.items() if each.kind is not each.KEYWORD_ONLY]
        return function(*first, *(getattr(self, name) for name in positions[len(first) :]), **values)


def problem(seed: int, dtypes: Sequence[torch.dtype] = DTYPES, longest: int = 150, rows: Sequence[int] = LENGTHS) -> Problem:
    """The problem of a seed. rows: lengths of the queries."""
    return built(random.Random(seed).choice, seed, dtypes, longest, rows)


@st.composite
def problems(draw: st.DrawFn, dtypes: Sequence[torch.dtype] = DTYPES, longest: int = 150) -> Problem:
    """Problems that shrink: to fewer heads, shorter lengths, the first pattern of each list."""
    return built(lambda options: draw(st.sampled_from(options)), draw(st.integers(0, 99)), dtypes, longest)


def built(choose: Choose, seed: int, dtypes: Sequence[torch.dtype], longest: int, rows: Sequence[int] = LENGTHS) -> Problem:
    torch.manual_seed(seed)
    dtype, layout = choose(dtypes), choose(("bhld", "blhd"))
    batch, kv_heads, group = choose((1, 2, 3, 0)), choose((1, 2)), choose((1, 1, 3))
    heads, kv_batch = kv_heads * group, choose((batch, batch, 1))
    q_len, k_len = (choose([length for length in lengths if length <= longest]) for lengths in (rows, LENGTHS))
    dim, value_dim = choose(DIMENSIONS), choose(DIMENSIONS)
    query = tensor((batch, heads, q_len, dim), dtype, choose((layout, layout, "strided", "expanded")))
    key, value = (tensor((kv_batch, kv_heads, k_len, d), dtype, choose((layout, layout, "strided"))) for d in (dim, value_dim))
    options, places = _placed(choose, (batch, heads, q_len, k_len))
    pattern, dense = _pattern(choose, places)
    score, scored = _score(choose, places)
    scale = choose((None, None, 0.3, 0.0, -0.7))
    options |= {"layout": layout} | ({} if scale is None else {"scale": scale}) | ({} if score is None else {"score": score})
    inside = (torch.arange(q_len).view(1, 1, -1, 1) < places.rows) & (places.k < places.keys)
    mask = (dense & inside).expand(batch, heads, q_len, k_len)
    name = f"{pattern!r} {dtype} {tuple(query.shape)} {tuple(key.shape)} {options}"
    return Problem(query, key, value, pattern, options, mask, dim**-0.5 if scale is None else scale, scored, name)


def given(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value as the call takes them."""
    tensors = (problem.query, problem.key, problem.value)
    if problem.options["layout"] == "bhld":
        return tensors
    query, key, value = (each.transpose(1, 2) for each in tensors)
    return query, key, value


def tensor(shape: tuple[int, int, int, int], dtype: torch.dtype, stored: str) -> Tensor:
    """Standard normal numbers, [B, H, L, D] in meaning."""
    batch, heads, tokens, dim = shape
    if stored == "blhd":
        return torch.randn(batch, tokens, heads, dim).to(dtype).transpose(1, 2)
    if stored == "strided":
        return torch.randn(dim, batch, heads, tokens).to(dtype).permute(1, 2, 3, 0)
    if stored == "expanded":
        return torch.randn(1, 1, tokens, dim).to(dtype).expand(shape)
    return torch.randn(shape).to(dtype)


def _placed(choose: Choose, extents: tuple[int, int, int, int]) -> tuple[dict[str, object], Places]:
    """Offsets and lengths of the call, and what they mean for each pair."""
    batch, heads, q_len, k_len = extents
    options: dict[str, object] = {}
    effective: list[Tensor] = []
    for name, tokens in (("q_len", q_len), ("kv_len", k_len)):
        lengths = choose((None, None, None, tokens // 2, torch.tensor([(3 * n * n + 5) % (tokens + 1) for n in range(batch)]).int()))
        options |= {} if lengths is None else {name: lengths}
        effective.append(torch.as_tensor(tokens if lengths is None else lengths).long().expand(batch).view(-1, 1, 1, 1))
    rows, keys = effective
    offset = choose((0, 0, 0, 3, "end", -4, torch.tensor([11 * n for n in range(batch)]).int()))
    options |= {} if isinstance(offset, int) and offset == 0 else {"q_offset": offset}
    first = keys - rows if isinstance(offset, str) else torch.as_tensor(offset).long().expand(batch).view(-1, 1, 1, 1)
    return options, Places(
        q=torch.arange(q_len).view(1, 1, -1, 1) + first,
        k=torch.arange(k_len).view(1, 1, 1, -1),
        b=torch.arange(batch).view(-1, 1, 1, 1),
        h=torch.arange(heads).view(1, -1, 1, 1),
        rows=rows,
        keys=keys,
    )


def written(traced: object) -> Any:  # noqa: ANN401 (a function of anything that has operators)
    """The function under a decorator."""
    return inspect.unwrap(traced)  # pyright: ignore[reportArgumentType] (a pattern is called with parameters)


def _pattern(choose: Choose, at: Places) -> tuple[object, Tensor]:
    """A pattern and its mask."""
    everywhere, anywhere = _of_positions(choose), () if at.lowest < 0 else _of_tables(choose, at)
    chosen, values = choose([*everywhere, *anywhere])
    if chosen is None:
        return None, (at.q == at.q) & (at.k == at.k)
    if chosen is newest:
        return newest(**values), (at.k >= at.keys - values["count"]) | (at.q == 0)
    if chosen is near:
        columns = choose(COLUMNS)
        q, k = ((each // columns, each % columns) for each in (at.q, at.k))
        return near(**values).on(-(-at.reach // columns), columns), written(near)(q, k, **values)
    if chosen is packed:
        ids = (torch.arange(at.reach)[:, None] >= values["document"].offsets[1:]).sum(-1)
        return packed(**values), at.called(written(packed), document=ids)
    pattern, mask = chosen(**values), at.called(written(chosen), **values)
    return choose(((pattern, mask), (pattern, mask), (~pattern, ~mask), (pattern & causal, mask & (at.k <= at.q))))


def _of_positions(choose: Choose) -> list[tuple[Any, dict[str, Any]]]:
    return [
        (None, {}),
        (causal, {}),
        (sliding, {"window": choose(WINDOWS)}),
        (later, {"gap": choose((-3, 0, 40))}),
        (blocks, {"size": choose((1, 7, 64))}),
        (dilated, {"step": choose((1, 2, 7, 64))}),
        (parabola, {"width": choose((-5, 20, 300))}),
        (newest, {"count": choose((0, 1, 30))}),
    ]


def _of_tables(choose: Choose, at: Places) -> list[tuple[Any, dict[str, Any]]]:
    """Patterns that read tables, and one on a grid: they need positions from 0."""
    batch, heads, reach = max(1, at.b.numel()), at.h.numel(), at.reach
    offsets = torch.tensor([0, *sorted(choose((0, 3, 10, 60, 200)) for _ in range(3))])
    return [
        (per_head, {"windows": torch.tensor([choose((0, 1, 9, 70)) for _ in range(heads)])}),
        (per_item, {"prefix": torch.tensor([choose((0, 1, 20)) for _ in range(batch)])}),
        (same_document, {"query_ids": torch.randint(0, 4, (reach,)), "key_ids": torch.randint(0, 5, (reach,)).sort().values}),
        (packed, {"document": lacuna.segments(offsets)}),
        (listed, {"seen": torch.rand(batch, reach, reach) < choose((0.02, 0.5))}),
        (at_distance, {"far": torch.rand(reach) < choose((0.1, 0.7))}),
        (near, {"r": choose((0, 2, 5))}),
    ]


def _score(choose: Choose, at: Places) -> tuple[object, Scored]:
    slopes = torch.rand(at.h.numel())
    bias = torch.where(torch.rand(max(1, at.b.numel()), max(1, at.k.numel())) < 0.3, -torch.inf, 1.5)
    return choose(
        [
            (None, None),
            (None, None),
            (alibi(slopes=slopes), lambda s: at.called(written(alibi), s, slopes=slopes.to(s.dtype))),
            (soft, written(soft)),
            (capped(cap=2.5), lambda s: 2.5 * torch.tanh(s / 2.5)),
            (biased(bias=bias), lambda s: at.called(written(biased), s, bias=bias.to(s.dtype))),
            (closed, lambda s: torch.where(at.k % 3 == 1, -torch.inf, s)),
        ]
    )
