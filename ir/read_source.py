"""Functions from their own source: found, checked against the code that runs, rewritten, and built again."""

from __future__ import annotations
import __future__

import ast
import copy
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import NamedTuple

from . import control
from .rewrite import HELPER, RewriteStatements

_FACTORY = "_lacuna_factory"
_FUTURES = functools.reduce(int.__or__, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names))
_Definition = ast.FunctionDef | ast.Lambda


class _Found(NamedTuple):
    """A definition in its module. owner: the class that it is in, whose name private names begin with; empty where there is none."""

    node: _Definition
    owner: str


def rewritten(function: Callable[..., object]) -> Callable[..., object] | None:
    """`function` with its control flow rewritten, over the same closure and globals; None where there is no source that it was made of."""
    if not inspect.isfunction(function):
        return function
    try:
        lines, _ = inspect.findsource(function)
        tree = _tree("".join(lines))
    except (OSError, TypeError, SyntaxError):
        return None
    found = next((found for found in _candidates(tree, function.__code__) if _same(tree, found, function)), None)
    if found is None:
        return None
    rewriter = RewriteStatements([line.encode() for line in lines])
    changed = found._replace(node=rewriter.visit(copy.deepcopy(found.node)))
    return _rebuilt(tree, function, changed) if rewriter.changed else function


@functools.lru_cache(maxsize=16)
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


def _candidates(tree: ast.Module, code: types.CodeType) -> Iterator[_Found]:
    """The functions of that name that begin where `code` does."""
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, owner = waiting.pop()
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            if min([node.lineno, *(each.lineno for each in node.decorator_list)]) == code.co_firstlineno:
                yield _Found(node, owner)
        elif isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and node.lineno == code.co_firstlineno:
            yield _Found(node, owner)
        inside = node.name if isinstance(node, ast.ClassDef) else owner
        waiting.extend((each, inside) for each in ast.iter_child_nodes(node))


def _compiled(tree: ast.Module, found: _Found, free: tuple[str, ...], original: types.CodeType) -> types.CodeType:
    """The code of a definition inside a factory whose parameters are its free variables."""
    node = found.node
    inner: ast.stmt = node if isinstance(node, ast.FunctionDef) else ast.copy_location(ast.Return(node), node)
    if isinstance(inner, ast.FunctionDef):
        inner.decorator_list = []
        inner.__dict__.pop("type_params", None)  # of `def f[T]`, which puts a scope of its own around the function
    owner = f"class {found.owner}:\n " if found.owner else ""
    module = ast.parse(f"{_imports(tree)}{owner}def {_FACTORY}({', '.join(free)}): pass")
    factory = next(each for each in ast.walk(module) if isinstance(each, ast.FunctionDef))
    ast.increment_lineno(factory, node.lineno - factory.lineno)
    factory.body = [ast.fix_missing_locations(inner)]
    code = compile(module, original.co_filename, "exec", original.co_flags & _FUTURES, dont_inherit=True)
    return [each for each in _nested(code, _FACTORY) if each.co_name == original.co_name][-1]  # lambdas in its defaults come before it


def _nested(code: types.CodeType, name: str) -> list[types.CodeType]:
    """The functions in the first function `name` in `code`."""
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    while inner[0].co_name != name:
        inner = [each for each in inner[0].co_consts if isinstance(each, types.CodeType)]
    return [each for each in inner[0].co_consts if isinstance(each, types.CodeType)]


@functools.lru_cache(maxsize=16)
def _imports(tree: ast.Module) -> str:
    """Statements that import the names that the module itself imports: calls on these compile to other instructions."""
    return "".join(f"import {name}\n" for name in dict.fromkeys(_imported(tree)))


def _imported(scope: ast.AST) -> Iterator[str]:
    """Names that statements of `scope` itself import, in order."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.asname or each.name.split(".")[0] for each in node.names]
            yield from (name for name in names if name != "*")
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _imported(node)


def _same(tree: ast.Module, found: _Found, function: types.FunctionType) -> bool:
    """Whether `found` is what `function` was compiled from: a file may have changed since, and two lambdas may share a line."""
    original = function.__code__
    made = _compiled(tree, found._replace(node=copy.deepcopy(found.node)), original.co_freevars, original)
    return _content(made) == _content(original)


def _content(code: types.CodeType) -> tuple[object, ...]:
    constants = tuple(_content(each) if isinstance(each, types.CodeType) else (type(each).__name__, repr(each)) for each in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants


def _rebuilt(tree: ast.Module, function: types.FunctionType, found: _Found) -> Callable[..., object]:
    original = function.__code__
    code = _compiled(tree, found, (*original.co_freevars, HELPER), original)
    cells = dict(zip(original.co_freevars, function.__closure__ or (), strict=True)) | {HELPER: types.CellType(control)}
    closure = tuple(cells[name] for name in code.co_freevars)
    made = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    made.__kwdefaults__ = function.__kwdefaults__
    return made
