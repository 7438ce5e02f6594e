"""What becomes of the arguments of `attention`: the request that a backend receives, and which backend that is."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import warnings
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import lacuna
import pytest
import torch
from lacuna.runtime.bundles.load import forget_bundles
from lacuna.runtime.calls import backend_of, compute, prepared_calls
from lacuna.runtime.request.request import Request
from torch import Tensor


@lacuna.pattern
def causal(q: Any, k: Any) -> Any:
    return k <= q


@lacuna.pattern
def sliding(q: Any, k: Any, *, window: Any) -> Any:
    return (k <= q) & (q - k < window)


@lacuna.pattern
def documents(q: Any, k: Any, *, doc: Any) -> Any:
    return doc[q] == doc[k]


@lacuna.score
def alibi(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:
    return s + slopes[h] * (k - q)


def qkv(q_shape: tuple[int, ...] = (2, 4, 6, 8), k_shape: tuple[int, ...] = (2, 2, 6, 8)) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(q_shape), torch.randn(k_shape), torch.randn(k_shape)


Q, K, V = qkv()
PQ, PK, PV = torch.randn(9, 4, 8), torch.randn(9, 2, 8), torch.randn(9, 2, 8)
BOUNDS = torch.tensor([0, 4, 9], dtype=torch.int32)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests that calls make; nothing is computed."""
    made: list[Request] = []

    def run(request: Request) -> tuple[Tensor, Tensor]:
        made.append(request)
        return request.new_outputs()

    def chosen(_name: str | None, _device: str) -> SimpleNamespace:
        return SimpleNamespace(run=run)

    monkeypatch.setattr(compute, "room_of", chosen)
    monkeypatch.setattr(prepared_calls, "_prepared", {})
    return made


def test_a_request_views_the_tensors_of_the_caller(requests: list[Request]) -> None:
    lacuna.attention(Q, K, V, causal)
    (request,) = requests
    assert [request.query.data_ptr(), request.key.data_ptr(), request.value.data_ptr()] == [Q.data_ptr(), K.data_ptr(), V.data_ptr()]
    assert (request.batch, request.heads, request.kv_heads, request.kv_batch) == (2, 4, 2, 2)
    assert (request.q_len, request.k_len, request.offset, request.head_dim, request.value_dim) == (6, 6, 0, 8, 8)
    assert request.scale == pytest.approx(8**-0.5)
    assert request.ragged.uniform


def test_a_strided_last_dimension_is_copied_and_nothing_else(requests: list[Request]) -> None:
    lacuna.attention(Q.transpose(2, 3).contiguous().transpose(2, 3), K[:, :, ::2], V[:, :, ::2])
    (request,) = requests
    assert request.query.stride(-1) == 1
    assert torch.equal(request.query, Q)
    assert request.key.data_ptr() == K.data_ptr()


def test_layout_blhd_gives_views_and_an_output_of_that_layout(requests: list[Request]) -> None:
    out = lacuna.attention(Q.transpose(1, 2), K.transpose(1, 2), V.transpose(1, 2), layout="blhd")
    (request,) = requests
    assert request.query.shape == Q.shape
    assert request.query.data_ptr() == Q.data_ptr()
    assert isinstance(out, Tensor)
    assert out.shape == (2, 6, 4, 8)
    assert out.is_contiguous()


