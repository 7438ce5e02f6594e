"""Plans and loaded Triton kernels for tests, from programs as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lacuna.codegen.triton import render
from lacuna.codegen.triton_backward import render_keys, render_queries
from lacuna.codegen.triton_decode import render as render_decode
from lacuna.ir.expr import Binary, Const, Expr, Op, Symbol
from lacuna.ir.parse import parse_program
from lacuna.ir.plan import Plan
from lacuna.ir.program import Program
from lacuna.ir.schedule import Piece, Schedule
from lacuna.ir.target import Target
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.lower import backward_plan_of, plan_of, query_gradient_plan_of
from lacuna.passes.schedules.transpose import transposed
from lacuna.runtime.request.request import UNIFORM, Ragged
from lacuna.runtime.triton.call import Call, launch
from lacuna.runtime.triton.kernel import Kernel, Loaded, Signature, load
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

WINDOW = "program @window(q < Lq, k < Lk; W: i64) {\n  mask = k <= q and q - k < W\n  score = s\n  normalise = softmax\n}"
CAUSAL = "program @causal(q < Lq, k < Lk) {\n  mask = k <= q\n  score = s\n  normalise = softmax\n}"
DENSE = "program @dense(q < Lq, k < Lk) {\n  mask = true\n  score = s\n  normalise = softmax\n}"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "f64": torch.float64}


@dataclass(frozen=True)
class Shape:
    """Sizes of a problem; `value_dim` and `kv_heads` are `head_dim` and `heads` where they are 0."""

    q_len: int
    k_len: int
    head_dim: int = 16
    value_dim: int = 0
    batch: int = 1
    heads: int = 1
    kv_heads: int = 0
    kv_batch: int = 0
    dtype: str = "f32"

    def tensors(self, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        kv = (self.kv_batch or self.batch, self.kv_heads or self.heads, self.k_len)
        sizes = ((self.batch, self.heads, self.q_len, self.head_dim), (*kv, self.head_dim), (*kv, self.value_dim or self.head_dim))
        query, key, value = (torch.randn(size, generator=generator, dtype=torch.float64).to(DTYPES[self.dtype]) for size in sizes)
        return query, key, value


@dataclass(frozen=True)
class Options:
    """What a launch adds to its tensors."""

    parameters: Mapping[str, int | float] = field(default_factory=dict[str, int | float])
    tables: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    ragged: Ragged = UNIFORM
    scale: float = 0.3
    offset: int = 0
    narrow: bool = False


def plan(text: str, block: tuple[int, int] = (32, 16), dims: tuple[int, int] = (16, 16), dtype: str = "f32", together: int = 1) -> Plan:
    """block: rows and keys of a tile, `together` query heads in it."""
    schedule = derive(parse_program(text), block[0] // together, block[1], together=together).schedule
    return plan_of(schedule, Target("triton", "interpreter"), dtype, dims)


def given(schedule: Schedule, dims: tuple[int, int] = (16, 16), dtype: str = "f32") -> Plan:
    return plan_of(schedule, Target("triton", "interpreter"), dtype, dims)


RENDER = {"forward": render, "decode": render_decode, "backward": render_keys, "backward_queries": render_queries}


def backward_plan(text: str, family: str, block: tuple[int, int] = (32, 16), dims: tuple[int, int] = (16, 16), dtype: str = "f32") -> Plan:
    """The plan of a backward kernel, with the gradient of every float table. block: edges of tiles of queries and of keys."""
    program, target = parse_program(text), Target("triton", "interpreter")
    wanted = [table.name for table in program.tables]
    if family == "backward_queries":
        return query_gradient_plan_of(derive(program, *block).schedule, target, dtype, dims, wanted)
    return backward_plan_of(derive(transposed(program), block[1], block[0]).schedule, target, dtype, dims, wanted)


def loaded(plan: Plan, folder: Path, *, interpret: bool = True) -> Loaded:
    source = RENDER[plan.family](plan)
    path = folder / f"{source.entry}.py"
    path.write_text(source.text)
    return load(path, Signature.of(plan, source), interpret=interpret)


def call_of(tensors: tuple[Tensor, Tensor, Tensor], options: Options | None = None) -> Call:
    """A launch on unpacked tensors; outputs start as NaN, so that what is not written shows."""
    options = options or Options()
    query, key, value = tensors
    exact = torch.float64 if query.dtype is torch.float64 else torch.float32
    return Call(
        query=query,
        key=key,
        value=value,
        out=torch.full((*query.shape[:3], value.shape[3]), torch.nan, dtype=query.dtype),
        lse=torch.full(query.shape[:3], torch.nan, dtype=exact),
        batch=query.shape[0],
        q_len=query.shape[2],
        k_len=key.shape[2],
        offset=options.offset,
        scale=options.scale,
        ragged=options.ragged,
        parameters=options.parameters,
        tables=options.tables,
        narrow=options.narrow,
    )


def attend(kernel: Kernel, tensors: tuple[Tensor, Tensor, Tensor], options: Options | None = None) -> tuple[Tensor, Tensor]:
    call = call_of(tensors, options)
    launch(kernel, call)
    assert call.lse is not None
    return call.out, call.lse


def scored(score: str, parameters: str = "", mask: str = "k <= q") -> str:
    head = f"; {parameters}" if parameters else ""
    return f"program @scored(q < Lq, k < Lk{head}) {{\n  mask = {mask}\n  score = {score}\n  normalise = softmax\n}}"


def every_tile(mask: Expr, *pieces: Piece, full: tuple[Piece, ...] = (), block: tuple[int, int] = (32, 16)) -> Schedule:
    """A schedule that is given: all key tiles of a sequence as one partial piece, or `pieces`."""
    all_keys = Binary(Op.FLOORDIV, Binary(Op.ADD, Symbol("Lk"), Const(block[1] - 1)), Const(block[1]))
    pieces = pieces or (Piece(Const(0), all_keys),)
    return Schedule(Program("given", mask), *block, pieces, full, full, pieces)


class Operations(TorchDispatchMode):
    """Names of the operations of torch that run."""

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]  (torch's signature)
        self.met: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:  # noqa: ANN401
        self.met.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))
