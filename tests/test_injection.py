"""Nothing that a user names or writes reaches a compiler's command line, a template or generated code as anything but a name of ours."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import lacuna
import pytest
import torch
from lacuna.codegen import cpp, triton
from lacuna.ir.parse import parse_program
from lacuna.ir.pattern import Pattern
from lacuna.ir.program import InvalidProgram, Program
from lacuna.ir.target import Target
from lacuna.ir.verify import verify
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.lower import plan_of
from lacuna.runtime.compilers import cpp_compiler
from lacuna.runtime.compilers.cpp_compiler import CANDIDATES, CompilerMissing, compile_shared, compiler_at

EVIL = [
    'a"b', "a'b", "a\nb", "a b", "*/ int x; /*", "#include <fcntl.h>", "{{ 7 * 7 }}", "{% raw %}", '"""', "a;b", "\\", "a\0b", "%s",
    "$(touch x)", "-o", "../../x", "1a", "", "__global__", "é", "ﬁ", "\u202e", "q\u0301", "${x}",
]  # fmt: skip
KEYWORDS = [
    "int",
    "class",
    "template",
    "asm",
    "register",
    "nonlocal",
    "lambda",
    "tl",
    "std",
    "lacuna",
    "offset",
    "Lq",
    "q0",
    "where",
    "inf",
]
MACROS = ["EOF", "NAN", "INFINITY", "INT_MAX", "M_PI", "unix", "linux", "errno", "assert_", "stdin"]
OURS = [
    "at",
    "row",
    "index",
    "real",
    "full",
    "table",
    "place",
    "given_at",
    "p0_at",
    "t0_at",
    "e0",
    "BQ",
    "UNIT",
    "INDEX",
    "n",
    "first",
    "data",
]


def program_of(names: list[str], tables: list[str], name: str = "p") -> Program:
    declared = [f"{each}: i64" for each in names] + [f"{each}: i32[*]" for each in tables]
    mask = " and ".join(["k <= q", *(f"q - k < {each}" for each in names), *(f"{each}[q] == {each}[k]" for each in tables)])
    text = f"program @{name}(q < Lq, k < Lk; {', '.join(declared)}) {{\n  mask = {mask}\n  score = s\n  normalise = softmax\n}}"
    program = parse_program(text)
    verify(program)
    return program


def texts(program: Program) -> dict[str, str]:
    schedule = derive(program, 64, 64).schedule
    return {
        "cpp": cpp.render(plan_of(schedule, Target("cpp", "generic"), "f32", (16, 16))).text,
        "triton": triton.render(plan_of(schedule, Target("triton", "sm_90"), "f32", (16, 16))).text,
    }


def named(name: str, doc: str = "") -> Pattern:
    def function(q: Any, k: Any, *, window: Any) -> Any:  # noqa: ANN401 (as users write it)
        return (k <= q) & (q - k < window)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return lacuna.pattern(function)


@pytest.mark.parametrize("name", EVIL)
def test_a_function_of_any_name_is_an_anonymous_program(name: str) -> None:
    program = named(name, doc=name)(window=3).program
    assert program.name == "anonymous"
    if name:
        assert name not in str(program) or name == "-o"


def test_a_long_name_is_cut_and_the_name_of_a_keyword_is_only_part_of_an_identifier() -> None:
    assert named("x" * 300)(window=3).program.name == "x" * 64
    keyword, plain = (texts(named(name)(window=3).program) for name in ("class", "zzzzz"))
    for language, text in plain.items():
        differing = [words for words in zip(text.split(), keyword[language].split(), strict=True) if words[0] != words[1]]
        assert all(re.search(r"zzzzz|_[0-9a-f]{8}", mine) for mine, _ in differing), differing
        assert (
            not re.findall(r"\bclass\b", re.sub(r'//.*|""".*?"""', "", keyword[language].replace("template <class", "")))
            or language == "cpp"
        )


@pytest.mark.parametrize("name", [*EVIL[:-1], *KEYWORDS])
def test_a_parameter_or_table_of_a_dangerous_name_is_refused_in_text(name: str) -> None:
    for declaration in (f"{name}: i64", f"{name}: i32[*]"):
        with pytest.raises(InvalidProgram):
            verify(parse_program(f"program @p(q < Lq, k < Lk; {declaration}) {{ mask = k <= q score = s normalise = softmax }}"))


@pytest.mark.parametrize("name", [*EVIL, "x" * 65])
def test_a_dangerous_word_is_refused_wherever_a_program_may_have_a_word(name: str) -> None:
    form = "program @{}(q < Lq, k < Lk; w: {}, t: {}[*]) {{ mask = {} score = {} normalise = {} }}"
    whole = ["p", "i64", "i32", "k <= q", "s", "softmax"]
    verify(parse_program(form.format(*whole)))
    for place in range(len(whole)):
        with pytest.raises(InvalidProgram):
            verify(parse_program(form.format(*whole[:place], name, *whole[place + 1 :])))


