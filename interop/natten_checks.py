"""What NATTEN's functions refuse: arguments of no meaning, and tensors that do not belong together. Each is a ValueError there too."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping
from typing import NamedTuple, NoReturn, TypeGuard, cast

import torch
from torch import Tensor

from ..ir.advice import advice
from .natten_names import KEYWORDS, require_known_keywords

LACUNAS_BACKENDS = ("cpp", "eager", "triton")
_OF_NATTEN = ("backend", "backward", "compile", "fused", "kernel_schedule", "persistent", "split", "tile", "tiling")
_ARGUMENTS = ("kernel_size", "stride", "dilation", "is_causal", "scale", "additional_keys", "additional_values", "return_lse")


class Window(NamedTuple):
    """The arguments of a neighborhood, one entry for each axis."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    is_causal: tuple[bool, ...]


def window(axes: int, kernel_size: object, stride: object, dilation: object, is_causal: object) -> Window:
    """The arguments, repeated for every axis where there is one for all; None is the default of the last three.

    Raises:
        ValueError: one is no integer, or too small, or there are not as many as axes.
    """
    if kernel_size is None:
        raise TypeError(advice("`kernel_size` is not given", "`kernel_size=7`, tokens of a window along each axis"))
    causal = _each(axes, False if is_causal is None else is_causal)
    flags = tuple(each for each in causal if isinstance(each, bool))
    if len(flags) != axes or len(causal) != axes:
        _refuse("is_causal", is_causal, f"a truth value, or {axes} of them in a tuple")
    return Window(
        _integers(axes, "kernel_size", kernel_size, 2),
        _integers(axes, "stride", 1 if stride is None else stride, 1),
        _integers(axes, "dilation", 1 if dilation is None else dilation, 1),
        flags,
    )


def _integers(axes: int, name: str, value: object, least: int) -> tuple[int, ...]:
    entries = _each(axes, value)
    found = tuple(each for each in entries if _is_integer(each) and each >= least)
    if len(found) != axes or len(entries) != axes:
        _refuse(name, value, f"an integer of at least {least}, or {axes} of them in a tuple")
    return found


def _each(axes: int, value: object) -> tuple[object, ...]:
    return tuple(cast(Iterable[object], value)) if isinstance(value, tuple | list) else (value,) * axes


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(name: str, value: object, instead: str) -> NoReturn:
    raise ValueError(advice(f"`{name}` is {value!r}", instead))


def require_window(extents: tuple[int, ...], given: Window) -> None:
    """ValueError unless the windows fit tokens laid out as `extents`."""
    for axis, (extent, wide, step, apart) in enumerate(zip(extents, given.kernel_size, given.stride, given.dilation, strict=True)):
        if wide * apart > extent:
            what = f"`kernel_size * dilation` is {wide * apart} on axis {axis}, which has {extent} tokens"
            raise ValueError(advice(what, f"a kernel size of at most {extent // apart}"))
        if step > wide:
            raise ValueError(advice(f"`stride` is {step} on axis {axis} and `kernel_size` {wide}", f"a stride of at most {wide}"))


def require_tensors(query: Tensor, key: Tensor, value: Tensor, axes: int | None) -> int:
    """The axes of the token layout of [batch, ..., heads, head_dim] tensors.

    axes: how many there must be; None takes one to three.

    Raises:
        ValueError: a shape, dtype or device does not go with the others. NotImplementedError: a tensor is sparse or nested.
        TypeError:  one is no tensor.
    """
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        _require_dense(name, tensor)
        if tensor.dim() != query.dim() or tensor.dim() not in ((4, 5, 6) if axes is None else (axes + 3,)):
            wanted = "4, 5 or 6" if axes is None else axes + 3
            _refuse_shape(name, tensor, f"a tensor of {wanted} dimensions, [batch, ..., heads, head_dim], as the others")
        _require_alike(query, name, tensor)
        if tensor.shape[:-2] != query.shape[:-2]:
            _refuse_shape(name, tensor, f"the batch and token layout of `query`, {tuple(query.shape[:-2])}")
    _require_heads(query, key, value)
    return query.dim() - 3


