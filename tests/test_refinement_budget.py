"""Masks that no formula holds: their tiles are those of every pair, and finding them takes no more than was said."""

# Patterns are written without annotations, and some types of torch are partly unknown.
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import lacuna
import numpy as np
import pytest
import torch
from lacuna.ir.pattern import Pattern
from lacuna.passes.bounds import refine, work
from lacuna.passes.bounds.refine import refined
from lacuna.passes.bounds.too_wide import TooWide
from lacuna.passes.bounds.work import TooManyTiles, Work
from lacuna.passes.program.tabulate import tabulated
from lacuna.passes.schedules.count import counted_pairs
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.tile_classes import tiles
from lacuna.runtime.launches import tile_lists
from lacuna.runtime.launches.derivations import forget_derivations
from lacuna.runtime.views.derived import launch_of

Array = np.ndarray
BLOCKS = ((8, 8), (16, 4), (5, 7), (1, 3), (32, 16))
TILES_AT_16K = 128 * 256


# -- random masks, as text that Python evaluates at a pair -----------------------------------------------------------------


def _number(rng: random.Random) -> str:
    return rng.choice(["q", "k", "q - k", "q + k", "2 * q - k", "q - 3 * k", "doc[q]", "doc[k]", "near[q - k + 63]", "7"])


def _value(rng: random.Random, depth: int) -> str:
    if not depth:
        return _number(rng)
    a, b, size = _value(rng, depth - 1), _value(rng, depth - 1), rng.randint(2, 99)
    forms = [f"(({a}) * ({b}))", f"(({a}) ^ ({b}))", f"(({a}) & ({b}))", f"(({a}) | {size})", f"(({a}) % {size})", f"(({a}) // {size})"]
    return rng.choice([*forms, f"(({a}) * 2654435761 ^ ({b}) * 40503)", f"abs({a})", f"(({a}) >> {size % 5})", f"min({a}, {b})"])


def _condition(rng: random.Random) -> str:
    kind = rng.randrange(8)
    if kind == 0:
        return "(k <= q)"
    if kind == 1:
        return f"(abs(q - k) < {rng.randint(1, 40)})"
    if kind == 2:
        return "(((q - k) & (q - k - 1)) == 0)"
    if kind == 3:
        return "(" + " | ".join(f"(q - k == {rng.randint(-60, 60)})" for _ in range(rng.randint(2, 120))) + ")"
    value, size = _value(rng, rng.randint(1, 2)), rng.randint(2, 40)
    return rng.choice(
        [f"({value} % {size} < {rng.randint(0, size)})", f"({value} == {rng.randint(-9, 9)})", f"({value} <= {_value(rng, 1)})"]
    )


def _mask(rng: random.Random) -> str:
    whole = _condition(rng)
    for _ in range(rng.randint(0, 3)):
        whole = f"({whole} {rng.choice('&&|^')} {_condition(rng)})"
    return whole


