"""What test_bundle.py runs in processes that have torch, a bundle, and nothing that builds kernels."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

REFUSED = ("triton", "islpy", "sympy", "jinja2", "networkx")


class Refuse:
    """An import system without what builds kernels."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        if name.partition(".")[0] in REFUSED:
            raise ImportError(f"{name} is refused")


sys.meta_path.insert(0, Refuse())

import lacuna  # noqa: E402
import torch  # noqa: E402


@lacuna.score
def alibi(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:
    return s + slopes[h] * (k - q)


@lacuna.pattern
def every(q: Any, k: Any, *, stride: Any) -> Any:
    return (k <= q) & ((q - k) // stride % 2 == 0)


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert (found - wanted).abs().max() < 1e-5, (found - wanted).abs().max()


def plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, bias: torch.Tensor | float = 0.0
) -> torch.Tensor:
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + bias
    return torch.softmax(scores.masked_fill(~mask, -torch.inf), -1).nan_to_num() @ value


def positions(rows: int, keys: int, offset: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(rows)[:, None] + offset, torch.arange(keys)[None, :]


def serve() -> None:
    for rows in (33, 100):
        query, key = (torch.randn(2, 2, rows, 16, requires_grad=True) for _ in range(2))
        value, slopes = torch.randn(2, 2, rows, 24, requires_grad=True), torch.tensor([0.25, 0.5], requires_grad=True)
        q, k = positions(rows, rows)
        wanted = plain(query, key, value, (k <= q) & (q - k < 12), slopes[:, None, None] * (k - q))
        found = lacuna.attention(query, key, value, lacuna.patterns.sliding_window(window=12), score=alibi(slopes=slopes))
        assert isinstance(found, torch.Tensor)
        close(found, wanted)
        weights = torch.randn_like(wanted)
        tensors = (query, key, value, slopes)
        pairs = zip(
            torch.autograd.grad((found * weights).sum(), tensors), torch.autograd.grad((wanted * weights).sum(), tensors), strict=True
        )
        for mine, theirs in pairs:
            close(mine / 10, theirs / 10)
    print("window forward and backward: right")
    for rows, keys, offset in ((1, 50, 49), (7, 7, 0), (70, 90, 20), (40, 40, 0)):
        query, key, value = (torch.randn(2, 2, n, 16) for n in (rows, keys, keys))
        q, k = positions(rows, keys, offset)
        mask = (k <= q) & ((q - k) // 3 % 2 == 0)
        close(lacuna.attention(query, key, value, every(stride=3), q_offset=offset), plain(query, key, value, mask))  # pyright: ignore[reportArgumentType]
        lengths = torch.tensor([keys, keys // 2], dtype=torch.int32)
        counted = mask & (k < lengths[:, None, None, None])
        found = lacuna.attention(query, key, value, every(stride=3), q_offset=offset, kv_len=lengths)
        close(found, plain(query, key, value, counted))  # pyright: ignore[reportArgumentType]
    print("offset, few rows, ragged: right")


def miss() -> None:
    query = torch.randn(1, 1, 40, 16)
    try:
        lacuna.attention(query, query, query, lacuna.patterns.causal())
    except RuntimeError as error:
        print(error)
    else:
        print("served")


def forbidden() -> None:
    os.environ["LACUNA_JIT"] = "0"
    miss()


if __name__ == "__main__":
    print(lacuna.load(sys.argv[1]))
    torch.manual_seed(1)
    for what in sys.argv[2:]:
        {"serve": serve, "miss": miss, "forbidden": forbidden}[what]()
