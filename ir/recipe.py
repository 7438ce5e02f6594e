"""How a program comes about: traced from a function or given; `combined` and `moved` ones are in their own file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn, Protocol, SupportsIndex, cast, overload

from .binding import declaration, form, is_scalar, met_as
from .build import as_real, quoted, refusal
from .expr import ONE, TRUE, ZERO, Const, Expr, Kind, Lookup, S, Select, Symbol, Table, Var, walk
from .program import InvalidProgram, Program, Space
from .read_source import rewritten
from .reads import Reads
from .trace import NoNumber, Traced, TracedTable, lifted
from .verify import verify

_REMEMBERED = 256  # programs per function; values that are part of the text are few


class Recipe(Protocol):
    """name: an identifier; label: as a person writes it, in parentheses where it needs them; rank: 1 for flat positions."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def rank(self) -> int: ...
    @property
    def state(self) -> tuple[object, ...]:
        """What functions read beside their parameters, as it is now. Hashable."""
        ...

    def trace(self, values: Mapping[str, object], space: Space) -> Program: ...


class Coordinates(tuple[Traced, ...]):
    """The coordinates of a position on a grid, outermost first; `extents` are the tokens along each axis, once bound."""

    sizes: tuple[Expr | None, ...]

    @property
    def extents(self) -> tuple[int | Traced, ...]:
        """Numbers, and values that only a call knows."""
        if not self.sizes:
            raise refusal("the extents of the grid are read before they are bound", "`pattern.on(rows, columns)` first")
        if self.sizes[0] is None:
            raise refusal("the outermost extent of the queries' own grid is read, which no call tells", "a number for it")
        return tuple(int(size.value) if isinstance(size, Const) else Traced(size) for size in self.sizes if size is not None)

    @overload
    def __getitem__(self, axis: SupportsIndex, /) -> Traced: ...
    @overload
    def __getitem__(self, axis: slice[int | None, int | None, int | None], /) -> tuple[Traced, ...]: ...
    def __getitem__(  # pyright: ignore[reportIncompatibleMethodOverride] (the stubs name no keyword)
        self, axis: SupportsIndex | slice[int | None, int | None, int | None], /
    ) -> Traced | tuple[Traced, ...]:
        try:
            return super().__getitem__(axis)
        except (IndexError, TypeError):
            raise refusal(f"coordinate [{axis!r}] of a position on a grid of rank {len(self)} is read", self._by_axis) from None

    def _whole(self, other: object) -> NoReturn:
        """Operators on all coordinates at once: python would compare tuples by their first entry that differs, or join them."""
        raise refusal(f"a position on a grid of rank {len(self)} is used as a number", self._by_axis)

    @property
    def _by_axis(self) -> str:
        return f"one of its coordinates, `q[0]` to `q[{len(self) - 1}]`"

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __add__ = __radd__ = __sub__ = __rsub__ = _whole
    __mul__ = __rmul__ = __floordiv__ = __mod__ = __and__ = __or__ = __xor__ = _whole

    def __hash__(self) -> int:
        return id(self)


def positions(side: str, space: Space) -> Traced | Coordinates:
    """What a traced function gets for `q` or `k`."""
    coordinates = tuple(Traced(variable) for variable in space.coordinates(side))
    if space.rank == 1:
        return coordinates[0]
    found = Coordinates(coordinates)
    found.sizes = space.sizes(side)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class FromFunction:
    """A user's function, run once per form of its values: numbers stay symbols, so a new window is the same program.

    takes: the names of its positional parameters, in order.
    """

    function: Callable[..., object]
    name: str
    rank: int
    takes: tuple[str, ...]
    is_score: bool
    programs: dict[object, Program] = field(default_factory=dict[object, Program], init=False, repr=False)
    reads: Reads = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads", Reads(self.function))

    @property
    def label(self) -> str:
        return self.name

    @property
    def state(self) -> tuple[object, ...]:
        return self.reads.state()

    def trace(self, values: Mapping[str, object], space: Space) -> Program:
        key = (form(values), space, self.state)
        if key not in self.programs:
            if len(self.programs) >= _REMEMBERED:
                self.programs.clear()
            self.programs[key] = self._traced(values, space)
        return self.programs[key]

    def _traced(self, values: Mapping[str, object], space: Space) -> Program:
        sides = {"q": positions("q", space), "k": positions("k", space), "b": Traced(Var("b")), "h": Traced(Var("h")), "s": Traced(S)}
        given = {name: met_as(name, value) for name, value in values.items()}
        try:
            result = _run(self.function, tuple(sides[name] for name in self.takes), given)
            mask, score = (TRUE, self._score(result)) if self.is_score else (self._mask(result), S)
            program = _declared(Program(self.name, mask, score, space=space), values)
            verify(program)
        except NameError as error:
            raise without_value(self.name, error) from error
        except (TypeError, InvalidProgram) as error:
            error.add_note(f"while tracing `{self.name}`, {_place(self.function)}")
            raise
        return program

    def _mask(self, result: object) -> Expr:
        expr = self._lifted(result, "a condition, such as `return k <= q`")
        if expr.kind is not Kind.BOOL:
            raise refusal(f"`{self.name}` returns the number `{quoted(expr)}`", f"a condition, such as `return {quoted(expr)} != 0`")
        return expr

    def _score(self, result: object) -> Expr:
        expr = self._lifted(result, "a number, such as `return s`")
        if expr.kind is Kind.BOOL:
            raise refusal(
                f"`{self.name}` returns the truth value `{quoted(expr)}`", f"`lacuna.where({quoted(expr)}, s, 0.0)`; masks are patterns"
            )
        return as_real(expr)

    def _lifted(self, result: object, instead: str) -> Expr:
        if result is None or isinstance(result, TracedTable | tuple | list | str):
            raise refusal(f"`{self.name}` returns {'nothing' if result is None else repr(cast(object, result))}", instead)
        return lifted(result)


