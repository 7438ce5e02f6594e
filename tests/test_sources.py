"""Functions with their source and without, in modules of many shapes: what is traced is what Python computes on plain integers."""

# users write their functions without types, and so do these tests:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false

from __future__ import annotations

import importlib.util
import math
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import lacuna
import numpy as np
import pytest
from lacuna.ir.pattern import Pattern, pattern
from lacuna.runtime.views.dense import dense

SIZE = 9


def chosen(condition: object, a: object, b: object) -> object:
    """`lacuna.where` of plain values."""
    return a if condition else b


PLAIN = SimpleNamespace(where=chosen, minimum=min, maximum=max)


class Words:
    """Random text of conditions and numbers over `q` and `k`, a few levels deep."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)

    def number(self, depth: int) -> str:
        if not depth or self.pick.random() < 0.3:
            return self.pick.choice(["q", "k", "3", "q - k", "math.floor(2.5)", "k // 2", "__hidden"])
        a, b = self.number(depth - 1), self.number(depth - 1)
        forms = [f"({a} + {b})", f"min({a}, {b})", f"max({a}, {b}, 1)", f"lacuna.maximum({a}, {b})"]
        return self.pick.choice([*forms, f"({a} if {self.condition(depth - 1)} else {b})"])

    def condition(self, depth: int) -> str:
        if not depth or self.pick.random() < 0.2:
            a, b, c = (self.number(depth and depth - 1) for _ in range(3))
            signs = [self.pick.choice(["<", "<=", "==", "!=", ">", ">="]) for _ in range(2)]
            return self.pick.choice([f"{a} {signs[0]} {b}", f"{a} {signs[0]} {b} {signs[1]} {c}"])
        a, b, c = (f"({self.condition(depth - 1)})" for _ in range(3))
        forms = [f"{a} and {b}", f"{a} or {b}", f"not {a}", f"{a} if {b} else {c}", f"lacuna.where({a}, {b}, {c})"]
        return self.pick.choice([*forms, f"any((q - k == each and {a}) for each in (1, 3))", f"{a} & {b}"])

    def function(self) -> list[str]:
        """The lines of `def mask(q, k)`."""
        lines = ["def mask(q, k):"]
        for _ in range(self.pick.randrange(3)):
            lines += [f"    if {self.condition(1)}:", f"        return {self.condition(1)}"]
        return [*lines, f"    return {self.condition(2)}"]

    def module(self) -> str:
        """`mask` somewhere in a module that imports in many ways."""
        imports = self.pick.choice(
            [
                "import lacuna, math",
                "try:\n    import lacuna\n    import math\nfinally:\n    pass",
                "if True:\n    import lacuna\nimport math as math",
            ]
        )
        body = self.function()
        where = self.pick.randrange(4)
        if where == 0:
            return "\n".join([imports, "__hidden = 4", *body])
        if where == 1:
            inner = ["def outer(__hidden):", *(f"    {line}" for line in body), "    return mask"]
            return "\n".join([imports, *inner, "mask = outer(4)"])
        if where == 2:
            inner = ["class Owner:", "    @staticmethod", *(f"    {line}" for line in body)]
            return "\n".join([imports, "_Owner__hidden = 4", *inner, "mask = Owner.mask"])
        local = ["def outer():", "    import lacuna, math", *(f"    {line}" for line in body), "    return mask"]
        return "\n".join(["__hidden = 4", *local, "mask = outer()"])


def loaded(text: str, path: Path) -> Callable[..., object]:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mask


def executed(text: str) -> Callable[..., object]:
    scope: dict[str, Any] = {}
    exec(text, scope)
    return scope["mask"]


def on_integers(text: str) -> list[list[bool]]:
    """What Python computes, with a plain stand-in for `lacuna`."""
    scope: dict[str, Any] = {"lacuna": PLAIN, "math": math}
    exec(text.replace("import lacuna, math", "pass").replace("import lacuna", "pass"), scope)
    return [[bool(scope["mask"](q, k)) for k in range(SIZE)] for q in range(SIZE)]


def seen(made: Pattern) -> list[list[bool]]:
    return dense(made, SIZE)[0, 0].tolist()


def test_functions_mean_what_python_means_with_their_source_and_without(tmp_path: Path, prove: bool) -> None:
    for seed in range(2000 if prove else 150):
        text = Words(seed).module()
        wanted = on_integers(text)
        for how, mask in (("from a file", loaded(text, tmp_path / f"masks_{seed}.py")), ("executed", executed(text))):
            assert seen(pattern(mask)) == wanted, f"seed {seed}, {how}:\n{text}"


def test_a_file_that_changed_since_counts_as_no_source(tmp_path: Path) -> None:
    mask = loaded("import lacuna\ndef mask(q, k):\n    return k <= q and q < 5\n", tmp_path / "changed.py")
    (tmp_path / "changed.py").write_text("import lacuna\ndef mask(q, k):\n    return k <= q or q < 5\n")
    assert str(pattern(mask).program.mask) == "k <= q and q < 5"


def test_scores_without_source_choose_as_python_does() -> None:
    scope: dict[str, Any] = {}
    exec("def bend(s, q, k, *, w):\n    near = q - k < w\n    return -max(q - k, 0) if near and q > 2 else min(s, 1.0)", scope)
    text = str(lacuna.score(scope["bend"])(w=3).expr)
    capped = "where(1.0 < s, 1.0, s)"
    assert text == f"where(q - k < w, where(2 < q, float(where(q - k < 0, 0, -(q - k))), {capped}), {capped})"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("any(q - k == each for each in range(q))", "`q` is no single integer"),
        ("int(q) < k", "`int()` of the expression `q`"),
        ("[j for j in (1,) if float(q) < k]", "`float()` of the expression `q`"),
        ("all(q % n < k for n in range(1, 90))", "it has 64 tests of positions one after another"),
        ("sum(1 if k % n == 1 else 0 for n in range(2, 12)) > q", "it has more than 256 ways"),
    ],
)
def test_what_needs_a_source_says_that_it_is_missing(body: str, complaint: str) -> None:
    mask = eval(f"lambda q, k: {body}")
    with pytest.raises(TypeError) as raised:
        _ = pattern(mask).program
    what, write = str(raised.value).split("\n  write ")
    assert 'the source of this function cannot be read, File "<string>", line 1' in what
    assert complaint in what
    assert write


def test_a_test_of_a_number_is_refused_without_source_too() -> None:
    with pytest.raises(TypeError, match=r"`q % 2` is used as a condition and is a number\n  write a comparison, such as `q % 2 != 0`"):
        _ = pattern(eval("lambda q, k: k < q if q % 2 else k == q")).program
    with pytest.raises(TypeError, match=r"the function returns nothing where `q < k`\n  write a `return` on every path"):
        _ = pattern(executed("def mask(q, k):\n    if k <= q:\n        return True")).program


def test_code_alone_is_enough() -> None:
    """As unpickled, or loaded from a .pyc that has no .py beside it."""
    import marshal

    def near(q: Any, k: Any) -> Any:  # noqa: ANN401
        return 0 <= q - k < 3

    code = marshal.loads(marshal.dumps(near.__code__.replace(co_filename="nowhere.py")))
    made = pattern(FunctionType(code, {}))
    assert np.array_equal(seen(made), [[0 <= q - k < 3 for k in range(SIZE)] for q in range(SIZE)])
    assert seen(pickle.loads(pickle.dumps(made))) == seen(made)
