"""Sequences with a part whose length only a call knows: the definition by numbers, exact tiles, and one kernel for every length."""

# Patterns and scores are written without annotations, and numpy's arrays carry no element type here.
# ruff: noqa: ANN001, ANN201
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportPrivateUsage=false
from __future__ import annotations

import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import brute_force
import lacuna
import numpy as np
import pytest
import torch
from bound_numbers import numbers_of
from conftest import PROFILE
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna import patterns
from lacuna.ir.pattern import Pattern
from lacuna.passes.bounds.refine import refined
from lacuna.passes.program.call_values import Launch
from lacuna.passes.schedules.known_parts import in_known_parts
from lacuna.passes.schedules.transpose import transposed, transposed_launch
from lacuna.runtime.compilers.cpp_compiler import tally
from listed_patterns import NAMED, everything
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

pytestmark = pytest.mark.usefixtures("compiled_quickly")
attention: Any = lacuna.attention
PROVE = PROFILE == "prove"


@lacuna.score
def by_axis(s, q, k, *, bias):
    return s + bias[q % 3, k % 3]


class Open(NamedTuple):
    """A sequence `before, text, grid, after`. text: tokens of the part that is None."""

    before: int
    text: int
    extents: tuple[int, ...]
    after: int
    window: int

    @property
    def tokens(self) -> int:
        return self.before + self.text + math.prod(self.extents) + self.after

    def pattern(self, *, is_open: bool = True) -> Pattern:
        """Causal text, rows of the grid that see all of the text and a window of the grid, and a first and a last part that see all."""
        parts: dict[str, Any] = {
            "before": self.before,
            "text": None if is_open else self.text,
            "grid": lacuna.grid(*self.extents),
            "after": self.after,
        }
        whole = lacuna.sequence(**{name: size for name, size in parts.items() if size != 0})
        found = patterns.causal().on(whole["text"]) | everything().on(queries=whole["grid"], keys=whole["text"])
        found = found | patterns.gna(self.extents, self.window).on(whole["grid"])
        for name in ("before", "after"):
            if name in whole:
                found = found | everything().on(queries=whole["text"], keys=whole[name]) | everything().on(whole[name])
        return found

    def by_definition(self) -> np.ndarray:
        """bool[tokens, tokens], pair by pair."""
        edges = np.cumsum([0, self.before, self.text, math.prod(self.extents), self.after])
        part, found = np.searchsorted(edges, np.arange(self.tokens), side="right") - 1, np.zeros((self.tokens, self.tokens), bool)
        near = lacuna.dense(patterns.gna(self.extents, self.window), math.prod(self.extents))[0, 0].numpy()
        for q in range(self.tokens):
            for k in range(self.tokens):
                a, b = part[q], part[k]
                if (a, b) == (1, 1):
                    found[q, k] = k <= q
                elif (a, b) == (2, 2):
                    found[q, k] = near[q - edges[2], k - edges[2]]
                else:
                    found[q, k] = (a, b) in {(2, 1), (1, 0), (0, 0), (1, 3), (3, 3)}
        return found


SMALL = Open(0, 10, (3, 4), 0, 3)
PATTERN = SMALL.pattern()


@st.composite
def sequences(draw: st.DrawFn) -> Open:
    extents = tuple(draw(st.integers(2, 5)) for _ in range(draw(st.integers(2, 3))))
    window = draw(st.integers(1, min(extents)))
    return Open(draw(st.sampled_from([0, 0, 5])), draw(st.integers(1, 40)), extents, draw(st.sampled_from([0, 0, 7])), window)


@given(sequences())
@settings(max_examples=300 if PROVE else 12)
def test_an_open_part_is_what_the_keys_of_a_call_leave(problem: Open) -> None:
    expected = problem.by_definition()
    assert (lacuna.dense(problem.pattern(), problem.tokens)[0, 0].numpy() == expected).all()
    assert (lacuna.dense(problem.pattern(is_open=False), problem.tokens)[0, 0].numpy() == expected).all()
    assert (lacuna.schedule(problem.pattern(), problem.tokens, block=(8, 8)).tiles() == brute_force.classes(expected, 8, 8)).all()


