"""Tables as published systems have them, as large as what is visible: no padding, no index held inside by hand."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# torch's annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false
from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import lacuna
import pytest
import torch
from lacuna import patterns
from torch import Tensor

attention: Any = lacuna.attention
pytestmark = pytest.mark.usefixtures("compiled_quickly")


class Case(NamedTuple):
    """table: to make; `size` is the entries along its last axis.   mask, places: bool and i64[rows, keys] for each axis that is read."""

    rows: int
    keys: int
    table: Callable[[int], Tensor]
    size: int
    meant: Callable[[Tensor], dict[str, Any]]
    mask: Tensor
    places: tuple[Tensor, ...]
    offset: int = 0


@lacuna.score(rank=2)
def relative(s: Any, h: Any, q: Any, k: Any, *, bias: Any, reach: Any) -> Any:
    return s + bias[h, k[0] - q[0] + reach, k[1] - q[1] + reach]


@lacuna.score
def in_halo(s: Any, h: Any, q: Any, k: Any, *, bias: Any, block: Any, rim: Any) -> Any:
    return s + bias[h, k - q // block * block + rim]


@lacuna.pattern
def tree(q: Any, k: Any, *, ancestors: Any, prefix: Any) -> Any:
    return (k < prefix) | ancestors[q - prefix, k - prefix]


@lacuna.pattern
def slashes(h: Any, q: Any, k: Any, *, near: Any) -> Any:
    return near[h, q - k] if k <= q else False


def square(extents: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Distances of keys from queries along both axes."""
    at = torch.arange(extents[0] * extents[1])
    rows, cols = at // extents[1], at % extents[1]
    return rows[None, :] - rows[:, None], cols[None, :] - cols[:, None]


def neighborhood() -> Case:
    dy, dx = square((9, 11))
    near = patterns.neighborhood(5, length=(9, 11))
    mask = lacuna.dense(near, 99)[0, 0]
    return Case(
        99, 99, lambda n: torch.randn(2, n, n), 9, lambda t: {"pattern": near, "score": relative(bias=t, reach=4)}, mask, (dy + 4, dx + 4)
    )


def swin() -> Case:
    dy, dx = square((8, 12))
    windows = patterns.window((8, 12), 4, shift=2)
    mask = lacuna.dense(windows, 96)[0, 0]
    return Case(
        96,
        96,
        lambda n: torch.randn(2, n, n),
        7,
        lambda t: {"pattern": windows, "score": relative(bias=t, reach=3)},
        mask,
        (dy + 3, dx + 3),
    )


def halo() -> Case:
    q, k = torch.arange(37)[:, None], torch.arange(37)[None, :]
    place = k - q // 4 * 4 + 3
    blocks = patterns.halo(37, 4, 3)
    score = lambda t: {"pattern": blocks, "score": in_halo(bias=t, block=4, rim=3)}  # noqa: E731
    return Case(37, 37, lambda n: torch.randn(2, n), 10, score, (place >= 0) & (place < 10), (place,))


def speculation() -> Case:
    """Queries are drafted tokens behind a prefix."""
    q, k = torch.arange(12, 18)[:, None], torch.arange(18)[None, :]
    drafted = torch.randint(0, 2, (6, 6), generator=torch.Generator().manual_seed(3)).bool() | torch.eye(6, dtype=torch.bool)
    mask = (k < 12) | drafted[(q - 12).clamp(0), (k - 12).clamp(0)]
    meant = lambda t: {"pattern": tree(ancestors=t, prefix=12), "q_offset": 12}  # noqa: E731
    return Case(6, 18, lambda n: drafted[:n, :n], 6, meant, mask, (), 12)


def diagonals() -> Case:
    q, k = torch.arange(40)[:, None], torch.arange(40)[None, :]
    near = torch.randint(0, 2, (2, 40), generator=torch.Generator().manual_seed(4)).bool()
    mask = (k <= q) & near[:, (q - k).clamp(0)]
    return Case(40, 40, lambda n: near[:, :n], 40, lambda t: {"pattern": slashes(near=t)}, mask, ())


CASES = {each.__name__: each for each in (neighborhood, swin, halo, speculation, diagonals)}


