"""The Python packages that Lacuna needs: which are here, which import, and the line that installs the others."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import warnings
from dataclasses import dataclass

REQUIRED = {
    "torch": "torch>=2.6",
    "numpy": "numpy>=1.26",
    "islpy": "islpy>=2025.1",
    "sympy": "sympy>=1.13",
    "networkx": "networkx>=3.2",
    "jinja2": "jinja2>=3.1",
    "platformdirs": "platformdirs>=4",
    "rich": "rich>=13",
    "typer": "typer>=0.12",
    "matplotlib": "matplotlib>=3.8",
}
OPTIONAL = {"triton": "triton>=3.6,<3.10"}
TO_BUILD = ("torch", "numpy", "islpy", "sympy", "networkx", "jinja2", "platformdirs")  # a kernel, on any backend


@dataclass(frozen=True)
class Package:
    """version: None where it does not import; `problem` says why then, `get` is the line that installs it."""

    name: str
    version: str | None
    needed: bool
    problem: str | None
    get: str


def packages() -> tuple[Package, ...]:
    """Every package that is needed or of use, imported: one that is installed and broken is of no use."""
    return tuple(_package(name) for name in (*REQUIRED, *OPTIONAL))


def pip_line(*names: str) -> str:
    """The command that installs packages for the interpreter that runs."""
    wanted = [(REQUIRED | OPTIONAL)[name] for name in names]
    return f"{sys.executable} -m pip install {' '.join(repr(each) for each in wanted)}"


def _package(name: str) -> Package:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module(name)
        except Exception as error:  # whatever a broken package raises: it is reported
            return Package(name, None, name in REQUIRED, _problem(name, error), pip_line(name))
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = str(getattr(module, "__version__", "unknown"))
    return Package(name, version, name in REQUIRED, None, pip_line(name))


def _problem(name: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == name:
        return "not installed"
    return f"does not import: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
