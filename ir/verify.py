"""The verifier: one small check per rule of the language, named after the rule. The pipeline runs it after every pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from .expr import (
    ARITHMETIC,
    COMPARISONS,
    INTEGER,
    REAL,
    Binary,
    Const,
    Expr,
    Kind,
    Lookup,
    Op,
    Select,
    Unary,
    Var,
    operands,
    symbols,
    tables,
    walk,
)
from .expr_text import show
from .grid import Grid
from .program import InvalidProgram, Program
from .reserved import LONGEST_NAME, is_plain, misnamed
from .text import IMPLICIT_SYMBOLS

NORMALISERS = ("softmax",)
DTYPES = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool", "f16", "bf16", "f32", "f64")
LARGEST_RANK = 64
_LARGEST_TEXT = 1_000_000  # nodes, shared ones counted as often as they are written


def verify(program: Program) -> None:
    """Check every rule, in an order in which later rules may rely on earlier ones.

    Raises:
        InvalidProgram: names the program, the part that breaks a rule, and what to write instead.
    """
    for rule in RULES:
        rule(program)


def _refuse(program: Program, complaint: str, write: str) -> InvalidProgram:
    return InvalidProgram(f"program `{program.name}`: {complaint}\n  write {write}")


def _nodes(program: Program) -> Iterator[Expr]:
    return walk(program.mask, program.score)


def expressions_can_be_written_out(program: Program) -> None:
    for root in (program.mask, program.score):
        sizes: dict[Expr, int] = {}
        for node in walk(root):
            sizes[node] = 1 + sum(sizes[operand] for operand in operands(node))
        if sizes[root] > _LARGEST_TEXT:
            raise _refuse(program, f"an expression would be {sizes[root]} words long when written out", "it with fewer repeated parts")


def program_name_is_plain(program: Program) -> None:
    if not is_plain(program.name):
        raise _refuse(program, "its own name is not a plain identifier", "ASCII letters, digits and `_`, not starting with a digit or `__`")
    if len(program.name) > LONGEST_NAME:
        raise _refuse(program, f"its own name has {len(program.name)} characters", f"at most {LONGEST_NAME}: files are named after it")


def names_are_plain_and_free(program: Program) -> None:
    for entry in (*program.parameters, *program.tables):
        complaint = misnamed(entry.name, inside=True)
        if complaint:
            raise _refuse(program, f"the name `{entry.name}` {complaint}", "another name, such as `window` or `table_of_ids`")


def names_are_unique(program: Program) -> None:
    seen: set[str] = set()
    for entry in (*program.parameters, *program.tables):
        if entry.name in seen:
            raise _refuse(program, f"`{entry.name}` is declared twice", "two different names")
        seen.add(entry.name)


def space_is_a_grid(program: Program) -> None:
    space = program.space
    if space.rank < 1 or (space.extents and len(space.extents) != space.rank) or any(extent < 1 for extent in space.extents):
        raise _refuse(program, f"{space} is no grid", "one positive extent per axis")
    for grid in space.grids or ():
        if space.rank > 1 or space.extents or not _is_grid(grid):
            raise _refuse(program, f"`{grid}` is no grid of flat positions", "positive numbers or names, `?` for the outermost alone")
    if math.prod(space.extents) >= 2**63:
        raise _refuse(program, "its grid has 2**63 tokens or more", "extents whose product fits in 64 bits")


def _is_grid(grid: Grid) -> bool:
    sizes = [extent for extent in grid.extents if isinstance(extent, int)]
    return None not in grid.extents[1:] and all(size > 0 for size in sizes) and math.prod(sizes) < 2**63


def tables_are_of_known_types(program: Program) -> None:
    for table in program.tables:
        if table.dtype not in DTYPES:
            raise _refuse(program, f"table `{table.name}` holds `{table.dtype}`", f"one of {', '.join(DTYPES)}")
        if table.rank < 1:
            raise _refuse(program, f"table `{table.name}` has rank 0", "a number instead: it becomes a parameter")
        if table.rank > LARGEST_RANK:
            raise _refuse(program, f"table `{table.name}` has rank {table.rank}", f"at most {LARGEST_RANK} axes, as tensors have")
        if table.monotone and table.kind is not Kind.INT:
            raise _refuse(program, f"table `{table.name}` is monotone and holds `{table.dtype}`", "an integer type")


def parameters_are_numbers(program: Program) -> None:
    for symbol in program.parameters:
        if symbol.of is Kind.BOOL:
            raise _refuse(program, f"parameter `{symbol.name}` is a truth value", "two programs, one with `true` and one with `false`")


def variables_are_known(program: Program) -> None:
    space = program.space
    known = {var.name for side in "qk" for var in space.coordinates(side)} | {"b", "h"}
    for root, extra in ((program.mask, set[str]()), (program.score, {"s"})):
        for node in walk(root):
            if isinstance(node, Var) and node.name not in known | extra:
                raise _refuse(
                    program, f"unknown variable `{node.name}`", f"one of {', '.join(sorted(known | extra))}, or declare a parameter"
                )


def symbols_are_declared(program: Program) -> None:
    for symbol in symbols(program.mask, program.score):
        implicit = symbol.name in IMPLICIT_SYMBOLS and symbol.of is Kind.INT
        if not implicit and symbol not in program.parameters:
            raise _refuse(
                program, f"`{symbol.name}: {symbol.of.value}` is not declared", f"`; {symbol.name}: {symbol.of.value}` in its head"
            )


def tables_are_declared(program: Program) -> None:
    for table in tables(program.mask, program.score):
        if table not in program.tables:
            stars = ", ".join("*" * table.rank)
            raise _refuse(program, f"table `{table.name}` is not declared", f"`; {table.name}: {table.dtype}[{stars}]` in its head")


def look_ups_are_at_integers(program: Program) -> None:
    for node in _nodes(program):
        for index in node.indices if isinstance(node, Lookup) else ():
            if index.kind is not Kind.INT:
                raise _refuse(program, f"`{show(node)}` reads at `{show(index)}`, which is no integer", "an integer index")
            if isinstance(index, Const) and index.value < 0:
                raise _refuse(program, f"`{show(node)}` reads at a negative index, which does not wrap", "the index from the front")


def operands_are_of_one_kind(program: Program) -> None:
    """Reals and integers meet only through `float(...)`, so printers never convert on their own."""
    for node in _nodes(program):
        wanted = _wanted_kinds(node)
        for operand in operands(node) if wanted else ():
            if operand.kind not in wanted:
                raise _refuse(program, f"`{show(node)}` mixes integers and reals", f"`float({show(operand)})`")


def _wanted_kinds(node: Expr) -> tuple[Kind, ...]:
    """What kinds the operands of `node` may have; empty where they are free."""
    match node:
        case Binary(op=op) | Unary(op=op) if op in REAL:
            return (Kind.FLOAT,)
        case Binary(op=op) if op in ARITHMETIC | COMPARISONS:
            kinds = {operand.kind for operand in operands(node)}
            return (Kind.FLOAT,) if Kind.FLOAT in kinds else ()
        case _:
            return ()


def selections_are_of_one_kind(program: Program) -> None:
    for node in _nodes(program):
        if isinstance(node, Select) and node.a.kind is not node.b.kind:
            raise _refuse(program, f"`{show(node)}` chooses between an integer and a real", "`float(...)` around the integer")


def comparisons_are_of_numbers(program: Program) -> None:
    for node in _nodes(program):
        if isinstance(node, Binary) and node.op in COMPARISONS and node.a.kind is Kind.BOOL:
            raise _refuse(program, f"`{show(node)}` compares truth values", "`xor`, or `not (... xor ...)` for equality")


def mask_is_a_truth_value(program: Program) -> None:
    if program.mask.kind is not Kind.BOOL:
        raise _refuse(
            program, f"the mask `{show(program.mask)}` is a number, not a truth value", f"a comparison, such as `{show(program.mask)} != 0`"
        )


def score_is_a_real(program: Program) -> None:
    if program.score.kind is not Kind.FLOAT:
        raise _refuse(program, f"the score `{show(program.score)}` is no real", f"`float({show(program.score)})`")


def mask_has_no_reals(program: Program) -> None:
    reals = [node for node in walk(program.mask) if node.kind is Kind.FLOAT]
    for node in reals:
        if isinstance(node, Binary) and node.op is Op.DIV:
            raise _refuse(program, f"`{show(node)}` in the mask is a real", "`//`: a mask is integer arithmetic")
    for node in sorted(reals, key=lambda node: isinstance(node, Unary)):  # conversions last: what made them necessary is the cause
        raise _refuse(program, f"`{show(node)}` in the mask is a real", "integers: multiply both sides, or round before binding")


def constants_fit_64_bits(program: Program) -> None:
    for node in _nodes(program):
        if isinstance(node, Const) and node.kind is Kind.INT and not -(2**63) <= node.value < 2**63:
            raise _refuse(program, f"a constant of {int(node.value).bit_length()} bits", "integers that fit in 64 bits")


def divisors_are_not_zero(program: Program) -> None:
    for node in _nodes(program):
        if isinstance(node, Binary) and node.op in (Op.FLOORDIV, Op.MOD) and isinstance(node.b, Const) and node.b.value == 0:
            raise _refuse(program, f"`{show(node)}` divides by zero", "a divisor other than 0")


def shifts_are_of_0_to_63_bits(program: Program) -> None:
    for node in _nodes(program):
        if isinstance(node, Binary) and node.op in INTEGER & {Op.SHL, Op.SHR} and isinstance(node.b, Const) and not 0 <= node.b.value < 64:
            raise _refuse(program, f"`{show(node)}` shifts by {node.b.value} bits", "a shift by 0 to 63 bits")


def normalisation_is_known(program: Program) -> None:
    if program.normalise not in NORMALISERS:
        raise _refuse(program, f"unknown normalisation `{program.normalise}`", f"one of {', '.join(NORMALISERS)}")


RULES: tuple[Callable[[Program], None], ...] = (
    constants_fit_64_bits,  # before anything is shown: Python refuses to write out huge integers
    expressions_can_be_written_out,
    program_name_is_plain,
    names_are_plain_and_free,
    names_are_unique,
    space_is_a_grid,
    tables_are_of_known_types,
    parameters_are_numbers,
    variables_are_known,
    symbols_are_declared,
    tables_are_declared,
    mask_has_no_reals,
    look_ups_are_at_integers,
    operands_are_of_one_kind,
    selections_are_of_one_kind,
    comparisons_are_of_numbers,
    mask_is_a_truth_value,
    score_is_a_real,
    divisors_are_not_zero,
    shifts_are_of_0_to_63_bits,
    normalisation_is_known,
)
