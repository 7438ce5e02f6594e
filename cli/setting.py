"""What `--set NAME=VALUE` binds a parameter to."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from .answers import Misuse

if TYPE_CHECKING:
    from torch import Tensor


def setting(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise Misuse(f"`--set {text}` binds nothing", "`--set NAME=VALUE`, such as `--set window=256`")
    return name.strip(), _value(name.strip(), value.strip())


def _value(name: str, text: str) -> object:
    """A number, truth value, text or tuple as Python writes them; `[...]` is a tensor, `@FILE.npy` one from a file."""
    if text.startswith("@"):
        return table_of_file(f"{name}=", text[1:])
    if text.startswith("segments(") and text.endswith(")"):
        from ..ir.segments import segments

        return segments(_tensor(name, text.removeprefix("segments(").removesuffix(")")))
    if text.startswith("["):
        return _tensor(name, text)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        if text.isidentifier():
            return text
        wanted = f"`{name}=256`, a tuple `(8, 8)`, a table `[0, 0, 1]` or `@file.npy`"
        raise Misuse(f"`{name}={text:.60}` has no value that can be read", wanted) from None
    return value


def _tensor(name: str, text: str) -> Tensor:
    import torch

    try:
        return torch.tensor(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, RuntimeError, MemoryError) as error:
        raise Misuse(f"`{name}={text:.60}` is no table: {_why(error)}", f"`{name}=[0, 0, 1]`, or `{name}=@file.npy`") from None


def table_of_file(before: str, path: str) -> Tensor:
    """The array that a file holds. before: what stands before its `@` in the command.

    Raises:
        Misuse: there is none.
    """
    import zipfile

    import numpy
    import torch

    try:
        with open(path, "rb") as file:  # numpy leaves one open that it cannot read
            return torch.as_tensor(numpy.load(file, allow_pickle=False))
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise Misuse(f"`{before}@{path}` cannot be read: {_why(error)}", "the path of an array that `numpy.save` wrote") from None


def _why(error: Exception) -> str:
    return str(error).rstrip(".")
