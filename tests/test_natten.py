"""NATTEN's functions and modules on Lacuna, beside attention over the whole mask in float64."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# (torch's types are partial)
from __future__ import annotations

import importlib.util
import itertools
import math
import pickle
import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lacuna.interop import natten, natten_checks
from lacuna.interop.natten import NeighborhoodAttention1D, NeighborhoodAttention2D, NeighborhoodAttention3D, merge_attentions
from torch import Tensor

pytestmark = pytest.mark.usefixtures("compiled_quickly")

Call = Callable[..., Any]  # a tensor, or two with `return_lse`
na2d: Call = natten.na2d
FUNCTIONS: dict[int, Call] = {1: natten.na1d, 2: na2d, 3: natten.na3d}
MODULES: dict[int, Call] = {1: NeighborhoodAttention1D, 2: NeighborhoodAttention2D, 3: NeighborhoodAttention3D}
Axes = tuple[int, ...]


@pytest.fixture(autouse=True)
def without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are compiled where a test asks for them."""
    monkeypatch.setenv("LACUNA_BACKEND", "eager")


def seen(q: int, k: int, axis: tuple[int, int, int, int, bool]) -> bool:
    """NATTEN's rule on one axis, from the start and the end of a window."""
    extent, window, stride, dilation, causal = axis
    if (q - k) % dilation:
        return False
    members = len(range(q % dilation, extent, dilation))
    i, j = q // dilation, k // dilation
    left, right = window // 2, window // 2 + window % 2 - 1
    if causal:
        leader = min(i // stride * stride + stride - 1, members - 1)
        return max(leader - left - right, 0) <= j <= i
    leader = min(i // stride * stride + stride // 2, members - 1)
    start = max(leader - left, 0)
    start += members - 1 - right - leader if leader + right >= members else 0
    return start <= j < start + window


def mask(extents: Axes, window: Axes, stride: Axes, dilation: Axes, causal: tuple[bool, ...], extra: int = 0) -> Tensor:
    """bool[tokens, tokens + extra]."""
    axes = list(zip(extents, window, stride, dilation, causal, strict=True))
    places = list(itertools.product(*(range(extent) for extent in extents)))
    own = torch.tensor([[all(map(seen, q, k, axes)) for k in places] for q in places])
    return torch.cat([own, torch.ones(len(places), extra, dtype=torch.bool)], 1)


def dense(qkv: Sequence[Tensor], hidden: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of [batch, tokens, heads, dim] tensors; heads of keys repeated."""
    query, key, value = (each.transpose(1, 2) for each in qkv)
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = (scale * query @ key.transpose(-1, -2)).masked_fill(hidden, -math.inf)
    return (torch.softmax(scores, -1) @ value).transpose(1, 2), torch.logsumexp(scores, -1).transpose(1, 2)


def off(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest entry of each tensor."""
    pairs = [(a.detach().double(), b.detach()) for a, b in zip(found, wanted, strict=True)]
    return max(float((a.reshape(b.shape) - b).abs().max() / max(1.0, float(b.abs().max()))) for a, b in pairs)


def both(problem: dict[str, Any], backend: str | None = None) -> float:
    """How far output, log-sum-exp and all gradients are from the dense ones."""
    options: dict[str, Any] = {"stride": 1, "dilation": 1, "is_causal": False, **problem}
    extents, window, extra = options.pop("extents"), options.pop("window"), options.pop("extra", 0)
    rank = len(extents)
    each_axis = [window, options["stride"], options["dilation"], options["is_causal"]]
    given = [each if isinstance(each, tuple) else (each,) * rank for each in each_axis]
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, *extents, 4, 8), (2, *extents, 2, 8), (2, *extents, 2, 5), (2, extra, 2, 8), (2, extra, 2, 5)]
    exact = [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]
    ours = [each.detach().float().requires_grad_() for each in exact]
    flat = [each.flatten(1, rank) for each in exact[:3]]
    keys, values = torch.cat([flat[1], exact[3]], 1), torch.cat([flat[2], exact[4]], 1)
    scale = options.get("scale") or 8**-0.5
    want, want_lse = dense((flat[0], keys, values), ~mask(extents, given[0], given[1], given[2], given[3], extra), scale)
    more = {"additional_keys": ours[3], "additional_values": ours[4]} if extra else {}
    got, lse = FUNCTIONS[rank](*ours[:3], window, return_lse=True, backend=backend, **more, **options)
    assert got.shape == (2, *extents, 4, 5)
    assert lse.shape == (2, *extents, 4)
    upstream = torch.randn(want.shape, dtype=torch.float64, generator=generator)
    used = 5 if extra else 3
    wanted = torch.autograd.grad((want * upstream).sum() + 0.3 * want_lse.square().sum(), exact[:used])
    loss = (got.flatten(1, rank) * upstream.float()).sum() + 0.3 * lse.square().sum()
    return off([got, lse, *torch.autograd.grad(loss, ours[:used])], [want, want_lse, *wanted])


CASES: dict[str, dict[str, Any]] = {
    "1-D": {"extents": (20,), "window": (5,)},
    "1-D causal, strided": {"extents": (21,), "window": (6,), "stride": 3, "is_causal": True, "extra": 3},
    "2-D dilated, extra keys": {"extents": (7, 9), "window": (3, 4), "dilation": (2, 1), "extra": 5},
    "2-D by numbers": {"extents": (6, 8), "window": (4, 4), "stride": 2, "is_causal": (True, False)},
    "2-D, everything": {"extents": (4, 5), "window": (4, 5), "extra": 2},
    "3-D": {"extents": (4, 5, 6), "window": (2, 3, 3), "stride": (1, 2, 1), "dilation": (2, 1, 2), "is_causal": (True, False, False)},
    "a scale": {"extents": (3, 4), "window": (2, 3), "scale": 0.7, "extra": 1},
    "a scale of 0 is the default": {"extents": (12,), "window": (3,), "scale": 0.0},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_output_and_gradients_are_those_of_the_dense_mask(case: dict[str, Any]) -> None:
    assert both(case) < 2e-5


def test_compiled_kernels_compute_the_same(prove: bool) -> None:
    if prove:
        assert both({"extents": (8, 12), "window": (3, 5), "dilation": (1, 2)}, "cpp") < 2e-5
    qkv = [torch.randn(2, 8, 12, 4, 8) for _ in range(3)]
    ours, wanted = (na2d(*qkv, kernel_size=(3, 5), dilation=(1, 2), backend=backend) for backend in ("cpp", "eager"))
    assert off([ours], [wanted.double()]) < 1e-5


def test_random_problems_are_those_of_the_dense_mask(prove: bool) -> None:
    for seed in range(200 if prove else 3):
        draw = random.Random(seed)
        rank = draw.choice((1, 2, 3))
        extents = tuple(draw.randint(4, (30, 8, 5)[rank - 1]) for _ in range(rank))
        dilation = tuple(draw.randint(1, extent // 2) for extent in extents)
        window = tuple(draw.randint(2, extent // apart) for extent, apart in zip(extents, dilation, strict=True))
        stride = tuple(draw.randint(1, wide) for wide in window)
        causal = tuple(draw.random() < 0.3 for _ in extents)
        extra = draw.choice((0, 3))
        problem = {"extents": extents, "window": window, "stride": stride, "dilation": dilation, "is_causal": causal, "extra": extra}
        assert both(problem) < 2e-5, problem


@pytest.mark.parametrize("is_causal", [False, True])
def test_attention_has_heads_last_and_packs_sequences(is_causal: bool) -> None:
    query, key, value = (torch.randn(1, tokens, heads, 8) for tokens, heads in ((20, 4), (30, 2), (30, 2)))
    lengths, kv_lengths = torch.tensor([7, 0, 13]), torch.tensor([10, 5, 15])
    hidden = ~torch.ones(20, 30, dtype=torch.bool).tril() if is_causal else torch.zeros(20, 30, dtype=torch.bool)
    found: Any = natten.attention(query, key, value, is_causal, return_lse=True)
    assert off(found, dense((query, key, value), hidden, 8**-0.5)) < 1e-5
    ends, kv_ends = ([0, *each.cumsum(0).tolist()] for each in (lengths, kv_lengths))
    parts: list[Tensor] = []
    for first, last, first_key, last_key in zip(ends, ends[1:], kv_ends, kv_ends[1:], strict=False):
        part = query[:, first:last], key[:, first_key:last_key], value[:, first_key:last_key]
        parts.append(dense(part, hidden[: last - first, : last_key - first_key], 0.3)[0])
    begins = {f"cumulative_seqlen_{name}": torch.tensor(each, dtype=torch.int32) for name, each in (("Q", ends), ("KV", kv_ends))}
    told: list[dict[str, Any]] = [{"seqlens_Q": lengths, "seqlens_KV": kv_lengths}, {**begins, "max_seqlen_Q": 13, "max_seqlen_KV": 15}]
    for options in told:
        out: Any = natten.attention(query, key, value, is_causal, 0.3, **options, backend="cpp")
        assert off([out], [torch.cat(parts, 1)]) < 1e-5


def test_attention_refuses_half_of_a_pair() -> None:
    tensor, lengths = torch.randn(2, 20, 4, 8), torch.tensor([20])
    with pytest.raises(ValueError, match=r"of `seqlens_Q` and `seqlens_KV` one is given\.\n  write both, or neither"):
        natten.attention(tensor, tensor, tensor, seqlens_Q=lengths)
    with pytest.raises(
        ValueError, match=r"the longest sequence is given and the sequences are not\.\n  write `seqlens_Q` and `seqlens_KV`"
    ):
        natten.attention(tensor, tensor, tensor, max_seqlen_Q=3)
    with pytest.raises(ValueError, match=r"`query` has the shape \(2, 20, 4, 8\)\.\n  write \[1, total, heads, head_dim\]"):
        natten.attention(tensor, tensor, tensor, seqlens_Q=lengths, seqlens_KV=lengths)
    with pytest.raises(TypeError, match="there is no argument `dropout`"):
        natten.attention(tensor, tensor, tensor, dropout=0.1)


def test_the_generic_function_takes_the_rank_of_its_tensors() -> None:
    for rank, extents in ((1, (12,)), (2, (4, 5)), (3, (3, 4, 4))):
        qkv = [torch.randn(1, *extents, 2, 8) for _ in range(3)]
        generic: Any = natten.neighborhood_attention_generic(*qkv, kernel_size=3)
        assert torch.equal(generic, FUNCTIONS[rank](*qkv, kernel_size=3))


# -- merging ----------------------------------------------------------------------------------------------------------


def test_merged_parts_are_the_whole_with_its_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 9, 3, 4, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(3))
    shown = torch.zeros(9, 9, dtype=torch.bool)
    whole = dense((query, key, value), shown, 0.5)
    parts = [dense((query, key[:, at], value[:, at]), shown[:, at], 0.5) for at in (slice(0, 2), slice(2, 3), slice(3, 9))]
    merged = merge_attentions([part[0] for part in parts], [part[1] for part in parts])
    assert off(merged, whole) < 1e-12
    loss = [each[0].sin().sum() + each[1].square().sum() for each in (merged, whole)]
    assert off(torch.autograd.grad(loss[0], (query, key, value)), torch.autograd.grad(loss[1], (query, key, value))) < 1e-12


def test_a_merged_row_that_sees_nothing_is_0_with_gradients_of_0() -> None:
    outputs = [torch.zeros(1, 2, 1, 3, requires_grad=True) for _ in range(2)]
    lses = [torch.tensor([[[-math.inf], [1.0]]], requires_grad=True), torch.full((1, 2, 1), -math.inf, requires_grad=True)]
    out, lse = merge_attentions(outputs, lses)
    assert out.abs().max() == 0
    assert lse.flatten().tolist() == [-math.inf, 1.0]
    for grad in torch.autograd.grad(out.sum() + lse[:, 1].sum(), [*outputs, *lses]):
        assert grad.isfinite().all()


# -- modules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rank", "extents"), [(1, (11,)), (2, (5, 7)), (3, (3, 4, 5))])
def test_a_module_is_its_projections_around_the_dense_mask(rank: int, extents: Axes) -> None:
    torch.manual_seed(rank)
    module = MODULES[rank](16, 2, kernel_size=3, qk_scale=0.4)
    assert sorted(module.state_dict()) == ["proj.bias", "proj.weight", "qkv.bias", "qkv.weight"]
    assert module.qkv.weight.shape == (48, 16)
    hidden = torch.randn(2, *extents, 16)
    query, key, value = module.qkv(hidden).flatten(1, rank).view(2, -1, 3, 2, 8).unbind(2)
    ones, never = (1,) * rank, (False,) * rank
    want = module.proj(dense((query, key, value), ~mask(extents, (3,) * rank, ones, ones, never), 0.4)[0].flatten(-2))
    assert off([module(hidden)], [want.double()]) < 2e-5
    assert "head_dim=8, num_heads=2, kernel_size=(3" in repr(module)


def test_a_module_trains_loads_and_pickles() -> None:
    module = NeighborhoodAttention2D(16, 4, kernel_size=(3, 4), dilation=(1, 2), stride=2, is_causal=(True, False), proj_drop=0.1)
    module(torch.randn(1, 6, 8, 16)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    again = pickle.loads(pickle.dumps(module)).eval()
    again.load_state_dict(module.state_dict())
    hidden = torch.randn(1, 6, 8, 16)
    assert torch.equal(again(hidden), module.eval()(hidden))
    assert sorted(NeighborhoodAttention1D(8, 2, 3, qkv_bias=False).state_dict()) == ["proj.bias", "proj.weight", "qkv.weight"]


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
def test_a_module_compiles_without_a_break(prove: bool) -> None:
    module = NeighborhoodAttention2D(16, 2, kernel_size=3)
    hidden = torch.randn(1, 5, 6, 16)
    want = module(hidden)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager" if prove else "eager")
    assert off([compiled(hidden)], [want.double()]) < 1e-6


def test_tensors_may_be_views_and_bfloat16() -> None:
    packed = torch.randn(1, 4, 6, 3, 2, 8)
    qkv = [packed[:, :, :, at] for at in range(3)]
    whole = na2d(*(each.contiguous() for each in qkv), kernel_size=3)
    assert torch.equal(na2d(*qkv, kernel_size=3), whole)
    half = na2d(*(each.bfloat16() for each in qkv), kernel_size=3)
    assert half.dtype == torch.bfloat16
    assert off([half], [whole.double()]) < 0.03


# -- options and refusals ---------------------------------------------------------------------------------------------


def test_options_of_natten_s_backends_are_told_once_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(natten_checks, "_warned", False)
    qkv = [torch.randn(1, 4, 6, 2, 8) for _ in range(3)]
    with pytest.warns(UserWarning, match="`backend`, `q_tile_shape` say how NATTEN runs and change nothing here; this is told once"):
        out = na2d(*qkv, kernel_size=3, backend="hopper-fna", q_tile_shape=(8, 8), torch_compile=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = na2d(*qkv, kernel_size=3, attention_kwargs={"backend": "cutlass-fmha"}, run_persistent_kernel=True)
    assert torch.equal(out, same)
    assert off([na2d(*qkv, kernel_size=3)], [out.double()]) < 1e-5


def test_functions_are_found_by_their_names() -> None:
    for name in natten.__all__:
        assert getattr(natten, name).__name__ == name
    assert pickle.loads(pickle.dumps(na2d)) is na2d


X = torch.zeros(1, 6, 8, 2, 4)


def no(**arguments: object) -> Callable[[], object]:
    return lambda: na2d(**{"query": X, "key": X, "value": X, "kernel_size": 3, **arguments})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (no(kernel_size=1), "`kernel_size` is 1.\n  write an integer of at least 2, or 2 of them in a tuple"),
        (no(kernel_size=(3, 3, 3)), r"`kernel_size` is \(3, 3, 3\)"),
        (no(kernel_size=(3, 9)), "`kernel_size \\* dilation` is 9 on axis 1, which has 8 tokens.\n  write a kernel size of at most 8"),
        (no(dilation=(3, 1)), "is 9 on axis 0, which has 6 tokens.\n  write a kernel size of at most 2"),
        (no(stride=4), "`stride` is 4 on axis 0 and `kernel_size` 3.\n  write a stride of at most 3"),
        (no(stride=0), "`stride` is 0.\n  write an integer of at least 1"),
        (no(dilation=1.5), "`dilation` is 1.5.\n  write an integer of at least 1"),
        (no(is_causal=1), "`is_causal` is 1.\n  write a truth value"),
        (no(query=X[0], key=X[0], value=X[0]), r"`query` has the shape \(6, 8, 2, 4\).\n  write a tensor of 5 dimensions"),
        (no(key=X[:, :5]), r"`key` has the shape \(1, 5, 8, 2, 4\).\n  write the batch and token layout of `query`, \(1, 6, 8\)"),
        (no(key=X[..., :3]), "write the head dimension of `query`, 4"),
        (no(key=X[..., :1, :]), "`value` has the shape .*\n  write the heads of `key`, 1"),
        (no(query=X[..., :1, :]), "write a number of heads that divides the 1 of `query`"),
        (no(value=X.double()), "`value` is torch.float64 and `query` torch.float32"),
        (no(value=X.to("meta")), "`value` is on meta and `query` on cpu"),
        (no(additional_keys=X[:, 0]), "one is given.\n  write both, or neither"),
        (no(additional_keys=X[:, 0], additional_values=X[:, 0, :5]), "write as many tokens as `additional_keys` has, 8"),
        (no(additional_keys=X[:, 0, :, :1], additional_values=X[:, 0, :, :1]), r"write \[1, tokens, 2, head_dim\]"),
        (no(additional_keys=X[:, 0, ..., :3], additional_values=X[:, 0]), "write the head dimension of `query`, 4"),
        (lambda: merge_attentions([X[0]], [X[0, ..., 0]]), "1 attention is merged.\n  write two or more"),
        (lambda: merge_attentions([X[0]] * 2, [X[0, ..., 0]]), "2 outputs meet 1 log-sum-exps"),
        (lambda: merge_attentions([X[0], X], [X[0, ..., 0]] * 2), "output 1 has the shape"),
        (lambda: merge_attentions([X[0]] * 2, [X[0, ..., 0], X[0]]), "log-sum-exp 1 has the shape"),
        (lambda: NeighborhoodAttention2D(8, 0, 3), "`num_heads` is 0.\n  write a positive number of heads"),
        (lambda: NeighborhoodAttention2D(10, 4, 3), "`embed_dim` is 10, which 4 heads do not divide.\n  write a multiple of 4"),
        (lambda: NeighborhoodAttention2D(8, 2, 3)(torch.zeros(1, 6, 8)), r"`x` has the shape \(1, 6, 8\).\n  write \[batch, X, Y, 8\]"),
    ],
)
def test_what_natten_refuses_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_arguments_that_natten_does_not_have_are_refused() -> None:
    with pytest.raises(TypeError, match=r"there is no argument `dilatoin`.\n  write `dilation=`"):
        no(dilatoin=2)()
    with pytest.raises(TypeError, match=r"there is no argument `rpb`.\n  write `lacuna.attention` over"):
        no(rpb=X)()
    with pytest.raises(TypeError, match=r"`key` is a list, not a tensor.\n  write `torch.as_tensor"):
        no(key=[1.0])()
    with pytest.raises(NotImplementedError, match=r"is a torch.sparse_coo tensor"):
        no(key=X.to_sparse())()


# -- the example ------------------------------------------------------------------------------------------------------


def test_the_example_learns_and_is_the_model_on_dense_masked_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six steps on either, from one seed: the losses, and every parameter after them."""
    path = Path(__file__).parent.parent / "examples" / "natten_port.py"
    spec = importlib.util.spec_from_file_location("natten_port", path)
    assert spec is not None
    assert spec.loader is not None
    example: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    def trained() -> tuple[list[float], list[Tensor]]:
        torch.manual_seed(3)
        model = example.Model()
        return example.train(model, 6), list(model.parameters())

    ours, parameters = trained()
    on_frame = mask((12, 12), (3, 3), (1, 1), (2, 4), (False, False))
    on_video = mask((3, 12, 12), (2, 5, 5), (1, 1, 1), (1, 1, 1), (True, False, False))

    def masked(qkv: tuple[Tensor, Tensor, Tensor], pattern: object, options: natten.Options) -> tuple[Tensor, Tensor]:
        query, key, value = qkv
        shown = {144: on_frame, 432: on_video}[query.shape[1]]
        if options.extra_keys is not None and options.extra_values is not None:
            key, value = torch.cat([key, options.extra_keys], 1), torch.cat([value, options.extra_values], 1)
            shown = torch.cat([shown, torch.ones(query.shape[1], options.extra_keys.shape[1]).bool()], 1)
        return dense((query, key, value), ~shown, options.scale or query.shape[-1] ** -0.5)

    monkeypatch.setattr(natten, "_flat", masked)
    theirs, wanted = trained()
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-4
    assert off(parameters, [each.double() for each in wanted]) < 1e-3
    assert len({round(loss, 6) for loss in ours}) == 6
