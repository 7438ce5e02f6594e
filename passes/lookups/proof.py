"""What integer sets prove of a look-up: for which lengths, parameters and table sizes a pair that counts reads outside.

A proof is text beside a kernel, so that a warm start need not make it again, and a condition: every call evaluates it at its own values.
Its symbols have names of their own, whatever a program calls its parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...ir.expr import B, Binary, Expr, Kind, Op, Symbol, names, walk
from ...ir.expr_text import show
from ...ir.parse_expression import parse_expression
from ...ir.program import Program
from ..program.evaluate import evaluate
from .guards import hazards, size_of

HEADS = Symbol("heads")


class Proof(NamedTuple):
    """Of one place where a table is read.

    where:  truth value over `Lq`, `Lk`, `offset`, `b` and the symbols of `symbols_of`: where it is false, nothing that counts is outside.
    opaque: integers that no formula holds; `where` reads their least and greatest values as `low0`, `high0`, `low1`, ...
    """

    where: Expr
    opaque: tuple[Expr, ...] = ()

    def told(self) -> dict[str, Any]:
        """JSON that `proof_of` reads."""
        return {"where": show(self.where), "opaque": [show(each) for each in self.opaque]}

    def violated(self, values: Mapping[Expr, np.ndarray]) -> np.ndarray:
        """bool[items]: where something that counts may be outside.

        values: i64[items] of every symbol, of the ends of what is opaque, and of `b`.
        """
        exact = {name: np.asarray(value).astype(object) for name, value in values.items()}  # sums of sizes and offsets pass 64 bits
        return np.broadcast_to(np.asarray(evaluate(self.where, exact), bool), np.shape(values[B]))


Proofs = Sequence[Proof | None]
"""Of every hazard of a program, in their order; None where the sets took too long."""


def symbols_of(program: Program) -> dict[Symbol, Symbol]:
    """What proofs call table sizes and parameters."""
    sizes = {size_of(table, axis): Symbol(f"size{n}_{axis}") for n, table in enumerate(program.tables) for axis in range(table.rank)}
    return sizes | {symbol: Symbol(f"p{n}") for n, symbol in enumerate(program.parameters) if symbol.kind is Kind.INT}


def ends_of(number: int) -> tuple[Symbol, Symbol]:
    """The least and the greatest value of an opaque integer."""
    return Symbol(f"low{number}"), Symbol(f"high{number}")


def proof_of(said: Mapping[str, Any], program: Program) -> Proof:
    """What `Proof.told` wrote of a place in `program`.

    Raises:
        InvalidProgram, KeyError, TypeError, AttributeError: it wrote something else.
    """
    opaque = tuple(parse_expression(each, program.parameters, program.tables) for each in said["opaque"])
    known = (HEADS, *symbols_of(program).values(), *_ends(len(opaque)))
    return Proof(parse_expression(said["where"], known), opaque)


def _ends(count: int) -> Iterator[Symbol]:
    for number in range(count):
        yield from ends_of(number)


@functools.lru_cache(maxsize=256)
def symbols_bound(program: Program) -> tuple[Symbol, ...]:
    """Symbols that divide or multiply what differs from pair to pair: their values are part of the proofs."""
    from ..program.abstraction import allows  # few look-ups need a proof

    found: set[Symbol] = set()
    for node in walk(*(hazard.condition for hazard in hazards(program))):
        if isinstance(node, Binary) and not allows(node) and node.kind is Kind.INT and names(node):
            factors = (node.a, node.b) if node.op is Op.MUL else (node.b,)
            found.update(leaf for factor in factors if not names(factor) for leaf in walk(factor) if isinstance(leaf, Symbol))
    return tuple(symbol for symbol in program.parameters if symbol in found and symbol.kind is Kind.INT)
