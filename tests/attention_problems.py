"""Random attention problems: the same ones for every backend. The mask and the score are given twice, as a pattern and as tensors."""

# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import lacuna
import torch
from torch import Tensor

Dense = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
DIMENSIONS = (1, 3, 8, 16, 17, 32, 40, 64, 80, 96, 128)
WINDOWS = (0, -1, 1, 5, 30, 2**31 - 1, 2**40)


@lacuna.pattern
def causal(q, k):  # noqa: ANN001, ANN201 (patterns are written without annotations)
    return k <= q


@lacuna.pattern
def sliding(q, k, *, window):  # noqa: ANN001, ANN201
    return (k <= q) & (q - k < window)


@lacuna.pattern
def per_head(q, k, h, *, windows):  # noqa: ANN001, ANN201
    return abs(q - k) < windows[h]


@lacuna.pattern
def same_document(q, k, *, query_ids, key_ids):  # noqa: ANN001, ANN201
    return query_ids[q] == key_ids[k]


@lacuna.pattern
def dilated(q, k, *, step):  # noqa: ANN001, ANN201
    return (q - k) % step == 0


@lacuna.pattern
def parabola(q, k, *, width):  # noqa: ANN001, ANN201
    return (q - k) * (q - k) < width + k


@lacuna.pattern
def listed(q, k, b, *, seen):  # noqa: ANN001, ANN201
    return seen[b, q, k]


@lacuna.score
def alibi(s, h, q, k, *, slopes):  # noqa: ANN001, ANN201
    return s + slopes[h] * (k - q)


@lacuna.score
def capped(s, *, cap):  # noqa: ANN001, ANN201
    return cap * lacuna.tanh(s / cap)


@lacuna.score
def closed(s, k):  # noqa: ANN001, ANN201
    return lacuna.where(k % 3 == 1, -float("inf"), s)


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
    scored: Callable[[Tensor], Tensor] | None = None
    name: str = field(default="")


def problem(seed: int, dtypes: tuple[torch.dtype, ...] = DTYPES, longest: int = 150) -> Problem:
    """The problem of a seed."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    dtype = rng.choice(dtypes)
    batch, kv_heads, group = rng.choice((0, 1, 1, 2, 2)), rng.choice((1, 2)), rng.choice((1, 1, 3))
    heads = kv_heads * group
    q_len, k_len = (rng.choice((0, 1, 7, 33, 64, 65, rng.randrange(1, longest))) for _ in range(2))
    dim, value_dim = rng.choice(DIMENSIONS), rng.choice(DIMENSIONS)
    kv_batch = 1 if rng.random() < 0.3 else batch
    layout = rng.choice(("bhld", "blhd"))
    query = tensor((batch, heads, q_len, dim), dtype, layout)
    key, value = tensor((kv_batch, kv_heads, k_len, dim), dtype, layout), tensor((kv_batch, kv_heads, k_len, value_dim), dtype, layout)
    offset = rng.choice((0, 0, 3, "end" if k_len >= q_len else 0))
    options: dict[str, object] = {"q_offset": offset, "layout": layout}
    rows, keys = torch.full((batch,), q_len), torch.full((batch,), k_len)
    if rng.random() < 0.25 and batch and offset != "end":
        rows, keys = (torch.tensor([rng.randrange(n + 1) for _ in range(batch)]) for n in (q_len, k_len))
        options |= {"q_len": rows.int(), "kv_len": keys.int()}
    first = k_len - q_len if offset == "end" else int(str(offset))
    b, h = torch.arange(batch).view(-1, 1, 1, 1), torch.arange(heads).view(1, -1, 1, 1)
    row, k = torch.arange(q_len).view(1, 1, -1, 1), torch.arange(k_len).view(1, 1, 1, -1)
    q = row + first
    pattern, dense = _pattern(rng, (batch, heads, q_len + first, k_len))
    inside = (row < rows.view(-1, 1, 1, 1)) & (k < keys.view(-1, 1, 1, 1))
    mask = (dense(q, k, b, h) & inside).expand(batch, heads, q_len, k_len)
    scale = rng.choice((None, None, 0.3, 0.0, -0.7))
    score, scored = _score(rng, heads, q, k)
    if scale is not None:
        options["scale"] = scale
    if score is not None:
        options["score"] = score
    shown = f"seed {seed}: {pattern!r} {dtype} {tuple(query.shape)} {tuple(key.shape)} {options}"
    return Problem(query, key, value, pattern, options, mask, dim**-0.5 if scale is None else scale, scored, shown)


def tensor(shape: tuple[int, int, int, int], dtype: torch.dtype, layout: str) -> Tensor:
    """Standard normal numbers, [B, H, L, D] in meaning, laid out as `layout` says."""
    batch, heads, tokens, dim = shape
    if layout == "bhld":
        return torch.randn(shape).to(dtype)
    return torch.randn(batch, tokens, heads, dim).to(dtype).transpose(1, 2)


def given(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value as the call takes them."""
    tensors = (problem.query, problem.key, problem.value)
    if problem.options["layout"] == "bhld":
        return tensors
    query, key, value = (each.transpose(1, 2) for each in tensors)
    return query, key, value


def _pattern(rng: random.Random, extents: tuple[int, int, int, int]) -> tuple[object, Dense]:
    batch, heads, q_stop, k_len = extents
    window, step, width = rng.choice(WINDOWS), rng.choice((1, 2, 3, 7, 64)), rng.choice((-5, 20, 300))
    windows = torch.tensor([rng.choice((0, 1, 9, 70)) for _ in range(heads)])
    ids_q, ids_k = torch.randint(0, 4, (max(1, q_stop),)), torch.randint(0, 5, (max(1, k_len),)).sort().values
    seen = torch.rand(max(1, batch), max(1, q_stop), max(1, k_len)) < rng.choice((0.02, 0.5))
    choices: list[tuple[object, Dense]] = [
        (None, lambda q, k, b, h: (q == q) & (k == k)),
        (causal, lambda q, k, b, h: k <= q),
        (sliding(window=window), lambda q, k, b, h: (k <= q) & (q - k < window)),
        (~sliding(window=window), lambda q, k, b, h: ~((k <= q) & (q - k < window))),
        (per_head(windows=windows), lambda q, k, b, h: (q - k).abs() < windows[h]),
        (same_document(query_ids=ids_q, key_ids=ids_k) & causal, lambda q, k, b, h: (ids_q[q] == ids_k[k]) & (k <= q)),
        (dilated(step=step), lambda q, k, b, h: (q - k).remainder(step) == 0),
        (parabola(width=width), lambda q, k, b, h: (q - k) * (q - k) < width + k),
        (listed(seen=seen), lambda q, k, b, h: seen[b, q, k]),
    ]
    return rng.choice(choices)


def _score(rng: random.Random, heads: int, q: Tensor, k: Tensor) -> tuple[object, Callable[[Tensor], Tensor] | None]:
    slopes = torch.rand(heads)
    return rng.choice(
        [
            (None, None),
            (None, None),
            (alibi(slopes=slopes), lambda s: s + slopes.to(s.dtype).view(1, -1, 1, 1) * (k - q).to(s.dtype)),
            (capped(cap=2.5), lambda s: 2.5 * torch.tanh(s / 2.5)),
            (closed, lambda s: torch.where(k % 3 == 1, -float("inf"), s)),
        ]
    )
