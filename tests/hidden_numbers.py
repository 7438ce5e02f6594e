"""Random calls whose tensors hold NaN and infinities: what they do to whom, straight from who sees whom. Shares no code with the package.

A pair is seen where the mask shows it and its score is not -inf. Rows that see no such number, and keys that no other rows see, must have
the bits that they have beside finite numbers; the others what IEEE arithmetic makes of the pairs that they see.
"""

# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lacuna
import random_problems as problems
import torch
from lacuna import orders, patterns
from masks_beside import SHUFFLED, near, square
from torch import Tensor

attention: Callable[..., Any] = lacuna.attention
varlen: Callable[..., Any] = lacuna.varlen_attention
NOT_FINITE = (math.nan, math.inf, -math.inf)
SEEN_ONES = 0.03  # of the keys, queries and gradients that count, how many are not finite
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
STRAIGHT: tuple[Any, ...] = (problems.alibi, problems.biased, problems.closed)  # scores whose slope is 0 or 1


@dataclass(frozen=True)
class Trial:
    """A call. Tensors are [batch, heads, tokens, dim] in meaning; extra keys come after the others.

    leaves:   query, key, value, and extra keys and values where there are some.
    shown:    the mask, bool[B, Hq, Lq, Lk + extra].
    attend:   leaves and a backend to the output and its log-sum-exp.
    unit:     the scale.   zeros: zero keys that every row sees.
    scored:   what becomes of scaled query . key, but for extra keys; straight: whether its slope is 0 or 1.
    """

    leaves: tuple[Tensor, ...]
    shown: Tensor
    attend: Callable[..., tuple[Tensor, Tensor]]
    name: str
    unit: float
    zeros: float = 0.0
    scored: Callable[[Tensor], Tensor] | None = None
    straight: bool = True

    @property
    def keys(self) -> tuple[int, int]:
        """How many there are, and how many extra ones."""
        return self.leaves[1].shape[2], self.leaves[3].shape[2] if len(self.leaves) > 3 else 0

    def spread(self, of_keys: Tensor) -> Tensor:
        """What key heads have, [batch or 1, key heads, ...], for each batch item and query head."""
        batch, heads = self.shown.shape[:2]
        return of_keys.repeat_interleave(heads // max(1, of_keys.shape[1]), dim=1).expand(batch, heads, *of_keys.shape[2:])

    def scores(self, leaves: Sequence[Tensor]) -> Tensor:
        """f64[B, Hq, Lq, Lk + extra]: -inf where hidden."""
        query, *of_keys = (each.double() for each in leaves)
        raw = self.unit * torch.einsum("bhqd,bhkd->bhqk", query, self.spread(torch.cat(of_keys[::2], 2)))
        own, extra = raw.split(self.keys, -1)
        return torch.where(self.shown, torch.cat((own if self.scored is None else self.scored(own), extra), -1), -math.inf)


def trial(seed: int, dtypes: Sequence[torch.dtype], longest: int, rows: Sequence[int]) -> Trial:
    """The call of a seed: every third is packed, or has an order or keys beside its pattern."""
    choose = random.Random(seed).choice
    if seed % 3 == 0:
        return choose((_packed, _beside, _beside, _ordered))(choose, seed, dtypes)
    return _plain(problems.problem(seed, dtypes, longest=longest, rows=rows))


def _plain(problem: problems.Problem) -> Trial:
    def attend(*leaves: Tensor, backend: str) -> tuple[Tensor, Tensor]:
        across = problem.options["layout"] == "blhd"
        given = [leaf.transpose(1, 2) for leaf in leaves] if across else leaves
        out, lse = attention(*given, problem.pattern, backend=backend, return_lse=True, **problem.options)
        return (out.transpose(1, 2) if across else out), lse

    score = problem.options.get("score")
    straight = score is None or getattr(score, "recipe", None) in [each.recipe for each in STRAIGHT]
    leaves = (problem.query, problem.key, problem.value)
    return Trial(leaves, problem.mask, attend, problem.name, problem.scale, scored=problem.scored, straight=straight)


Choose = Callable[[Sequence[Any]], Any]


def _tensors(choose: Choose, dtypes: Sequence[torch.dtype], rows: int, keys: int) -> tuple[Tensor, ...]:
    dtype, kv_heads, group = choose(dtypes), choose((1, 2)), choose((1, 2))
    dim, value_dim = choose((3, 8, 16, 40, 65)), choose((5, 16, 24, 64))
    sizes = ((kv_heads * group, rows, dim), (kv_heads, keys, dim), (kv_heads, keys, value_dim))
    return tuple(torch.randn(1, *size).to(dtype) for size in sizes)


def _packed(choose: Choose, seed: int, dtypes: Sequence[torch.dtype]) -> Trial:
    torch.manual_seed(seed)
    bounds = torch.tensor([0, *sorted(choose((0, 1, 20, 50, 51, 90)) for _ in range(3)), 90])
    leaves = _tensors(choose, dtypes, 90, 90)
    width = choose((3, 40))
    ids = (torch.arange(90)[:, None] >= bounds[1:-1]).sum(-1)
    at = torch.arange(90)
    seen = (ids[:, None] == ids) & (at <= at[:, None]) & (at[:, None] - at < width)

    def attend(*given: Tensor, backend: str) -> tuple[Tensor, Tensor]:
        query, key, value = (each[0].transpose(0, 1) for each in given)
        pattern = problems.sliding(window=width)
        out, lse = varlen(query, key, value, pattern, cu_seqlens_q=bounds.int(), return_lse=True, backend=backend)
        return out.transpose(0, 1).unsqueeze(0), lse.unsqueeze(0)

    shape = (1, leaves[0].shape[1], 90, 90)
    return Trial(leaves, seen.expand(shape), attend, f"packed {bounds.tolist()}", leaves[0].shape[-1] ** -0.5)


def _ordered(choose: Choose, seed: int, dtypes: Sequence[torch.dtype]) -> Trial:
    torch.manual_seed(seed)
    reach = choose((2, 5))
    grid = choose((False, True))
    tokens = 144 if grid else 40
    pattern = patterns.neighborhood((5, 5), length=(12, 12)) if grid else near(reach=reach)
    order = orders.boxes((12, 12), (8, 8)) if grid else orders.permutation(SHUFFLED)
    at = torch.arange(tokens)
    seen = square(at[:, None], at) if grid else (at[:, None] - at).abs() <= reach
    leaves = _tensors(choose, dtypes, tokens, tokens)

    def attend(*given: Tensor, backend: str) -> tuple[Tensor, Tensor]:
        return attention(*given, pattern, order=order, return_lse=True, backend=backend)

    shape = (1, leaves[0].shape[1], tokens, tokens)
    return Trial(leaves, seen.expand(shape), attend, f"ordered {order}", leaves[0].shape[-1] ** -0.5)


def _beside(choose: Choose, seed: int, dtypes: Sequence[torch.dtype]) -> Trial:
    torch.manual_seed(seed)
    rows, keys, extra, zeros = choose((1, 5, 40, 70)), choose((70, 130)), choose((3, 70)), choose((0.0, 2.5))
    query, key, value = _tensors(choose, dtypes, rows, keys)
    more = tuple(torch.randn(1, each.shape[1], extra, each.shape[3]).to(each.dtype) for each in (key, value))
    first, at = keys - rows, torch.arange(keys)
    seen = ((torch.arange(rows)[:, None] + first - at).abs() <= 3).expand(1, query.shape[1], rows, keys)

    def attend(*given: Tensor, backend: str) -> tuple[Tensor, Tensor]:
        options: dict[str, Any] = {"extra_keys": given[3], "extra_values": given[4], "q_offset": "end", "backend": backend}
        return attention(*given[:3], near(reach=3), zero_keys=zeros or None, return_lse=True, **options)

    every = torch.ones(*seen.shape[:3], extra, dtype=torch.bool)
    name = f"beside {rows} x {keys}, {extra} extra, {zeros} zero keys"
    return Trial((query, key, value, *more), torch.cat((seen, every), -1), attend, name, query.shape[-1] ** -0.5, zeros)


# -- numbers that are not finite --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Poisoned:
    """leaves, rise, rise_lse: as they are given, with numbers that are not finite.

    rows_out, rows, keys: of whom nothing may change: rows of the output, rows and keys of gradients, bool[B, Hq, Lq] and
    bool[B or 1, Hkv, Lk + extra].
    """

    leaves: tuple[Tensor, ...]
    rise: Tensor
    rise_lse: Tensor
    rows_out: Tensor
    rows: Tensor
    keys: Tensor


def poisoned(call: Trial, rise: Tensor, rise_lse: Tensor, seed: int) -> Poisoned:
    generator = torch.Generator().manual_seed(seed)
    query, *of_keys = call.leaves
    seen = call.scores(call.leaves) != -math.inf
    shared = _shared(call, seen.any(2))
    count = call.keys[0]
    struck = [
        _struck(each, counts, generator)
        for each, counts in zip(of_keys, (shared[..., :count],) * 2 + (shared[..., count:],) * 2, strict=False)
    ]
    rows_struck, rise_struck, lse_struck = (_struck(each, seen.any(-1), generator) for each in (query, rise, rise_lse.unsqueeze(-1)))
    seen |= call.scores((rows_struck, *struck)) != -math.inf  # a score of -inf may become one that is no number
    hit_keys = torch.cat([a | b for a, b in zip(_hit(struck)[::2], _hit(struck)[1::2], strict=True)], -1)
    spoiled = (seen & call.spread(hit_keys).unsqueeze(2)).any(-1) | _hit([rows_struck])[0]
    wholly = spoiled | _hit([rise_struck])[0] | _hit([lse_struck])[0]
    touched = (seen & wholly.unsqueeze(-1)).any(2)
    return Poisoned((rows_struck, *struck), rise_struck, lse_struck.squeeze(-1), ~spoiled, ~wholly, ~_shared(call, touched))


def _shared(call: Trial, of_heads: Tensor) -> Tensor:
    """bool[B, Hq, n] as any of those who share a key head, and a batch item of keys: [B or 1, Hkv, n]."""
    kv_batch, kv_heads = call.leaves[1].shape[:2]
    batch, heads, tokens = of_heads.shape
    found = of_heads.reshape(batch, kv_heads, heads // kv_heads, tokens).any(2)
    return found.any(0, keepdim=True) if kv_batch != batch else found


def _struck(tensor: Tensor, counts: Tensor, generator: torch.Generator) -> Tensor:
    """A copy, where most tokens that do not count and few of the others hold numbers that are not finite."""
    share = torch.where(counts, SEEN_ONES, 0.7)
    hit = torch.rand(share.shape, generator=generator) < share
    whole = torch.rand(share.shape, generator=generator) < 0.5
    where = hit.unsqueeze(-1) & (whole.unsqueeze(-1) | (torch.rand(tensor.shape, generator=generator) < 1.5 / tensor.shape[-1]))
    kinds = torch.tensor(NOT_FINITE)[torch.randint(3, tensor.shape, generator=generator)].to(tensor.dtype)
    found = tensor.clone()  # strides as those of any copy
    found[where] = kinds[where]
    return found


def _hit(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [(~each.isfinite()).any(-1) for each in tensors]


# -- what IEEE arithmetic makes of pairs that are seen ----------------------------------------------------------------


def exact(call: Trial, given: Poisoned) -> tuple[Tensor, ...] | None:
    """Output, log-sum-exp, and gradients of queries, keys and values; None where a weight is so small that dtypes may differ."""
    query, *of_keys = (each.double() for each in given.leaves)
    key, value = (call.spread(torch.cat(of_keys[n::2], 2)) for n in (0, 1))
    low = call.scores(given.leaves)
    if not low.numel():
        return None
    seen = low != -math.inf
    top = low.amax(-1, keepdim=True)
    top = torch.where(top == -math.inf, 0.0, top).clamp(min=0.0 if call.zeros else -math.inf)
    weights = torch.where(seen, torch.exp(low - top), 0.0)
    if bool((seen & (weights < 1e-25)).any()):
        return None
    total = weights.sum(-1, keepdim=True) + call.zeros * torch.exp(-top)
    weights = torch.where(seen, weights / total, 0.0)
    empty = total.squeeze(-1) == 0
    out = torch.where(empty.unsqueeze(-1), 0.0, _sum(weights, seen, value))
    lse = torch.where(empty, -math.inf, (top + total.log()).squeeze(-1))
    rise = given.rise.double()
    taken = (out * rise).sum(-1, keepdim=True) - given.rise_lse.double().unsqueeze(-1)
    moved = torch.where(seen, weights * (torch.einsum("bhqd,bhkd->bhqk", rise, value) - taken), 0.0)
    grad_query = call.unit * _sum(moved, seen, key)
    grad_key, grad_value = (_sum(each.mT, seen.mT, of) for each, of in ((call.unit * moved, query), (weights, rise)))
    return out, lse, grad_query, _gathered(call, grad_key), _gathered(call, grad_value)


def _sum(weights: Tensor, seen: Tensor, of: Tensor) -> Tensor:
    """Weighted sums over the pairs that are seen, term by term."""
    terms = weights.unsqueeze(-1) * of.unsqueeze(2)
    return torch.where(seen.unsqueeze(-1), terms, 0.0).sum(3)


def _gathered(call: Trial, of_heads: Tensor) -> Tensor:
    kv_batch, kv_heads = call.leaves[1].shape[:2]
    batch, heads, *rest = of_heads.shape
    found = of_heads.reshape(batch, kv_heads, heads // kv_heads, *rest).sum(2)
    return found.sum(0, keepdim=True) if kv_batch != batch else found


# -- comparing --------------------------------------------------------------------------------------------------------


def same_bits(found: Tensor, wanted: Tensor, where: Tensor) -> bool:
    """Whether tokens `where` hold the same bits."""
    integer = INTEGERS[found.dtype.itemsize]
    return torch.equal(found[where].contiguous().view(integer), wanted[where].contiguous().view(integer))


def same_kinds(found: Tensor, wanted: Tensor) -> bool:
    """Whether NaN, infinities and finite numbers stand in the same places."""
    return torch.equal(found.double().nan_to_num(2.0, 3.0, 4.0) * ~found.isfinite(), wanted.nan_to_num(2.0, 3.0, 4.0) * ~wanted.isfinite())
