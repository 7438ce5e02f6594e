"""The textual form: each function takes any bytes and raises nothing but what is wrong with us."""

from __future__ import annotations

from lacuna.ir.expr import Symbol, Table
from lacuna.ir.expr_text import show
from lacuna.ir.parse import parse_expression, parse_program, parse_schedule
from lacuna.ir.program import InvalidProgram
from lacuna.ir.text import show_program, show_schedule
from lacuna.ir.verify import verify

SYMBOLS = (Symbol("W"), Symbol("r"))
TABLES = (Table("doc", "i32", 1), Table("bias", "f32", 2))


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def programs(data: bytes) -> None:
    """A program that is read is printed to what reads back as the same one; one that verifies, too."""
    try:
        program = parse_program(text_of(data))
    except InvalidProgram:
        return
    if parse_program(show_program(program)) != program:
        raise AssertionError("a program does not survive printing")
    try:
        verify(program)
    except InvalidProgram:
        return


def schedules(data: bytes) -> None:
    try:
        schedule = parse_schedule(text_of(data))
    except InvalidProgram:
        return
    if parse_schedule(show_schedule(schedule)) != schedule:
        raise AssertionError("a schedule does not survive printing")


def expressions(data: bytes) -> None:
    try:
        expr = parse_expression(text_of(data), SYMBOLS, TABLES)
    except InvalidProgram:
        return
    if parse_expression(show(expr), SYMBOLS, TABLES) is not expr:
        raise AssertionError("an expression does not survive printing")


def parser(data: bytes) -> None:
    """All three, chosen by the first byte."""
    (programs, schedules, expressions)[data[0] % 3 if data else 0](data[1:])
