"""An order for a mask that is a graph: reverse Cuthill-McKee brings what sees each other close, so that fewer tiles hold a pair."""

# networkx and numpy carry no types here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# pyright: reportMissingModuleSource=false
from __future__ import annotations

import networkx as nx
import numpy as np
from networkx.utils import reverse_cuthill_mckee_ordering

Array = np.ndarray


def reverse_cuthill_mckee(queries: Array, keys: Array, tokens: int) -> Array:
    """i64[tokens], the token at each position. queries, keys: i64[pairs] of tokens that see each other, in whichever direction.

    Tokens that see nobody but themselves come last, as they were.
    """
    graph: nx.Graph[int] = nx.Graph()
    apart = queries != keys
    low, high = np.minimum(queries, keys)[apart], np.maximum(queries, keys)[apart]
    pairs = np.unique(low * tokens + high)
    graph.add_edges_from(zip((pairs // tokens).tolist(), (pairs % tokens).tolist(), strict=True))
    found = np.fromiter(reverse_cuthill_mckee_ordering(graph), np.int64, graph.number_of_nodes())
    return np.concatenate([found, np.setdiff1d(np.arange(tokens), found)])


def tiles_met(queries: Array, keys: Array, order: Array, edge: int) -> int:
    """Tiles of `edge` positions on either side that hold a pair, where `order` says the token at each position."""
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    return len(np.unique(position[queries] // edge * len(order) + position[keys] // edge))
