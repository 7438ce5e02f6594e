"""Residue classes: which masks fall into them, and that the parts are the whole."""

# Patterns are written without annotations, and torch's are partial.
# ruff: noqa: ANN001, ANN201
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import lacuna
import numpy as np
import pytest
import random_problems as problems
import test_gradients
import torch
from hypothesis import given
from hypothesis import strategies as st
from lacuna.ir.parse import parse_program
from lacuna.passes.program.residues import residues
from lacuna.runtime.cpp import backend as cpp_backend
from lacuna.runtime.cpp.variants import target_here, variant_of
from lacuna.runtime.parts.residue_classes import residue_classes
from random_problems import Places, Problem

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
LENGTHS = (64, 90, 131)
attention: Callable[..., Any] = lacuna.attention


@lacuna.score
def near(s, q, k, *, bias):
    return s + bias[lacuna.minimum(lacuna.maximum(q - k + 30, 0), 60)]


def found(mask: str) -> tuple[int, int] | None:
    classes = residues(parse_program(f"program @p(q < Lq, k < Lk) {{ mask = {mask} score = s normalise = softmax }}"))
    return None if classes is None else (classes.modulus, classes.remainder)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("(q - k) % 4 == 0 and k <= q", (4, 0)),
        ("k <= q and 3 == (q - k) % 5", (5, 3)),
        ("(k - q) % 5 == 3", (5, 2)),
        ("(q - k + 1) % 3 == 0", (3, 2)),
        ("q % 6 == k % 6 and k <= q", (6, 0)),
        ("(k + 2) % 6 == q % 6", (6, 2)),
        ("(q + 3 * k) % 4 == 1", (4, 1)),
        ("(q - k) % 2 == 0 and (q - k) % 6 == 4", (6, 4)),
        ("((q - k) & 7) == 2", (8, 2)),
    ],
)
def test_a_congruence_of_the_distance_makes_classes(mask: str, expected: tuple[int, int]) -> None:
    assert found(mask) == expected


@pytest.mark.parametrize(
    "mask",
    [
        "k <= q",
        "(q - k) % 4 != 0",
        "(q - k) % 4 == 0 or k == 0",
        "(q + k) % 4 == 0",
        "(2 * q - 2 * k) % 4 == 0",
        "q % 4 == 0 and k % 4 == 0",
        "q % 4 == k % 3",
        "(q - k) % 1 == 0",
        "(q - k) % 4 == 5",
        "(q // 2 - k) % 4 == 0",
    ],
)
def test_other_remainders_make_none(mask: str) -> None:
    assert found(mask) is None


@given(st.integers(2, 6), st.integers(-7, 7), st.integers(-30, 30), st.booleans(), st.integers(1, 40), st.integers(1, 40))
def test_the_classes_hold_every_pair_of_the_mask_and_no_other(d: int, c: int, far: int, swapped: bool, rows: int, keys: int) -> None:
    difference = f"k - q + {c + 7}" if swapped else f"q - k + {c + 7}"
    text = f"({difference}) % {d} == {c % d} and q - k <= {far} and k < Lk - 3"
    whole = parse_program(f"program @p(q < Lq, k < Lk) {{ mask = {text} score = s normalise = softmax }}")
    classes = residues(whole)
    assert classes is not None
    q, k = np.arange(rows)[:, None], np.arange(keys)
    distance = k - q if swapped else q - k
    expected = ((distance + c + 7) % d == c % d) & (q - k <= far) & (k < keys - 3)
    seen = np.zeros_like(expected)
    for row in range(d):
        key = (row - classes.remainder) % d
        inner = q[row::d] // d, k[key::d] // d
        mask = _values(classes.program.mask, {"q": inner[0], "k": inner[1], "row_class": row, "key_class": key, "all_keys": keys})
        seen[row::d, key::d] = mask
    assert (seen == expected).all()


def _values(expr: object, at: dict[str, object]) -> np.ndarray:
    """A mask as Python reads its text."""
    text = str(expr).replace(" and ", ") & (")
    return np.asarray(eval(f"({text})", {"true": True, "false": False}, at))


# -- calls ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def short_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let classes have as little as five tokens."""
    monkeypatch.setattr("lacuna.passes.program.residues.LEAST_TOKENS", 5)


def dilated_problem(seed: int, backend: str) -> Problem:
    """A problem whose pattern makes classes of ragged lengths, with offsets, groups of heads and a score that knows its positions."""
    torch.manual_seed(seed)
    pick = problems.random.Random(seed).choice
    dtype, dims = pick((torch.float32, torch.bfloat16) if backend == "triton" else problems.DTYPES), (pick((16, 40)), pick((16, 24)))
    rows, keys, step, offset = pick(LENGTHS), pick(LENGTHS), pick((2, 3, 7)), pick((0, 5, -3, "end"))
    batch, kv_heads, group, layout = pick((1, 2)), pick((1, 2)), pick((1, 3)), pick(("bhld", "blhd"))
    query = problems.tensor((batch, kv_heads * group, rows, dims[0]), dtype, layout)
    key, value = (problems.tensor((pick((1, batch)), kv_heads, keys, dim), dtype, layout) for dim in dims)
    value = value if value.shape[0] == key.shape[0] else value[:1].expand(key.shape[0], -1, -1, -1)
    first = keys - rows if isinstance(offset, str) else offset
    at = Places(
        q=torch.arange(rows).view(1, 1, -1, 1) + first,
        k=torch.arange(keys).view(1, 1, 1, -1),
        b=torch.arange(batch).view(-1, 1, 1, 1),
        h=torch.arange(kv_heads * group).view(1, -1, 1, 1),
        rows=torch.full((batch, 1, 1, 1), rows),
        keys=torch.full((batch, 1, 1, 1), keys),
    )
    pattern = problems.dilated(step=step)
    mask = at.called(problems.written(problems.dilated), step=step).expand(batch, kv_heads * group, rows, keys)
    bias = torch.randn(61)
    options: dict[str, object] = {"layout": layout, "q_offset": offset, "score": near(bias=bias)}
    return Problem(
        query, key, value, pattern, options, mask, dims[0] ** -0.5, lambda s: s + bias.to(s.dtype)[(at.q - at.k + 30).clamp(0, 60)]
    )


