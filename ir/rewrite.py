"""Control flow in the source of a traced function, rewritten into calls that build expressions.

    k <= q and q - k < w        ->  both(k <= q, lambda: q - k < w)
    0 <= q - k < w              ->  chain(0, ("LtE", lambda: q - k), ("Lt", lambda: w))
    a if c else b               ->  choose(c, lambda: a, lambda: b)
    if c: x = a                 ->  branch = Branch(c, ("x",)), and each side under it

A test that is a plain value keeps Python's meaning. What cannot be rewritten is left alone; a traced test there raises with the fix.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TypeVar, cast

from .control import DONE, VALUE

HELPER = "_lacuna_control"
_Node = TypeVar("_Node", bound=ast.AST)
_BUILTINS = frozenset({"min", "max", "any", "all", "float", "int", "bool"})
_BITS = (ast.BitAnd, ast.BitOr, ast.BitXor)


_PLACE = ("lineno", "col_offset", "end_lineno", "end_col_offset")


def _statements(text: str) -> list[ast.stmt]:
    """Generated statements, which stand nowhere yet."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for attribute in _PLACE:
            node.__dict__.pop(attribute, None)
    return tree.body


def parsed(text: str) -> ast.expr:
    """A generated expression."""
    return cast(ast.Expr, _statements(text)[0]).value


def place(new: _Node, old: ast.AST) -> _Node:
    """`new`, with what was generated in it put where `old` stands: errors point at the user's line."""
    for node in ast.walk(new):
        if not hasattr(node, "lineno"):
            ast.copy_location(node, old)
    return new


def _thunk(body: ast.expr) -> ast.Lambda:
    nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    return ast.Lambda(args=nothing, body=body)


def _helper(name: str, arguments: list[ast.expr], keywords: list[ast.keyword] | None = None) -> ast.Call:
    return ast.Call(func=parsed(f"{HELPER}.{name}"), args=arguments, keywords=keywords or [])


def _binds(node: ast.AST) -> bool:
    """Whether a name is bound or control leaves inside an expression: a lambda around it would change what that means."""
    return any(isinstance(each, ast.NamedExpr | ast.Yield | ast.YieldFrom | ast.Await) for each in ast.walk(node))


