"""C++ kernels: which one serves a request, how it is built, and the arguments of a call."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ...ir.expr import Kind
from ...ir.source import Source
from ...ir.target import Target
from ..compilers.cpp_compiler import CompilerMissing, compile_shared, find_compiler
from ..kernels import shelves
from ..kernels.kernel_of import Kernel
from ..kernels.variant import Toolchain
from ..launches.launch_values import Values
from ..request.extra_keys import strides
from ..request.request import Request
from .call import Arguments, BesideArguments, CppKernel, Triple
from .threads import thread_count

if TYPE_CHECKING:
    from ...ir.plan import Plan


def toolchain_of(target: Target) -> Toolchain:
    """What builds kernels of `target`. Where there is no compiler but a bundle, one that builds nothing.

    Raises:
        CompilerMissing: there is neither.
    """
    try:
        return _compiling(target)
    except CompilerMissing:
        if not shelves.serves("cpp"):
            raise
        return _compiling(target, forbidden=True)


@functools.cache
def _compiling(target: Target, *, forbidden: bool = False) -> Toolchain:
    def compiled(source: Source, path: Path) -> None:
        compile_shared(source.text, target, path, entry=source.entry)

    return Toolchain("" if forbidden else find_compiler().identity, render, compiled, ".so")


def render(plan: Plan) -> Source:
    from ...codegen import cpp, cpp_backward, cpp_decode  # with them comes jinja2, which a warm start does without

    return {"forward": cpp, "backward": cpp_backward, "decode": cpp_decode}[plan.family].render(plan)


_loaded: dict[tuple[Path, str], CppKernel] = {}


def loaded(kernel: Kernel) -> CppKernel:
    known = (kernel.path, kernel.entry)
    if known not in _loaded:
        _loaded[known] = CppKernel(*known)
    return _loaded[known]


# -- arguments --------------------------------------------------------------------------------------------------------


def arguments_of(request: Request, values: Values, outputs: tuple[Tensor, Tensor]) -> tuple[Arguments, list[object]]:
    """The C structure of a call, and what its pointers point to."""
    out, lse = outputs
    ragged = request.ragged
    tables = [values.tables[name] for name in values.kernel.tables]
    pointers = (ctypes.c_void_p * max(1, len(tables)))(*(table.data_ptr() for table in tables))
    strides = np.array([n for table in tables for n in _strides(table)], np.int64)
    sizes = np.array([n for table in tables for n in table.shape], np.int64)
    integers, reals = _numbers(values)
    kept: list[object] = [pointers, strides, sizes, integers, reals, tables, ragged]
    own = _beside(request)
    return (BesideArguments if own else Arguments)(
        *(tensor.data_ptr() for tensor in (request.query, request.key, request.value, out)),
        lse.data_ptr(),
        request.batch,
        request.heads,
        request.kv_heads,
        request.kv_batch,
        request.q_len,
        request.k_len,
        *(Triple(*tensor.stride()[:3]) for tensor in (request.query, request.key, request.value, out, lse)),
        *(_pointer(each) for each in (ragged.q_start, ragged.q_lens, ragged.k_start, ragged.k_lens, ragged.offsets)),
        request.offset,
        request.scale,
        *(array.ctypes.data for array in (integers, reals)),
        ctypes.addressof(pointers),
        *(array.ctypes.data for array in (strides, sizes)),
        thread_count(),
        int(values.narrow),
        *own,
    ), kept


def _beside(request: Request) -> tuple[int | ctypes.Array[ctypes.c_int64], ...]:
    """The fields of `BesideArguments` that `Arguments` has not; none where rows see nothing beside the pattern."""
    counts, extra = request.zero_keys, request.extra
    if not request.sees_beside:
        return ()
    counted = (0, Triple()) if counts is None else (counts.data_ptr(), Triple(*counts.stride()))
    if extra is None:
        return counted
    return *counted, *(each.data_ptr() for each in extra), extra.key.shape[2], *(Triple(*strides(each)) for each in extra)


def _strides(table: Tensor) -> tuple[int, ...]:
    """Strides of a table; 0 along an axis of one entry, which serves every index."""
    return tuple(0 if size == 1 else stride for size, stride in zip(table.shape, table.stride(), strict=True))


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _numbers(values: Values) -> tuple[np.ndarray, np.ndarray]:
    kinds = {symbol.name: symbol.kind for symbol in values.kernel.schedule.program.parameters}
    named = [(kinds[name], values.parameters[name]) for name in values.kernel.parameters]
    return (
        np.array([int(value) for kind, value in named if kind is not Kind.FLOAT], np.int64),
        np.array([float(value) for kind, value in named if kind is Kind.FLOAT], np.float64),
    )