class Nasty:
    """A mask, its lengths and tables, and every pair of it by plain Python."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.text = _mask(rng)
        self.q_len, self.k_len, self.block = rng.randint(1, 64), rng.randint(1, 64), rng.choice(BLOCKS)
        self.doc = [rng.randint(0, 5) for _ in range(64)]
        self.near = [rng.randint(-5, 5) for _ in range(127)]
        names: dict[str, Any] = {}
        exec(f"def mask(q, k, *, doc, near): return {self.text}", names)
        self.function: Callable[..., Any] = names["mask"]

    @property
    def pattern(self) -> Pattern:
        return lacuna.pattern(self.function)(doc=torch.tensor(self.doc), near=torch.tensor(self.near))

    @property
    def pairs(self) -> Array:
        held = [[self.function(q, k, doc=self.doc, near=self.near) for k in range(self.k_len)] for q in range(self.q_len)]
        return np.array(held, bool).reshape(self.q_len, self.k_len)

    @property
    def classes(self) -> Array:
        pairs, (rows, keys) = self.pairs, self.block
        found = np.zeros((-(-self.q_len // rows), -(-self.k_len // keys)), np.uint8)
        for i, j in np.ndindex(*found.shape):
            tile = pairs[i * rows : (i + 1) * rows, j * keys : (j + 1) * keys]
            found[i, j] = 0 if not tile.any() else 2 if tile.all() and (j + 1) * keys <= self.k_len else 1
        return found


def _drawn(seeds: range) -> Iterator[tuple[int, Nasty]]:
    """Masks whose integers fit in 64 bits; the others are refused, which is seen here."""
    refused = 0
    for seed in seeds:
        nasty = Nasty(seed)
        try:
            lacuna.schedule(nasty.pattern, nasty.q_len, nasty.k_len, block=nasty.block)
        except TooWide:
            refused += 1
        else:
            yield seed, nasty
    assert refused <= len(seeds) // 10


def _sound(got: Array, want: Array) -> bool:
    return not ((got == 0) & (want != 0) | (got == 2) & (want != 2)).any()


def test_tiles_of_nasty_masks_are_those_of_every_pair(prove: bool) -> None:
    routes: set[str] = set()
    for seed, nasty in _drawn(range(1000 if prove else 40)):
        found = lacuna.schedule(nasty.pattern, nasty.q_len, nasty.k_len, block=nasty.block)
        got, want = found.tiles(), nasty.classes
        routes.add(found.route)
        assert (got == want).all() if found.exact else _sound(got, want), f"seed {seed}, {found.route}: {nasty.text}"
    assert {"symbolic", "refined"} <= routes


def test_a_refinement_stays_in_its_budget_and_hides_nothing(prove: bool) -> None:
    cut_short = 0
    for seed, nasty in _drawn(range(1000, 1600 if prove else 1030)):
        rng = random.Random(seed)
        launch, program = launch_of(nasty.pattern, (nasty.q_len, nasty.k_len), (1, 1)), nasty.pattern.program
        budget = (rng.choice([0, 50, 400, 1 << 25]), rng.choice([0, 100, 5000, 1 << 29]))
        spent = Work(*budget)
        found = refined(program, nasty.block, launch, work=spent)
        assert spent.rectangles >= 0
        assert spent.pairs >= 0
        schedule = derive(program, *nasty.block, launch, budget=1).schedule
        got, want = tiles(schedule, launch, found.arrays), nasty.classes
        assert _sound(got, want), f"seed {seed}: {nasty.text}"
        assert int((got != want).sum()) <= found.untold, f"seed {seed}: {nasty.text}"
        cut_short += found.untold > 0
    assert cut_short >= 3


def test_a_tabulated_mask_is_the_mask_at_every_pair(prove: bool) -> None:
    from lacuna.ir.expr import K, Q
    from lacuna.passes.program.evaluate import evaluate, reader

    tables = 0
    for seed, nasty in _drawn(range(2000, 2500 if prove else 2030)):
        launch = launch_of(nasty.pattern, (nasty.q_len, nasty.k_len), (1, 1))
        found = tabulated(nasty.pattern.program.mask, launch, (0, 0))
        tables += len(found.tables)
        at = {**launch.environment(), Q: np.arange(nasty.q_len)[:, None], K: np.arange(nasty.k_len)[None, :]}
        got = evaluate(found.mask, at, reader({**launch.tables, **found.tables}))
        assert (np.broadcast_to(got, nasty.pairs.shape) == nasty.pairs).all(), f"seed {seed}: {nasty.text}"
    assert tables > 10


def test_pairs_are_counted_or_said_to_be_an_estimate(prove: bool) -> None:
    for seed in range(4000, 4500 if prove else 4030):
        nasty = Nasty(seed)
        launch = launch_of(nasty.pattern, (nasty.q_len, nasty.k_len), (1, 1))
        assert counted_pairs(nasty.pattern.program, launch) == (int(nasty.pairs.sum()), True), f"seed {seed}: {nasty.text}"
    guess = counted_pairs(hashed.program, launch_of(hashed, (512, 512), (1, 1)), work=Work(5000, 5000))
    assert not guess.exact
    assert 0 < guess.pairs < 4 * 512 * 512 / 97


# -- how much work ---------------------------------------------------------------------------------------------------------


@lacuna.pattern
def logsparse(q, k):  # noqa: ANN001, ANN201 (patterns are written without annotations)
    return (k <= q) & (((q - k) & (q - k - 1)) == 0)


@lacuna.pattern
def hashed(q, k):  # noqa: ANN001, ANN201
    return (q * 2654435761 ^ k * 40503) % 97 == 0


@lacuna.pattern
def bands(q, k):  # noqa: ANN001, ANN201
    found = q == k
    for band in range(1, 500):
        found = found | (q - k == band * band * 37 % 16001)
    return found


@lacuna.pattern
def morton(q, k):  # noqa: ANN001, ANN201
    return (((q ^ k) & 0x155) == 0) & (k <= q)


@lacuna.pattern
def product(q, k):  # noqa: ANN001, ANN201
    return (q * k) % 1009 < 5


@pytest.mark.parametrize("pattern", [logsparse, bands], ids=["logsparse", "bands"])
def test_a_mask_of_the_distance_alone_is_told_from_its_diagonals(pattern: Pattern) -> None:
    found = lacuna.schedule(pattern, 16384)
    assert found.exact
    assert found.schedule.counters.point_evaluations == 0
    assert found.schedule.counters.boxes <= 4 * TILES_AT_16K
    distance = np.subtract.outer(np.arange(512), np.arange(256))  # the tiles of a corner, by the definition
    steps = {0, *(2**n for n in range(15))} if pattern is logsparse else {0, *(n * n * 37 % 16001 for n in range(500))}
    pairs = np.isin(distance, list(steps))
    assert (found.tiles()[:4, :4] == pairs.reshape(4, 128, 4, 64).any((1, 3))).all()


@pytest.mark.parametrize("pattern", [hashed, morton, product], ids=["hash", "morton", "product"])
def test_masks_of_both_sides_stay_in_the_stated_budget(pattern: Pattern) -> None:
    counters = lacuna.schedule(pattern, 8192).schedule.counters
    assert counters.untold == 0
    assert counters.point_evaluations <= work.MOST_PAIRS
    assert counters.boxes <= 40 * (TILES_AT_16K // 4)  # each tile, and at most its 32 cells
    looked_at = counters.point_evaluations / 8192**2
    assert looked_at < (0.01 if pattern is morton else 0.2)  # bits that a tile shares tell most of its tiles


# -- where the budget ends -------------------------------------------------------------------------------------------------


@pytest.fixture
def few_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the lengths were past what is listed."""
    monkeypatch.setattr(refine, "Work", partial(Work, listed=0))
    tile_lists.say_covered.cache_clear()
    forget_derivations()


