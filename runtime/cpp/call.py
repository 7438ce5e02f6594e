"""Compiled C++ kernels: loaded once, called through one C structure."""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_double, c_int32, c_int64, c_void_p
from pathlib import Path

from ...ir.advice import advice

Triple = c_int64 * 3


class Arguments(ctypes.Structure):
    """`lacuna_args` of templates/cpp/arguments.h, field by field."""

    _fields_ = [
        *((name, c_void_p) for name in ("q", "k", "v", "out", "lse")),
        *((name, c_int64) for name in ("batch", "heads", "kv_heads", "kv_batch", "q_len", "k_len")),
        *((name, Triple) for name in ("q_strides", "k_strides", "v_strides", "out_strides", "lse_strides")),
        *((name, c_void_p) for name in ("q_start", "q_lens", "k_start", "k_lens", "offsets")),
        ("offset", c_int64),
        ("scale", c_double),
        *((name, c_void_p) for name in ("integers", "reals", "tables", "table_strides", "table_sizes")),
        ("threads", c_int64),
        ("narrow", c_int64),
    ]


class BesideArguments(Arguments):
    """`lacuna_beside_args` of templates/cpp/beside_arguments.h: the fields of a call, then these."""

    _fields_ = [
        ("zero_keys", c_void_p),
        ("zero_strides", Triple),
        *((name, c_void_p) for name in ("extra_k", "extra_v")),
        ("extra_len", c_int64),
        *((name, Triple) for name in ("extra_k_strides", "extra_v_strides")),
    ]


class BackwardArguments(ctypes.Structure):
    """`lacuna_backward_args` of templates/cpp/backward_arguments.h, field by field."""

    _fields_ = [
        ("call", Arguments),
        ("grad_out", c_void_p),
        ("grad_lse", c_void_p),
        ("grad_out_strides", Triple),
        ("grad_lse_strides", Triple),
        *((name, c_void_p) for name in ("delta", "grad_q", "grad_k", "grad_v")),
        *((name, Triple) for name in ("grad_q_strides", "grad_k_strides", "grad_v_strides")),
        *((name, c_void_p) for name in ("grad_tables", "grad_entries")),
        *((name, c_int64) for name in ("slots", "groups")),
        ("progress", c_void_p),
        ("blank", c_int64),
    ]


class CppKernel:
    """A kernel in a loaded library. Calling it releases the interpreter lock."""

    def __init__(self, path: Path, entry: str) -> None:
        self._function = getattr(_library(str(path)), entry)
        self._function.restype = c_int32

    def __call__(self, arguments: Arguments | BackwardArguments) -> None:
        """Run on `arguments`, whose memory the caller keeps alive.

        Raises:
            MemoryError: a thread could not have its workspace.
        """
        if self._function(ctypes.byref(arguments)):
            raise MemoryError(
                "a thread of a C++ kernel could not have its workspace\n  write `torch.set_num_threads(...)` with fewer threads"
            )


@functools.cache
def _library(path: str) -> ctypes.CDLL:
    """Raises:
    OSError: it cannot be loaded: it was made for another system, or a library that it needs is not there.
    """
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        remedy = "`apt install libgomp1` or the like" if "libgomp" in str(error) else "`lacuna build SPEC -o DIR` for this system"
        raise OSError(advice(f"the kernel `{path}` cannot be loaded: {error}", remedy)) from None
