"""The first noun: which pairs (q, k) are attended, and what becomes of their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .expr import Expr, S, Symbol, Table, substitute
from .space import Space

__all__ = ["InvalidProgram", "Program", "Space"]  # spaces are part of the noun, in a file of their own


class InvalidProgram(ValueError):
    """A program, or its text, that breaks a rule of the language. The message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Program:
    """Attention over one (batch item, head): `mask` says which pairs count, `score` what their weight is made of.

    mask:       truth value over `q`, `k`, `b`, `h`, parameters and tables. `h` is the query head.
    score:      real over `s` (scale * query . key) and the same names; `s` itself when scores are left alone.
    parameters: declared symbols, in the order they are passed. `Lq`, `Lk`, `offset` are known to every program and never declared.
    tables:     declared tables, in the order they are passed.
    """

    name: str
    mask: Expr
    score: Expr = S
    parameters: tuple[Symbol, ...] = ()
    tables: tuple[Table, ...] = ()
    space: Space = field(default_factory=Space)
    normalise: str = "softmax"

    def __str__(self) -> str:
        from .text import show_program  # the printer needs the nouns, the nouns need it only when read by a person

        return show_program(self)

    def substituted(self, replacement: Mapping[Expr, Expr]) -> Program:
        """The same program with nodes of mask and score replaced: slices, offsets, shards."""
        return replace(self, mask=substitute(self.mask, replacement), score=substitute(self.score, replacement))
