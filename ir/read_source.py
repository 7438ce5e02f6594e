"""Functions from their own source: found, checked against the code that runs, rewritten, and built again."""

from __future__ import annotations
import __future__

import ast
import copy
import functools
import inspect
import types
from collections.abc import Callable, Iterator

from . import control
from .rewrite import HELPER, RewriteStatements

_FACTORY = "_lacuna_factory"
_FUTURES = functools.reduce(int.__or__, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names))


def rewritten(function: Callable[..., object]) -> Callable[..., object]:
    """`function` with its control flow rewritten, over the same closure and globals; itself where the source cannot be read."""
    if not inspect.isfunction(function):
        return function
    try:
        lines, _ = inspect.findsource(function)
        tree = _tree("".join(lines))
    except (OSError, TypeError, SyntaxError):
        return function
    node = next((node for node in _candidates(tree, function.__code__) if _same(node, function)), None)
    if node is None:
        return function
    rewriter = RewriteStatements([line.encode() for line in lines])
    changed = rewriter.visit(copy.deepcopy(node))
    return _rebuilt(function, changed) if rewriter.changed else function


@functools.lru_cache(maxsize=16)
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


def _candidates(tree: ast.Module, code: types.CodeType) -> Iterator[ast.FunctionDef | ast.Lambda]:
    """The functions of that name that begin where `code` does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            if min([node.lineno, *(each.lineno for each in node.decorator_list)]) == code.co_firstlineno:
                yield node
        elif isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and node.lineno == code.co_firstlineno:
            yield node


def _compiled(node: ast.FunctionDef | ast.Lambda, free: tuple[str, ...], original: types.CodeType) -> types.CodeType:
    """The code of `node` inside a factory whose parameters are its free variables."""
    inner: ast.stmt = node if isinstance(node, ast.FunctionDef) else ast.copy_location(ast.Return(node), node)
    if isinstance(inner, ast.FunctionDef):
        inner.decorator_list = []
    module = ast.parse(f"def {_FACTORY}({', '.join(free)}): pass")
    factory = ast.increment_lineno(module, node.lineno - 1).body[0]
    assert isinstance(factory, ast.FunctionDef)
    factory.body = [ast.fix_missing_locations(inner)]
    code = compile(module, original.co_filename, "exec", original.co_flags & _FUTURES, dont_inherit=True)
    outer = next(each for each in code.co_consts if isinstance(each, types.CodeType) and each.co_name == _FACTORY)
    return next(each for each in outer.co_consts if isinstance(each, types.CodeType) and each.co_name == original.co_name)


def _same(node: ast.FunctionDef | ast.Lambda, function: types.FunctionType) -> bool:
    """Whether `node` is what `function` was compiled from: a file may have changed since, and two lambdas may share a line."""
    original = function.__code__
    found = _compiled(copy.deepcopy(node), original.co_freevars, original)
    return _content(found) == _content(original)


def _content(code: types.CodeType) -> tuple[object, ...]:
    constants = tuple(_content(each) if isinstance(each, types.CodeType) else (type(each).__name__, repr(each)) for each in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants


def _rebuilt(function: types.FunctionType, node: ast.FunctionDef | ast.Lambda) -> Callable[..., object]:
    original = function.__code__
    code = _compiled(node, (*original.co_freevars, HELPER), original)
    cells = dict(zip(original.co_freevars, function.__closure__ or (), strict=True)) | {HELPER: types.CellType(control)}
    closure = tuple(cells[name] for name in code.co_freevars)
    made = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    made.__kwdefaults__ = function.__kwdefaults__
    return made
