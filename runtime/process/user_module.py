"""A Python file or module that someone names: it is run, and may import its neighbours."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType

from ...ir.advice import advice

_FORMS = "the path of a file that ends in `.py`, or the name of a module"


def module_given(place: str) -> ModuleType:
    """The module of a file that ends in `.py`, or of a name that Python finds from the working folder too. Name what you trust.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no such module, or running it failed; the error of the module is the cause.
    """
    path = Path(place)
    of_file = path.suffix == ".py"
    if (of_file and not path.is_file()) or (not of_file and ("/" in place or place.startswith("."))):
        raise FileNotFoundError(advice(f"there is no Python file `{place}`", _FORMS))
    try:
        with _importing_from(str(path.resolve().parent) if of_file else os.getcwd()):
            return _of_file(path) if of_file else importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise ValueError(_missing(place, error.name or "")) from error
    except (Exception, SystemExit) as error:  # whatever the file raises; one that calls `sys.exit` must not end us
        told = f"`{place}` failed while it was imported: {type(error).__name__}: {error}"
        raise ValueError(advice(told.rstrip("."), f"what `{_line(place, of_file)}` runs without an error")) from error


def _missing(place: str, name: str) -> str:
    if place == name or place.startswith(f"{name}."):
        return advice(f"there is no module `{place}`", "a module that Python finds from here, or the path of a file that ends in `.py`")
    return advice(f"`{place}` imports `{name}`, which is not there", f"`pip install {name}`, or another file")


def _line(place: str, of_file: bool) -> str:
    return f"python {place}" if of_file else f"python -m {place}"


def _of_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"lacuna_given_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and patterns of the file look themselves up
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importing_from(folder: str) -> Generator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
