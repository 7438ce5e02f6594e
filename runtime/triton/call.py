"""The forward pass of the Triton backend: one launch of one kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from ...codegen.triton_arguments import EXTRA, LENGTHS, ROWS
from ..request.request import UNIFORM, Extra, Ragged
from .kernel import INDEX, Kernel, Start, start, strides_by_axis, strides_in_units, values_by_argument


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One launch.

    query, out: [batch, heads, q_len, D], [..., Dv], any strides but a contiguous last dimension; packed sequences: [1, heads, total, D].
    key, value: [batch or 1, kv_heads, k_len, D], [..., Dv], likewise.
    lse:        f32 (f64 for f64) [batch, heads, q_len] or packed [1, heads, total]; None where it is not wanted.
    zero_keys:  how many each row sees, of the shape and dtype of `lse`, any strides; of a kernel that counts them.
    extra:      keys and values that every row sees too, [batch or 1, kv_heads, any number, D]; of a kernel that takes some.
    batch:      items, packed ones counted. q_len, k_len: rows and keys each item has room for; packed: those of the longest.
    ragged:     i64[batch] tensors on the device, or None.
    parameters, tables: value or tensor of each, by name.
    narrow:     every intermediate of mask and schedule is known to fit 32 bits.
    tf32:       float32 products may be rounded to TF32.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    lse: Tensor | None = None
    zero_keys: Tensor | None = None
    extra: Extra | None = None
    batch: int
    q_len: int
    k_len: int
    offset: int = 0
    scale: float
    ragged: Ragged = UNIFORM
    parameters: Mapping[str, int | float] = field(default_factory=dict[str, int | float])
    tables: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    narrow: bool = False
    tf32: bool = False


CACHE_BYTES = 2**25  # of what programs share, about half of what the last cache of a large GPU holds


def launch(kernel: Kernel, call: Call) -> None:
    """Write `call.out` and `call.lse`. Rows past an item's length become 0 and -inf where the tensors have room for them."""
    for each in starts(kernel, call):
        start(kernel, each, call.query.device)


def starts(kernel: Kernel, call: Call) -> tuple[Start, ...]:
    """What `launch` starts, in this order."""
    return (Start(programs_of(kernel, call), arguments(kernel, call)),)


def programs_of(kernel: Kernel, call: Call) -> int:
    """One for each tile of rows; of a persistent kernel no more than so many for each multiprocessor."""
    tiles = -(-call.q_len // kernel.signature.block_q) * call.batch * call.key.shape[1] * _shares(call, kernel.signature.together)
    most = kernel.signature.persistent * multiprocessors(call.query.device)
    return min(tiles, most) if most else tiles


def _shares(call: Call, together: int) -> int:
    """Tiles that the query heads of a key head fill at one place."""
    return -(-call.query.shape[1] // (max(1, call.key.shape[1]) * together))


def multiprocessors(device: torch.device) -> int:
    """Of a GPU; of the interpreter a few, so that programs walk there as well."""
    if device.type == "cpu":
        return 3
    properties = cast("Any", torch.cuda.get_device_properties(device))  # pyright: ignore[reportUnknownMemberType]  (torch's)
    return int(properties.multi_processor_count)


def arguments(kernel: Kernel, call: Call) -> dict[str, Any]:
    """Every argument of the kernel, by name."""
    return {**unordered_arguments(kernel, call), **turns_of_queries(call, kernel.signature.together)}


def unordered_arguments(kernel: Kernel, call: Call) -> dict[str, Any]:
    """Every argument but those that say in which order tiles are taken."""
    unit, strides = strides_in_units({"q": call.query, "k": call.key, "v": call.value, "out": call.out, **extra_by_name(call.extra)})
    return {
        "query": call.query,
        "key": call.key,
        "value": call.value,
        "out": call.out,
        "lse": call.lse,
        **strides,
        **{f"{ROWS}_{axis}": stride for axis, stride in strides_by_axis(call.lse).items()},
        **_of_zero_keys(call.zero_keys),
        **extra_arguments(call.extra),
        **shared_arguments(kernel, call),
        "UNIT": unit,
    }


def extra_by_name(extra: Extra | None) -> dict[str, Tensor]:
    """The tensors by the names that their strides have."""
    return {} if extra is None else {"ek": extra.key, "ev": extra.value}


def extra_arguments(extra: Extra | None) -> dict[str, Any]:
    """What a kernel takes of them, but for their strides."""
    return {} if extra is None else dict(zip(EXTRA, (*extra, extra.key.shape[2]), strict=True))


def _of_zero_keys(counts: Tensor | None) -> dict[str, Any]:
    if counts is None:
        return {}
    return {"zero_keys": counts, **{f"zero_{axis}": stride for axis, stride in strides_by_axis(counts).items()}}


def turns_of_queries(call: Call, together: int = 1) -> dict[str, int]:
    """The order of query tiles: those of query heads that share keys are neighbours, and as many keys are read as the cache holds.

    together: query heads in a tile.
    """
    shares = _shares(call, together)
    shared = call.k_len * (call.key.shape[3] + call.value.shape[3]) * call.key.element_size()
    return turns(call.batch * max(1, call.key.shape[1]) * shares, shares, shared)


def turns(planes: int, together: int, shared_bytes: int) -> dict[str, int]:
    """together: planes that read the same; shared_bytes: how much that is."""
    return {"planes": planes, "section": max(1, min(planes, together * max(1, CACHE_BYTES // max(1, shared_bytes))))}


def shared_arguments(kernel: Kernel, call: Call) -> dict[str, Any]:
    """What kernels of every kind take, but for tensors and their strides."""
    return {
        **{name: getattr(call.ragged, name) for name in LENGTHS},
        "heads": call.query.shape[1],
        "group": call.query.shape[1] // max(call.key.shape[1], 1),
        "q_len": call.q_len,
        "k_len": call.k_len,
        "offset": call.offset,
        "scale": call.scale,
        **values_by_argument(kernel.signature, call.parameters, call.tables),
        "INDEX": INDEX[call.narrow],
        "OPERAND": kernel.operand,
        "PRECISION": "tf32" if call.tf32 else "ieee",
    }