@pytest.fixture
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "Work", partial(Work, rectangles=0, pairs=0))
    tile_lists.say_untold.cache_clear()
    forget_derivations()


@pytest.mark.usefixtures("few_tiles")
def test_too_many_tiles_are_those_of_a_wider_mask() -> None:
    found = lacuna.schedule(morton, 100, block=(8, 8))
    assert (found.route, found.exact, found.closed_form) == ("cover", False, True)
    assert (found.tiles() == np.tril(np.ones((13, 13)))).all()  # `k <= q` is kept
    assert "more than 16777216 tiles to list" in str(lacuna.explain(morton, 100, block=(8, 8)))


def test_a_cover_of_nasty_masks_hides_no_pair(few_tiles: None, prove: bool) -> None:
    covered = 0
    for seed in range(3000, 3500 if prove else 3020):
        nasty = Nasty(seed)
        found = lacuna.schedule(nasty.pattern, nasty.q_len, nasty.k_len, block=nasty.block)
        assert _sound(found.tiles(), nasty.classes), f"seed {seed}: {nasty.text}"
        covered += found.route == "cover"
    assert covered >= 3


@pytest.mark.usefixtures("little_work")
def test_what_could_not_be_told_is_said() -> None:
    found = lacuna.schedule(hashed, 100, block=(8, 8))
    assert not found.exact
    assert found.schedule.counters.untold > 0
    said = str(lacuna.explain(hashed, 100, block=(8, 8)))
    assert "\npairs: 103 of 10000" in said
    assert f"partial since the budget of a refinement ended: {found.schedule.counters.untold} tiles" in said
    assert "a cover that may hold more than it must" in said


