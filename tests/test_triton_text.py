"""The text of Triton kernels: what a plan fills in, and that template and context agree."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from jinja2 import meta, nodes
from lacuna.codegen.environment import ENVIRONMENT
from lacuna.codegen.triton import TEMPLATE, Forward, forward, parts, render
from lacuna.codegen.triton_backward import KEYS_TEMPLATE, QUERIES_TEMPLATE, Backward, BackwardKeys, BackwardQueries
from lacuna.codegen.triton_decode import TEMPLATE as DECODE_TEMPLATE
from lacuna.codegen.triton_decode import Decode
from lacuna.codegen.triton_kernel import Loop
from lacuna.ir.expr import TRUE, Binary, Const, K, Op, Q, Symbol
from lacuna.ir.schedule import Piece
from lacuna.ir.target import Target
from lacuna.runtime.triton.kernel import Signature
from triton_kernels import RENDER, WINDOW, backward_plan, every_tile, given, loaded, plan, scored


def test_full_tiles_run_without_mask_code() -> None:
    full = (Piece(Const(0), Const(1)),)
    text = render(given(every_tile(Binary(Op.LE, K, Q), Piece(Const(1), Const(2)), full=full))).text
    body = text.split("# full tiles")[1].split("# partial tiles")[0]
    assert "k <= q" not in body
    assert "tl.where" not in body


def test_tile_edges_that_triton_cannot_multiply_by_are_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"`block_k` is 8.*\n  write a power of two, at least 16"):
        render(given(every_tile(TRUE, block=(32, 8))))


def test_what_a_window_fills_into_the_template(golden: Callable[[str, str], None]) -> None:
    context = forward(plan(WINDOW, (128, 64)))
    loops = [f"for n in range({loop.tiles}):  # {loop.kind}\n{loop.select}\n{loop.scores}" for loop in context.loops]
    golden("window.triton", "\n\n".join([context.arguments, context.casts, context.bindings, *loops]))


def test_the_template_reads_exactly_its_context() -> None:
    loader = ENVIRONMENT.loader
    assert loader is not None
    tree = ENVIRONMENT.parse(loader.get_source(ENVIRONMENT, TEMPLATE)[0])
    assert meta.find_undeclared_variables(tree) == {field.name for field in fields(Forward)}
    read = {node.attr for node in tree.find_all(nodes.Getattr) if isinstance(node.node, nodes.Name) and node.node.name == "body"}
    assert read == {field.name for field in fields(Loop)}
    assert len([*tree.find_all((nodes.For, nodes.If, nodes.Include))]) <= 4  # one of them where sums are taken once more


CONTEXTS = [(QUERIES_TEMPLATE, BackwardQueries), (KEYS_TEMPLATE, BackwardKeys), (DECODE_TEMPLATE, Decode)]


@pytest.mark.parametrize(("template", "context"), CONTEXTS)
def test_the_other_templates_read_exactly_their_context(template: str, context: type[Backward | Decode]) -> None:
    loader = ENVIRONMENT.loader
    assert loader is not None
    tree = ENVIRONMENT.parse(loader.get_source(ENVIRONMENT, template)[0])
    assert meta.find_undeclared_variables(tree) == {field.name for field in fields(context)}
    assert len([*tree.find_all((nodes.For, nodes.If, nodes.Include))]) <= 4  # one of them where sums are taken once more


def test_dimensions_between_powers_of_two_are_split_where_that_is_less_work() -> None:
    hopper, ampere = Target("triton", "sm_90"), Target("triton", "sm_80")
    split = {dim: parts(dim, hopper) for dim in range(1, 257)}
    assert {dim: split[dim] for dim in (1, 16, 17, 40, 64, 72, 80, 96, 97, 112, 128, 192, 256)} == {
        1: (16, 0),
        16: (16, 0),
        17: (32, 0),
        40: (32, 16),
        64: (64, 0),
        72: (64, 16),
        80: (64, 16),
        96: (64, 32),
        97: (128, 0),
        112: (128, 0),
        128: (128, 0),
        192: (128, 64),
        256: (256, 0),
    }
    assert all(sum(both) >= dim and max(both) < 2 * max(dim, 16) for dim, both in split.items())
    assert parts(192, ampere) == (256, 0)
    assert parts(160, ampere) == (128, 32)


def test_full_tiles_have_gradients_without_mask_code() -> None:
    for family in ("backward_queries", "backward"):
        text = RENDER[family](backward_plan(WINDOW, family, (16, 16))).text
        body = text.split("# full tiles")[1].split("# partial tiles")[0]
        assert "given_W" not in body
        assert body.count("tl.where") == (0 if family == "backward_queries" else 2)  # only where lengths of items that share keys differ


def test_a_kernel_divides_in_one_place_and_takes_remainders_in_one() -> None:
    mask = Binary(Op.EQ, Binary(Op.FLOORDIV, Q, Symbol("n")), Binary(Op.MOD, K, Const(3)))
    text = render(given(every_tile(mask))).text
    code = "\n".join(line.split("#")[0] for line in text.split('"""')[2:] for line in line.splitlines())
    assert code.count(" // ") == code.count(" % ") == 1


def test_a_kernel_is_named_after_its_program_and_its_text() -> None:
    first, again, other = (render(plan(scored(score))) for score in ("s", "s", "s + 1.0"))
    assert first == again
    assert first.entry != other.entry
    assert re.fullmatch(r"scored_f32_q32_k16_[0-9a-f]{8}", first.entry)


def test_the_text_does_not_depend_on_the_hash_seed() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from triton_kernels import WINDOW, plan, render; print(render(plan(WINDOW)).entry)"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    made = {subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True).stdout for seed in "12"}
    assert len(made) == 1


def test_a_launch_manifest_survives_json(tmp_path: Path) -> None:
    kernel = loaded(plan(scored("s + t[q] * c", "c: f64, t: f32[*]")), tmp_path)
    assert Signature.of_json(json.loads(json.dumps(asdict(kernel.signature)))) == kernel.signature
