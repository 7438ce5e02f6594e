"""What a traced function reads beside its parameters: globals, cells of closures, defaults, and what functions that it calls read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any, cast

_PLAIN = (int, float, complex, str, bytes, type(None))
_Place = tuple[Callable[[Any], object], Any]
"""What reads a value, and what of: a cell, a default of a function, the name of a global."""
_Seen = tuple[Callable[[Any], object], Any, object]
"""A place and what was there."""
_DEEPEST = 4  # attributes of attributes


class Reads:
    """Of one function, and of those that it reads; looked at again at every call."""

    __slots__ = ("_function", "_seen", "_settled", "_state")

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        self._seen: list[_Seen] = []
        self._settled = False
        self._state: tuple[object, ...] = ()

    def state(self) -> tuple[object, ...]:
        """A hashable stand-in for everything that is read, as it is now: equal as long as the function would trace to the same.

        Numbers and strings count by value, in lists and dictionaries too; attributes of objects and modules that the code names
        likewise; functions by what they read; anything else by its identity.
        """
        return self._state if self._settled and self._is_as_seen() else self._looked_at()

    def _is_as_seen(self) -> bool:
        for read, of, value in self._seen:  # noqa: SIM110  (a generator takes longer, and every call asks)
            if read(of) is not value:
                return False
        return True

    def _looked_at(self) -> tuple[object, ...]:
        root, found, settled = self._function, list[object](), True
        waiting, reads, seen = [root, getattr(root, "__wrapped__", root)], list[_Seen](), set[int]()
        while waiting:
            current = waiting.pop(0)
            if not isinstance(current, FunctionType) or id(current) in seen:
                continue
            seen.add(id(current))
            names = _names(current.__code__)
            for read, of in _places(current, names):
                value = read(of)
                reads.append((read, of, value))
                if isinstance(value, FunctionType):
                    waiting.append(value)
                    found.append(value.__code__)
                    continue
                found.append(_stand_in(value, names, _DEEPEST))
                settled = settled and (isinstance(value, (*_PLAIN, type, BuiltinFunctionType)) or not _attributes_or_parts(value, names))
        self._seen, self._settled, self._state = reads, settled, tuple(found)
        return self._state


def _attributes_or_parts(value: object, names: frozenset[str]) -> bool:
    """Whether it may change without being another object."""
    return isinstance(value, list | tuple | dict | set) or bool(_attributes(value, names, 1))


@functools.lru_cache(maxsize=4096)
def _names(code: CodeType) -> frozenset[str]:
    return frozenset(name for each in _codes(code) for name in each.co_names)


def _places(function: FunctionType, names: frozenset[str]) -> Iterator[_Place]:
    """Cells, defaults, and globals that the code names."""
    held = function.__globals__
    yield from ((_content, cell) for cell in function.__closure__ or ())
    yield from ((_default, (function, number)) for number in range(len(function.__defaults__ or ())))
    yield from ((held.get, name) for name in sorted(names & held.keys()))


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # empty so far


def _default(place: tuple[FunctionType, int]) -> object:
    function, number = place
    defaults = function.__defaults__ or ()
    return defaults[number] if number < len(defaults) else None


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Of a function and those defined in it."""
    waiting = [code]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(each for each in current.co_consts if isinstance(each, CodeType))


def _stand_in(value: object, names: frozenset[str], depth: int) -> object:
    if isinstance(value, _PLAIN):
        return type(value).__name__, value.hex() if isinstance(value, float) else value
    if depth and isinstance(value, list | tuple):
        return "list", tuple(_stand_in(each, names, depth - 1) for each in cast("list[object]", value))
    if depth and isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return "dict", tuple((_stand_in(key, names, depth - 1), _stand_in(each, names, depth - 1)) for key, each in items)
    if isinstance(value, set | frozenset):
        return "set", frozenset(cast("set[object]", value))
    if not depth:
        return "object", id(value)
    return "object", id(value), _attributes(value, names, depth)


def _attributes(value: object, names: frozenset[str], depth: int) -> tuple[object, ...]:
    """Those of `value` that the code names: of a module only numbers and the like, whose functions stay what they are."""
    held = cast("dict[str, object]", getattr(value, "__dict__", {}))
    if isinstance(value, ModuleType):
        return tuple((name, held[name]) for name in sorted(names & held.keys()) if isinstance(held[name], _PLAIN))
    return tuple((name, _stand_in(held[name], names, depth - 1)) for name in sorted(names & held.keys()))
