"""Operators: a `Traced` value builds the expression that the same Python would compute.

Users' functions run once, on `Traced` positions. Wherever Python would need a number (a loop, an `if`, an `int()`) there is none, and the
error says what to write instead.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import NoReturn, Protocol, TypeGuard, cast

from . import build
from .build import quoted, refusal
from .expr import Const, Expr, Kind, Lookup, Op, Table
from .foreign_functions import NUMPYS_OPERATORS, foreign, unwrapped


class TensorLike(Protocol):
    """What is known of a tensor here: torch's and numpy's both have it."""

    @property
    def dtype(self) -> object: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def is_tensor(value: object) -> TypeGuard[TensorLike]:
    """As `isinstance(value, TensorLike)` would, which torch's compiler cannot trace for tensors."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


class NoNumber(TypeError):
    """Python wants a number, and an expression stands for one of every (q, k)."""

    @staticmethod
    def refused(what: str, write: str) -> NoNumber:
        return NoNumber(str(refusal(what, write)))


deciding: ContextVar[Callable[[Traced], bool] | None] = ContextVar("deciding", default=None)
"""How a test of an expression comes out, while a function without source is run for every outcome."""


class Unassigned:
    """A local variable of a traced function that has no value on some path."""

    def __init__(self, name: str, where: str) -> None:
        self.name = name
        self.where = where

    def __repr__(self) -> str:
        return f"`{self.name}`, which is assigned {self.where},"


def lifted(value: object) -> Expr:
    """The expression that `value` is: a traced one, or a constant."""
    if isinstance(value, Traced):
        return value.expr
    if isinstance(value, bool):
        return Const(value)
    if isinstance(value, numbers.Integral):
        return Const(int(value))
    if isinstance(value, numbers.Real):
        return Const(float(value))
    if isinstance(value, Unassigned):
        raise refusal(f"{value!r} is used", "an `else` that assigns it, or a value before the `if`")
    if isinstance(value, TracedTable):
        raise refusal(f"the table `{value.table.name}` is used as a number", f"which of its entries is meant: `{value.table.name}[q]`")
    if is_tensor(value):
        raise refusal(f"a tensor of shape {tuple(value.shape)} meets an index directly", _TENSOR_FIX)
    if isinstance(value, tuple):
        raise refusal(f"the coordinates {value!r} are used as a number", "one of them, such as `q[0]`")
    raise refusal(f"{value!r} cannot be part of an expression", "integers or truth values, and in scores reals")


_TENSOR_FIX = "a tensor as a keyword-only parameter, bind it by name, and look it up: `def f(q, k, *, table): ... table[q]`"


def _refuse_tensors(given: Iterable[object]) -> None:
    for each in given:
        if is_tensor(each) and not isinstance(each, numbers.Number):
            lifted(each)


def _refuse_index(index: object) -> None:
    for each in cast("tuple[object, ...]", index if isinstance(index, tuple) else (index,)):
        if isinstance(each, Traced):
            each.__index__()


_Operator = Callable[["Traced", object], "Traced"]


def _left(make: Callable[[Expr, Expr], Expr]) -> _Operator:
    return lambda self, other: Traced(make(self.expr, lifted(other)))


def _right(make: Callable[[Expr, Expr], Expr]) -> _Operator:
    return lambda self, other: Traced(make(lifted(other), self.expr))


def _of(op: Op) -> Callable[[Expr, Expr], Expr]:
    return lambda a, b: build.binary(op, a, b)


