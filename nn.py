"""Attention as a module, with the arguments of `torch.nn.MultiheadAttention` where they make sense."""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import torch
from torch import Tensor

from .ir.advice import advice
from .ir.derived import Derived
from .ir.expr import Expr, Lookup, fold, rebuilt
from .ir.program import Program
from .ir.segments import Segments
from .ir.trace import TensorLike
from .runtime.calls.attention import attention
from .runtime.request.head_orders import OrderGiven, OrdersOfHeads, asked
from .runtime.request.merged_program import resolved
from .runtime.request.request import NAMES

if TYPE_CHECKING:
    from .ir.pattern import Pattern
    from .ir.score import Score
    from .runtime.request.token_order import TokenOrder

__all__ = ["Attention"]

P = TypeVar("P", "Pattern", "Score")


class Attention(torch.nn.Module):
    """Projections around `lacuna.attention`.

    pattern:      None is dense.   score: from `@lacuna.score`.
                  Their tensors are the module's: parameters are trained and kept with it, other tables move with it.
    embed_dim:    of queries and of what comes out; kdim, vdim: of keys and values, `embed_dim` where they are not given.
    num_kv_heads: heads that keys and values are projected to, which `num_heads` query heads share; None is `num_heads`.
    order:        of the tokens in tiles, as `lacuna.attention` has it; its tables move with the module.
    batch_first:  tensors are [batch, tokens, dim]; otherwise [tokens, batch, dim], which `MultiheadAttention` takes by default.
    """

    def __init__(
        self,
        pattern: Pattern | None,
        embed_dim: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        score: Score | None = None,
        scale: float | None = None,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        dropout: float = 0.0,
        batch_first: bool = True,
        order: OrderGiven = None,
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        resolved(pattern, score)
        kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        _check_heads(embed_dim, num_heads, kv_heads)
        if dropout:
            raise NotImplementedError(advice(f"`dropout={dropout}`: dropout is not implemented yet", "`dropout=0.0`"))
        self.num_heads, self.num_kv_heads, self.batch_first = num_heads, kv_heads, batch_first
        self.scale, self.backend = scale, backend
        self._order = _checked_order(order, num_heads)
        width = embed_dim // num_heads
        new: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        self.q_proj = torch.nn.Linear(embed_dim, embed_dim, **new)
        self.k_proj = torch.nn.Linear(embed_dim if kdim is None else kdim, kv_heads * width, **new)
        self.v_proj = torch.nn.Linear(embed_dim if vdim is None else vdim, kv_heads * width, **new)
        self.out_proj = torch.nn.Linear(embed_dim, embed_dim, **new)
        self.pattern = pattern if pattern is None else self._adopted("pattern", pattern)
        self.score = score if score is None else self._adopted("score", score)
        self.order = self._order_here()
        self.reset_parameters()

    @classmethod
    def of(
        cls, multihead: torch.nn.MultiheadAttention, pattern: Pattern | None, *, score: Score | None = None, order: OrderGiven = None
    ) -> Self:
        """With copies of the weights of `multihead`, whose dropout, `bias_k` and `add_zero_attn` must be off."""
        if multihead.dropout or multihead.bias_k is not None or multihead.add_zero_attn:
            raise NotImplementedError(
                advice("`dropout`, `add_bias_kv` and `add_zero_attn` are not implemented yet", "a module without them, `dropout=0.0`")
            )
        weights = _weights(multihead)
        made = cls(
            pattern,
            multihead.embed_dim,
            multihead.num_heads,
            score=score,
            bias=multihead.in_proj_bias is not None,  # pyright: ignore[reportUnnecessaryComparison]  (None with `bias=False`)
            kdim=multihead.kdim,
            vdim=multihead.vdim,
            batch_first=multihead.batch_first,
            order=order,
            device=multihead.out_proj.weight.device,
            dtype=multihead.out_proj.weight.dtype,
        )
        made.load_state_dict(weights, strict=False)  # tables that are parameters stay as they are
        return made

    def reset_parameters(self) -> None:
        """As `MultiheadAttention` begins: projections by Glorot and Bengio, biases 0."""
        for linear in (self.q_proj, self.k_proj, self.v_proj):
            torch.nn.init.xavier_uniform_(linear.weight)
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            if linear.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]  (None with `bias=False`)
                torch.nn.init.zeros_(linear.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        q_offset: int | str | Tensor = 0,
        q_len: int | Tensor | None = None,
        kv_len: int | Tensor | None = None,
    ) -> Tensor:
        """[batch, tokens, embed_dim], or as `batch_first` says; without a batch [tokens, embed_dim].

        key, value: the query where they are not given; a value that is not given is the key.
        q_offset, q_len, kv_len: as in `lacuna.attention`; padding at the end of sequences is `kv_len`.
        """
        key = query if key is None else key
        value = key if value is None else value
        out = attention(
            self._projected(self.q_proj, query, self.num_heads),
            self._projected(self.k_proj, key, self.num_kv_heads),
            self._projected(self.v_proj, value, self.num_kv_heads),
            self.pattern,
            score=self.score,
            scale=self.scale,
            q_offset=q_offset,
            q_len=q_len,
            kv_len=kv_len,
            layout="blhd",
            order=self.order,
            backend=self.backend,
        )
        assert isinstance(out, Tensor)
        joined = out.flatten(-2)
        given = joined.squeeze(0) if query.dim() == 2 else joined if self.batch_first else joined.transpose(0, 1)
        return self.out_proj(given)

    def _projected(self, linear: torch.nn.Linear, tensor: Tensor, heads: int) -> Tensor:
        """[batch, tokens, heads, dim]"""
        wide: Tensor = linear(tensor)
        batched = wide.unsqueeze(0) if wide.dim() == 2 else wide if self.batch_first else wide.transpose(0, 1)
        return torch.unflatten(batched, -1, (heads, -1))

    def extra_repr(self) -> str:
        shared = f", num_kv_heads={self.num_kv_heads}" if self.num_kv_heads != self.num_heads else ""
        others = [f"{name}={value}" for name, value in (("score", self.score), ("order", self.order)) if value is not None]
        return ", ".join([f"{self.pattern!r}, num_heads={self.num_heads}{shared}", *others])

    # -- tables that patterns read ------------------------------------------------------------------------------------

    def _adopted(self, role: str, of: P) -> P:
        """Register what `of` reads, as `pattern_NAME` or `score_NAME`."""
        for name, tensor in _tensors(of).items():
            if isinstance(tensor, torch.nn.Parameter):
                self.register_parameter(f"{role}_{name}", tensor)
            else:
                self.register_buffer(f"{role}_{name}", tensor, persistent=False)
        return of

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """`.to(...)` and the like make new tensors; patterns read those from then on."""
        resolved(self.pattern, self.score)  # programs are made while tables still have the dtypes that they were bound with
        super()._apply(fn, recurse)
        self.order = self._order_here()
        self.pattern = None if self.pattern is None else self._rebound("pattern", self.pattern)
        self.score = None if self.score is None else self._rebound("score", self.score)
        return self

    def _order_here(self) -> TokenOrder | OrdersOfHeads | None:
        """The order with its tables where the module is, of what was given: on the meta device nothing would be left of it."""
        device = self.q_proj.weight.device
        return self._order if self._order is None or device.type == "meta" else self._order.to(device)

    def _rebound(self, role: str, of: P) -> P:
        moved = {name: getattr(self, f"{role}_{name}") for name in _tensors(of)}
        held = {name: _held(name, argument.value, moved) for name, argument in of.arguments.items()}
        tables = () if of.unbound else of.program.tables
        if any(table.name in moved and NAMES.get(moved[table.name].dtype) not in (None, table.dtype) for table in tables):
            of = type(of).of(_retyped(of.program, moved), {**of.bindings, **held}, of.recipe.label)
        before = _tensors(of)
        differs = {name for name in of.arguments if any(moved[each] is not before.get(each) for each in _names(name, held[name]))}
        return of(**{name: held[name] for name in differs}) if differs else of


