"""Mutants of the package by one token: what universalmutator's rules make of a line of code, less what changes no code.

A Python mutant must parse, to another tree than before, annotations and messages aside; a mutant of a template may not lie in a comment or
in a hole or statement of Jinja. Lines are drawn evenly, so that a line with fifty mutants counts as much as one with two.
"""

from __future__ import annotations

import ast
import contextlib
import io
import random
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from universalmutator.mutator import mutants_regexp

ROOT = Path(__file__).parent.parent
ROOMS = ("ir", "passes", "codegen", "runtime", "templates")
RULES = {
    ".py": ["universal", "python"],
    ".py.jinja": ["universal", "python"],
    ".h": ["universal", "c_like"],
    ".cpp.jinja": ["universal", "c_like"],
}
TOKEN = re.compile(r"""[A-Za-z_]\w*|\d[\w.]*|"[^"]*"|'[^']*'|[-+*/%<>=!&|^]+|\S""")
COMMENT = re.compile(r"//(?= ).*|#(?= ).*|/\*.*\*/")
EXCHANGED = {"min", "max", "and", "or", "not", "True", "False", "break", "continue", "any", "all", "if", "while", "else"}


class Mutant(NamedTuple):
    """`line` of `file`, counted from 1, with other text."""

    file: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}\n    - {self.before.strip()}\n    + {self.after.strip()}"

    def text(self) -> str:
        lines = (ROOT / self.file).read_text(encoding="utf-8").splitlines(keepends=True)
        lines[self.line - 1] = self.after
        return "".join(lines)


def drawn(seed: int) -> Iterator[Mutant]:
    """Mutants without end, one of each room in turn; the same for one tree and seed."""
    rooms = [_of_room(room, random.Random(f"{seed} {room}")) for room in ROOMS]
    while True:
        for room in rooms:
            yield next(room)


def _of_room(room: str, chance: random.Random) -> Iterator[Mutant]:
    lines = [(file, number) for file in _files(room) for number in _lines_of_code(file)]
    for file, number in chance.sample(lines, len(lines)):
        mutants = list(_of_line(file, number))
        if mutants:
            yield chance.choice(mutants)


def _files(room: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", room], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [file for file in listed if _rules(file) is not None and not file.endswith("__init__.py")]


def _rules(file: str) -> Sequence[str] | None:
    return next((rules for ending, rules in RULES.items() if file.endswith(ending)), None)


def _lines_of_code(file: str) -> list[int]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    if file.endswith(".py"):
        return sorted(_statements(ast.parse("\n".join(lines))))
    return [number for number, line in enumerate(lines, 1) if line.strip() and not line.strip().startswith(("//", "#", "{"))]


def _statements(tree: ast.Module) -> set[int]:
    """Lines inside functions on which something is computed; of messages of errors none."""
    found: set[int] = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                found |= _computed(statement)
    return found


def _computed(statement: ast.stmt) -> set[int]:
    raised = {
        line
        for node in ast.walk(statement)
        if isinstance(node, ast.Raise)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return set()
    return {node.lineno for node in ast.walk(statement) if isinstance(node, ast.expr) and not isinstance(node, ast.Constant)} - raised


def _of_line(file: str, number: int) -> Iterator[Mutant]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines(keepends=True)
    before = lines[number - 1]
    with contextlib.redirect_stdout(io.StringIO()):
        made = mutants_regexp([before], list(_rules(file) or ()), ignorePatterns=[], ignoreStringOnly=True)
    for _, after, *_ in made:
        mutant = Mutant(file, number, before, after)
        if _changes_code(mutant):
            yield mutant


def _changes_code(mutant: Mutant) -> bool:
    if not _is_one_token(_tokens(mutant.before), _tokens(mutant.after)):
        return False
    if not mutant.file.endswith(".py"):
        return "{{" not in mutant.before and "{%" not in mutant.before
    had = ast.dump(_without_texts(ast.parse((ROOT / mutant.file).read_text(encoding="utf-8"))))
    try:
        has = ast.dump(_without_texts(ast.parse(mutant.text())))
    except SyntaxError:
        return False
    return has != had and has.count("Starred(") == had.count("Starred(")  # a star that unpacks is no product


def _tokens(line: str) -> list[str]:
    return TOKEN.findall(COMMENT.sub("", line))


def _is_one_token(before: list[str], after: list[str]) -> bool:
    """Whether one token was dropped, added or exchanged, or a number moved by one; words are exchanged for words of logic alone."""
    start = next((at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after)))
    rest = min(len(before), len(after)) - start
    same = next((at for at in range(rest) if before[-1 - at] != after[-1 - at]), rest)
    old, new = before[start : len(before) - same], after[start : len(after) - same]
    if len(old) > 1 or not (old or new) or '"' in "".join(old + new) or "'" in "".join(old + new):
        return False
    if old and old[0].isdigit():
        return "".join(new).strip("()-").replace("+", "").replace("-", "").isdigit()
    return len(new) <= 1 and all(token in EXCHANGED for token in old + new if token[0].isalpha() or token[0] == "_")


class _Blank(ast.NodeTransformer):
    """Annotations say nothing at run time, and docstrings neither."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if isinstance(node.value, ast.Constant) else self.generic_visit(node)


def _without_texts(tree: ast.Module) -> ast.AST:
    return _Blank().visit(tree)
