"""Patterns whose tables are as large as what their masks show, and what they compute densely: for tests in several processes."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import sys
from typing import Any

import lacuna
import torch


class Refuse:
    """An import system without what derives schedules and renders kernels."""

    def find_spec(self, name: str, path: Any = None, target: object = None) -> None:
        if name.partition(".")[0] in ("triton", "islpy", "sympy", "jinja2", "networkx"):
            raise ImportError(f"{name} is refused")


@lacuna.pattern
def slash(q: Any, k: Any, *, near: Any) -> Any:
    return (k <= q) & near[q - k]


@lacuna.score
def halo_bias(s: Any, h: Any, q: Any, k: Any, *, bias: Any, block: Any, rim: Any) -> Any:
    return s + bias[h, k - q // block * block + rim]


def run(rows: int) -> None:
    """Attention over `rows` tokens with a table of so many diagonals, and halos of 3 around blocks of 4: compared with dense ones."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 2, rows, 16) for _ in range(3))
    at = torch.arange(rows)
    q, k = at[:, None], at[None, :]
    near = torch.rand(rows) < 0.5
    near[0] = True
    _compare(lacuna.attention(query, key, value, slash(near=near)), (query, key, value), (k <= q) & near[(q - k).clamp(0)], None)
    bias = torch.randn(2, 10)
    score = halo_bias(bias=bias, block=4, rim=3)
    found = lacuna.attention(query, key, value, lacuna.patterns.halo(rows, 4, 3), score=score)
    place = k - q // 4 * 4 + 3
    _compare(found, (query, key, value), (place >= 0) & (place < 10), bias[:, place.clamp(0, 9)])


def _compare(found: Any, tensors: tuple[torch.Tensor, ...], mask: torch.Tensor, bias: torch.Tensor | None) -> None:
    query, key, value = (tensor.double() for tensor in tensors)
    scores = query @ key.transpose(-1, -2) / 4 + (0 if bias is None else bias.double())
    wanted = torch.softmax(scores.masked_fill(~mask, -torch.inf), -1) @ value
    assert (found - wanted).abs().max() < 1e-5, (found - wanted).abs().max()


if __name__ == "__main__":
    if "refuse" in sys.argv:
        sys.meta_path.insert(0, Refuse())
    if sys.argv[1] != "-":
        lacuna.load(sys.argv[1])
    run(40)
    print("as dense", sorted({"islpy", "sympy", "networkx", "jinja2"} & set(sys.modules)))
