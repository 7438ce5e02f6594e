"""Arguments that every Triton kernel of a kind takes. Without Jinja, so that a warm start can read it."""

from __future__ import annotations

from collections.abc import Sequence

LENGTHS = ("q_start", "q_lens", "k_start", "k_lens", "offsets")
SCALARS = ("heads", "group", "q_len", "k_len", "offset", "scale")
END = -(2**63)  # as the offset: the last row of an item sees its last key
TURNS = ("planes", "section")
AXES = ("batch", "head", "token")
TILES, ROW_SUMS, KEYS, PAIRS = "tiles", "rows", "keys", "pairs"  # what a number is a sum over, see triton_sums.py
ROWS = "lse"  # what has one number per query row shares these strides


def strides_of(tensors: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{tensor}_{axis}" for tensor in tensors for axis in AXES)


STRIDES = strides_of(("q", "k", "v", "out", ROWS))
ZERO_STRIDES = strides_of(("zero",))  # of the numbers of zero keys
EXTRA = ("extra_keys", "extra_values", "extra_len")
EXTRA_STRIDES = strides_of(("ek", "ev"))  # of the first two

ROW_STRIDES = (f"{ROWS}_batch", f"{ROWS}_head")  # in backward kernels, where rows lie side by side
QUERY_STRIDES = (*strides_of(("q", "k", "v", "out", "rise", "grad")), *ROW_STRIDES)
KEY_STRIDES = (*strides_of(("q", "k", "v", "rise", "grad_key", "grad_value")), *ROW_STRIDES)
