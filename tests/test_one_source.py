"""C++ and Triton are two texts of one plan: a pattern that neither has seen needs nothing of its own in either."""

# Patterns are written without types, and torch's are partly unknown.
# ruff: noqa: ANN401
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import replace
from typing import Any

import lacuna
import pytest
import reference
import torch
from lacuna.ir.plan import Plan
from lacuna.ir.program import Program
from lacuna.ir.target import Target
from lacuna.passes.program.call_values import Launch
from lacuna.runtime.cpp.launch import render as render_cpp
from lacuna.runtime.kernels.plan_of import planned
from lacuna.runtime.kernels.variant import Variant
from lacuna.runtime.triton.toolchain import render as render_triton

attention: Any = lacuna.attention
TARGETS = {"cpp": Target("cpp", "generic"), "triton": Target("triton", "sm_90")}


@lacuna.pattern
def unseen(q: Any, k: Any, *, reach: Any) -> Any:
    """Nobody's: pages of 48, marked keys that come every 24, and a slanted line."""
    return (k <= q) & ((q // 48 == k // 48) | (k % 24 < 2) | (abs(q - 2 * k) <= reach))


PATTERN = unseen(reach=5)


def plan_of(program: Program, backend: str, family: str = "forward") -> Plan:
    variant = Variant(program, TARGETS[backend], "f32", (32, 32), (64, 32), False, family)
    return planned(variant, Launch(200, 200, parameters={"reach": 5}))


def test_both_backends_have_one_schedule_and_one_mask() -> None:
    cpp, triton = plan_of(PATTERN.program, "cpp"), plan_of(PATTERN.program, "triton")
    assert str(cpp.schedule) == str(triton.schedule)
    assert (cpp.partial, cpp.score, cpp.parameters, cpp.tables) == (triton.partial, triton.score, triton.parameters, triton.tables)


@pytest.mark.parametrize("backend", ["cpp", "eager", "triton"])
def test_a_pattern_that_no_backend_has_seen_agrees_with_the_oracle(backend: str, prove: bool) -> None:
    torch.manual_seed(0)
    tokens = 70 if backend == "triton" else 130  # its interpreter runs one operation after the other
    given = [torch.randn(1, 2, tokens, 16).requires_grad_() for _ in range(3)]
    grad = torch.randn(1, 2, tokens, 16)
    out = attention(*given, PATTERN, backend=backend)
    gradients = prove or backend == "eager"  # to compile or interpret those of the others takes long
    found = [out, *(torch.autograd.grad(out, given, grad) if gradients else ())]
    query, key, value = (each.detach().double().requires_grad_() for each in given)
    scores = (query @ key.transpose(-1, -2) / 4).masked_fill(~lacuna.dense(PATTERN, tokens), -torch.inf)
    exact = scores.softmax(-1) @ value
    wanted = (exact, *(torch.autograd.grad(exact, (query, key, value), grad.double()) if gradients else ()))
    for mine, theirs in zip(found, wanted, strict=True):
        reference.assert_close(mine.detach(), theirs.detach(), 1e-5)


@pytest.mark.parametrize("backend", ["cpp", "triton"])
@pytest.mark.parametrize("family", ["forward", "backward", "decode"])
def test_the_name_of_a_pattern_decides_nothing(backend: str, family: str) -> None:
    names = ("unseen", "sliding_window", "block_causal")  # words that no template has
    render = render_cpp if backend == "cpp" else render_triton
    plan = plan_of(PATTERN.program, backend, family)
    texts: set[str] = set()
    for name in names:
        program = replace(plan.schedule.program, name=name)
        source = render(replace(plan, schedule=replace(plan.schedule, program=program)))
        texts.add(source.text.replace(source.entry, "ENTRY").replace(name, "NAME"))
    assert len(texts) == 1
