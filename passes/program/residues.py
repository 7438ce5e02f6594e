"""Residue classes: where every pair a mask lets through is a multiple of `d` apart, attention is `d` problems that share nothing.

    (q - k) % 4 == 0 and k <= q and q - k < 1024

lets the queries 4 m + c see the keys 4 n + c with n <= m and m - n < 256 alone, for each c of 0, 1, 2, 3. Each class is an ordinary problem
on every fourth token, which tensors with four times the stride hold without a copy: no tile of it is more empty than the window makes it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ...ir.combine import free_name
from ...ir.expr import K_LEN, OFFSET, Q_LEN, TRUE, Binary, Const, Expr, K, Op, Q, Symbol, conjuncts, substitute, walk
from ...ir.program import Program
from .abstraction import linear_form, powers_rewritten
from .binding import symbol_values, symbols_needed
from .call_values import Launch
from .canonicalise import simplified, with_values
from .flatten_grid import FlattenGrid

LEAST_TOKENS = 64  # of a class, on either side: shorter ones would leave tiles half empty


@dataclass(frozen=True)
class Residues:
    """How a program falls apart.

    modulus, remainder: every pair that the mask lets through has `(q - k) % modulus == remainder`; modulus is at least 2.
    program:  of one class, over rows and keys counted within it: `q` stands for `modulus * q + row_class`, `k` likewise.
    row_class, key_class: parameters of `program`, any integers that keep the remainder.
    lengths:  parameters of `program` that stand for the lengths of the whole, where its mask or score reads them.
    """

    modulus: int
    remainder: int
    program: Program
    row_class: Symbol
    key_class: Symbol
    lengths: Mapping[Expr, Symbol]

    def pay(self, q_len: int, k_len: int) -> bool:
        """Whether the classes of these lengths are long enough to be better than the whole."""
        return min(q_len, k_len) >= self.modulus * LEAST_TOKENS

    def classes(self, q_len: int, k_len: int, offset: int) -> Iterator[tuple[int, int, dict[str, int]]]:
        """Each class of a call: its first row, its first key, and its parameters beside those of the whole. It has offset 0."""
        lengths: dict[Expr, int] = {Q_LEN: q_len, K_LEN: k_len}
        whole = {symbol.name: lengths[length] for length, symbol in self.lengths.items()}
        for row in range(self.modulus):
            position = row + offset
            key = (position - self.remainder) % self.modulus
            yield row, key, {**whole, self.row_class.name: position, self.key_class.name: key}


def residues(program: Program, launch: Launch | None = None) -> Residues | None:
    """The residue classes of a program, by the largest modulus in its mask; None where there are none.

    Raises:
        NeedsValues: a symbol divides or multiplies a position, and there is no launch.
    """
    return _residues(program, symbol_values(program, launch))


@functools.lru_cache(maxsize=1024)
def _residues(program: Program, values: tuple[tuple[Symbol, int], ...]) -> Residues | None:
    """values: of the symbols that must be bound; the program of a class holds for these alone."""
    flat = with_values(FlattenGrid()(program), {symbol: Const(value) for symbol, value in values})
    mask = simplified(powers_rewritten(flat.mask))
    found = max(((*each, part) for part in conjuncts(mask) for each in congruences(part)), key=lambda each: each[0], default=None)
    read = {node for node in walk(mask, flat.score) if node in (Q_LEN, K_LEN, OFFSET)}
    if found is None or OFFSET in read:
        return None
    modulus, remainder, part = found
    taken = {entry.name for entry in (*program.parameters, *program.tables)}
    row_class, key_class = (Symbol(free_name(name, taken)) for name in ("row_class", "key_class"))
    named = {Q_LEN: "all_rows", K_LEN: "all_keys"}
    lengths: dict[Expr, Symbol] = {length: Symbol(free_name(name, taken)) for length, name in named.items() if length in read}
    places = {side: Binary(Op.ADD, Binary(Op.MUL, side, Const(modulus)), of) for side, of in ((Q, row_class), (K, key_class))}
    parameters = (*flat.parameters, row_class, key_class, *lengths.values())
    within = replace(flat, mask=simplified(substitute(mask, {part: TRUE})), parameters=parameters).substituted({**places, **lengths})
    if not {row_class, key_class, *lengths.values()}.isdisjoint(symbols_needed(within)):
        return None  # each class of each length would be a kernel of its own
    return Residues(modulus, remainder, within, row_class, key_class, lengths)


def congruences(part: Expr) -> Iterator[tuple[int, int]]:
    """(modulus, remainder) of `q - k` where `part` says what they are, as `a % d == r` or `a % d == b % d`."""
    match part:
        case Binary(op=Op.EQ, a=Binary(op=Op.MOD, a=a, b=Const(value=int(d))), b=Binary(op=Op.MOD, a=b, b=Const(value=int(e)))) if d == e:
            yield from _solved(Binary(Op.SUB, a, b), d, 0)
        case Binary(op=Op.EQ, a=Binary(op=Op.MOD, a=a, b=Const(value=int(d))), b=Const(value=int(r))):
            yield from _solved(a, d, r)
        case Binary(op=Op.EQ, a=Const(value=int(r)), b=Binary(op=Op.MOD, a=a, b=Const(value=int(d)))):
            yield from _solved(a, d, r)
        case _:
            pass


def _solved(difference: Expr, modulus: int, remainder: int) -> Iterator[tuple[int, int]]:
    """What `q - k` is modulo `modulus` where `difference` is `remainder` modulo it: the coefficients of q and k must be opposite units."""
    form = linear_form(difference)
    if form is None or modulus < 2 or not 0 <= remainder < modulus or set(form) - {Q, K, None}:
        return
    along_q, along_k = form.get(Q, 0) % modulus, form.get(K, 0) % modulus
    if (along_q + along_k) % modulus or along_q not in (1, modulus - 1):
        return
    rest = (remainder - form.get(None, 0)) % modulus
    yield modulus, rest if along_q == 1 else -rest % modulus