@pytest.mark.parametrize("backend", ["eager", "cpp", "triton"])
@pytest.mark.parametrize("name", CASES)
def test_a_table_as_large_as_what_is_visible_is_enough(name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "triton":
        pytest.importorskip("triton")
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    torch.manual_seed(0)
    case = CASES[name]()
    query, key, value = (torch.randn(1, 2, n, 8) for n in (case.rows, case.keys, case.keys))
    table = case.table(case.size)
    scores = query @ key.transpose(-1, -2) / 8**0.5
    if case.places:
        scores = scores + table[:, *(index.clamp(0, case.size - 1) for index in case.places)]
    some = case.mask.any(-1, keepdim=True)
    wanted = torch.where(some, torch.softmax(torch.where(case.mask, scores, -torch.inf), -1), 0.0).nan_to_num() @ value
    found = attention(query, key, value, backend=backend, **case.meant(table))
    assert (found - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_a_table_one_entry_too_small_is_refused(name: str) -> None:
    case = CASES[name]()
    query, key = torch.randn(1, 2, case.rows, 8), torch.randn(1, 2, case.keys, 8)
    with pytest.raises(IndexError, match=rf"holds {case.size - 1} entries along axis \d, but .* reaches {case.size - 1}") as raised:
        attention(query, key, key, backend="eager", **case.meant(case.table(case.size - 1)))
    assert f"\n  write a table with at least {case.size} entries" in str(raised.value)


def test_a_wrapped_index_stays_refused_where_a_pair_is_visible() -> None:
    query = torch.randn(1, 2, 40, 8)

    @lacuna.pattern
    def backward(q: Any, k: Any, *, near: Any) -> Any:
        return (k <= q + 1) & near[q - k]

    with pytest.raises(IndexError, match="and a negative index does not wrap") as raised:
        attention(query, query, query, backward(near=torch.ones(40, dtype=torch.bool)))
    example = re.search(r"`q - k` starts at -1, as at q = (\d+), k = (\d+), and", str(raised.value))
    assert example is not None
    assert int(example[2]) == int(example[1]) + 1 < 40


def test_rows_after_their_length_read_nothing() -> None:
    """Two items whose rows end with their 64 keys; the first has one row, and would reach position 66 with four."""

    @lacuna.pattern
    def ordered(b: Any, q: Any, k: Any, *, place: Any) -> Any:
        return place[b, k] <= place[b, q]

    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 4, 8), torch.randn(2, 1, 64, 8)
    place = torch.arange(64).expand(2, -1).contiguous()
    rows, keys = (torch.tensor(each, dtype=torch.int32) for each in ([1, 4], [64, 64]))
    found = attention(query, key, key, ordered(place=place), q_len=rows, kv_len=keys, q_offset="end")
    for item, count in enumerate((1, 4)):
        q, k = torch.arange(64 - count, 64)[:, None], torch.arange(64)[None, :]
        scores = torch.where(k <= q, query[item, 0, :count] @ key[item, 0].T / 8**0.5, -torch.inf)
        assert (found[item, 0, :count] - torch.softmax(scores, -1) @ key[item, 0]).abs().max() < 1e-5
    with pytest.raises(IndexError, match=r"table `place` holds 63 entries along axis 1, but `q` reaches 63"):
        attention(query, key[:, :, :63], key[:, :, :63], ordered(place=place[:, :63]), q_len=rows, q_offset=60)


@pytest.mark.parametrize("backend", ["eager", "cpp", "triton"])
def test_a_table_along_diagonals_serves_sequences_of_several_lengths(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tiles are empty: one that is taken for another hides pairs."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    torch.manual_seed(0)
    near = torch.zeros(2, 210, dtype=torch.bool)
    near[:, :3] = near[:, 150:160] = True
    query, key = torch.randn(3, 2, 210, 8), torch.randn(3, 2, 210, 8)
    keys = torch.tensor([40, 210, 130], dtype=torch.int32)
    found = attention(query, key, key, slashes(near=near), kv_len=keys, backend=backend)
    q, k = torch.arange(210)[:, None], torch.arange(210)[None, :]
    for item, count in enumerate(keys.tolist()):
        mask = (k <= q) & (k < count) & near[0, (q - k).clamp(0)]
        scores = torch.where(mask, query[item] @ key[item].transpose(-1, -2) / 8**0.5, -torch.inf)
        wanted = torch.softmax(scores, -1).nan_to_num() @ key[item]
        assert (found[item] - wanted).abs().max() < 1e-5
