"""One call of attention, checked: everything a backend needs and nothing it has to question."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ...ir.advice import advice
from ...ir.head_orders import HeadOrders
from ...ir.order import Order
from ...ir.program import Program

NAMES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16", torch.float64: "f64"}
DTYPES = frozenset(NAMES)
DEVICES = frozenset({"cpu", "cuda", "meta"})  # the last has shapes alone
MOST_DIMENSIONS = 256


class Ragged(NamedTuple):
    """What differs between batch items: i64[batch] on the query's device, or None where one number serves them all.

    q_start, k_start: first token of each sequence in packed tensors.
    q_lens, k_lens:   tokens of each item that count. On a GPU as the caller gave them, i32 or i64, and not looked at: a kernel holds them
                      inside the tensors.
    offsets:          position of each item's first query row.
    """

    q_start: Tensor | None = None
    q_lens: Tensor | None = None
    k_start: Tensor | None = None
    k_lens: Tensor | None = None
    offsets: Tensor | None = None

    @property
    def uniform(self) -> bool:
        """Whether nothing differs."""
        return self.q_lens is None and self.k_lens is None and self.offsets is None and self.q_start is None


UNIFORM = Ragged()


class Extra(NamedTuple):
    """key: [batch or 1, kv_heads, extra keys, D], value: the same with Dv; the last dimensions are contiguous."""

    key: Tensor
    value: Tensor


class Request(NamedTuple):
    """Views and numbers of one call. No tensor of the caller is copied unless its last dimension is strided.

    query:    [batch, heads, tokens, D], any strides, last dimension contiguous; packed sequences are [1, heads, total, D].
    key:      [batch or 1, kv_heads, tokens, D], value likewise with Dv; heads is a multiple of kv_heads.
    program:  mask and score, every parameter bound.
    bindings: value of every parameter and table, by name.
    batch:    sequences: of the tensors, or packed into them.
    q_len, k_len: rows and keys each item has room for; packed sequences: those of the longest.
    offset:   position of query row 0; `ragged.offsets` goes before it.
    layout:   of what the caller gave and gets: `bhld`, `blhd` or `packed`.
    positions: how many the program may look at, where that does not follow from lengths and offset; else 0.
    from_end: row 0 of an item is at its keys less its rows, which only a GPU knows; `offset` says nothing.
    left:     names in `ragged` of the caller's own tensors on a GPU, which the host has not looked at.
    order:    in which tiles take the tokens of the program's grid, where that is not their order in memory.
    grid:     the program over tokens, where `program` is over the positions of an order.
    asked:    the order that the caller wants kernels to take, of the tokens of `program`, or one for each head; None leaves it to them.
    zero_keys: how many keys of score 0 and value 0 each row sees beside its own, [batch, heads, tokens] in the dtype of the log-sum-exp,
              any strides; packed sequences are [1, heads, total].
    extra:    keys and values that every row sees beside those of the program, by their scores alone.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    program: Program
    bindings: Mapping[str, object]
    scale: float
    batch: int
    q_len: int
    k_len: int
    offset: int
    ragged: Ragged
    layout: str
    positions: int = 0
    from_end: bool = False
    left: frozenset[str] = frozenset()
    order: Order | None = None
    grid: Program | None = None
    asked: Order | HeadOrders | None = None
    zero_keys: Tensor | None = None
    extra: Extra | None = None

    @property
    def sees_beside(self) -> bool:
        """Whether rows see more than the keys of the program."""
        return self.zero_keys is not None or self.extra is not None

    @property
    def row_positions(self) -> int:
        """Of queries in tiles: rows, and with an order what no row has."""
        return self.q_len if self.order is None else self.order.rows.positions

    @property
    def key_positions(self) -> int:
        """Of keys in tiles, likewise."""
        return self.k_len if self.order is None else self.order.keys.positions

    @property
    def moved(self) -> bool:
        """Whether the position of row 0 may be another than 0."""
        return self.offset != 0 or self.from_end or self.ragged.offsets is not None

    @property
    def fills_tensors(self) -> bool:
        """Whether every row and every key of the tensors counts, for every batch item."""
        return self.ragged.uniform and (self.q_len, self.k_len) == (self.query.shape[2], self.key.shape[2])

    @property
    def heads(self) -> int:
        return self.query.shape[1]

    @property
    def kv_heads(self) -> int:
        return self.key.shape[1]

    @property
    def kv_batch(self) -> int:
        return self.key.shape[0]

    @property
    def head_dim(self) -> int:
        return self.query.shape[3]

    @property
    def value_dim(self) -> int:
        return self.value.shape[3]

    @property
    def lse_dtype(self) -> torch.dtype:
        return torch.float64 if self.query.dtype is torch.float64 else torch.float32

    def new_outputs(self) -> tuple[Tensor, Tensor]:
        """Unwritten output [batch or 1, heads, tokens, Dv] and log-sum-exp [batch or 1, heads, tokens], as views of what is returned."""
        batch, heads, tokens, _ = self.query.shape
        lse = torch.empty((batch, heads, tokens), dtype=self.lse_dtype, device=self.query.device)
        if self.layout == "bhld":
            return self.query.new_empty((batch, heads, tokens, self.value_dim)), lse
        return self.query.new_empty((batch, tokens, heads, self.value_dim)).transpose(1, 2), lse

    def as_given(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp of `new_outputs` in the layout of the call."""
        if self.layout == "bhld":
            return out, lse
        return (out.transpose(1, 2), lse) if self.layout == "blhd" else (out[0].transpose(0, 1), lse[0])


# -- tensors ----------------------------------------------------------------------------------------------------------


def check_tensors(query: Tensor, key: Tensor, value: Tensor, rank: int) -> None:
    """Raise unless the three are dense tensors of `rank` dimensions, of one supported dtype, on one supported device."""
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        check_dense(name, tensor)
        if tensor.dim() != rank:
            raise _wrong_rank(name, tensor, rank)
    if not query.dtype == key.dtype == value.dtype or query.dtype not in DTYPES:
        raise _wrong_dtypes(query, key, value)
    if not query.device == key.device == value.device or query.device.type not in DEVICES:
        raise _wrong_devices(query, key, value)


def check_dense(name: str, tensor: Tensor) -> None:
    """Raise unless `tensor` is one, with strides."""
    if not isinstance(tensor, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]  (not every caller is typed)
        raise TypeError(advice(f"`{name}` is a {type(tensor).__name__}, not a tensor", f"`torch.as_tensor({name})`"))
    if tensor.is_nested or tensor.layout is not torch.strided:
        raise _not_dense(name, tensor)


def _not_dense(name: str, tensor: Tensor) -> NotImplementedError:
    kind, fix = (
        ("nested", "lacuna.varlen_attention(...)` with `cu_seqlens_q") if tensor.is_nested else (str(tensor.layout), f"{name}.to_dense()")
    )
    return NotImplementedError(advice(f"`{name}` is a {kind} tensor, which attention does not take yet", f"`{fix}`"))


def _wrong_rank(name: str, tensor: Tensor, rank: int) -> ValueError:
    shape = "[batch, heads, tokens, dim]" if rank == 4 else "[tokens, heads, dim]"
    other = "lacuna.varlen_attention" if rank == 4 else "lacuna.attention"
    hint = f", or call `{other}`" if tensor.dim() == 7 - rank else ""
    return ValueError(advice(f"`{name}` has {tensor.dim()} dimensions, shape {tuple(tensor.shape)}", f"a tensor {shape}{hint}"))


def _wrong_dtypes(query: Tensor, key: Tensor, value: Tensor) -> TypeError:
    if query.dtype == key.dtype == value.dtype:
        return TypeError(
            advice(f"attention does not take tensors of {query.dtype}", "float32, bfloat16, float16 or float64: `query.float()`")
        )
    return TypeError(
        advice(
            f"query, key and value have different dtypes: {query.dtype}, {key.dtype}, {value.dtype}",
            "`key.to(query.dtype)`, `value.to(query.dtype)`",
        )
    )


def _wrong_devices(query: Tensor, key: Tensor, value: Tensor) -> ValueError | NotImplementedError:
    if query.device == key.device == value.device:
        return NotImplementedError(
            advice(f"attention does not run on `{query.device.type}` tensors yet", "`query.cpu()`, or use a CUDA device")
        )
    return ValueError(
        advice(
            f"query, key and value are on different devices: {query.device}, {key.device}, {value.device}",
            "`key.to(query.device)`, `value.to(query.device)`",
        )
    )


def check_shapes(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Raise unless [B, Hq, Lq, D], [Bkv, Hkv, Lk, D] and [Bkv, Hkv, Lk, Dv] fit together; packed tensors have B = 1."""
    batch, heads, _, dim = query.shape
    kv_batch, kv_heads, _, key_dim = key.shape
    if value.shape[:3] != key.shape[:3]:
        raise ValueError(
            advice(f"key and value do not agree: {_sizes(key)} and {_sizes(value)}", "one value row for each key of each head")
        )
    if key_dim != dim:
        raise ValueError(advice(f"query has dimension {dim}, key has {key_dim}", "query and key with the same last dimension"))
    if not (1 <= dim <= MOST_DIMENSIONS and 1 <= value.shape[3] <= MOST_DIMENSIONS):
        raise ValueError(
            advice(
                f"dimensions must be 1 to {MOST_DIMENSIONS}: query and key have {dim}, value has {value.shape[3]}",
                "more heads of fewer dimensions",
            )
        )
    if kv_batch not in (1, batch):
        raise ValueError(
            advice(f"query has batch {batch}, key and value have {kv_batch}", f"key and value with batch {batch}, or 1 to share them")
        )
    if kv_heads != heads and (kv_heads == 0 or heads % kv_heads):
        raise ValueError(
            advice(
                f"{heads} query heads cannot share {kv_heads} key heads evenly",
                "a number of query heads that is a multiple of the key heads",
            )
        )


def _sizes(tensor: Tensor) -> str:
    return "batch {}, heads {}, tokens {}".format(*tensor.shape[:3])


def readable(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy where a kernel could not read it in place."""
    return tensor if tensor.stride(-1) == 1 and not tensor.is_neg() else tensor.resolve_neg().contiguous()


def check_scale(scale: object, dim: int) -> float:
    """The factor on scores; 1 / sqrt(D) where it is not given."""
    if scale is None:
        return 1 / math.sqrt(dim)
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise TypeError(advice(f"`scale` is a {type(scale).__name__}: {scale!r}", "a number: `scale=0.125`, or `float(...)` of a tensor"))
    return float(scale)