def require_extra(query: Tensor, key: Tensor, extra: tuple[Tensor | None, Tensor | None]) -> tuple[Tensor, Tensor] | None:
    """The additional keys and values, [batch, tokens, heads_kv, head_dim]; None where there are none.

    Raises:
        ValueError: there is one without the other, or they do not go with `query` and `key`.
    """
    keys, values = extra
    if keys is None or values is None:
        if keys is not values:
            raise ValueError(advice("of `additional_keys` and `additional_values` one is given", "both, or neither"))
        return None
    for name, tensor in (("additional_keys", keys), ("additional_values", values)):
        _require_dense(name, tensor)
        _require_alike(query, name, tensor)
        if tensor.dim() != 4 or tensor.shape[0] != query.shape[0] or tensor.shape[2] != key.shape[-2]:
            _refuse_shape(name, tensor, f"[{query.shape[0]}, tokens, {key.shape[-2]}, head_dim], the batch and heads of `key`")
    if keys.shape[1] != values.shape[1]:
        _refuse_shape("additional_values", values, f"as many tokens as `additional_keys` has, {keys.shape[1]}")
    if keys.shape[-1] != query.shape[-1]:
        _refuse_shape("additional_keys", keys, f"the head dimension of `query`, {query.shape[-1]}")
    return keys, values


def _require_dense(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]  (not every caller is typed)
        raise TypeError(advice(f"`{name}` is a {type(tensor).__name__}, not a tensor", f"`torch.as_tensor({name})`"))
    if tensor.is_nested or tensor.layout is not torch.strided:
        kind = "nested" if tensor.is_nested else str(tensor.layout)
        raise NotImplementedError(advice(f"`{name}` is a {kind} tensor, which attention does not take yet", "a dense one"))


def _require_alike(query: Tensor, name: str, tensor: Tensor) -> None:
    if tensor.dtype != query.dtype:
        raise ValueError(advice(f"`{name}` is {tensor.dtype} and `query` {query.dtype}", f"`{name}.to(query.dtype)`"))
    if tensor.device != query.device:
        raise ValueError(advice(f"`{name}` is on {tensor.device} and `query` on {query.device}", f"`{name}.to(query.device)`"))


def _require_heads(query: Tensor, key: Tensor, value: Tensor) -> None:
    if key.shape[-1] != query.shape[-1]:
        _refuse_shape("key", key, f"the head dimension of `query`, {query.shape[-1]}")
    if key.shape[-2] != value.shape[-2]:
        _refuse_shape("value", value, f"the heads of `key`, {key.shape[-2]}")
    if key.shape[-2] == 0 or query.shape[-2] % key.shape[-2]:
        _refuse_shape("key", key, f"a number of heads that divides the {query.shape[-2]} of `query`")


def _refuse_shape(name: str, tensor: Tensor, instead: str) -> NoReturn:
    raise ValueError(advice(f"`{name}` has the shape {tuple(tensor.shape)}", instead))


# -- options of backends ----------------------------------------------------------------------------------------------

_warned = False


def backend_of(options: Mapping[str, object]) -> str | None:
    """The backend among arguments that say how NATTEN runs: one of Lacuna's counts, all else changes nothing and is told once.

    Raises:
        TypeError: an argument is none of NATTEN's.
    """
    require_known_keywords({name: value for name, value in options.items() if name in KEYWORDS}, _ARGUMENTS)
    for name in options:
        if name not in KEYWORDS and not any(word in name for word in _OF_NATTEN):
            close = difflib.get_close_matches(name, _ARGUMENTS, n=1)
            raise TypeError(advice(f"there is no argument `{name}`", f"`{close[0]}=`" if close else f"one of {', '.join(_ARGUMENTS)}"))
    backend = options.get("backend")
    chosen = backend if isinstance(backend, str) and backend in LACUNAS_BACKENDS else None
    ignored = [name for name, value in options.items() if value is not None and value is not False and not (name == "backend" and chosen)]
    if ignored:
        _warn_once(ignored)
    return chosen


def _warn_once(names: list[str]) -> None:
    global _warned
    if not _warned:
        _warned = True
        listed = ", ".join(f"`{name}`" for name in names)
        what = f"{listed} say how NATTEN runs and change nothing here; this is told once"
        warnings.warn(advice(what, f"`backend=` one of {', '.join(LACUNAS_BACKENDS)}, or nothing"), stacklevel=5)
