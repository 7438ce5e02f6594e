"""A mask that reads a table over a cache that grows: what is kept of the table from step to step is right, and little is found out anew."""

# Patterns are written without annotations; torch's are partial.
# ruff: noqa: ANN001, ANN201, ANN202, ANN401
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false
from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import lacuna
import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from lacuna.passes.bounds.widths import Sizes, Width, width_of, width_up_to
from lacuna.passes.lookups import ranges
from lacuna.passes.program.call_values import Launch
from lacuna.passes.schedules.derive import derive
from lacuna.runtime.launches import kept_bounds
from lacuna.runtime.request import lookups
from lacuna.runtime.tensors.kept_facts import forget_facts
from torch import Tensor

pytestmark = pytest.mark.usefixtures("compiled_quickly")
attention: Any = lacuna.attention
ROOM = 200


@lacuna.pattern
def same(q, k, *, doc):
    return (doc[q] == doc[k]) & (k <= q)


@lacuna.pattern
def together(q, k, *, doc):
    return doc[q] + doc[k] * 3 <= 7


@lacuna.pattern
def by_item(b, k, *, first):
    return first[b, k] > 0


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 3, 8]), st.randoms(use_true_random=False))
def test_bounds_that_are_kept_hold_every_key_and_are_the_extrema_of_whole_tiles(
    q_len: int, k_len: int, edge: int, rng: random.Random
) -> None:
    doc = np.array([rng.randrange(-4, 5) for _ in range(rng.randrange(1, 50))])
    launch = Launch(q_len, k_len, tables={"doc": doc})
    schedule = derive(same(doc=torch.from_numpy(doc)).program, 2, edge, launch).schedule
    forget_facts()
    found = kept_bounds.kept_term_arrays(schedule, launch, "state")
    read = doc[np.minimum(np.arange(k_len), len(doc) - 1)]
    for term in (term for term in schedule.terms if term.axis == "k"):
        low, high = found[term.low.name][0, 0], found[term.high.name][0, 0]
        assert len(low) == len(high) == -(-k_len // edge)
        for tile, (lowest, highest) in enumerate(zip(low, high, strict=True)):
            keys = read[tile * edge : (tile + 1) * edge]
            whole = len(keys) == edge
            assert (lowest, highest) == (keys.min(), keys.max()) if whole else (lowest <= keys.min() and keys.max() <= highest)


@given(st.sampled_from([2, 2**29, 2**30, 2**31 - 1]), st.integers(1, 30), st.randoms(use_true_random=False))
def test_a_proof_for_longer_caches_holds_for_every_pair_of_a_shorter_one(largest: int, k_len: int, rng: random.Random) -> None:
    doc = np.array([rng.randrange(-largest - 1, largest + 1) // rng.choice([1, 4, 16]) for _ in range(ROOM)])
    launch = Launch(3, k_len, tables={"doc": doc})
    schedule = derive(together(doc=torch.from_numpy(doc)).program, 2, 4, launch).schedule
    if width_up_to(schedule, Sizes.above(launch), launch.tables, ragged=False) is Width.NARROW:
        exact = doc[:3, None].astype(object) + doc[None, :k_len].astype(object) * 3
        assert max(abs(exact.min()), exact.max()) < 2**31
        arrays = kept_bounds.kept_term_arrays(schedule, launch, None)
        assert width_of(schedule, launch, {**launch.tables, **arrays}) is Width.NARROW
    else:
        assert np.abs(doc).max() * 4 > 2**29  # small numbers are always proved


Step = Callable[[Tensor, tuple[Tensor, Tensor, Tensor], int], Tensor]
STEPS: dict[str, Step] = {
    "a number": lambda doc, qkv, n: attention(*qkv, same(doc=doc), kv_len=n, q_offset=n - 1),
    "a tensor": lambda doc, qkv, n: attention(*qkv, same(doc=doc), kv_len=torch.tensor([n, n]), q_offset="end"),
    "slices": lambda doc, qkv, n: attention(qkv[0], *(each[:, :, :n] for each in qkv[1:]), same(doc=doc), q_offset="end"),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_a_growing_cache_see_what_its_table_says(name: str) -> None:
    rng = random.Random(name)
    doc = torch.tensor([rng.randrange(3) for _ in range(ROOM)])
    query, key, value = torch.randn(2, 2, 1, 16), torch.randn(2, 2, ROOM, 16), torch.randn(2, 2, ROOM, 16)
    for n in range(60, 140):
        if rng.random() < 0.2:
            doc.numpy()[rng.randrange(ROOM)] += 1
        mask = (doc[n - 1] == doc[:n])[None, None, None]
        exact, _ = reference.attention(query, key[:, :, :n], value[:, :, :n], mask)
        torch.testing.assert_close(STEPS[name](doc, (query, key, value), n).double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_finds_out_nothing_about_keys_that_the_one_before_knew(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, int] = {}

    def count(module: Any, name: str) -> None:
        inner = getattr(module, name)

        def counted(*arguments: Any, **others: Any) -> Any:
            over_keys = name != "bounds_of" or arguments[0].axis == "k"
            asked[name] = asked.get(name, 0) + over_keys
            return inner(*arguments, **others)

        monkeypatch.setattr(module, name, counted)

    forget_facts()
    for module, function in ((kept_bounds, "bounds_of"), (kept_bounds, "width_up_to"), (lookups, "check_lookups")):
        count(module, function)
    doc, qkv = torch.arange(ROOM) // 30, (torch.randn(2, 2, 1, 16), torch.randn(2, 2, ROOM, 16), torch.randn(2, 2, ROOM, 16))
    for n in range(70, 110):
        STEPS[name](doc, qkv, n)
    assert asked == {"bounds_of": 1, "width_up_to": 1, "check_lookups": 1}


def test_ids_of_segments_that_index_a_table_are_checked_where_they_are() -> None:
    """They go on past the keys of a call: a check for more keys meets more of them."""

    @lacuna.pattern
    def listed(q, k, *, doc, open):
        return open[doc[k]]

    query, cache = torch.randn(1, 1, 1, 16), torch.randn(1, 1, ROOM, 16)
    pattern = listed(doc=lacuna.segments(torch.tensor([0, 50, 100, ROOM])), open=torch.tensor([True, False]))
    for n in (60, 99, 100):
        exact, _ = reference.attention(query, cache[:, :, :n], cache[:, :, :n], (torch.arange(n) < 50)[None, None, None])
        torch.testing.assert_close(attention(query, cache, cache, pattern, kv_len=n).double(), exact, rtol=1e-4, atol=1e-4)
    with pytest.raises(ranges.OutOfRange, match="table `open` holds 2 entries, but `doc\\[k\\]` reaches 2"):
        attention(query, cache, cache, pattern, kv_len=101)


@pytest.mark.parametrize("kv_len", [None, 0, 3])
@pytest.mark.parametrize("backend", ["cpp", "eager"])
def test_bounds_of_no_keys_and_of_heads_are_arrays_that_torch_takes_without_a_warning(backend: str, kv_len: int | None) -> None:
    query, key = torch.randn(1, 2, 40, 8).requires_grad_(), torch.randn(1, 2, 5, 8).requires_grad_()
    ids, reach = torch.arange(40) // 7, torch.tensor([2, 9])
    torch.set_warn_always(True)  # else once in a process
    try:
        for pattern in (documents(ids=ids), reaching(reach=reach), documents(ids=ids) & reaching(reach=reach)):
            out = lacuna.attention(query, key, key, pattern, kv_len=kv_len, backend=backend)
            assert isinstance(out, torch.Tensor)
            out.sum().backward()
    finally:
        torch.set_warn_always(False)


@lacuna.pattern
def documents(q: Any, k: Any, *, ids: Any) -> Any:
    return ids[q] == ids[k]


@lacuna.pattern
def reaching(q: Any, k: Any, h: Any, *, reach: Any) -> Any:
    return q - k < reach[h]
