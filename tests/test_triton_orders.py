"""Token orders in Triton kernels: boxes of queries and of keys, forward and backward, and which ones a GPU gets."""

# Patterns are written without types, and torch's and Triton's are partly unknown.
# ruff: noqa: ANN401
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from __future__ import annotations

import contextlib
import math
import os
import random
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lacuna
import numpy as np
import pytest
import reference
import test_backends
import test_gradients
import torch
from bound_numbers import with_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna.codegen.tile_digits import STEP, Tiled, split
from lacuna.ir.configuration import Configuration, Cut
from lacuna.ir.expr import Expr, J, K, names
from lacuna.ir.order import Boxes, Order
from lacuna.passes.orders.permuted_program import boxed
from lacuna.passes.program.call_values import Launch
from lacuna.passes.program.evaluate import evaluate
from lacuna.passes.schedules.grid_schedule import by_axis
from lacuna.passes.schedules.prepare import prepare
from lacuna.runtime.choices import cuts
from lacuna.runtime.triton.call import launch as launch_call
from random_problems import Problem
from test_patterns_gna import Gna, brute
from triton_kernels import Options, Shape, call_of, loaded
from triton_kernels import given as given_plan

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
attention: Any = lacuna.attention
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


# -- positions tile by tile -------------------------------------------------------------------------------------------