@pytest.mark.usefixtures("short_classes")
@pytest.mark.parametrize("backend", ["cpp", "triton"])
@pytest.mark.parametrize("seed", range(40 if PROVE else 2))
def test_outputs_and_gradients_are_those_of_the_whole(backend: str, seed: int) -> None:
    test_gradients.check(dilated_problem(seed, backend), backend, seed)


@pytest.mark.usefixtures("short_classes")
def test_a_remembered_call_reads_and_writes_the_tensors_it_is_given() -> None:
    pattern = problems.dilated(step=3)
    for seed in range(3):
        torch.manual_seed(seed)
        query, key, value = (torch.randn(2, 2, 70, 16) for _ in range(3))
        out = attention(query, key, value, pattern, layout="bhld")
        torch.testing.assert_close(out, attention(query, key, value, pattern, layout="bhld", backend="eager"))


def test_long_classes_are_problems_of_their_own() -> None:
    query = torch.randn(1, 1, 512, 16)
    prepared = cpp_backend.prepare(_request(query, problems.dilated(step=4)))
    assert isinstance(prepared, cpp_backend.Launches)
    assert len(prepared.each) == 4
    assert len({launch.kernel for launch in prepared.each}) == 1, "one kernel serves all classes"
    assert isinstance(cpp_backend.prepare(_request(query, problems.dilated(step=16))), cpp_backend.Launch), "classes of 32 tokens"


def _request(query: torch.Tensor, pattern: object) -> Any:  # noqa: ANN401
    from lacuna.runtime.calls.call import Call
    from lacuna.runtime.request.description import described

    program, tables, integers, reals = described(pattern, None)  # pyright: ignore[reportArgumentType]
    return Call(query, query, query, tables, (), None, None, 0, integers, reals, program, None, "bhld", "").request()


def test_explain_says_what_the_classes_visit() -> None:
    found = lacuna.explain(problems.dilated(step=4), 512, block=(64, 64))
    assert found.residues is not None
    modulus, (_, partial, full) = found.residues
    assert modulus == 4
    assert partial + full < found.classes[1], "fewer tiles than the whole has, none of which is full"
    assert "token order: 4 residue classes, each a problem of its own on tokens 4 apart" in str(found)
    assert lacuna.explain(problems.dilated(step=16), 512).residues is None


def test_compile_makes_the_kernel_that_a_class_runs() -> None:
    query = torch.randn(1, 1, 512, 16)
    kernel = lacuna.compile(problems.dilated(step=4), target="cpp", head_dim=16)
    request = residue_classes(_request(query, problems.dilated(step=4)))[0].request
    assert kernel.variant == variant_of(request, target_here())


@lacuna.pattern
def around(q, k):
    return (q + k) % lacuna.kv_len < 50


@lacuna.pattern
def around_dilated(q, k):
    return ((q - k) % 4 == 0) & ((q + k) % lacuna.kv_len < 50)


@lacuna.pattern
def dilated_documents(q, k, *, document):
    return ((q - k) % 4 == 0) & (document[q] == document[k])


@lacuna.pattern
def crossed(q, k):
    return ((q - k) % 4 == 0) & ((k ^ q) < 64)


@lacuna.pattern(rank=2)
def column(q, k):
    return q[1] == k[1]


@pytest.mark.parametrize(
    ("pattern", "classes"),
    [
        (around, 1),
        (around_dilated, 4),
        (dilated_documents(document=lacuna.segments(torch.tensor([0, 100, 256]))), 4),
        (crossed, 1),
        (column.on(32, 8), 1),
        (column.on(64, 4), 4),
    ],
    ids=repr,
)
def test_lengths_segments_and_grids_meet_residue_classes(pattern: Any, classes: int) -> None:  # noqa: ANN401
    torch.manual_seed(0)
    leaves = [torch.randn(1, 1, 256, 16, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert len(residue_classes(_request(leaves[0], pattern))) == classes
    explained = lacuna.explain(pattern, 256).residues
    assert (1 if explained is None else explained[0]) == classes
    rise = torch.randn(1, 1, 256, 16, dtype=torch.float64)
    out, expected = (attention(*leaves, pattern, backend=backend) for backend in ("cpp", "eager"))
    torch.testing.assert_close(out, expected)
    found, wanted = (torch.autograd.grad(each, leaves, rise) for each in (out, expected))
    torch.testing.assert_close(found, wanted)
