"""Expressions from text: operator precedence on two stacks, so nesting is bounded by memory and not by Python's stack."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from .expr import K_LEN, OFFSET, Q_LEN, Binary, Const, Expr, Lookup, Op, Select, Symbol, Table, Unary, Var
from .expr_text import COMPARE, INFIX, NOT, POWER, SIGN
from .tokens import Cursor, Token

_VARIABLE = re.compile(r"[qkbhsij]|[qk][0-9]+")
_LITERALS: dict[str, int | bool | float] = {"true": True, "false": False, "inf": math.inf, "nan": math.nan}
_INFIX = {op.value: op for op in INFIX}
_SWAPPED = {">": Op.LT, ">=": Op.LE}  # `a > b` is `b < a`
_FUNCTIONS = {op.value: op for op in Op if op not in INFIX and op not in (Op.NOT, Op.NEG)}
_PAIRS = frozenset({Op.MIN, Op.MAX})
FUNCTION_NAMES = frozenset({*_FUNCTIONS, "where"})


class Scope(NamedTuple):
    """What names mean, beyond the variables and the symbols that every program knows."""

    symbols: dict[str, Symbol]
    tables: dict[str, Table]

    @staticmethod
    def of(symbols: Iterable[Symbol] = (), tables: Iterable[Table] = ()) -> Scope:
        implicit = {symbol.name: symbol for symbol in (Q_LEN, K_LEN, OFFSET)}
        return Scope(implicit | {symbol.name: symbol for symbol in symbols}, {table.name: table for table in tables})


@dataclass(slots=True)
class _Pending:
    """An operator that waits for its right side (`binds` > 0), or an open bracket (0).

    closed_by, table, base: of a bracket: its end, what it indexes, how many operands stood before it.
    """

    token: Token
    binds: int
    closed_by: str = ""
    table: Table | None = None
    base: int = 0


@dataclass(slots=True)
class _Reader:
    cursor: Cursor
    scope: Scope
    operands: list[Expr] = field(default_factory=list[Expr])
    pending: list[_Pending] = field(default_factory=list[_Pending])

    def read(self) -> Expr:
        """The longest expression that starts here."""
        while True:
            while not self._operand():
                pass
            while self._closing():
                pass
            if not self._operator():
                break
        self._reduce(1)
        if self.pending:
            self.cursor.refuse(f"expected `{self.pending[-1].closed_by}`, found `{self.cursor.token.text}`")
        return self.operands.pop()

    # -- where a value is expected: each step is true once a whole value has been read

    def _operand(self) -> bool:
        cursor = self.cursor
        if cursor.token.kind == "number" or cursor.at(*_LITERALS):
            self.operands.append(Const(self._number()))
            return True
        if cursor.at("-"):
            return self._minus()
        if cursor.at("not"):
            return self._not()
        if cursor.at("("):
            return self._open(cursor.advance(), ")")
        if cursor.token.kind == "name":
            return self._name()
        cursor.refuse(f"expected a value, found `{cursor.token.text}`")

    def _number(self) -> int | bool | float:
        token = self.cursor.advance()
        if token.text in _LITERALS:
            return _LITERALS[token.text]
        if token.text.isdigit():
            return int(token.text)
        value = float(token.text)
        if math.isinf(value):
            self.cursor.refuse(f"`{token.text}` is too large; write `inf`", token)
        return value

    def _minus(self) -> bool:
        """`-3` is one constant; but `-3 ** 2` is the negation of `3 ** 2`."""
        token = self.cursor.advance()
        literal = self.cursor.token.kind == "number" or self.cursor.at("inf")
        after = self.cursor.ahead(1)
        if literal and not (after.kind == "sign" and after.text == "**"):
            self.operands.append(Const(-self._number()))
            return True
        self.pending.append(_Pending(token, SIGN))
        return False

    def _not(self) -> bool:
        token = self.cursor.advance()
        if self.pending and self.pending[-1].binds > NOT:
            self.cursor.refuse("`not` binds more loosely than what stands before it; write `(not ...)`", token)
        self.pending.append(_Pending(token, NOT))
        return False

    def _open(self, token: Token, closed_by: str, table: Table | None = None) -> bool:
        self.pending.append(_Pending(token, 0, closed_by, table, len(self.operands)))
        if table is not None and self.cursor.at(closed_by):
            return self._closing()
        return False

    def _name(self) -> bool:
        token = self.cursor.advance()
        if self.cursor.at("["):
            self.cursor.advance()
            table = self.scope.tables.get(token.text)
            if table is None:
                self.cursor.refuse(f"no table `{token.text}` is declared", token)
            return self._open(token, "]", table)
        if self.cursor.at("(") and token.text in FUNCTION_NAMES:
            self.cursor.advance()
            return self._open(token, ")")
        symbol = self.scope.symbols.get(token.text)
        if symbol is None and not _VARIABLE.fullmatch(token.text):
            self.cursor.refuse(f"unknown name `{token.text}`; declare it after the `;` of the program", token)
        self.operands.append(symbol or Var(token.text))
        return True

    # -- after a value

    def _operator(self) -> bool:
        """Step over an operator or a comma; false at the end of the expression."""
        token = self.cursor.token
        if token.text == "," and self._separates():
            self.cursor.advance()
            return True
        op = _INFIX.get(token.text) or _SWAPPED.get(token.text)
        if op is None or token.kind not in ("sign", "name"):
            return False
        self.cursor.advance()
        binds = INFIX[op]
        self._reduce(binds + (binds in (COMPARE, POWER)))
        if binds == COMPARE and self.pending and self.pending[-1].binds == COMPARE:
            self.cursor.refuse("comparisons do not chain; write `a < b and b < c`", token)
        self.pending.append(_Pending(token, binds))
        return True

    def _separates(self) -> bool:
        self._reduce(1)
        return bool(self.pending) and (self.pending[-1].table is not None or self.pending[-1].token.kind == "name")

    def _closing(self) -> bool:
        """Close the innermost bracket if it ends here."""
        if not self.cursor.at(")", "]"):
            return False
        self._reduce(1)
        if not self.pending:
            return False
        bracket = self.pending.pop()
        if not self.cursor.at(bracket.closed_by):
            self.cursor.refuse(f"expected `{bracket.closed_by}`, found `{self.cursor.token.text}`")
        self.cursor.advance()
        inside = tuple(self.operands[bracket.base :])
        del self.operands[bracket.base :]
        self.operands.append(self._bracketed(bracket, inside))
        return True

    def _bracketed(self, bracket: _Pending, inside: tuple[Expr, ...]) -> Expr:
        name = bracket.token.text
        if bracket.table is not None:
            return self._made(bracket.token, Lookup, bracket.table, inside)
        if name == "(":
            return inside[0]
        if name == "where":
            return self._made(bracket.token, Select, *self._counted(bracket, inside, 3))
        op = _FUNCTIONS[name]
        if op in _PAIRS:
            return self._made(bracket.token, Binary, op, *self._counted(bracket, inside, 2))
        return self._made(bracket.token, Unary, op, *self._counted(bracket, inside, 1))

    def _counted(self, bracket: _Pending, inside: tuple[Expr, ...], count: int) -> tuple[Expr, ...]:
        if len(inside) != count:
            self.cursor.refuse(f"`{bracket.token.text}` takes {count} values, found {len(inside)}", bracket.token)
        return inside

    def _reduce(self, binds: int) -> None:
        """Apply pending operators that bind at least as tightly, up to the innermost open bracket."""
        while self.pending and self.pending[-1].binds >= binds:
            operator = self.pending.pop()
            right = self.operands.pop()
            if operator.token.text == "not" or operator.binds == SIGN:
                op = Op.NOT if operator.token.text == "not" else Op.NEG
                self.operands.append(self._made(operator.token, Unary, op, right))
                continue
            left = self.operands.pop()
            if operator.token.text in _SWAPPED:
                left, right = right, left
            op = _SWAPPED.get(operator.token.text) or _INFIX[operator.token.text]
            self.operands.append(self._made(operator.token, Binary, op, left, right))

    def _made(self, token: Token, node: type[Expr], *arguments: object) -> Expr:
        try:
            return node(*arguments)
        except TypeError as error:
            self.cursor.refuse(str(error), token)


def read_expression(cursor: Cursor, scope: Scope) -> Expr:
    """The expression at the cursor, which is left behind its last word."""
    return _Reader(cursor, scope).read()


def parse_expression(text: str, symbols: Iterable[Symbol] = (), tables: Iterable[Table] = ()) -> Expr:
    """The expression that `text` writes. `q k b h s i j`, `q0 k0 q1 ...`, `Lq`, `Lk`, `offset` are known.

    >>> parse_expression("k <= q and q - k < W", symbols=[Symbol("W")])
    k <= q and q - k < W

    Raises:
        InvalidProgram: with line and column, whatever is wrong with the text.
    """
    cursor = Cursor(text)
    expr = read_expression(cursor, Scope.of(symbols, tables))
    if cursor.token.kind != "end":
        cursor.refuse(f"expected an operator, found `{cursor.token.text}`")
    return expr
