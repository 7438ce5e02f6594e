"""Masks of attention-gym, from their definitions: what reads tables is told exactly, what reads none has a closed form."""

# Masks are written without annotations, as FlexAttention's users write them.
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# ruff: noqa: ANN001, ANN201, ANN202
from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import flex_mods
import lacuna
import numpy as np
import pytest
import torch
from brute_force import Problem as Pairs
from brute_force import classes, dense
from lacuna.interop import flex
from lacuna.ir.parse import parse_program
from lacuna.ir.pattern import Pattern
from lacuna.passes.program.call_values import Launch
from lacuna.passes.schedules.derive import derive_prepared
from lacuna.passes.schedules.prepare import prepare
from lacuna.passes.schedules.tile_classes import tiles
from lacuna.passes.schedules.transpose import transposed_launch, transposed_prepared
from torch import Tensor

Array = np.ndarray
Mod = Callable[..., Any]
BLOCKS = ((8, 8), (16, 4), (32, 16))


def of_every_pair(mod: Mod, lengths: tuple[int, int], block: tuple[int, int]) -> Array:
    """uint8[q_tiles, k_tiles], with the mask at each pair as torch evaluates it."""
    q, k = torch.arange(lengths[0])[:, None], torch.arange(lengths[1])[None, :]
    pairs = np.broadcast_to(np.asarray(mod(torch.tensor(0), torch.tensor(0), q, k)), lengths)
    found = np.zeros((-(-lengths[0] // block[0]), -(-lengths[1] // block[1])), np.uint8)
    for i, j in itertools.product(*map(range, found.shape)):
        tile = pairs[i * block[0] : (i + 1) * block[0], j * block[1] : (j + 1) * block[1]]
        found[i, j] = 0 if not tile.any() else 2 if tile.all() and (j + 1) * block[1] <= lengths[1] else 1
    return found


# -- the masks: mask function, lengths, and the same natively ----------------------------------------------------------------

Problem = tuple[Mod, tuple[int, int], Pattern]


def _packed(rng: random.Random) -> tuple[Tensor, Tensor, int]:
    """Starts of documents with the end, and the document of each token."""
    sizes = torch.tensor([rng.randint(1, 40) for _ in range(rng.randint(2, 8))])
    return (
        torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)]),
        torch.repeat_interleave(torch.arange(len(sizes)), sizes),
        len(sizes),
    )


@lacuna.pattern
def in_document(q, k, *, doc, starts):
    return (doc[q] == doc[k]) & (k - starts[doc[k]] <= q - starts[doc[q]])


@lacuna.pattern
def since_start(q, k, *, doc, starts):
    return (starts[doc[q]] <= k) & (k <= q)


@lacuna.pattern
def after_prefix(q, k, *, doc, starts, ends, of):
    prefix = of[doc[q]]
    return ((starts[doc[q]] <= k) & (k <= q)) | ((doc[q] != prefix) & (starts[prefix] <= k) & (k < ends[prefix]))


