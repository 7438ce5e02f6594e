"""Functions written for FlexAttention, run once on stand-ins for (score, b, h, q_idx, kv_idx) that record what torch would compute.

Integers and floats that a function closes over are part of the program; tensors without axes are its parameters, others its tables.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..ir.build import as_real, quoted, refusal
from ..ir.expr import TRUE, Expr, S, Var, symbols, tables
from ..ir.program import InvalidProgram, Program
from ..ir.recipe import without_value
from ..ir.reserved import is_plain
from ..ir.verify import verify
from .flex_calls import lift
from .flex_captured import Captured, names_of_tensors
from .flex_stand import Function, Stand
from .flex_values import Value, number, position

__all__ = ["Function", "traced"]
_POSITIONS = tuple(Var(name) for name in "bhqk")


class FlexProgram(NamedTuple):
    """What a function comes to. computes: whether it reads tensors that it computes out of others, which hold what those held."""

    program: Program
    bindings: dict[str, object]
    computes: bool


class _Computed(TorchFunctionMode):
    """Keeps the tensors that are computed out of others while it is on, but for views, which hold what those hold."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> object:  # noqa: ANN401 (torch's protocol)
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and not found._is_view() and any(isinstance(each, Tensor) for each in args):
            self.kept.append(found)
        return found


def traced(function: Function, *, is_score: bool, real: torch.dtype = torch.float32) -> FlexProgram:
    """The program of a `mask_mod` or a `score_mod`, and what its parameters and tables are bound to.

    real: the dtype of scores.

    Raises:
        TypeError, InvalidProgram: it does something that is no expression; the message says what to write.
    """
    captured = Captured(names_of_tensors(function), torch.is_grad_enabled() and is_score)
    name: str = getattr(function, "__name__", "")
    values = [position(each) for each in _POSITIONS]
    values = [Value(S, real), *values] if is_score else values
    try:
        with _Computed() as computed:
            expr = _result(function(*(Stand(each, captured) for each in values)), captured, is_score)
        mask, score = (TRUE, expr) if is_score else (expr, S)
        program = Program(name if is_plain(name) else "anonymous", mask, score, symbols(expr), tables(expr))
        _verify_once(program)
    except NameError as error:
        raise without_value(name, error) from error
    except (TypeError, InvalidProgram) as error:
        error.add_note(f"while tracing `{name}`, {_place(function)}")
        raise
    return FlexProgram(program, captured.bindings, any(captured.holds(each) for each in computed.kept))


@functools.lru_cache(maxsize=256)
def _verify_once(program: Program) -> None:
    """`verify`, skipped for a program that passed: a `score_mod` is traced at every call."""
    verify(program)


def _result(result: object, captured: Captured, is_score: bool) -> Expr:
    if result is None:
        raise refusal("the function returns nothing", "`return score`" if is_score else "`return q_idx >= kv_idx`")
    found = lift(result, captured)
    if is_score:
        return as_real(number(found).expr)
    if not found.is_truth:
        raise refusal(f"the mask is the number `{quoted(found.expr)}`", f"a condition, such as `{quoted(found.expr)} != 0`")
    return found.expr


def _place(function: Function) -> str:
    code = function.__code__ if inspect.isfunction(function) else None
    return f'File "{code.co_filename}", line {code.co_firstlineno}' if code else repr(function)
