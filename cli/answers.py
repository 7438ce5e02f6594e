"""What a command ends with: 0 where it worked, 1 where the work failed, 2 where the command or something it names is wrong."""

from __future__ import annotations

import traceback
import warnings
from typing import Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from ..ir.program import InvalidProgram
from .packages import OPTIONAL, REQUIRED, pip_line

FAILED, MISUSED = 1, 2
_OF_INPUT = (ValueError, TypeError, NotImplementedError, FileNotFoundError)
_WRITE = "\n  write "  # the second line of every message to users


class Misuse(ValueError):
    """The command, or something that it names, is wrong: the message says what to write instead."""

    def __init__(self, what: str, write: str) -> None:
        super().__init__(f"{what}.{_WRITE}{write}")


class AnsweringGroup(TyperGroup):
    """Commands that end with a message instead of a traceback; `--traceback` of the outermost one shows it all the same."""

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401 (typer's context; where its type lives depends on the version)
        with warnings.catch_warnings():
            warnings.showwarning = _warned
            try:
                return super().invoke(ctx)
            except Exception as error:
                if isinstance(error, typer.Abort | BrokenPipeError) or hasattr(error, "exit_code"):
                    raise  # typer's own, which it prints itself; and a reader that went away, such as `head`
                _answer(error, bool(ctx.find_root().params.get("traceback")))


def code_of(error: Exception) -> int:
    """2 for a complaint about what was given, which says what to write; 1 for everything else."""
    complains = isinstance(error, _OF_INPUT) and _WRITE in str(error)
    return MISUSED if isinstance(error, Misuse | InvalidProgram) or complains else FAILED


def _answer(error: Exception, whole: bool) -> NoReturn:
    if whole:
        traceback.print_exception(error)
    else:
        typer.echo(f"lacuna: {_message(error)}", err=True)
    raise typer.Exit(code_of(error)) from None


def _message(error: Exception) -> str:
    """The message of ours as it is; others with their kind, and where to see more."""
    text = str(error).strip()
    if isinstance(error, ModuleNotFoundError) and error.name in REQUIRED | OPTIONAL:
        return f"the package `{error.name}` is not installed, and this command needs it{_WRITE}{pip_line(error.name)}"
    if "\n  " in text or isinstance(error, InvalidProgram):
        return text
    return f"{type(error).__name__}: {text or 'no message'}\n  `lacuna --traceback ...` shows where it came from"


def _warned(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    typer.echo(f"lacuna: warning: {message}", err=True)
