"""NATTEN's neighborhood attention with its signatures: a module written for it runs here with another import line.

>>> from lacuna.interop.natten import NeighborhoodAttention2D, na2d
>>> out = na2d(query, key, value, kernel_size=(7, 7), dilation=(2, 1), is_causal=False)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from .. import attention as attend_to
from ..ir.advice import advice
from ..ir.grid import Grid
from ..ir.pattern import Pattern
from ..patterns import gna, neighborhood
from .natten_attention import attention
from .natten_checks import Window, backend_of, require_extra, require_tensors, require_window, window
from .natten_merge import merge_attentions
from .natten_names import require_known_keywords, require_no_old_name

__all__ = [
    "NeighborhoodAttention1D",
    "NeighborhoodAttention2D",
    "NeighborhoodAttention3D",
    "attention",
    "merge_attentions",
    "na1d",
    "na2d",
    "na3d",
    "neighborhood_attention_generic",
]

PerAxis = int | tuple[int, ...]
Causal = bool | tuple[bool, ...] | None
_patterns: dict[tuple[tuple[int, ...], Window], Pattern | None] = {}
MOST_PATTERNS = 256


@dataclass(frozen=True)
class _Rest:
    """The arguments that are not of the window."""

    scale: float | None
    additional_keys: Tensor | None
    additional_values: Tensor | None
    return_lse: bool
    options: Mapping[str, object]


def _attend(
    qkv: tuple[Tensor, Tensor, Tensor], axes: int | None, arguments: tuple[object, object, object, object], rest: _Rest
) -> Tensor | tuple[Tensor, Tensor]:
    backend = backend_of(rest.options)
    axes = require_tensors(*qkv, axes)
    extra = require_extra(qkv[0], qkv[1], (rest.additional_keys, rest.additional_values))
    given = window(axes, *arguments)
    layout = tuple(qkv[0].shape[1 : axes + 1])
    require_window(layout, given)
    query, key, value = (tensor.flatten(1, axes) for tensor in qkv)
    out, lse = _flat((query, key, value), _pattern(layout, given), Options(rest.scale or None, backend, *(extra or (None, None))))
    out, lse = (each.reshape(each.shape[0], *layout, *each.shape[2:]) for each in (out, lse))
    return (out, lse) if rest.return_lse else out


class Options(NamedTuple):
    """Arguments of `attention` that are not of the window."""

    scale: float | None
    backend: str | None
    extra_keys: Tensor | None
    extra_values: Tensor | None


def _flat(qkv: tuple[Tensor, Tensor, Tensor], pattern: Pattern | None, options: Options) -> tuple[Tensor, Tensor]:
    """Of [batch, tokens, heads, head_dim] tensors: the output, and the log-sum-exp with heads last."""
    found = attend_to(*qkv, pattern, layout="blhd", return_lse=True, **options._asdict())
    out, lse = cast(tuple[Tensor, Tensor], found)
    return out, lse.transpose(1, 2)


def _pattern(layout: tuple[int, ...], given: Window) -> Pattern | None:
    """Remembered, so that a second call finds what the first has derived. None where every token sees every other."""
    if given.kernel_size == layout and not any(given.is_causal):
        return None
    if torch.compiler.is_dynamo_compiling():
        return _of_every_layout(layout, given)
    key = (layout, given)
    if key not in _patterns:
        if len(_patterns) >= MOST_PATTERNS:
            _patterns.clear()
        _patterns[key] = _of_every_layout(layout, given)
    return _patterns[key]


def _of_every_layout(layout: tuple[int, ...], given: Window) -> Pattern:
    """`gna` of a grid whose extents are parameters, as windows are: neither is part of a kernel."""
    if len(layout) == 1:
        (window,), (stride,), (dilation,), (causal,) = given
        return neighborhood(window, stride=stride, dilation=dilation, causal=causal)
    names = _INNER[len(layout)]
    return gna(Grid((None, *names)), *given)(**dict(zip(names, layout[1:], strict=True)))


_INNER = {2: ("columns",), 3: ("rows", "columns")}


def _function(name: str, axes: int | None, layout: str) -> Callable[..., Tensor | tuple[Tensor, Tensor]]:
    """The public function of tensors with that many axes of tokens, None for any."""

    def attend(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        kernel_size: PerAxis | None = None,
        stride: PerAxis = 1,
        dilation: PerAxis = 1,
        is_causal: Causal = False,
        scale: float | None = None,
        additional_keys: Tensor | None = None,
        additional_values: Tensor | None = None,
        attention_kwargs: Mapping[str, object] | None = None,
        *,
        return_lse: bool = False,
        **options: object,
    ) -> Tensor | tuple[Tensor, Tensor]:
        rest = _Rest(scale, additional_keys, additional_values, return_lse, {**(attention_kwargs or {}), **options})
        return _attend((query, key, value), axes, (kernel_size, stride, dilation, is_causal), rest)

    attend.__name__ = attend.__qualname__ = name
    attend.__doc__ = _DOC.format(layout=layout)
    return attend


_DOC = """Each token attends to the window of tokens around it.