def _checked_order(order: OrderGiven, num_heads: int) -> TokenOrder | OrdersOfHeads | None:
    found = asked(order, num_heads)
    if isinstance(found, OrdersOfHeads) and len(found.orders) != num_heads:
        wrong = f"`order` has {len(found.orders)} orders, and there are {num_heads} heads"
        raise ValueError(advice(wrong, "one order for each query head"))
    return found


def _check_heads(embed_dim: int, num_heads: int, num_kv_heads: int) -> None:
    if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
        raise ValueError(advice(f"`embed_dim={embed_dim}` is not shared evenly by {num_heads} heads", "a multiple of `num_heads`"))
    if num_kv_heads < 1 or num_heads % num_kv_heads:
        raise ValueError(advice(f"{num_heads} query heads cannot share {num_kv_heads} key heads evenly", "a divisor of `num_heads`"))


def _tensors(of: Pattern | Score) -> dict[str, Tensor]:
    """The tensors that a pattern or a score reads: of segments their offsets, of a table that is made of others those."""
    found: dict[str, Tensor] = {}
    for name, argument in of.arguments.items():
        found |= zip(_names(name, argument.value), _read(argument.value), strict=True)
    return found


def _read(value: object) -> tuple[Tensor, ...]:
    given = _of(value)
    return cast("tuple[Tensor, ...]", given.sources) if isinstance(given, Derived) else (given,) if isinstance(given, Tensor) else ()


def _names(name: str, value: object) -> list[str]:
    """Of the tensors that an argument reads, in a module."""
    several = isinstance(_of(value), Derived)
    return [f"{name}_{number}" if several else name for number, _ in enumerate(_read(value))]


def _held(name: str, value: object, moved: Mapping[str, Tensor]) -> object:
    """What an argument is bound to, of the tensors `moved`."""
    given = _of(value)
    if isinstance(given, Derived):
        inner: TensorLike = given.of(tuple(moved[each] for each in _names(name, value)))
    elif isinstance(given, Tensor):
        inner = moved[name]
    else:
        return value
    return Segments(inner) if isinstance(value, Segments) else inner


def _of(value: object) -> object:
    return value.offsets if isinstance(value, Segments) else value


def _retyped(program: Program, tensors: Mapping[str, Tensor]) -> Program:
    """The program whose float tables have the dtypes of `tensors`: a module was cast."""
    there = {table: tensors.get(table.name) for table in program.tables}
    tables = {table: table if to is None else replace(table, dtype=NAMES.get(to.dtype, table.dtype)) for table, to in there.items()}

    def visit(node: Expr, parts: tuple[Expr, ...]) -> Expr:
        return Lookup(tables[node.table], parts) if isinstance(node, Lookup) else rebuilt(node, parts)

    return replace(program, mask=fold(program.mask, visit), score=fold(program.score, visit), tables=tuple(tables.values()))


def _weights(multihead: torch.nn.MultiheadAttention) -> dict[str, Tensor]:
    """The state of `multihead` under the names it has here."""
    state = multihead.state_dict()
    found = {name: tensor for name, tensor in state.items() if name.startswith("out_proj")}
    for index, role in enumerate("qkv"):
        whole = state.get("in_proj_weight")
        found[f"{role}_proj.weight"] = state[f"{role}_proj_weight"] if whole is None else whole.chunk(3)[index]
        if "in_proj_bias" in state:
            found[f"{role}_proj.bias"] = state["in_proj_bias"].chunk(3)[index]
    return found