class Traced:
    """A value that stands for every (q, k) at once."""

    __slots__ = ("expr",)

    def __init__(self, expr: Expr) -> None:
        self.expr = expr

    def __repr__(self) -> str:
        return quoted(self.expr)

    __add__, __radd__ = _left(_of(Op.ADD)), _right(_of(Op.ADD))
    __sub__, __rsub__ = _left(_of(Op.SUB)), _right(_of(Op.SUB))
    __mul__, __rmul__ = _left(_of(Op.MUL)), _right(_of(Op.MUL))
    __truediv__, __rtruediv__ = _left(_of(Op.DIV)), _right(_of(Op.DIV))
    __floordiv__, __rfloordiv__ = _left(_of(Op.FLOORDIV)), _right(_of(Op.FLOORDIV))
    __mod__, __rmod__ = _left(_of(Op.MOD)), _right(_of(Op.MOD))
    __pow__, __rpow__ = _left(build.power), _right(build.power)
    __and__, __rand__ = _left(_of(Op.BITAND)), _right(_of(Op.BITAND))
    __or__, __ror__ = _left(_of(Op.BITOR)), _right(_of(Op.BITOR))
    __xor__, __rxor__ = _left(_of(Op.BITXOR)), _right(_of(Op.BITXOR))
    __lshift__, __rlshift__ = _left(_of(Op.SHL)), _right(_of(Op.SHL))
    __rshift__, __rrshift__ = _left(_of(Op.SHR)), _right(_of(Op.SHR))
    __lt__, __gt__ = _left(_of(Op.LT)), _right(_of(Op.LT))
    __le__, __ge__ = _left(_of(Op.LE)), _right(_of(Op.LE))

    def __eq__(self, other: object) -> Traced:  # pyright: ignore[reportIncompatibleMethodOverride] (builds an expression)
        return Traced(build.binary(Op.EQ, self.expr, lifted(other)))

    def __ne__(self, other: object) -> Traced:  # pyright: ignore[reportIncompatibleMethodOverride] (builds an expression)
        return Traced(build.binary(Op.NE, self.expr, lifted(other)))

    def __hash__(self) -> int:
        raise refusal(f"the expression `{self}` cannot be a dictionary key or a member of a set", "a table, bound as a tensor: `table[q]`")

    @classmethod
    def __torch_function__(cls, function: object, types: object, args: tuple[object, ...] = (), kwargs: object = None) -> NoReturn:
        """Torch's functions come here, and its tensors before an operator or an index."""
        name = str(getattr(function, "__name__", function))
        if name in ("__getitem__", "__setitem__"):
            _refuse_index(args[1])
        _refuse_tensors(args)
        raise foreign("torch", name)

    def __array_function__(self, function: object, types: object, args: object, kwargs: object) -> NoReturn:
        """Numpy's functions come here, but for those of numbers alone."""
        raise foreign("numpy", str(getattr(function, "__name__", function)))

    def __array_ufunc__(self, function: object, method: str, *inputs: object, **options: object) -> object:
        """Numpy's functions of numbers come here, and its numbers before an operator."""
        name = str(getattr(function, "__name__", function))
        given = [unwrapped(each) for each in inputs]
        _refuse_tensors(given)
        if name not in NUMPYS_OPERATORS or len(given) != 2:
            raise foreign("numpy", name)
        return NUMPYS_OPERATORS[name](Traced(lifted(given[0])), given[1])

    def __divmod__(self, other: object) -> tuple[Traced, Traced]:
        return self // other, self % other

    def __neg__(self) -> Traced:
        return Traced(build.unary(Op.NEG, self.expr))

    def __pos__(self) -> Traced:
        return self

    def __abs__(self) -> Traced:
        return Traced(build.unary(Op.ABS, self.expr))

    def __invert__(self) -> Traced:
        return Traced(build.inverted(self.expr))

    # -- where Python wants a number: typed as if there were one, so that what is rewritten type-checks

    def __bool__(self) -> bool:
        decide = deciding.get()
        if decide is not None:
            return decide(self)
        raise NoNumber.refused(
            f"the expression `{self}` has no truth value: it stands for every (q, k) at once",
            "`&`, `|`, `~` instead of `and`, `or`, `not`; `(a <= x) & (x <= b)` instead of `a <= x <= b`; "
            "`lacuna.where(condition, a, b)` instead of `if`, a condition on `k` instead of `while`; "
            "`lacuna.minimum`, `lacuna.maximum` instead of `min`, `max`",
        )

    def __index__(self) -> int:
        raise NoNumber.refused(
            f"the expression `{self}` is no single integer: it cannot count a `range`, index a list or a captured tensor",
            f"a condition on `k` instead of a loop; for a number that is part of the program bind a tuple, `sizes=(4,)`; {_TENSOR_FIX}",
        )

    def __int__(self) -> int:
        raise NoNumber.refused(
            f"`int()` of the expression `{self}`, which already is one for every (q, k)", "the expression itself, or `//` to round down"
        )

    def __float__(self) -> float:
        raise NoNumber.refused(
            f"`float()` of the expression `{self}`, which is no single number",
            "integers in a mask; in a score the expression itself, and `lacuna.exp`, `lacuna.sqrt` ... instead of `math.exp`, `math.sqrt`",
        )

    def __len__(self) -> int:
        raise NoNumber.refused(
            f"`len()` of the expression `{self}`, which is one number",
            f"`lacuna.q_len`, `lacuna.kv_len` for lengths; {_TENSOR_FIX}",
        )

    def __iter__(self) -> Iterator[Traced]:
        raise NoNumber.refused(
            f"a loop over the expression `{self}`, which is one number",
            "a condition on `k` instead; on a grid `@lacuna.pattern(rank=2)` makes `q` and `k` tuples of coordinates",
        )

    def __getitem__(self, index: object) -> Traced:
        raise refusal(
            f"`{self}[...]`: the expression is one number",
            "`@lacuna.pattern(rank=2)` for coordinates; a tensor is a keyword-only parameter",
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)  # protocols are asked for, not used
        raise AttributeError(
            f"an expression has no attribute `{name}`: `{self}` is {_SORTS[self.expr.kind]}, not a tensor\n"
            "  write operators `+ - * // % ** min max abs & | ^ << >>` and comparisons, `lacuna.where`, `lacuna.minimum` ..."
        )


