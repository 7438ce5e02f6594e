"""`torch.func.vmap` over attention: one more batch dimension is a longer batch, whose item `b` reads `b % batch` in the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ...ir.expr import B, Binary, Const, Op, names
from ...ir.order_text import order_text
from ..request.program_text import program_of
from .call import Call


def attention(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:  # noqa: ANN401
    """The vmap rule of `lacuna::attention`."""
    operator = torch.ops.lacuna.attention.default
    call, dims = Call(*arguments), _Dims.of(in_dims)
    if not _joins(call, dims):
        return _one_by_one(operator, info.batch_size, in_dims, arguments)
    longer = _Longer.of(info.batch_size, call, dims)
    kv = (call.key, call.value)
    if dims.key is not None or dims.value is not None or call.key.shape[0] != 1:  # else one batch item goes for all, as it is
        kv = (longer.joined(call.key, dims.key), longer.joined(call.value, dims.value))
    found = operator(*longer.call(call, (longer.joined(call.query, dims.query), *kv), longer.all_joined(call.beside, dims.beside)))
    return tuple(longer.parted(each) for each in found), (0, 0)


def attention_backward(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[list[Tensor], list[int]]:  # noqa: ANN401
    """The vmap rule of `lacuna::attention_backward`."""
    operator = torch.ops.lacuna.attention_backward.default
    call, dims = Call(*arguments[5:]), _Dims.of(in_dims[5:])
    wanted: Sequence[int] = arguments[4]
    if any(number < len(call.tables) for number in wanted) or not _joins(call, dims):
        found, out_dims = _one_by_one(operator, info.batch_size, in_dims, arguments)
        return list(found), list(out_dims)
    longer = _Longer.of(info.batch_size, call, dims)
    given = longer.all_joined(arguments[:4], in_dims[:4])
    query, key, value = (longer.joined(each, dim) for each, dim in zip(call[:3], dims[:3], strict=True))
    joined = longer.call(call, (query, key, value), longer.all_joined(call.beside, dims.beside))
    by_query, by_key, by_value, *others = map(longer.parted, operator(*given, wanted, *joined))
    found = [by_query, *(_shared(each, longer, _batch(call.key, dims.key)) for each in (by_key, by_value))]
    for number, gradient in zip(wanted, others, strict=True):
        tensor, dim = call.beside[number - len(call.tables)], dims.beside[number - len(call.tables)]
        assert tensor is not None
        found.append(_shared(gradient, longer, _batch(tensor, dim)))
    return found, [0] * len(found)


def _shared(gradient: Tensor, longer: _Longer, batch: int) -> Tensor:
    """Of a tensor of so long a batch: summed where one went for all."""
    return gradient.sum(1, keepdim=True) if longer.batch > 1 and batch == 1 else gradient


class _Dims(NamedTuple):
    """Where the tensors of a call have the dimension of vmap; None where they go for all items."""

    query: int | None
    key: int | None
    value: int | None
    tables: Sequence[int | None]
    spans: Sequence[int | None]
    beside: Sequence[int | None]

    @staticmethod
    def of(in_dims: Sequence[Any]) -> _Dims:
        """in_dims: of the arguments of a call, where those that are left out may have none."""
        query, key, value, tables, spans, *_ = in_dims
        beside = in_dims[Call._fields.index("zero_keys") :]
        return _Dims(query, key, value, tables, spans, (*beside, *(None,) * (3 - len(beside))))


def _joins(call: Call, dims: _Dims) -> bool:
    """Whether the items differ in query, key and value only, and have batches to join."""
    return call.layout != "packed" and all(dim is None for dim in (*dims.tables, *dims.spans))


def _batch(tensor: Tensor, dim: int | None) -> int:
    """The batch that one item of vmap sees."""
    return tensor.shape[0 if dim is None or dim > 0 else 1]


class _Longer:
    """Batches of `items` items of vmap, `batch` each, one after another."""

    def __init__(self, items: int, batch: int) -> None:
        self.items = items
        self.batch = batch

    @staticmethod
    def of(items: int, call: Call, dims: _Dims) -> _Longer:
        return _Longer(items, _batch(call.query, dims.query))

    def joined(self, tensor: Tensor, dim: int | None) -> Tensor:
        """[items * batch, ...], of a tensor that has the dimension of vmap or goes for all items."""
        whole = tensor.unsqueeze(0) if dim is None else tensor.movedim(dim, 0)
        return whole.expand(self.items, self.batch, *whole.shape[2:]).flatten(0, 1)

    def all_joined(self, tensors: Iterable[Tensor | None], dims: Iterable[int | None]) -> list[Tensor | None]:
        return [None if each is None else self.joined(each, dim) for each, dim in zip(tensors, dims, strict=True)]

    def parted(self, tensor: Tensor) -> Tensor:
        return torch.unflatten(tensor, 0, (self.items, self.batch))

    def call(self, call: Call, qkv: Sequence[Tensor], beside: Sequence[Tensor | None]) -> Call:
        spans = [None if span is None else span.repeat(self.items) for span in call.spans]
        program = _within(call.program, self.batch)
        names = ("query", "key", "value", "zero_keys", "extra_keys", "extra_values")
        joined: dict[str, Any] = dict(zip(names, (*qkv, *beside), strict=True))
        return call._replace(spans=spans, program=program, **joined)


def _within(text: str, batch: int) -> str:
    """The program for a longer batch: each `batch` items are what it was written for."""
    program = program_of(text)
    if "b" not in names(program.mask) | names(program.score):
        return text
    inner = program.substituted({B: Binary(Op.MOD, B, Const(int(batch)))})
    return str(replace(inner, name=f"{program.name}_batched"[:60])) + order_text(text)


def _one_by_one(
    operator: Callable[..., Iterable[Tensor]], items: int, in_dims: tuple[Any, ...], arguments: tuple[Any, ...]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Each item on its own: their tables or boundaries differ, or gradients of tables must not be summed over items."""
    flat, spec = pytree.tree_flatten(arguments)
    dims = pytree.tree_flatten(in_dims)[0]

    def of(item: int) -> tuple[Tensor, ...]:
        own = [each if dim is None else each.select(dim, item) for each, dim in zip(flat, dims, strict=True)]
        return tuple(operator(*pytree.tree_unflatten(own, spec)))

    found = [of(item) for item in range(items)]
    outputs = tuple(torch.stack(each) for each in zip(*found, strict=True))
    return outputs, (0,) * len(outputs)
