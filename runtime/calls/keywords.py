"""What to answer when a call names an argument that attention does not have."""

from __future__ import annotations

from collections.abc import Iterable

from ...ir.advice import advice

LATER = {
    "dropout": "dropout is not implemented",
    "dropout_p": "dropout is not implemented",
    "sink": "learnable sinks are not implemented",
    "sinks": "learnable sinks are not implemented",
    "s_aux": "learnable sinks are not implemented",
    "extra_keys": "extra keys of packed sequences are not implemented",  # `attention` has them
    "extra_values": "extra keys of packed sequences are not implemented",
    "order": "orders of packed sequences are not implemented",
    "page_table": "paged keys and values are not implemented",
    "block_table": "paged keys and values are not implemented",
}
INSTEAD = {
    "attn_mask": "a pattern: `@lacuna.pattern` on a function of q and k",
    "mask": "a pattern: `@lacuna.pattern` on a function of q and k",
    "is_causal": "`pattern=lacuna.patterns.causal()`",
    "causal": "`pattern=lacuna.patterns.causal()`",
    "enable_gqa": "nothing: query heads may always share key heads",
    "score_mod": "`score=`, from `@lacuna.score`, or call `lacuna.interop.flex.flex_attention`",
    "block_mask": "`pattern=`, or call `lacuna.interop.flex.flex_attention`",
    "k_len": "`kv_len=`",
    "window_size": "`pattern=lacuna.patterns.sliding_window(...)`",
}


def unknown(names: Iterable[str]) -> NotImplementedError | TypeError:
    """The error for keyword arguments that are not taken: a known gap, another library's word, or a slip."""
    name = min(names, key=lambda each: (each not in LATER, each))
    if name in LATER:
        return NotImplementedError(advice(f"`{name}`: {LATER[name]} yet", f"the call without `{name}`"))
    return TypeError(advice(f"attention has no argument `{name}`", INSTEAD.get(name, "one of those in `help(lacuna.attention)`")))
