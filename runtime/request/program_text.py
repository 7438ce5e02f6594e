"""The arguments of an operator read back: the program that a text writes, and the values of its parameters and tables."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from torch import Tensor

from ...ir.advice import advice
from ...ir.expr import Kind, Lookup, names, walk
from ...ir.order_text import parted, tokens_table
from ...ir.parse import parse_program
from ...ir.program import Program
from ...ir.segments import Segments
from ...ir.verify import verify
from .materialise import DTYPES


@functools.lru_cache(maxsize=1024)
def program_of(text: str) -> Program:
    """The program that `text` writes, seen to keep the rules of the language. An order that comes after it is no part of it.

    Raises:
        InvalidProgram: it does not.
    """
    program = parse_program(parted(text)[0])
    verify(program)
    return program


@functools.lru_cache(maxsize=1024)
def reads_positions(text: str) -> bool:
    """Whether checks of a program ask where its rows and keys are: it reads tables at positions, or lies on a grid."""
    program = program_of(text)
    looked_up = (node for node in walk(program.mask, program.score) if isinstance(node, Lookup))
    return program.space.is_bound or any({"q", "k"} & names(index) for look in looked_up for index in look.indices)


def bindings_of(program: Program, tables: Sequence[Tensor], integers: Sequence[int], reals: Sequence[float]) -> dict[str, object]:
    """The value of every parameter and table of `program`, from those of its description.

    Raises:
        TypeError: a table has another dtype or rank than the program was made for.
    """
    whole, real = iter(integers), iter(reals)
    bindings: dict[str, object] = {symbol.name: next(real if symbol.kind is Kind.FLOAT else whole) for symbol in program.parameters}
    declared = (*program.tables, *map(tokens_table, range(len(tables) - len(program.tables))))  # of orders
    for table, tensor in zip(declared, tables, strict=True):
        tensor = tensor.reshape(1) if tensor.dim() == 0 else tensor  # a table of one entry
        if not table.monotone and (DTYPES[table.dtype] is not tensor.dtype or tensor.dim() != table.rank):
            raise TypeError(
                advice(
                    f"table `{table.name}` is {tensor.dtype} with shape {tuple(tensor.shape)}, and was {DTYPES[table.dtype]} with "
                    f"{table.rank} axes when the program was made",
                    f"`pattern({table.name}=...)` or `score({table.name}=...)` anew",
                )
            )
        bindings[table.name] = Segments(tensor) if table.monotone else tensor
    return bindings
