"""The catalogue: each function's worked example, the definition in plain integers, and what bad parameters are told."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# (definitions are written without types)
from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import lacuna
import pytest
import torch
from lacuna import patterns
from lacuna.ir.pattern import Pattern

See = Callable[[int, int, int], bool]


def rows(pattern: Pattern, length: int, h: int = 0, heads: int = 1) -> list[set[int]]:
    """The keys of every row."""
    dense = lacuna.dense(pattern, length, heads=heads)
    return [set(torch.nonzero(row).flatten().tolist()) for row in dense[0, min(h, dense.shape[1] - 1)]]


def defined(see: See, length: int, h: int = 0) -> list[set[int]]:
    return [{k for k in range(length) if see(q, k, h)} for q in range(length)]


def span(start: int, stop: int) -> set[int]:
    return set(range(start, stop))


# -- definitions ------------------------------------------------------------------------------------------------------

L = 37
DEFINITIONS: list[tuple[str, Pattern, See]] = [
    ("full", patterns.full(), lambda q, k, h: True),
    ("causal", patterns.causal(), lambda q, k, h: k <= q),
    ("sliding", patterns.sliding_window(5), lambda q, k, h: 0 <= q - k <= 4),
    ("two-sided", patterns.sliding_window((3, 1)), lambda q, k, h: -1 <= q - k <= 3),
    ("dilated", patterns.dilated_window(4, 3), lambda q, k, h: q - k in (0, 3, 6, 9)),
    ("prefix", patterns.prefix_lm(6), lambda q, k, h: k <= q or k < 6),
    ("chunked", patterns.chunked(8), lambda q, k, h: k <= q and q // 8 == k // 8),
    ("sink", patterns.sink_window(2, 4), lambda q, k, h: k <= q and (k < 2 or q - k < 4)),
    ("a-shape", patterns.a_shape(1, 3), lambda q, k, h: k <= q and (k < 1 or q - k < 3)),
    ("block-local", patterns.block_local(5), lambda q, k, h: q // 5 == k // 5),
    ("block-causal", patterns.block_causal(5), lambda q, k, h: k // 5 <= q // 5),
    ("strided", patterns.strided(4), lambda q, k, h: k <= q and (q - k < 4 or (q - k) % 4 == 0)),
    ("mutual", patterns.modality_mutual((1, 4), (4, 6)), lambda q, k, h: k <= q or (q in (1, 2, 3) and k in (4, 5))),
    ("long-short", patterns.long_short_heads(1, 2), lambda q, k, h: k <= q and (h >= 1 or q - k < 2)),
    ("composite", patterns.composite_modality(5), lambda q, k, h: q >= 5 and (k < 5 or k <= q)),
    ("items", patterns.item_local(4), lambda q, k, h: min(q // 4, 8) == min(k // 4, 8)),
    ("prefix per item", patterns.prefix_lm(torch.tensor([7])), lambda q, k, h: k <= q or k < 7),
    (
        "elastic",
        patterns.elastic_sink_local(torch.tensor([2, 3]), sink=1, block=4),
        lambda q, k, h: k <= q and (k // 4 < 1 or k // 4 > q // 4 - (2, 3)[h]),
    ),
    (
        "s2",
        patterns.s2_local_stride(2, block=3, local_blocks=2, vert_stride=5, offset=1),
        lambda q, k, h: k <= q and (q // 3 - k // 3 < 2 or (k // 3 + 2 * h + 1) % 5 == 0),
    ),
    (
        "s2, heads alike",
        patterns.s2_local_stride(2, block=3, local_blocks=2, vert_stride=5, homo_head=True),
        lambda q, k, h: k <= q and (q // 3 - k // 3 < 2 or k // 3 % 5 == 0),
    ),
    (
        "shifted",
        patterns.shifted_sparse_s2attn(40, 2),
        lambda q, k, h: k <= q and (q + 5 * h) // 10 == (k + 5 * h) // 10,
    ),
]


@pytest.mark.parametrize(("pattern", "see"), [case[1:] for case in DEFINITIONS], ids=[case[0] for case in DEFINITIONS])
@pytest.mark.parametrize("h", [0, 1])
def test_pattern_is_its_definition(pattern: Pattern, see: See, h: int) -> None:
    assert rows(pattern, L, h, heads=2) == defined(see, L, h)


NEIGHBORHOODS = [
    (3, 1, 1, False),
    (4, 1, 1, False),
    (4, 2, 1, False),
    (3, 1, 2, False),
    (4, 3, 2, False),
    (5, 5, 3, False),
    (4, 2, 1, True),
    (3, 3, 2, True),
]


@pytest.mark.parametrize(("window", "stride", "dilation", "causal"), NEIGHBORHOODS)
@pytest.mark.parametrize("length", [15, 16, 23])
def test_neighborhood_is_its_definition(window: int, stride: int, dilation: int, causal: bool, length: int) -> None:
    def see(q: int, k: int, h: int) -> bool:
        if q % dilation != k % dilation:
            return False
        size = len(range(q % dilation, length, dilation))
        i, j = q // dilation, k // dilation
        if causal:
            leader = min(i // stride * stride + stride - 1, size - 1)
            return max(leader - window + 1, 0) <= j <= i
        leader = min(i // stride * stride + stride // 2, size - 1)
        start = min(max(leader - window // 2, 0), size - window)
        return start <= j < start + window

    assert rows(patterns.neighborhood(window, stride=stride, dilation=dilation, causal=causal), length) == defined(see, length)
    stated = patterns.neighborhood(window, stride=stride, dilation=dilation, causal=causal, length=length)
    assert rows(stated, length) == defined(see, length)


# -- worked examples --------------------------------------------------------------------------------------------------


def test_neighborhood_windows_shift_inward_at_the_edges() -> None:
    odd = rows(patterns.neighborhood(3), 8)
    assert odd[0] == odd[1] == {0, 1, 2}
    assert odd[4] == {3, 4, 5}
    assert odd[7] == {5, 6, 7}
    even = rows(patterns.neighborhood(4), 8)
    assert even[0] == even[1] == even[2] == span(0, 4)
    assert even[3] == span(1, 5)
    assert even[6] == even[7] == span(4, 8)


def test_dilated_neighborhood_keeps_its_residue_class() -> None:
    found = rows(patterns.neighborhood(3, dilation=2), 8)
    assert (found[0], found[3], found[4], found[7]) == ({0, 2, 4}, {1, 3, 5}, {2, 4, 6}, {3, 5, 7})
    ragged = rows(patterns.neighborhood(3, dilation=2), 7)
    assert (ragged[5], ragged[6]) == ({1, 3, 5}, {2, 4, 6})


def test_neighborhood_stride_shares_windows() -> None:
    found = rows(patterns.neighborhood(4, stride=2), 8)
    assert found == [span(0, 4)] * 2 + [span(1, 5)] * 2 + [span(3, 7)] * 2 + [span(4, 8)] * 2
    last = rows(patterns.neighborhood(4, stride=4), 10)
    assert last[8] == last[9] == span(6, 10)
    causal = rows(patterns.neighborhood(4, stride=2, causal=True), 8)
    assert (causal[3], causal[4], causal[5]) == (span(0, 4), {2, 3, 4}, span(2, 6))


def test_s2_heads_start_their_stride_elsewhere() -> None:
    def row7(h: int, offset: int) -> set[int]:
        pattern = patterns.s2_local_stride(4, block=1, local_blocks=1, vert_stride=4, offset=offset)
        return rows(pattern, 8, h, heads=4)[7]

    assert [row7(h, 0) for h in range(4)] == [{0, 4, 7}, {3, 7}, {2, 6, 7}, {1, 5, 7}]
    assert (row7(0, 1), row7(3, 1)) == ({3, 7}, {0, 4, 7})


def test_s2_query_heads_share_the_pattern_of_their_kv_head() -> None:
    pattern = patterns.s2_local_stride(4, block=1, local_blocks=1, vert_stride=2, kv_heads=2, step=1, num_dense_heads=1)
    found = [rows(pattern, 6, h, heads=4)[5] for h in range(4)]
    assert found == [{0, 2, 4, 5}, {0, 2, 4, 5}, span(0, 6), span(0, 6)]


def test_elastic_windows_grow_with_the_sequence() -> None:
    assert [patterns.elastic_blocks(512, 0, n) for n in (1024, 4096)] == [8, 8]
    assert [patterns.elastic_blocks(0, 0.5, n) for n in (1024, 4096)] == [8, 32]
    assert [patterns.elastic_blocks(256, 0.125, n) for n in (1024, 4096)] == [6, 12]
    found = rows(patterns.elastic_sink_local(torch.tensor([1, 2]), block=2), 8, 1, heads=2)
    assert found[7] == {0, 1, 4, 5, 6, 7}


def test_longlora_varlen_never_sees_the_future_and_rolled_does() -> None:
    varlen = rows(patterns.shifted_sparse_s2attn(8, 2, groups=2), 8, 1, heads=2)
    assert varlen == [{0}, {0, 1}, {2}, {2, 3}, {2, 3, 4}, {2, 3, 4, 5}, {6}, {6, 7}]
    rolled = rows(patterns.shifted_sparse_s2attn(8, 2, groups=2, wrap=True), 8, 1, heads=2)
    assert rolled[:2] == [{0, 6, 7}, {0, 1, 6, 7}]
    plain = rows(patterns.shifted_sparse_s2attn(8, 2, groups=2), 8, 0, heads=2)
    assert plain[3] == span(0, 4)
    assert plain[4] == {4}


def test_modalities_items_and_shapes() -> None:
    assert rows(patterns.modality_mutual((1, 4), (4, 6)), 6)[2] == {0, 1, 2, 4, 5}
    composite = rows(patterns.composite_modality(2), 5)
    assert composite == [set(), set(), {0, 1, 2}, {0, 1, 2, 3}, span(0, 5)]
    items = rows(patterns.item_local(4), 9)
    assert items[0] == span(0, 4)
    assert items[8] == span(4, 9)
    assert rows(patterns.a_shape(1, 3), 8)[5] == {0, 3, 4, 5}
    assert rows(patterns.long_short_heads(1, 2), 6, 0, heads=2)[5] == {4, 5}
    assert rows(patterns.long_short_heads(1, 2), 6, 1, heads=2)[5] == span(0, 6)


def test_documents_by_ids_and_by_offsets_agree() -> None:
    ids = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    offsets = lacuna.segments(torch.tensor([0, 3, 5, 8]))
    by_ids, by_offsets = patterns.documents(ids), patterns.documents(offsets)
    assert rows(by_ids, 8) == rows(by_offsets, 8)
    assert rows(by_ids, 8)[4] == {3, 4}
    assert rows(patterns.documents(ids, causal=False), 8)[3] == {3, 4}


# -- identities and refusals ------------------------------------------------------------------------------------------


def test_patterns_that_are_one_another() -> None:
    assert rows(patterns.neighborhood(4, stride=4), 24) == rows(patterns.block_local(4), 24)
    assert rows(patterns.neighborhood(4, dilation=6), 24) == [{k for k in range(24) if k % 6 == q % 6} for q in range(24)]
    assert rows(patterns.neighborhood(5, causal=True), 19) == rows(patterns.sliding_window(5), 19)
    assert rows(patterns.dilated_window(5, 1), 19) == rows(patterns.sliding_window((4, 0)), 19)
    assert rows(patterns.block_local(6) & patterns.causal(), 19) == rows(patterns.chunked(6), 19)
    assert rows(patterns.block_causal(1), 19) == rows(patterns.prefix_lm(0), 19) == rows(patterns.causal(), 19)
    assert rows(patterns.full() - patterns.causal(), 5)[2] == {3, 4}


def test_a_short_neighborhood_sees_its_whole_residue_class() -> None:
    assert rows(patterns.neighborhood(5, dilation=2), 6)[3] == {1, 3, 5}


def test_importing_the_catalogue_loads_no_torch_and_no_numpy() -> None:
    code = "import sys, lacuna.patterns; print([name for name in ('torch', 'numpy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patterns.sliding_window(0), "`window` is 0, which has no meaning here\n  write an integer of at least 1"),
        (lambda: patterns.sliding_window((-1, 2)), "`left` is -1"),
        (lambda: patterns.chunked(0), "`chunk` is 0"),
        (lambda: patterns.neighborhood(3, stride=4), "`stride` is 4 and `window` 3: some keys would be seen by nobody"),
        (lambda: patterns.shifted_sparse_s2attn(10, 2), "`length` is 10, which 4 groups do not divide"),
        (lambda: patterns.s2_local_stride(6, kv_heads=4), "`kv_heads` is 4, which does not divide 6 query heads"),
        (lambda: patterns.modality_mutual((4, 1), (5, 6)), r"`image` is \(4, 1\), which is no range of tokens"),
        (lambda: patterns.modality_mutual((0, 1), 6), "`question` is 6, which is no range of tokens"),  # pyright: ignore[reportArgumentType]
        (lambda: patterns.documents(torch.zeros(2, 2)), "not one id per token"),
        (lambda: patterns.sliding_window((1, 2, 3)), r"`window` is \(1, 2, 3\), which is no pair"),  # pyright: ignore[reportArgumentType]
        (lambda: patterns.prefix_lm(2.5), "`prefix` is 2.5, which is no integer\n  write an integer of at least 0"),  # pyright: ignore[reportArgumentType]
        (lambda: patterns.elastic_sink_local(3), "`local` is 3, not one length per head\n  write an integer tensor"),
        (lambda: patterns.s2_local_stride(4, num_dense_heads=5), "`num_dense_heads` is 5, of 4 KV heads"),
        (
            lambda: patterns.neighborhood(4, dilation=3, length=11),
            "`window \\* dilation` is 12, of 11 tokens\n  write a window of at most 3",
        ),
    ],
)
def test_parameters_without_a_meaning_are_refused(call: Callable[[], Pattern], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
