"""The operators `lacuna::attention` and `lacuna::attention_backward`: what torch's transforms, compiler and exporter see.

Importing this file registers them.
"""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..request.program_text import bindings_of, program_of
from ..request.request import DTYPES
from ..request.table_checks import check_bound_tensors
from ..tensors.torch_dispatch import without
from . import autograd, batching
from .call import Call, lse_dtype
from .compute import attention, attention_backward

CALL = (
    "Tensor query, Tensor key, Tensor value, Tensor[] tables, Tensor?[] spans, SymInt? q_len, SymInt? kv_len, SymInt? q_offset, "
    "SymInt[] integers, float[] reals, str program, float? scale, str layout, str backend, Tensor? zero_keys=None, "
    "Tensor? extra_keys=None, Tensor? extra_values=None"
)
"""See `Call`."""
TRACED = CALL.replace("Tensor?[] spans", "Tensor[] spans, int[] given")
"""For `torch.jit.trace`, which takes no list with gaps: the spans that there are, and which they are."""


def _attention_shapes(*arguments: object) -> tuple[Tensor, Tensor]:
    call = Call(*arguments)  # pyright: ignore[reportArgumentType]
    query, _, _ = call.heads_first()
    program = program_of(call.program)
    check_bound_tensors(program, bindings_of(program, call.tables, call.integers, call.reals), query.device)
    out, lse = call.output_shapes()
    return call.query.new_empty(out), call.query.new_empty(lse, dtype=lse_dtype(call.query))


def _backward_shapes(
    grad_out: Tensor | None, grad_lse: Tensor | None, out: Tensor, lse: Tensor, wanted: Sequence[int], *arguments: object
) -> list[Tensor]:
    call = Call(*arguments)  # pyright: ignore[reportArgumentType]
    more = (*call.tables, *call.beside)
    asked = (each for index in wanted if (each := more[index]) is not None)
    return [torch.empty_like(each) for each in (call.query, call.key, call.value, *asked)]


def _autocast(*arguments: object) -> tuple[Tensor, Tensor]:
    """As `scaled_dot_product_attention` does it: query, key and value in the dtype of the region, float64 left alone."""
    call = Call(*arguments)  # pyright: ignore[reportArgumentType]
    device = call.query.device.type
    dtype = torch.get_autocast_dtype(device)

    def cast_to(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.dtype in DTYPES and tensor.dtype is not torch.float64 else tensor

    with without(AUTOCAST[device]):
        extra = (None if each is None else cast_to(each) for each in (call.extra_keys, call.extra_values))
        more = call[3 : Call._fields.index("extra_keys")]
        return torch.ops.lacuna.attention.default(cast_to(call.query), cast_to(call.key), cast_to(call.value), *more, *extra)


def _attention_traced(
    query: Tensor, key: Tensor, value: Tensor, tables: Sequence[Tensor], spans: Sequence[Tensor], given: Sequence[int], *rest: object
) -> tuple[Tensor, Tensor]:
    there = iter(spans)
    return torch.ops.lacuna.attention.default(query, key, value, tables, [next(there) if each else None for each in given], *rest)


LISTS = tuple(Call._fields.index(name) for name in ("tables", "spans", "integers", "reals"))


def _with_lists(function: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """`function` for those who give None for an empty list, as AOTInductor's packages do."""

    @functools.wraps(function)
    def called(*arguments: object) -> tuple[Tensor, Tensor]:
        if any(arguments[at] is None for at in LISTS):
            arguments = tuple([] if each is None and at in LISTS else each for at, each in enumerate(arguments))
        return function(*arguments)

    return called


AUTOCAST = {"cpu": "AutocastCPU", "cuda": "AutocastCUDA"}


def _register() -> torch.library.Library:
    inspect.modulesbyfile[__file__] = __name__  # else torch, which asks for its caller, looks through every module there is: 5 ms
    library = torch.library.Library("lacuna", "DEF")
    tags = (torch.Tag.pt2_compliant_tag,)
    library.define(f"attention({CALL}) -> (Tensor out, Tensor lse)", tags=tags)
    library.define(
        f"attention_backward(Tensor? grad_out, Tensor? grad_lse, Tensor out, Tensor lse, int[] wanted, {CALL}) -> Tensor[]", tags=tags
    )
    library.define(f"attention_traced({TRACED}) -> (Tensor out, Tensor lse)", tags=tags)
    library.impl("attention_traced", _attention_traced, "CompositeImplicitAutograd")
    library.impl("attention", _with_lists(attention), "CompositeExplicitAutograd")
    library.impl("attention_backward", attention_backward, "CompositeExplicitAutograd")
    library.impl("attention", _with_lists(autograd.attention), "Autograd")
    library.impl("attention_backward", autograd.attention_backward, "Autograd")
    for key in AUTOCAST.values():
        library.impl("attention", _with_lists(_autocast), key)
    torch.library.register_fake("lacuna::attention", _attention_shapes, lib=library)
    torch.library.register_fake("lacuna::attention_backward", _backward_shapes, lib=library)
    torch.library.register_vmap("lacuna::attention", batching.attention, lib=library)
    torch.library.register_vmap("lacuna::attention_backward", batching.attention_backward, lib=library)
    return library


LIBRARY = _register()