@st.composite
def some_boxes(draw: st.DrawFn) -> Boxes:
    axes = draw(st.integers(1, 4))
    box = tuple(draw(st.lists(st.sampled_from([1, 2, 4]), min_size=axes, max_size=axes)))
    apart = tuple(draw(st.lists(st.integers(1, 3), min_size=axes, max_size=axes)))
    extents = tuple(draw(st.integers(max(1, each * edge // 2), 3 * each * edge)) for each, edge in zip(apart, box, strict=True))
    return Boxes(extents, box, apart)


@settings(max_examples=300 if PROVE else 40)
@given(some_boxes())
def test_tokens_of_boxes_are_a_sum_over_tile_and_step(boxes: Boxes) -> None:
    tiled = Tiled(K, J, boxes.tokens)
    position = np.arange(boxes.positions)
    known: dict[Expr, np.ndarray] = {K: position, J: position // boxes.tokens, STEP: position % boxes.tokens}

    def values(expr: Expr) -> np.ndarray:
        return np.broadcast_to(evaluate(expr, known), position.shape)

    for whole in (boxes.token(K), boxes.valid(K)):
        assert np.array_equal(values(tiled.within(whole)), values(whole))
    parts = split(tiled.within(boxes.token(K)), tiled)
    assert parts is not None
    assert np.array_equal(values(parts.tile) + values(parts.step), values(boxes.token(K)))
    assert not {"k", "step"} & names(parts.tile)
    assert not {"k", "j"} & names(parts.step)


# -- numerics ---------------------------------------------------------------------------------------------------------


class Neighborhood(Gna):
    """A random neighborhood on a grid, and orders of its tokens in tiles of a few."""

    @staticmethod
    def of(seed: int) -> Neighborhood:
        choose = random.Random(seed)
        rank = 2 + seed % 2
        extents = tuple(choose.randint(6, 14) if rank == 2 else choose.randint(4, 6) for _ in range(rank))
        dilation = tuple(choose.choice([1, 1, 2]) for _ in range(rank))
        window = tuple(choose.randint(1, extent // apart) for extent, apart in zip(extents, dilation, strict=True))
        stride = tuple(choose.randint(1, wide) for wide in window)
        return Neighborhood(extents, window, stride, dilation, tuple(choose.random() < 0.3 for _ in range(rank)))

    def cut(self, seed: int) -> Cut:
        choose = random.Random(seed)
        sides = [self._boxes(choose, choose.choice([16, 32])) for _ in range(2)]
        return Cut(Configuration(sides[0].tokens, sides[1].tokens, 4, 2), Order(*sides))

    def _boxes(self, choose: random.Random, tokens: int) -> Boxes:
        while True:
            edges = [1] * len(self.extents)
            while math.prod(edges) < tokens:
                edges[choose.randrange(len(edges))] *= 2
            boxes = Boxes(self.extents, tuple(edges), self.dilation)
            if boxes.fit:
                return boxes

    def problem(self, seed: int, heads: tuple[int, int] = (2, 1)) -> Problem:
        torch.manual_seed(seed)
        tokens = math.prod(self.extents)
        shapes = [(1, each, tokens, 16) for each in (heads[0], heads[1], heads[1])]
        query, key, value = (torch.randn(shape).to(DTYPES[seed % len(DTYPES)]) for shape in shapes)
        mask = torch.as_tensor(brute(self), device=query.device).expand(1, heads[0], tokens, tokens)
        return Problem(query, key, value, self.pattern, {"layout": "bhld"}, mask, 16**-0.5)


@contextlib.contextmanager
def cut_as(found: Cut) -> Generator[list[str]]:
    """Every kernel of a call cuts its grid as `found` says; gives the families that asked."""
    asked: list[str] = []

    def cut_of(variant: Any, _: Any) -> Cut:
        asked.append(variant.family)
        rows = found.configuration.block_q * variant.together
        return found._replace(configuration=found.configuration._replace(block_q=rows))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "_cut_of", cut_of)
        yield asked


def check(seed: int, *, backward: bool = False) -> None:
    """A random neighborhood in random boxes, within the tolerance of the oracle."""
    near = Neighborhood.of(seed)
    with cut_as(near.cut(seed)) as asked:
        if backward:
            test_gradients.check(near.problem(seed, (1, 1)), "triton", seed)
        else:
            test_backends.check(near.problem(seed), "triton")
    assert set(asked) >= ({"backward", "backward_queries"} if backward else {"forward"})


@pytest.mark.parametrize("seed", range(60) if PROVE else range(3))
def test_neighborhoods_in_boxes_are_within_the_tolerance_of_the_oracle(seed: int) -> None:
    check(seed)


@pytest.mark.parametrize("seed", range(100, 140) if PROVE else (100,))
def test_gradients_in_boxes_are_within_the_tolerance_of_the_oracle(seed: int) -> None:
    check(seed, backward=True)


COPIED = [
    ((9, 13), (2, 3), ((2, 8), (4, 4))),
    ((8, 8), (1, 1), ((4, 4), (2, 8))),
    ((4, 5, 6), (1, 2, 1), ((1, 4, 4), (2, 2, 4))),
]


@pytest.mark.parametrize(("extents", "dilation", "boxes"), COPIED if PROVE else COPIED[:2], ids=str)
def test_boxes_of_residue_classes_come_through_descriptors(extents: Any, dilation: Any, boxes: Any, tmp_path: Path) -> None:
    """Classes of unequal size, in boxes that hang over them."""
    window = tuple(extent // apart // 2 + 1 for extent, apart in zip(extents, dilation, strict=True))
    near = Gna(extents, window, (1,) * len(extents), dilation, (False,) * len(extents))
    order = Order(*(Boxes(extents, box, dilation) for box in boxes))
    program = boxed(with_numbers(near.pattern), order)
    launch = Launch(order.rows.positions, order.keys.positions)
    schedule = by_axis(prepare(program, launch, shifted=False), program, order, launch)
    assert schedule is not None
    kernel = loaded(replace(given_plan(schedule), order=order, descriptors=True), tmp_path)
    tokens = math.prod(extents)
    tensors = Shape(tokens, tokens).tensors()
    call = call_of(tensors, Options())
    call = replace(call, q_len=launch.q_len, k_len=launch.k_len)
    text = next(tmp_path.glob("*.py")).read_text()
    assert "DESCRIBED: tl.constexpr = True" in text
    launch_call(kernel, call)
    exact_out, exact_lse = reference.attention(*tensors, torch.as_tensor(brute(near)), 0.3, None)
    assert call.lse is not None
    reference.assert_close(call.out, exact_out, 1e-5)
    reference.assert_close(call.lse, exact_lse, 1e-5)


@lacuna.pattern(rank=2)
def near(q: Any, k: Any, *, reach: Any) -> Any:
    return (abs(q[0] - k[0]) <= reach) & (abs(q[1] - k[1]) <= reach)


@lacuna.score(rank=2)
def placed(s: Any, q: Any, k: Any, h: Any, *, bias: Any, row: Any, column: Any, head: Any) -> Any:
    return s + bias[q[0] - k[0] + 9, q[1] - k[1] + 9] + row[q[0]] * column[k[1]] + head[h]


@pytest.mark.skipif(not PROVE, reason="ten seconds: LACUNA_TEST_PROFILE=prove")
def test_tables_of_a_score_get_their_gradients_through_boxes_that_hang_over_the_grid() -> None:
    """Tables that are read at pairs, at queries, at keys and at neither."""
    tables = {"bias": torch.rand(19, 19), "row": torch.rand(7), "column": torch.rand(9), "head": torch.rand(1)}
    leaves = [torch.randn(1, 1, 63, 16) for _ in range(3)] + list(tables.values())
    order = Order(Boxes((7, 9), (4, 4), (1, 1)), Boxes((7, 9), (2, 8), (1, 1)))
    results: list[tuple[torch.Tensor, ...]] = []
    for backend in ("triton", "eager"):
        given = [each.clone().requires_grad_() for each in leaves]
        bound = placed(**dict(zip(tables, given[3:], strict=True)))
        with cut_as(Cut(Configuration(16, 16, 4, 2), order)):
            out = attention(*given[:3], near(reach=2).on(7, 9), score=bound, backend=backend)
            results.append(torch.autograd.grad((out * torch.linspace(-1, 1, 16)).sum(), given))
    for mine, exact in zip(*results, strict=True):
        torch.testing.assert_close(mine, exact, atol=2e-5, rtol=1e-4)