@pytest.mark.parametrize(("dtype", "lse_dtype"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_the_output_has_the_dtype_of_the_query_and_the_log_sum_exp_its_own(
    requests: list[Request], dtype: torch.dtype, lse_dtype: torch.dtype
) -> None:
    query, key, value = (tensor.to(dtype).transpose(1, 2) for tensor in (Q, K, V))
    out, lse = lacuna.attention(query, key, value, layout="blhd", return_lse=True)
    assert out.dtype == dtype
    assert lse.dtype == lse_dtype
    assert lse.shape == (2, 4, 6)


@pytest.mark.parametrize(
    ("q_offset", "q_len", "kv_len", "offset", "offsets"),
    [
        (3, None, None, 3, None),
        (-2, None, None, -2, None),
        ("end", None, None, 4, None),
        ("end", None, 8, 2, None),
        ("end", None, torch.tensor([8, 10]), 2, [2, 4]),
        ("end", torch.tensor([1, 6], dtype=torch.int32), 10, 4, [9, 4]),
        (torch.tensor([5, 1], dtype=torch.int32), None, None, 1, [5, 1]),
    ],
)
def test_offsets_become_one_number_or_one_for_each_item(
    requests: list[Request],
    q_offset: Any,
    q_len: Any,
    kv_len: Any,
    offset: int,
    offsets: list[int] | None,
) -> None:
    lacuna.attention(*qkv(k_shape=(2, 2, 10, 8)), q_offset=q_offset, q_len=q_len, kv_len=kv_len)
    (request,) = requests
    assert request.offset == offset
    assert (None if request.ragged.offsets is None else request.ragged.offsets.tolist()) == offsets
    assert all(array is None or array.dtype == torch.int64 for array in request.ragged)


def test_one_length_for_all_keys_is_a_number_and_lengths_per_item_are_an_array(requests: list[Request]) -> None:
    lacuna.attention(Q, K, V, q_len=4, kv_len=5)
    lacuna.attention(Q, K, V, q_len=6, kv_len=torch.tensor([6, 2]))
    first, second = requests
    assert (first.q_len, first.k_len) == (6, 5)
    assert first.ragged.q_lens is not None
    assert first.ragged.q_lens.tolist() == [4, 4]
    assert first.ragged.k_lens is None
    assert second.ragged.q_lens is None
    assert second.ragged.k_lens is not None
    assert second.ragged.k_lens.tolist() == [6, 2]


def test_packed_sequences_become_a_request_with_their_starts(requests: list[Request]) -> None:
    out, lse = lacuna.varlen_attention(PQ, PK, PV, causal, cu_seqlens_q=BOUNDS, q_offset="end", return_lse=True)
    (request,) = requests
    assert request.query.shape == (1, 4, 9, 8)
    assert (request.batch, request.q_len, request.k_len, request.offset) == (2, 5, 5, 0)
    lists = [None if array is None else array.tolist() for array in request.ragged]
    assert lists == [[0, 4], [4, 5], [0, 4], [4, 5], [0, 0]]
    assert out.shape == (9, 4, 8)
    assert out.is_contiguous()
    assert lse.shape == (4, 9)


def test_no_sequences_are_a_call_of_nothing() -> None:
    none = torch.tensor([0], dtype=torch.int32)
    out = lacuna.varlen_attention(PQ[:0], PK[:0], PV[:0], causal, cu_seqlens_q=none, backend="eager")
    assert isinstance(out, Tensor)
    assert out.shape == (0, 4, 8)


def test_a_table_longer_than_the_lengths_that_count_is_enough(requests: list[Request]) -> None:
    doc = torch.zeros(4, dtype=torch.int32)
    lacuna.attention(Q, K, V, documents(doc=doc), q_len=torch.tensor([4, 3]), kv_len=torch.tensor([4, 2]))
    assert len(requests) == 1


def test_a_gradient_that_is_not_asked_for_is_no_reason_to_refuse(requests: list[Request]) -> None:
    with torch.no_grad():
        lacuna.attention(Q.clone().requires_grad_(), K, V)
    assert len(requests) == 1


def test_pattern_and_score_are_one_program_with_the_values_of_both(requests: list[Request]) -> None:
    slopes = torch.ones(4)
    lacuna.attention(Q, K, V, sliding(window=3), score=alibi(slopes=slopes))
    (request,) = requests
    assert str(request.program.mask) == "k <= q and q - k < window"
    assert "slopes[h]" in str(request.program.score)
    assert request.bindings["window"] == 3
    assert request.bindings["slopes"] is slopes


def test_a_score_alone_applies_to_dense_attention(requests: list[Request]) -> None:
    lacuna.attention(Q, K, V, score=alibi(slopes=torch.ones(4)))
    assert str(requests[0].program.mask) == "true"


def test_merged_programs_are_the_same_object_for_the_same_pattern_and_score(requests: list[Request]) -> None:
    p, s = sliding(window=3), alibi(slopes=torch.ones(4))
    lacuna.attention(Q, K, V, p, score=s)
    lacuna.attention(Q, K, V, p, score=s)
    assert requests[0].program is requests[1].program


# -- backends ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_choice_yet() -> Generator[None]:
    forget_bundles()  # which another file of tests loaded
    backend_of.room_of.cache_clear()
    prepared_calls.forget_prepared()  # a call that another file of tests made would be launched again as it was
    yield
    backend_of.room_of.cache_clear()
    prepared_calls.forget_prepared()


@pytest.mark.usefixtures("no_choice_yet")
def test_without_a_compiler_the_eager_backend_serves_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise backend_of.CompilerMissing("there is no C++ compiler: none of c++, clang++, g++ is on PATH.\n  write ...")

    monkeypatch.setattr(backend_of, "find_compiler", missing)
    words = r"slow `eager` backend: there is no C\+\+ compiler: none of c\+\+, clang\+\+, g\+\+ is on PATH\.\n  write `apt install g\+\+`"
    with pytest.warns(RuntimeWarning, match=words) as caught:
        first = lacuna.attention(Q, K, V, causal)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = lacuna.attention(Q, K, V, causal)
    assert isinstance(first, Tensor)
    assert isinstance(second, Tensor)
    assert torch.equal(first, second)


@pytest.mark.usefixtures("no_choice_yet")
def test_the_environment_names_the_default_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_BACKEND", "eager")
    assert backend_of.room_of(None, "cpu").__name__ == "lacuna.runtime.eager.backend"


def test_the_compiled_backend_is_refused_for_other_devices() -> None:
    with pytest.raises(ValueError, match=r"backend `cpp` does not run on `cuda` tensors\.\n  write `backend=\"triton\"`"):
        backend_of.room_of("cpp", "cuda")