class RewriteExpressions(ast.NodeTransformer):
    """`and`, `or`, `not`, chained comparisons, `in`, conditional expressions, and builtins that need numbers."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines
        self.changed = False

    def _placed(self, new: ast.expr, old: ast.expr) -> ast.expr:
        self.changed = True
        return place(new, old)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        if _binds(node):
            return node
        self.generic_visit(node)
        name = "both" if isinstance(node.op, ast.And) else "either"
        result, *rest = node.values
        for value in rest:
            result = _helper(name, [result, _thunk(value)])
        return self._placed(result, node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return self._placed(_helper("negation", [node.operand]), node) if isinstance(node.op, ast.Not) else node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        if _binds(node):
            return node
        self.generic_visit(node)
        return self._placed(_helper("choose", [node.test, _thunk(node.body), _thunk(node.orelse)]), node)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if _binds(node) or (len(node.ops) == 1 and not isinstance(node.ops[0], ast.In | ast.NotIn)):
            self.generic_visit(node)
            return node
        ambiguous = self._ambiguous(node)
        self.generic_visit(node)
        links: list[ast.expr] = [
            ast.Tuple(elts=[ast.Constant(type(op).__name__), _thunk(value)], ctx=ast.Load())
            for op, value in zip(node.ops, node.comparators, strict=True)
        ]
        keywords = [ast.keyword("ambiguous", ast.Constant(ambiguous))] if ambiguous else []
        return self._placed(_helper("chain", [node.left, *links], keywords), node)

    def _ambiguous(self, node: ast.Compare) -> str:
        """The source of a chain in which `&` or `|` stand bare, as in `k <= q & q - k < w`."""
        before = (node.lineno, node.col_offset)
        for operand in (node.left, *node.comparators):
            bare = (operand.lineno, operand.col_offset) == before if operand is node.left else b"(" not in self._between(before, operand)
            if len(node.ops) > 1 and isinstance(operand, ast.BinOp) and isinstance(operand.op, _BITS) and bare:
                return ast.unparse(node)
            before = (operand.end_lineno or 0, operand.end_col_offset or 0)
        return ""

    def _between(self, start: tuple[int, int], operand: ast.expr) -> bytes:
        """The source between a place and the beginning of an operand."""
        (line, column), last = start, operand.lineno
        if line == last:
            return self.lines[line - 1][column : operand.col_offset]
        return b"".join([self.lines[line - 1][column:], *self.lines[line : last - 1], self.lines[last - 1][: operand.col_offset]])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _BUILTINS:
            return self._placed(_helper("call", [node.func, *node.args], node.keywords), node)
        return node


class RewriteStatements(RewriteExpressions):
    """`if` statements whose sides only assign and return, as well as expressions."""

    def __init__(self, lines: list[bytes]) -> None:
        super().__init__(lines)
        self.branches = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.args = self.visit(node.args)
        if any(isinstance(each, ast.Global | ast.Nonlocal) for each in ast.walk(node)):
            return self._only_expressions(node)
        single_exit = any(isinstance(each, ast.If) and is_plain(each, True) and _returns([each]) for each in node.body)
        node.body = self._block(node.body, single_exit)
        if single_exit:
            node.body[:0] = _statements(f"{DONE}, {VALUE} = False, {HELPER}.NOTHING")
            node.body += _statements(f"return {HELPER}.finish({DONE}, {VALUE})")
        return node

    def _only_expressions(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Where names may belong to another scope, statements stay as they are."""
        expressions = RewriteExpressions(self.lines)
        node = cast(ast.FunctionDef, expressions.generic_visit(node))
        self.changed |= expressions.changed
        return node

    def visit_For(self, node: ast.For) -> ast.For:
        node.iter = self.visit(node.iter)
        node.body, node.orelse = self._block(node.body, False), self._block(node.orelse, False)
        return node

    def visit_While(self, node: ast.While) -> ast.While:
        node.test = self.visit(node.test)
        node.body, node.orelse = self._block(node.body, False), self._block(node.orelse, False)
        return node

    def visit_If(self, node: ast.If) -> ast.If:
        """One that stays Python's: its test must be a plain value."""
        node.test = self.visit(node.test)
        node.body, node.orelse = self._block(node.body, False), self._block(node.orelse, False)
        return node

    def _block(self, body: list[ast.stmt], single_exit: bool) -> list[ast.stmt]:
        """Statements rewritten. With `single_exit` a `return` is remembered instead, and what follows it runs where it has not happened."""
        result: list[ast.stmt] = []
        for position, statement in enumerate(body):
            if isinstance(statement, ast.Return) and single_exit:
                return [*result, *self._remembered(statement)]
            if not isinstance(statement, ast.If) or not is_plain(statement, single_exit):
                result.append(self.visit(statement))
                continue
            branch = self._branch(self.visit(statement.test), statement.body, statement.orelse, single_exit)
            result += [place(each, statement) for each in branch]
            rest = body[position + 1 :]
            if single_exit and rest and _returns([statement]):
                return [*result, *self._unless_done(rest)]
        return result

    def _remembered(self, statement: ast.Return) -> list[ast.stmt]:
        value = self.visit(statement.value) if statement.value else ast.Constant(None)
        assigned = ast.Assign(targets=[ast.Name(VALUE, ast.Store())], value=value)
        return [place(each, statement) for each in (assigned, *_statements(f"{DONE} = True"))]

    def _unless_done(self, rest: list[ast.stmt]) -> list[ast.stmt]:
        test = parsed(f"{HELPER}.negation({DONE})")
        if not all(is_plain(statement, True) for statement in rest):
            return [ast.If(test=test, body=self._block(rest, True), orelse=[])]
        return self._branch(test, [*_statements(f"{DONE}, {VALUE} = False, {HELPER}.NOTHING"), *rest], [], True)

    def _branch(self, test: ast.expr, then: list[ast.stmt], otherwise: list[ast.stmt], single_exit: bool) -> list[ast.stmt]:
        self.changed = True
        self.branches += 1
        branch = f"_lacuna_branch_{self.branches}"
        names = list(dict.fromkeys(assigned_names([*then, *otherwise])))
        names += [name for name in (DONE, VALUE) if _returns([*then, *otherwise]) and name not in names]
        made = _statements(f"{branch} = {HELPER}.Branch(None, {tuple(names)!r})")
        cast(ast.Call, cast(ast.Assign, made[0]).value).args[0] = test
        stored = f"{', '.join(names)}, = " if names else ""
        first = ast.If(test=parsed(f"{branch}.then(locals())"), body=self._block(then, single_exit), orelse=[])
        second = ast.If(test=parsed(f"{branch}.otherwise()"), body=self._block(otherwise, single_exit) or [ast.Pass()], orelse=[])
        between, after = _statements(f"{stored}{branch}.between(locals())"), _statements(f"{stored}{branch}.merged(locals())")
        return [*made, first, *between, second, *after]


def is_plain(statement: ast.stmt, may_return: bool) -> bool:
    """Whether both outcomes of a test around `statement` can be run: it assigns local names, or returns, and does nothing else."""
    match statement:
        case ast.Assign(targets=targets):
            return all(_is_local(target) for target in targets) and not _binds(statement)
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target, value=ast.expr()):
            return isinstance(target, ast.Name) and not _binds(statement)
        case ast.Return():
            return may_return and not _binds(statement)
        case ast.If(test=test, body=body, orelse=orelse):
            return not _binds(test) and all(is_plain(each, may_return) for each in (*body, *orelse))
        case ast.For(target=target, iter=items, body=body, orelse=[]):
            return _is_local(target) and not _binds(items) and all(is_plain(each, False) for each in body)
        case ast.Expr(value=ast.Constant()) | ast.Pass():
            return True
        case _:
            return False


def _is_local(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(_is_local(each) for each in target.elts)
    return isinstance(target, ast.Name)


def assigned_names(body: Iterable[ast.stmt]) -> Iterator[str]:
    """The local names that plain statements assign."""
    for statement in body:
        match statement:
            case ast.Assign(targets=targets):
                yield from (each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
            case ast.AugAssign(target=ast.Name(id=name)) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.If(body=inner, orelse=orelse):
                yield from assigned_names([*inner, *orelse])
            case ast.For(target=target, body=inner):
                yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))
                yield from assigned_names(inner)
            case _:
                pass


def _returns(body: Iterable[ast.stmt]) -> bool:
    return any(isinstance(node, ast.Return) for statement in body for node in ast.walk(statement))