@given(sequences(), st.data())
@settings(max_examples=300 if PROVE else 15)
def test_tiles_at_known_lengths_are_those_of_the_definition(problem: Open, data: st.DataObject) -> None:
    pattern, expected = problem.pattern(), problem.by_definition()
    edges = data.draw(st.sampled_from([(8, 8), (4, 16), (5, 3)]))
    block, turned_block = edges, (edges[1], edges[0])
    launch = Launch(problem.tokens, problem.tokens, parameters=numbers_of(pattern))
    found = in_known_parts(pattern.program, block, launch)
    assert found is not None
    assert_lists(found.arrays, brute_force.classes(expected, *block))
    other = refined(pattern.program, block, launch).arrays
    assert all((found.arrays[name] == each).all() for name, each in other.items())
    turned = in_known_parts(transposed(pattern.program), turned_block, transposed_launch(launch))
    assert turned is not None
    assert_lists(turned.arrays, brute_force.classes(expected.T, *turned_block))
    rows = launch._replace(q_len=problem.tokens // 2)
    fewer = in_known_parts(pattern.program, block, rows)
    assert fewer is not None
    assert_lists(fewer.arrays, brute_force.classes(expected[: rows.q_len], *block))
    assert in_known_parts(pattern.program, block, rows._replace(offset=3)) is None


def assert_lists(arrays: dict[str, np.ndarray], classes: np.ndarray) -> None:
    for name, tile in (("partial", 1), ("full", 2)):
        starts, tiles = arrays[f"{name}_start"][0, 0], arrays[f"{name}_tile"]
        for row, (first, last) in enumerate(pairwise(starts)):
            assert tiles[first:last].tolist() == np.flatnonzero(classes[row] == tile).tolist()


def attended(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, bias: Tensor | None = None) -> Tensor:
    group = query.shape[1] // key.shape[1]
    key, value = (each.double().repeat_interleave(group, 1) for each in (key, value))
    scores = query.double() @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias.double()
    return torch.softmax(scores.masked_fill(~visible, -torch.inf), -1).nan_to_num() @ value


@pytest.mark.parametrize("backend", ["cpp", "eager"])
def test_outputs_and_gradients_are_those_of_the_definition_and_one_kernel_serves_every_length(backend: str) -> None:
    counts: list[int] = []
    for text in (70, 66, 128):
        problem = Open(5, text, (4, 4, 3), 7, 2)
        query, key, value = (torch.randn(1, heads, problem.tokens, 24, requires_grad=True) for heads in (4, 2, 2))
        before = tally.compilations
        out = attention(query, key, value, problem.pattern(), backend=backend)
        found = torch.autograd.grad(out.square().sum(), (query, key, value))
        counts.append(tally.compilations - before)
        wanted = attended(query, key, value, torch.from_numpy(problem.by_definition()))
        assert torch.allclose(out.double(), wanted, atol=1e-5)
        for one, other in zip(found, torch.autograd.grad(wanted.square().sum(), (query, key, value)), strict=True):
            assert torch.allclose(one, other, atol=1e-4)
    assert counts[1:] == [0, 0]


@pytest.mark.parametrize("backend", ["cpp", "eager", "triton"])
def test_batch_items_have_texts_of_their_own_and_late_rows_their_place(backend: str) -> None:
    problem = Open(0, 20, (3, 4), 0, 3)
    lengths, rows = torch.tensor([problem.tokens, problem.tokens - 9]), 9
    query = torch.randn(2, 2, rows, 16)
    key, value = torch.randn(2, 2, 2, problem.tokens, 16)
    out = attention(query, key, value, problem.pattern(), kv_len=lengths, q_offset="end", backend=backend)
    for item, length in enumerate(lengths.tolist()):
        visible = torch.from_numpy(problem._replace(text=20 - problem.tokens + length).by_definition())[length - rows :]
        wanted = attended(query[item : item + 1], key[item : item + 1, :, :length], value[item : item + 1, :, :length], visible)
        assert torch.allclose(out[item : item + 1].double(), wanted, atol=1e-5)


def test_a_score_on_an_open_part_reads_its_places() -> None:
    whole, bias = lacuna.sequence(text=None, image=lacuna.grid(3, 3)), torch.randn(3, 3)
    pattern = everything().on(whole["image"]) | patterns.causal().on(whole["text"])
    query, key, value = torch.randn(3, 1, 2, 23, 16)
    out = attention(query, key, value, pattern, score=by_axis(bias=bias).on(whole["image"]), backend="eager")
    at = torch.arange(9)
    added = torch.zeros(23, 23)
    added[14:, 14:] = bias[at[:, None] % 3, at[None] % 3]
    visible = torch.ones(23, 23, dtype=torch.bool).tril()
    visible[14:] = torch.arange(23) >= 14
    assert torch.allclose(out.double(), attended(query, key, value, visible, added), atol=1e-5)


def test_a_sequence_shorter_than_its_known_parts_lacks_the_first_tokens_of_them() -> None:
    whole = lacuna.sequence(text=None, image=lacuna.grid(3, 4))
    visible = lacuna.dense(patterns.gna((3, 4), 3).on(whole["image"]), 7)[0, 0]
    assert torch.equal(visible, lacuna.dense(patterns.gna((3, 4), 3), 12)[0, 0, 5:, 5:])


def test_of_a_shorter_sequence_the_parts_before_the_open_one_keep_their_tokens() -> None:
    whole = lacuna.sequence(start=5, text=None, image=lacuna.grid(3, 4))
    pattern = everything().on(whole["start"]) | patterns.gna((3, 4), 3).on(whole["image"])
    expected = torch.zeros(11, 11, dtype=torch.bool)
    expected[:5, :5] = True
    expected[5:, 5:] = lacuna.dense(patterns.gna((3, 4), 3), 12)[0, 0, 6:, 6:]
    assert torch.equal(lacuna.dense(pattern, 11)[0, 0], expected)
    assert torch.equal(lacuna.dense(pattern, 3)[0, 0], torch.ones(3, 3, dtype=torch.bool))


@lacuna.pattern
def of_a_kind(q, k, *, kinds):
    return kinds[q] == kinds[k]


@pytest.mark.parametrize("backend", ["cpp", "eager", "triton"])
def test_rows_behind_the_last_key_see_nothing_and_read_no_table(backend: str) -> None:
    lengths, kinds = [21, 14, 16], torch.arange(12) % 3
    whole = lacuna.sequence(text=None, image=lacuna.grid(3, 4))
    pattern = patterns.causal().on(whole["text"]) | of_a_kind(kinds=kinds).on(whole["image"])
    query, key, value = torch.randn(3, 3, 2, 21, 16)
    out = attention(query, key, value, pattern, kv_len=torch.tensor(lengths), backend=backend)
    for item, length in enumerate(lengths):
        first = length - 12
        visible = torch.zeros(21, length, dtype=torch.bool)
        visible[:first, :first] = torch.ones(first, first, dtype=torch.bool).tril()
        visible[first:length, first:] = kinds[:, None] == kinds
        wanted = attended(query[item : item + 1], key[item : item + 1, :, :length], value[item : item + 1, :, :length], visible)
        assert torch.allclose(out[item : item + 1].double(), wanted, atol=1e-5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listed") / "bundle"
    specs = [
        lacuna.KernelSpec(made(), dtypes=("f32",), head_dims=(24,), passes=("forward", "backward"), rows=("long",))
        for made in NAMED.values()
    ]
    lacuna.build(specs, folder, targets=["cpu"])
    return folder


@pytest.mark.parametrize("libraries", ["refused", "there"])
@pytest.mark.parametrize("name", NAMED)
def test_a_bundle_serves_lists_and_only_sequences_load_the_set_library(bundle: Path, name: str, libraries: str, tmp_path: Path) -> None:
    known = {"PATH": "/nowhere", "PYTHONPATH": os.pathsep.join(sys.path), "LACUNA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, str(Path(__file__).parent / "listed_patterns.py"), str(bundle), libraries, name]
    done = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("islpy\n" if (name, libraries) == ("beside a video", "there") else "no islpy\n")
    assert "Warning" not in done.stderr


class Attends(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return attention(x, x, x, PATTERN, backend="eager")


@pytest.mark.parametrize("mode", [{}, {"fullgraph": True, "dynamic": True}], ids=["default", "dynamic"])
def test_a_compiled_region_takes_every_length(mode: dict[str, Any]) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(Attends(), backend=counter, **mode)
    for length in (20, 33, 41):
        x = torch.randn(1, 2, length, 16, requires_grad=True)
        out, wanted = compiled(x), Attends()(x)
        assert torch.allclose(out, wanted, atol=1e-6)
        found, expected = (torch.autograd.grad(each.square().sum(), x)[0] for each in (out, wanted))
        assert torch.allclose(found, expected, atol=1e-5)
    assert counter.frame_count <= 2


def test_an_exported_program_takes_every_length_and_vmap_goes_over_items() -> None:
    made = torch.export.export(Attends(), (torch.randn(1, 2, 30, 16),), dynamic_shapes=({2: torch.export.Dim("tokens", min=14, max=400)},))
    for length in (20, 50):
        x = torch.randn(1, 2, length, 16)
        assert torch.allclose(made.module()(x), Attends()(x), atol=1e-6)
    items = torch.randn(3, 1, 2, 30, 16)
    assert torch.allclose(torch.func.vmap(Attends())(items), torch.stack([Attends()(each) for each in items]), atol=1e-6)


@pytest.mark.parametrize("backend", ["cpp", "eager", "triton"])
def test_packed_sequences_have_texts_of_their_own(backend: str) -> None:
    ends = torch.tensor([0, 20, 53, 65], dtype=torch.int32)
    packed = torch.randn(65, 2, 16)
    out = cast(Tensor, lacuna.varlen_attention(packed, packed, packed, PATTERN, cu_seqlens_q=ends, cu_seqlens_k=ends, backend=backend))
    for start, stop in pairwise(ends.tolist()):
        alone = packed[start:stop].transpose(0, 1)[None]
        visible = torch.from_numpy(SMALL._replace(text=stop - start - 12).by_definition())
        assert torch.allclose(out[start:stop].transpose(0, 1)[None].double(), attended(alone, alone, alone, visible), atol=1e-5)