def test_a_budget_of_tiles_is_kept() -> None:
    with pytest.raises(TooManyTiles, match="more than 16777216 tiles to list"):
        refined(hashed.program, (8, 8), launch_of(hashed, (100, 100), (1, 1)), work=Work(listed=3))


def _attention(pattern: Pattern, backend: str, kv_len: torch.Tensor | None = None) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Output and gradients by a backend, and by torch with every pair."""
    torch.manual_seed(0)
    made = [torch.randn(2, 2, 70, 16) for _ in range(3)]
    found: list[list[torch.Tensor]] = []
    held = torch.tensor([[bool(MASKS[pattern](q, k)) for k in range(70)] for q in range(70)])
    for ours in (True, False):
        inputs = [each.clone().requires_grad_() for each in made]
        query, key, value = inputs
        if ours:
            out = lacuna.attention(query, key, value, pattern, backend=backend, kv_len=kv_len)
            assert isinstance(out, torch.Tensor)
        else:
            seen = held.expand(2, 2, 70, 70).clone()
            for item, length in enumerate((70, 70) if kv_len is None else kv_len.tolist()):
                seen[item, :, :, length:] = False
            weights = (query @ key.mT / 4).masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0.0)
            out = weights @ value
        found.append([out.detach(), *torch.autograd.grad(out.square().sum(), inputs)])
    return found[0], found[1]


MASKS: dict[Pattern, Callable[[int, int], Any]] = {
    hashed: lambda q, k: (q * 2654435761 ^ k * 40503) % 97 == 0,
    morton: lambda q, k: ((q ^ k) & 0x155) == 0 and k <= q,
    logsparse: lambda q, k: k <= q and ((q - k) & (q - k - 1)) == 0,
}
BACKENDS = ["cpp", "eager", "triton"]  # the last in its interpreter
LENGTHS = {"uniform": None, "ragged": torch.tensor([70, 33], dtype=torch.int32)}


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("compiled_quickly", "few_tiles")
def test_kernels_of_a_cover_compute_the_mask(backend: str, lengths: str) -> None:
    with pytest.warns(RuntimeWarning, match="`morton` has too many tiles to list them"):
        got, want = _attention(morton, backend, LENGTHS[lengths])
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["cpp", "eager"])
@pytest.mark.usefixtures("compiled_quickly", "little_work")
def test_kernels_compute_the_mask_in_tiles_that_could_not_be_told(backend: str) -> None:
    with pytest.warns(RuntimeWarning, match="some tiles of `hashed` could not be told"):
        got, want = _attention(hashed, backend)
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["cpp", "eager"])
@pytest.mark.usefixtures("compiled_quickly")
def test_kernels_read_the_tiles_of_diagonals(backend: str) -> None:
    got, want = _attention(logsparse, backend, LENGTHS["ragged"])
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize(("backend", "rows"), [("cpp", 1), ("cpp", 40), ("eager", 1), ("triton", 1)])
@pytest.mark.usefixtures("compiled_quickly")
def test_rows_at_the_end_of_a_cache_meet_the_same_tiles(backend: str, rows: int, few: bool, request: pytest.FixtureRequest) -> None:
    """Key heads shared by queries, at an offset of each call."""
    if few:
        request.getfixturevalue("few_tiles")
    torch.manual_seed(1)
    query, key, value = torch.randn(1, 4, rows, 16), torch.randn(1, 2, 70, 16), torch.randn(1, 2, 70, 16)
    with pytest.warns(RuntimeWarning, match="too many tiles") if few else contextlib.nullcontext():
        out = lacuna.attention(query, key, value, hashed, q_offset="end", backend=backend)
    assert isinstance(out, torch.Tensor)
    seen = torch.tensor([[bool(MASKS[hashed](70 - rows + q, k)) for k in range(70)] for q in range(rows)])
    keys, values = (each.repeat_interleave(2, 1) for each in (key, value))
    weights = (query @ keys.mT / 4).masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0.0)
    torch.testing.assert_close(out, weights @ values, rtol=1e-4, atol=1e-4)
