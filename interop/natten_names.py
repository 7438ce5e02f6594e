"""Names and keywords that NATTEN had once, and what stands for each of them now."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..ir.advice import advice

_HALVES = re.compile(r"(?:na|natten)([123])d_?(qk|av)(?:rpb|_with_bias)?")
_BIAS = "`lacuna.attention` over `lacuna.patterns.gna(...)` with the bias as a table of its `score`"
KEYWORDS: Mapping[str, str] = {
    "dim": "`embed_dim=`",
    "bias": _BIAS,
    "rpb": _BIAS,
    "rel_pos_bias": _BIAS,
    "attn_drop": "`proj_drop=`: attention weights are never there to be dropped",
    "window_size": "`kernel_size=`",
    "num_heads_kv": "key and value with fewer heads",
    "query": "`query` as the first argument",
}


def require_no_old_name(name: str) -> None:
    """Raise ImportError for a function that gave the scores, or took the weights, of half an attention: no kernel here has them."""
    found = _HALVES.fullmatch(name)
    if found:
        whole = f"na{found[1]}d"
        what = f"`{name}` of NATTEN before 0.20 is half of an attention, and its weights are never in memory here"
        raise ImportError(advice(what, f"`{whole}(query, key, value, kernel_size)`, which is the whole"))


def require_known_keywords(given: Mapping[str, object], taken: tuple[str, ...]) -> None:
    """Raise TypeError for a keyword of another time, unless it asks for nothing: `attn_drop=0.0`, `rel_pos_bias=False`."""
    for name, value in given.items():
        if name in KEYWORDS and (value is None or (isinstance(value, int | float) and value == 0)):
            continue
        instead = KEYWORDS.get(name, f"one of {', '.join(taken)}")
        raise TypeError(advice(f"there is no argument `{name}`", instead))
