"""`lacuna.nn.Attention`: beside torch's module, trained, cast, copied, compiled."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import lacuna
import pytest
import torch
from lacuna import patterns
from torch import Tensor
from torch.nn import MultiheadAttention


@lacuna.pattern
def documents(q: Any, k: Any, *, doc: Any) -> Any:
    return doc[q] == doc[k]


@lacuna.score
def alibi(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:
    return s + slopes[h] * (k - q)


X = torch.randn(2, 20, 32, generator=torch.Generator().manual_seed(0))
CAUSAL = torch.ones(20, 20, dtype=torch.bool).triu(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def with_tables() -> lacuna.nn.Attention:
    score = alibi(slopes=torch.nn.Parameter(torch.rand(4)))
    return lacuna.nn.Attention(documents(doc=torch.arange(20) // 7), 32, 4, num_kv_heads=2, score=score, backend="eager")


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 24, "vdim": 16}, {"batch_first": False}], ids=str)
def test_it_gives_what_multihead_attention_gives_and_learns_the_same(options: dict[str, Any]) -> None:
    theirs = MultiheadAttention(32, 4, **{"batch_first": True, **options})
    mine = lacuna.nn.Attention.of(theirs, patterns.causal())
    mine.backend = "eager"
    given = [X, X[..., : theirs.kdim], X[..., : theirs.vdim]]
    given = given if theirs.batch_first else [each.transpose(0, 1) for each in given]
    wanted, _ = theirs(*given, attn_mask=CAUSAL, need_weights=False)
    out = mine(*given)
    torch.testing.assert_close(out, wanted)
    for each in (out, wanted):
        each.square().sum().backward()
    torch.testing.assert_close(mine.out_proj.weight.grad, theirs.out_proj.weight.grad)
    theirs_q = theirs.q_proj_weight.grad if theirs.in_proj_weight is None else theirs.in_proj_weight.grad[:32]  # pyright: ignore
    torch.testing.assert_close(mine.q_proj.weight.grad, theirs_q, rtol=1e-4, atol=1e-4)


def test_one_step_makes_the_loss_smaller() -> None:
    module = with_tables()
    optimiser = torch.optim.SGD(module.parameters(), lr=1e-3)

    def loss() -> Tensor:
        return (module(X) - 1).square().mean()

    before = loss()
    before.backward()
    gradient = module.get_parameter("score_slopes").grad
    assert gradient is not None
    assert bool(gradient.any())
    optimiser.step()
    assert bool(loss() < before)


def test_tables_belong_to_the_module() -> None:
    module = with_tables()
    assert "score_slopes" in dict(module.named_parameters())
    assert "pattern_doc" in dict(module.named_buffers())
    assert "pattern_doc" not in module.state_dict()  # it is part of the pattern, not of what was learned
    segments = lacuna.nn.Attention(documents(doc=lacuna.segments(torch.tensor([0, 7, 20]))), 32, 4, backend="eager")
    assert "pattern_doc" in dict(segments.named_buffers())


@pytest.mark.parametrize("made", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))], ids=["copied", "pickled"])
def test_a_copy_reads_its_own_tables(made: Callable[[Any], Any]) -> None:
    module = with_tables()
    other = made(module)
    torch.testing.assert_close(other(X), module(X), rtol=0, atol=0)
    with torch.no_grad():
        other.score_slopes.add_(1)
    assert not torch.equal(other(X), module(X))


@pytest.mark.parametrize("made", [lambda module: module, copy.deepcopy], ids=["itself", "copied"])
def test_a_module_that_is_cast_reads_tables_of_the_new_dtype(made: Callable[[Any], Any]) -> None:
    module = with_tables()
    wanted = module(X)
    double = made(module).double()
    out = double(X.double())
    assert out.dtype == torch.float64
    torch.testing.assert_close(out.float(), wanted)
    out.sum().backward()
    assert double.score_slopes.grad.dtype == torch.float64


def test_it_takes_lengths_and_tensors_without_a_batch() -> None:
    module = lacuna.nn.Attention(patterns.causal(), 32, 4, backend="eager")
    whole = module(X[:, :12])
    padded = module(X, kv_len=12, q_len=torch.tensor([12, 12]))
    torch.testing.assert_close(padded[:, :12], whole)
    torch.testing.assert_close(module(X[0]), module(X)[0])
    torch.testing.assert_close(module(X[:, -1:], X, q_offset="end"), module(X)[:, -1:])


def test_it_compiles_without_a_break() -> None:
    module = with_tables()
    torch._dynamo.reset()  # pyright: ignore[reportPrivateUsage]  (graphs of other tests)
    compiled: Any = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(X), module(X))


def test_it_shows_its_pattern() -> None:
    assert "documents(doc=i64[20]), num_heads=4, num_kv_heads=2, score=alibi(slopes=f32[4])" in repr(with_tables())


BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: lacuna.nn.Attention(None, 30, 4), ValueError, r"`embed_dim=30` is not shared evenly by 4 heads.\n  write a multiple"),
    (lambda: lacuna.nn.Attention(None, 32, 4, num_kv_heads=3), ValueError, "4 query heads cannot share 3 key heads evenly"),
    (lambda: lacuna.nn.Attention(None, 32, 4, dropout=0.1), NotImplementedError, r"`dropout=0.1`: dropout is not implemented yet"),
    (lambda: lacuna.nn.Attention(documents, 32, 4), TypeError, "`documents` is used before `doc` is bound"),
    (
        lambda: lacuna.nn.Attention.of(MultiheadAttention(32, 4, add_zero_attn=True), None),
        NotImplementedError,
        r"`add_zero_attn` are not implemented yet.\n  write a module without them",
    ),
]


@pytest.mark.parametrize(("make", "error", "words"), BAD, ids=[words[:30] for _, _, words in BAD])
def test_what_it_refuses(make: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_an_order_for_each_head_goes_with_the_module_and_changes_nothing() -> None:
    columns = lacuna.orders.axes((4, 5), (1, 0))
    plain = lacuna.nn.Attention(patterns.gna((4, 5), 3), 32, 4, num_kv_heads=2, backend="cpp")
    mine = lacuna.nn.Attention(patterns.gna((4, 5), 3), 32, 4, num_kv_heads=2, order=[columns, None, None, columns], backend="cpp")
    mine.load_state_dict(plain.state_dict())
    torch.testing.assert_close(mine(X), plain(X))
    torch.testing.assert_close(copy.deepcopy(mine)(X), plain(X))
    assert "order=0: axes (1, 0), 1: any, 2: any, 3: axes (1, 0)" in repr(mine)
    with torch.device("meta"):
        empty = lacuna.nn.Attention(patterns.gna((4, 5), 3), 32, 4, num_kv_heads=2, order=columns)
    filled = empty.to_empty(device="cpu")
    filled.load_state_dict(plain.state_dict())
    assert isinstance(filled.order, lacuna.orders.TokenOrder)
    assert filled.order.tokens.tolist() == columns.tokens.tolist()
    torch.testing.assert_close(filled(X), plain(X))
    multihead = lacuna.nn.Attention.of(MultiheadAttention(32, 4, batch_first=True), patterns.gna((4, 5), 3), order={2: columns})
    assert str(multihead.order) == "0: any, 1: any, 2: axes (1, 0), 3: any"


def test_orders_of_another_number_of_heads_are_refused_when_the_module_is_made() -> None:
    with pytest.raises(ValueError, match="`order` has 2 orders, and there are 4 heads"):
        lacuna.nn.Attention(None, 32, 4, order=[None, None])