Args:
    query:       {layout}.
    key, value:  the same layout; their heads divide those of `query`; the head dimension of `value` may be another.
    kernel_size: tokens of a window along each axis, 2 at least. stride: queries that share one. dilation: tokens between its keys.
                 is_causal: no key behind the query. Each a number or truth value, or one for every axis in a tuple.
    scale:       factor on query . key; 1 / sqrt(head_dim) where it is None or 0, as in NATTEN.
    additional_keys, additional_values: [batch, tokens, heads_kv, head_dim], which every query sees as well, in the same kernel.
    attention_kwargs, options: how NATTEN runs: taken, told of once, and of no effect, but for `backend=` "cpp", "eager" or "triton".

Returns:
    As `query`, with the head dimension of `value`; with `return_lse` also the log-sum-exp [batch, ..., heads], float32 (float64 for
    float64).

Raises:
    ValueError: what NATTEN refuses: windows beyond the layout, strides beyond windows, shapes, dtypes and devices that do not fit.
    TypeError:  an argument that is none of NATTEN's. NotImplementedError: sparse and nested tensors.
"""
neighborhood_attention_generic = _function(
    "neighborhood_attention_generic", None, "[batch, X, heads, head_dim], or [batch, X, Y, ...], or [batch, X, Y, Z, ...]"
)
na1d = _function("na1d", 1, "[batch, X, heads, head_dim]")
na2d = _function("na2d", 2, "[batch, X, Y, heads, head_dim]")
na3d = _function("na3d", 3, "[batch, X, Y, Z, heads, head_dim]")


_MODULES_ARGUMENTS = ("embed_dim", "num_heads", "kernel_size", "stride", "dilation", "is_causal", "qkv_bias", "qk_scale", "proj_drop")


def __getattr__(name: str) -> object:
    require_no_old_name(name)
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`\n  write one of {', '.join(__all__)}")


class _NeighborhoodAttention(nn.Module):
    """Projections around neighborhood attention, with the names that NATTEN's checkpoints have: `qkv` and `proj`."""

    axes: int

    def __init__(
        self,
        embed_dim: int | None = None,
        num_heads: int | None = None,
        kernel_size: PerAxis | None = None,
        stride: PerAxis = 1,
        dilation: PerAxis = 1,
        is_causal: Causal = False,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        proj_drop: float = 0.0,
        **old: object,
    ) -> None:
        super().__init__()
        require_known_keywords(old, _MODULES_ARGUMENTS)
        if embed_dim is None or num_heads is None:
            missing = "embed_dim" if embed_dim is None else "num_heads"
            raise TypeError(advice(f"`{missing}` is not given", "`NeighborhoodAttention2D(embed_dim, num_heads, kernel_size)`"))
        if num_heads < 1:
            raise ValueError(advice(f"`num_heads` is {num_heads}", "a positive number of heads"))
        if embed_dim % num_heads:
            raise ValueError(advice(f"`embed_dim` is {embed_dim}, which {num_heads} heads do not divide", f"a multiple of {num_heads}"))
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.scale = qk_scale or self.head_dim**-0.5
        self.kernel_size, self.stride, self.dilation, self.is_causal = window(self.axes, kernel_size, stride, dilation, is_causal)
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim, bias=qkv_bias)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, ..., embed_dim] in and out.

        Raises:
            ValueError: `x` has another rank or width, or the windows do not fit it.
        """
        if x.dim() != self.axes + 2 or x.shape[-1] != self.embed_dim:
            wanted = f"[batch, {', '.join('XYZ'[: self.axes])}, {self.embed_dim}]"
            raise ValueError(advice(f"`x` has the shape {tuple(x.shape)}", wanted))
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).unbind(-3)
        arguments = (self.kernel_size, self.stride, self.dilation, self.is_causal)
        out = cast(Tensor, _attend((query, key, value), self.axes, arguments, _Rest(self.scale, None, None, False, {})))
        return self.proj_drop(self.proj(out.flatten(-2)))

    def extra_repr(self) -> str:
        names = ("head_dim", "num_heads", "kernel_size", "stride", "dilation", "is_causal")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


class NeighborhoodAttention1D(_NeighborhoodAttention):
    """Neighborhood attention of [batch, X, embed_dim]."""

    axes = 1


class NeighborhoodAttention2D(_NeighborhoodAttention):
    """Neighborhood attention of [batch, X, Y, embed_dim]."""

    axes = 2


class NeighborhoodAttention3D(_NeighborhoodAttention):
    """Neighborhood attention of [batch, X, Y, Z, embed_dim]."""

    axes = 3