@pytest.mark.parametrize("name", ["int", "__x", "é", "tl", "w" * 65])
def test_a_parameter_of_a_dangerous_name_is_refused_in_a_function(name: str) -> None:
    made: dict[str, Any] = {}
    exec(f"def f(q, k, *, {name}): return q - k < {name}", made)
    with pytest.raises(InvalidProgram, match=r"the parameter `.*` is"):
        lacuna.pattern(made["f"])(**{name: 3}).program.name  # noqa: B018 (traced when it is looked at)


def test_comments_and_strings_of_a_program_reach_no_kernel() -> None:
    text = str(program_of(["w"], ["t"])).replace("mask", '# */ #include "x" {{ 7 * 7 }} """\n  mask')
    for rendered in texts(parse_program(text)).values():
        assert "{{" not in rendered
        assert '#include "x"' not in rendered
        assert "7 * 7" not in rendered


def test_every_word_of_a_user_in_a_kernel_has_a_prefix_of_ours() -> None:
    names, tables = ["evilEOF", "evilunix"], ["evilat", "evilindex", "evildata"]
    rendered = texts(program_of(names, tables, "evilprogram"))
    code = re.sub(r"//.*", "", rendered["cpp"])
    assert {re.sub(r"evil.*", "", word) for word in re.findall(r"\w*evil\w*", code)} <= {
        "lacuna_", *(f"p{n}_" for n in range(len(names))), *(f"t{n}_" for n in range(len(tables)))
    }  # fmt: skip
    tree = ast.parse(rendered["triton"])
    words = [node.arg if isinstance(node, ast.arg) else node.id for node in ast.walk(tree) if isinstance(node, ast.arg | ast.Name)]
    assert {word.partition("evil")[0] for word in words if "evil" in word} == {"given_", "table_"}
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    foreign = [text for text in strings if "evil" in text and not re.fullmatch(r"(given|table)_evil\w+", text)]
    assert set(foreign) <= {ast.get_docstring(tree, clean=False)}, "names of arguments, and the title"


ALIKE = ["doc", "doc_stride0", "doc_size0", "doc_stride0_", "doc__2", "table_doc"]


def test_tables_whose_derived_names_look_alike_stay_apart() -> None:
    tree = ast.parse(texts(program_of([], ALIKE))["triton"])  # a name given twice is a SyntaxError
    for each in ast.walk(tree):
        if isinstance(each, ast.FunctionDef):
            arguments = [argument.arg for argument in each.args.args]
            assert len(arguments) == len(set(arguments))


@pytest.mark.skipif(not any(map(shutil.which, CANDIDATES)), reason="no C++ compiler on PATH")
def test_kernels_with_names_of_macros_and_of_ours_compile_and_answer_right() -> None:
    query, key, value = torch.randn(3, 1, 1, 24, 16, generator=torch.Generator().manual_seed(0)).unbind()
    ids = torch.arange(24, dtype=torch.int32) // 9
    position = torch.arange(24)
    seen = (position[:, None] >= position) & (position[:, None] - position < 7) & (ids[:, None] == ids)
    wanted = (query @ key.mT / 4).masked_fill(~seen, -torch.inf).softmax(-1) @ value
    names, tables = [*MACROS, *OURS], ["doc", "doc_stride0", "stdout"]
    bound = dict.fromkeys(names, 7) | dict.fromkeys(tables, ids)
    pattern = Pattern.of(program_of(names, tables, "main"), bound)
    for backend in ("cpp", "triton") if lacuna_has_triton() else ("cpp",):
        found = lacuna.attention(query, key, value, pattern, backend=backend)
        assert isinstance(found, torch.Tensor)
        assert torch.allclose(found, wanted, atol=1e-5), backend


def lacuna_has_triton() -> bool:
    from importlib.util import find_spec

    return find_spec("triton") is not None


def test_a_command_line_holds_flags_of_ours_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[str, ...]] = []

    def run(command: tuple[str, ...], **named: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        assert "shell" not in named
        seen.append(tuple(command))
        Path(named["cwd"], "kernel.so").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    def loads(library: Path, entry: str) -> None:
        """What is left is no library."""

    compiler = cpp_compiler.Compiler(("/usr/bin/g++",), "gcc", "g++ 1", "stamp", ("-fopenmp",))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(cpp_compiler, "complaint_about", loads)
    for number, name in enumerate(("p", "evil")):
        out = tmp_path / f"-evil {number}.so"
        compile_shared(texts(program_of([f"{name}w"], [f"{name}t"], name))["cpp"], Target("cpp", "generic"), out, compiler)
    assert seen[0] == seen[1]
    assert not [word for word in seen[0] if "evil" in word]


@pytest.mark.parametrize(
    "command", ["c++; touch touched", "c++ && touch touched", "$(touch touched)", "`touch touched`", "| touch touched"]
)
def test_the_compilers_variable_is_split_into_words_and_never_given_to_a_shell(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises((CompilerMissing, cpp_compiler.CompileFailed)):
        compile_shared("int x;", Target("cpp", "generic"), tmp_path / "out.so", compiler_at(command))
    assert not list(tmp_path.rglob("touched"))


def test_the_command_line_refuses_a_quote_that_is_not_closed() -> None:
    with pytest.raises(CompilerMissing, match=r'`c\+\+ "`.*\n  write'):
        compiler_at('c++ "')