_SORTS = {Kind.INT: "an integer index", Kind.BOOL: "a condition", Kind.FLOAT: "a real"}


class TracedTable:
    """A tensor parameter inside a traced function: it can be looked up, and nothing else."""

    __slots__ = ("table",)

    def __init__(self, table: Table) -> None:
        self.table = table

    def __repr__(self) -> str:
        return f"{self.table.name}[{', '.join('*' * self.table.rank)}]"

    def __getitem__(self, index: object) -> Traced:
        indices = tuple(lifted(each) for each in _indices(self.table, index))
        if len(indices) != self.table.rank:
            letters = ", ".join("qkbh"[axis % 4] for axis in range(self.table.rank))
            raise refusal(
                f"the table `{self.table.name}` has rank {self.table.rank} and is read with {len(indices)} "
                f"{'index' if len(indices) == 1 else 'indices'}",
                f"`{self.table.name}[{letters}]`",
            )
        for each in indices:
            if each.kind is not Kind.INT:
                raise refusal(f"`{self.table.name}` is read at `{quoted(each)}`, which is no integer", "an integer index")
            if isinstance(each, Const) and each.value < 0:
                raise refusal(f"`{self.table.name}` is read at {each.value}; negative indices do not wrap", "the index from the front")
        return Traced(Lookup(self.table, indices))

    def __iter__(self) -> Iterator[Traced]:
        raise refusal(f"a loop over the table `{self.table.name}`, whose size is not known", f"a look-up, `{self.table.name}[q]`")

    def __bool__(self) -> bool:
        raise refusal(
            f"the truth value of the table `{self.table.name}`", f"a look-up, `{self.table.name}[q]`, or `is None` for a parameter left out"
        )

    def __len__(self) -> int:
        raise refusal(f"the size of the table `{self.table.name}`, which is not part of the program", "the size as a parameter of its own")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"the table `{self.table.name}` has no attribute `{name}`: the program knows its name, type and rank only\n"
            f"  write a look-up, `{self.table.name}[q]`; bind sizes as parameters and compute tensors before binding them"
        )


def _indices(table: Table, index: object) -> tuple[object, ...]:
    indices = cast(tuple[object, ...], index if isinstance(index, tuple) else (index,))
    if any(each is None or each is Ellipsis or isinstance(each, slice) for each in indices):
        raise refusal(f"a slice of the table `{table.name}`", "one index per axis; slice the tensor before binding it")
    return indices
