"""Masks given as graphs: pairs of tokens, from what a caller may have them in."""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...ir.advice import advice

FORMS = "a sparse tensor [tokens, tokens], a scipy.sparse matrix, a boolean table [tokens, tokens], or edges int64[2, pairs]"


class Graph(NamedTuple):
    """queries, keys: i64[pairs] of tokens that see each other."""

    queries: np.ndarray
    keys: np.ndarray
    tokens: int


def graph_of(given: object, tokens: int | None) -> Graph:
    """The pairs of a sparse matrix, a boolean table or an edge list.

    tokens: of an edge list whose last tokens may have no edge.

    Raises:
        TypeError, ValueError: it is none of these, is not square, or names tokens that there are not.
    """
    if isinstance(given, Tensor) and given.layout is torch.strided and given.dtype in (torch.int32, torch.int64):
        return _of_edges(given, tokens)
    pairs, shape = _entries(given)
    if len(shape) != 2 or shape[0] != shape[1] or tokens not in (None, shape[0]):
        wrong = f"`graph` has shape {shape}" + (f", and there are {tokens} tokens" if tokens is not None else "")
        raise ValueError(advice(wrong, "a row and a column for each token"))
    return Graph(pairs[0], pairs[1], shape[0])


def _entries(given: object) -> tuple[np.ndarray, tuple[int, ...]]:
    """i64[2, pairs] and the shape."""
    matrix: Any = given
    if isinstance(given, Tensor) and given.layout is not torch.strided:
        coalesced = given.to_sparse_coo().coalesce()
        return coalesced.indices()[:, coalesced.values() != 0].cpu().numpy(), tuple(given.shape)
    table: Any = given.cpu().numpy() if isinstance(given, Tensor) else given
    if isinstance(given, Tensor | np.ndarray) and table.dtype == np.bool_:
        return np.stack(np.nonzero(table)) if table.ndim == 2 else np.zeros((2, 0), np.int64), tuple(table.shape)
    if hasattr(matrix, "tocoo"):
        entries = matrix.tocoo()
        kept = entries.data != 0
        return np.stack([entries.row[kept], entries.col[kept]]).astype(np.int64), tuple(entries.shape)
    raise TypeError(advice(f"`graph` is a {type(matrix).__name__}, no graph", FORMS))


def _of_edges(edges: Tensor, tokens: int | None) -> Graph:
    if edges.dim() != 2 or edges.shape[0] != 2:
        raise ValueError(advice(f"`graph` is a tensor of integers of shape {tuple(edges.shape)}", FORMS))
    pairs = edges.cpu().numpy().astype(np.int64)
    last = int(pairs.max(initial=-1))
    count = last + 1 if tokens is None else tokens
    if pairs.min(initial=0) < 0 or last >= count:
        wrong = f"`graph` has edges between tokens {int(pairs.min(initial=0))} and {last}, and there are {count}"
        raise ValueError(advice(wrong, "edges between 0 and `tokens` less one"))
    return Graph(pairs[0], pairs[1], count)
