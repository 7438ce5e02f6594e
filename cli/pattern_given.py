"""The pattern that a command names: of the catalogue, of a module or file of the user's, or a program in its textual form."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..ir.pattern import Pattern
from ..ir.program import InvalidProgram, Program
from .answers import Misuse
from .place import Place
from .setting import setting

if TYPE_CHECKING:
    from types import ModuleType

CATALOGUE = "patterns."
FORMS = "`patterns.sliding_window`, `file.py:name`, `module:name`, the path of a program's text, or `-` for standard input"


def pattern_given(name: str, settings: list[str], place: Place | None = None) -> Pattern:
    """The pattern of a name, with what `NAME=VALUE` settings bind, and where it is put; extents that are parameters are bound there.

    Raises:
        Misuse: there is none, or a setting is no value; the pattern's own errors where it refuses one.
    """
    found, values = _found(name), dict(map(setting, settings))
    of_place = {key: values.pop(key) for key in (place.names if place else ()) if key in values}
    bound = _bound(name, found, values)
    return bound if place is None else place.holding(bound, of_place)


def program_of(pattern: Pattern) -> Program:
    """The program of a pattern; of one that was given as text also while its parameters have no value."""
    from ..ir.recipe import Given

    return pattern.recipe.program if isinstance(pattern.recipe, Given) else pattern.program


def catalogue() -> tuple[str, ...]:
    """Every name of the catalogue, as commands take it."""
    from .. import patterns

    return tuple(f"{CATALOGUE}{name}" for name in patterns.__all__)


# -- names ------------------------------------------------------------------------------------------------------------


def _found(name: str) -> object:
    if name == "-":
        return _program(sys.stdin.read(), "standard input")
    if name.startswith(CATALOGUE):
        return _of_catalogue(name)
    place, colon, attribute = name.rpartition(":")
    if colon and place and attribute:
        from ..runtime.process.user_module import module_given

        return _attribute(module_given(place), place, attribute)
    path = Path(name)
    if path.suffix == ".py":
        raise Misuse(f"`{name}` is a file of Python, and which pattern in it is not said", f"`{name}:NAME`")
    if not path.is_file():
        raise _nothing(name)
    return _program(_read(path), name)


def _program(text: str, origin: str) -> Pattern:
    from ..ir.parse import parse_program

    try:
        return Pattern.of(parse_program(text))
    except InvalidProgram as error:
        first, _, rest = str(error).partition("\n")
        raise InvalidProgram(f"{origin}: {first}\n{rest or '  write a program, as `lacuna opt` prints one'}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"`{path}` cannot be read as a program: {error}", "the path of a text file") from None


def _of_catalogue(name: str) -> object:
    from .. import patterns

    wanted = name.removeprefix(CATALOGUE)
    if wanted not in patterns.__all__:
        raise _nothing(name)
    return getattr(patterns, wanted)


def _nothing(name: str) -> Misuse:
    known = catalogue()
    bare = {each.removeprefix(CATALOGUE): each for each in known}
    close = [bare[each] for each in difflib.get_close_matches(name.removeprefix(CATALOGUE), bare, n=1)]
    if name.startswith(CATALOGUE):
        return Misuse(f"the catalogue has no `{name}`", f"`{close[0]}`" if close else f"one of {', '.join(known)}")
    return Misuse(f"there is no pattern and no file `{name}`", f"`{close[0]}`" if close else FORMS)


def _attribute(module: ModuleType, place: str, attribute: str) -> object:
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            held = [name for name, value in vars(module).items() if isinstance(value, Pattern)]
            close = difflib.get_close_matches(attribute, held, n=1) or held
            instead = " or ".join(f"`{place}:{name}`" for name in close) or "the name of a pattern in it"
            raise Misuse(f"`{place}` has no `{attribute}`", instead)
        found = getattr(found, part)
    return found


# -- values -----------------------------------------------------------------------------------------------------------


def _bound(name: str, found: object, values: Mapping[str, object]) -> Pattern:
    if not isinstance(found, Pattern) and callable(found) and not isinstance(found, type):
        found = _called(name, found, values)
        values = {}
    if not isinstance(found, Pattern):
        raise Misuse(
            f"`{name}` is a {type(found).__name__}, no pattern",
            "the name of what `@lacuna.pattern` made, or of a function that returns one",
        )
    return found(**values) if values else found


def _called(name: str, function: Callable[..., object], values: Mapping[str, object]) -> object:
    signature = inspect.signature(function)
    unknown = [key for key in values if key not in signature.parameters]
    missing = [
        key for key, each in signature.parameters.items() if each.default is each.empty and key not in values and each.kind in _NAMED
    ]
    if unknown:
        close = difflib.get_close_matches(unknown[0], signature.parameters, n=1) or list(signature.parameters)
        instead = ", ".join(f"`--set {key}=...`" for key in close)
        raise Misuse(f"`{name}` has no parameter `{unknown[0]}`", instead or "the command without `--set`")
    if missing:
        raise Misuse(f"`{name}` needs {', '.join(f'`{key}`' for key in missing)}", " ".join(f"--set {key}=..." for key in missing))
    return function(**values)


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