@lacuna.pattern
def of_image(q, k, *, first, last, tokens):
    return (first[k // tokens] <= q) & (q < last[k // tokens])


@lacuna.pattern
def near_or_global(q, k, *, radius, everywhere):
    return (abs(q - k) <= radius) | everywhere[q] | everywhere[k]


def documents(rng: random.Random) -> Problem:
    starts, doc, _ = _packed(rng)

    def mask(b, h, q_idx, kv_idx):
        return (doc[q_idx] == doc[kv_idx]) & (kv_idx - starts[doc[kv_idx]] <= q_idx - starts[doc[q_idx]])

    return mask, (len(doc), len(doc)), in_document(doc=doc, starts=starts)


def packed_causal(rng: random.Random) -> Problem:
    starts, doc, _ = _packed(rng)
    return (
        lambda b, h, q_idx, kv_idx: (kv_idx >= starts[doc[q_idx]]) & (q_idx >= kv_idx),
        (len(doc), len(doc)),
        since_start(doc=doc, starts=starts),
    )


def shared_prefix(rng: random.Random) -> Problem:
    starts, doc, count = _packed(rng)
    of = torch.tensor(list(itertools.accumulate(range(1, count), lambda last, each: each if rng.random() < 0.3 else last, initial=0)))

    def mask(b, h, q_idx, kv_idx):
        mine = doc[q_idx]
        prefix = of[mine]
        own = (kv_idx >= starts[mine]) & (q_idx >= kv_idx)
        return own | ((mine != prefix) & (kv_idx >= starts[prefix]) & (kv_idx < starts[prefix + 1]))

    return mask, (len(doc), len(doc)), after_prefix(doc=doc, starts=starts, ends=starts[1:].clone(), of=of)


def flamingo(rng: random.Random) -> Problem:
    text, images, tokens = rng.randint(10, 90), rng.randint(1, 6), rng.randint(1, 20)
    first = torch.tensor(sorted(rng.randrange(text) for _ in range(images)))
    last = torch.tensor([rng.randint(start, text) for start in first.tolist()])
    spans, image = torch.stack([first, last], 1), torch.repeat_interleave(torch.arange(images), tokens)

    def mask(b, h, q_idx, kv_idx):
        return (q_idx >= spans[image[kv_idx], 0]) & (q_idx < spans[image[kv_idx], 1])

    return mask, (text, images * tokens), of_image(first=first, last=last, tokens=tokens)


def global_window(rng: random.Random) -> Problem:
    length, radius = rng.randint(20, 120), rng.randint(0, 20)
    everywhere = torch.tensor([rng.random() < 0.06 for _ in range(length)])

    def mask(b, h, q_idx, kv_idx):
        return ((q_idx - kv_idx).abs() <= radius) | (everywhere[q_idx] | everywhere[kv_idx])

    return mask, (length, length), near_or_global(radius=radius, everywhere=everywhere)


@pytest.mark.parametrize("problem", [documents, packed_causal, shared_prefix, flamingo, global_window])
def test_tables_are_told_exactly(problem: Callable[[random.Random], Problem], prove: bool) -> None:
    for seed in range(200 if prove else 5):
        mod, lengths, native = problem(random.Random(seed))
        for pattern in (flex.create_block_mask(mod, 1, 1, *lengths).pattern, native):
            found = lacuna.schedule(pattern, *lengths, block=BLOCKS[seed % 3])
            assert found.exact, f"seed {seed}: {pattern.program.mask} by {found.route}"
            assert (found.tiles() == of_every_pair(mod, lengths, BLOCKS[seed % 3])).all(), f"seed {seed}"


def test_bounds_that_name_more_tiles_are_told_of() -> None:
    """Greatest and least logical positions of two documents in one tile leave more open than there is."""
    doc = torch.tensor([0] * 12 + [1] * 12 + [2] * 12)
    pattern = in_document(doc=doc, starts=torch.tensor([0, 12, 24, 36]))
    found = lacuna.schedule(pattern, 36, block=(8, 8))
    assert (found.route, found.exact) == ("refined", True)
    assert "kernels follow the bounds of its terms, by which" in str(lacuna.explain(pattern, 36, block=(8, 8)))


CLOSED = {
    "block diffusion": (flex_mods.block_diffusion(64, 8), 128),
    "NATTEN, 16 columns": (flex_mods.natten_2d(16, 12, 5), 192),
    "NATTEN, 12 columns": (flex_mods.natten_2d(12, 12, 5), 144),
    "NATTEN, 10 columns": (flex_mods.natten_2d(10, 13, 3), 130),
}


@pytest.mark.parametrize("name", CLOSED)
def test_grids_and_blocks_have_closed_forms(name: str) -> None:
    mod, length = CLOSED[name]
    for block in BLOCKS:
        found = lacuna.schedule(flex.create_block_mask(mod, 1, 1, length, length).pattern, length, block=block)
        assert (found.exact, found.closed_form) == (True, True), f"{found.route}, {found.schedule.counters.fallbacks}"
        assert (found.tiles() == of_every_pair(mod, (length, length), block)).all()


def test_a_grid_that_a_mask_writes_is_derived_axis_by_axis(prove: bool) -> None:
    """Where the whole is past the budget, which is 1 here: queries and keys on rows of their own, moved and seen from the keys."""
    routes: set[str] = set()
    for seed in range(400 if prove else 20):
        rng = random.Random(seed)
        columns, of_keys, radius = rng.randint(2, 9), rng.randint(2, 9), rng.randint(0, 3)
        text = f"abs(q // {columns} - k // {of_keys}) <= {radius} and abs(q % {columns} - k % {of_keys}) <= {rng.randint(0, 3)}"
        program = parse_program(f"program @written(q < Lq, k < Lk) {{ mask = {text} score = s normalise = softmax }}")
        launch = Launch(rng.randint(1, 60), rng.randint(1, 60), rng.choice([0, 0, 5]))
        block = rng.choice(BLOCKS)
        prepared = prepare(program, launch, shifted=launch.moves)
        pairs = dense(Pairs(program.mask, launch.q_len, launch.k_len, launch.offset))
        forward = derive_prepared(prepared, block, launch, budget=1)
        routes.add(forward.schedule.route)
        assert (tiles(forward.schedule, launch, forward.arrays) == classes(pairs, *block)).all(), f"seed {seed}: {text}, {launch}"
        mirrored, turned = transposed_prepared(prepared), transposed_launch(launch)
        backward = derive_prepared(mirrored, block, turned, budget=1)
        assert (tiles(backward.schedule, turned, backward.arrays) == classes(pairs.T, *block)).all(), f"seed {seed}: {text}, {launch}"
    assert routes == {"axes"}