def without_value(owner: str, error: NameError) -> TypeError:
    """What a user is told whose function reads a name of Python's that has no value."""
    name = error.name or str(error)
    return refusal(f"`{owner}` reads `{name}`, which has no value yet", f"`{name} = ...` before it is traced, or a parameter after a `*`")


def _run(function: Callable[..., object], positions: tuple[object, ...], given: Mapping[str, object]) -> object:
    """What the function returns, its control flow understood: as its source has it, else by every way through it."""
    understood = rewritten(function)
    if understood is not None:
        return understood(*positions, **given)
    from .paths import TooManyPaths, over_paths  # functions have a source as a rule

    try:
        return over_paths(lambda: function(*positions, **given))
    except (NoNumber, TooManyPaths) as error:
        what, _, write = str(error).partition("\n  write ")
        missing = f"the source of this function cannot be read, {_place(function)}, so that it is run as it is, and {what}"
        raise refusal(missing, write or "the function in a file, where its source can be read, or `&`, `|`, `~`, `lacuna.where`") from error


def _place(function: Callable[..., object]) -> str:
    code = function.__code__ if inspect.isfunction(function) else None
    return f'File "{code.co_filename}", line {code.co_firstlineno}' if code else repr(function)


def _declared(program: Program, values: Mapping[str, object]) -> Program:
    """With the parameters and tables that it reads, in the order of `values`."""
    nodes = tuple(walk(program.mask, program.score))
    read = {node for node in nodes if isinstance(node, Symbol)} | {node.table for node in nodes if isinstance(node, Lookup)}
    entries = [entry for name, value in values.items() if (entry := declaration(name, value)) in read]
    extents = (symbol for symbol in program.space.symbols if symbol in read)
    parameters = (*(entry for entry in entries if isinstance(entry, Symbol)), *extents)
    return replace(program, parameters=parameters, tables=tuple(entry for entry in entries if isinstance(entry, Table)))


@dataclass(frozen=True, slots=True)
class Given:
    """A program that is there already: parsed, unpickled, or traced by another front end."""

    program: Program
    label: str

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def rank(self) -> int:
        return self.program.space.rank

    @property
    def state(self) -> tuple[object, ...]:
        return ()

    def trace(self, values: Mapping[str, object], space: Space) -> Program:
        moved = dict[Expr, Expr]()
        for entry in (*self.program.parameters, *self.program.tables):
            found = declaration(entry.name, values[entry.name])
            if isinstance(found, Table) and isinstance(entry, Symbol) and found.rank == 1 and is_scalar(values[entry.name]):
                moved[entry] = _whole(Lookup(found, (ZERO,)))
            elif found != entry:
                _refuse_other_form(self.label, entry)
        return _moved_to_tables(self.program, moved) if moved else self.program


def _whole(entry: Lookup) -> Expr:
    return Select(entry, ONE, ZERO) if entry.kind is Kind.BOOL else entry


def _moved_to_tables(program: Program, moved: Mapping[Expr, Expr]) -> Program:
    """With numbers that the host cannot read as tables of one entry, which kernels read."""
    made = program.substituted(moved)
    tables = tuple(node.table for entry in moved.values() for node in walk(entry) if isinstance(node, Lookup))
    parameters = tuple(entry for entry in program.parameters if entry not in moved)
    return replace(made, parameters=parameters, tables=(*program.tables, *tables))


def _refuse_other_form(label: str, entry: Symbol | Table) -> NoReturn:
    wanted = f"a tensor of {entry.dtype} with {entry.rank} axes" if isinstance(entry, Table) else f"a number of type {entry.of.value}"
    raise refusal(f"`{label}` is a finished program, in which `{entry.name}` is {wanted}", f"`{entry.name}=` {wanted}")
