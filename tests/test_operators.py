"""Attention as an operator of torch: its compiler, its exporter, vmap, autocast, threads, forked processes."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportPrivateUsage=false
from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import lacuna
import numpy as np
import pytest
import torch
from lacuna.runtime.calls import operators, prepared_calls
from lacuna.runtime.cpp import backend as cpp_backend
from lacuna.runtime.cpp.call import Arguments, CppKernel
from lacuna.runtime.request import description
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

pytestmark = pytest.mark.usefixtures("compiled_quickly")

attention: Callable[..., Any] = lacuna.attention
varlen: Callable[..., Any] = lacuna.varlen_attention


@lacuna.pattern
def sliding(q: Any, k: Any, *, window: Any) -> Any:
    return (k <= q) & (q - k < window)


@lacuna.pattern
def documents(q: Any, k: Any, *, doc: Any) -> Any:
    return doc[q] == doc[k]


@lacuna.pattern
def per_item(q: Any, k: Any, b: Any, *, width: Any) -> Any:
    return (k <= q) & (q - k < width[b])


@lacuna.score
def alibi(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:
    return s + slopes[h] * (k - q)


@lacuna.score
def capped(s: Any, *, cap: Any) -> Any:
    return cap * lacuna.tanh(s / cap)


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch.manual_seed(0)
    torch._dynamo.reset()


def qkv(tokens: int = 20, *, dtype: torch.dtype = torch.float32, grad: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Two items, four heads that share two, 16 dimensions."""
    query, key, value = (torch.randn(2, heads, tokens, 16, dtype=dtype).requires_grad_(grad) for heads in (4, 2, 2))
    return query, key, value


DOC = torch.arange(90) // 7
SLOPES = torch.rand(4)


# -- the operator -----------------------------------------------------------------------------------------------------

CASES: dict[str, tuple[Any, Any]] = {
    "dense": (None, None),
    "mask with a number": (sliding(window=5), None),
    "mask with a table, score with one that is learned": (documents(doc=DOC), alibi(slopes=SLOPES.clone().requires_grad_())),
    "segments, score with a number": (documents(doc=lacuna.segments(torch.tensor([0, 9, 20]))), capped(cap=3.0)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("grad", [False, True], ids=["constant", "grad"])
def test_torch_s_checks_of_operators_pass(case: str, grad: bool) -> None:
    program, tables, integers, reals = description.described(*CASES[case])
    arguments = (*qkv(grad=grad), tables, [], None, None, 0, integers, reals, program, None, "bhld", "eager")
    torch.library.opcheck(torch.ops.lacuna.attention.default, arguments)


def test_torch_s_checks_pass_with_lengths_and_with_packed_sequences() -> None:
    program, tables, integers, reals = description.described(sliding(window=4), None)
    lens = [torch.tensor([20, 11]), None, torch.tensor([0, 5]), None, None]
    rest = (tables, lens, None, 15, None, integers, reals, program, 0.3, "blhd", "eager")
    torch.library.opcheck(torch.ops.lacuna.attention.default, (*(each.transpose(1, 2) for each in qkv()), *rest))
    bounds = [None, None, None, torch.tensor([0, 8, 20]), None]
    packed = [torch.randn(20, heads, 16, requires_grad=True) for heads in (4, 2, 2)]
    rest = (tables, bounds, None, None, 0, integers, reals, program, None, "packed", "eager")
    torch.library.opcheck(torch.ops.lacuna.attention.default, (*packed, *rest))


def test_a_program_that_breaks_the_language_is_refused_by_the_operator() -> None:
    text = "program @wrong(q < Lq, k < Lk) {\n  mask = q + k\n  score = s\n  normalise = softmax\n}\n"
    with pytest.raises(ValueError, match="mask"):
        torch.ops.lacuna.attention(*qkv(), [], [], None, None, 0, [], [], text, None, "bhld", "")


def test_a_table_that_changed_its_dtype_is_refused() -> None:
    slopes = torch.nn.Parameter(SLOPES.clone())
    score = alibi(slopes=slopes)
    attention(*qkv(), score=score, backend="eager")
    slopes.data = slopes.data.double()
    with pytest.raises(TypeError, match=r"table `slopes` is torch.float64 .*and was torch.float32.*\n  write `pattern\(slopes=...\)`"):
        attention(*qkv(), score=score, backend="eager")


# -- torch.compile ----------------------------------------------------------------------------------------------------


def learned() -> tuple[Callable[..., Any], Tensor]:
    slopes = SLOPES.clone().requires_grad_()
    pattern, score = documents(doc=DOC) & sliding(window=9), alibi(slopes=slopes)
    return lambda q, k, v: attention(q, k, v, pattern, score=score, return_lse=True), slopes


def check_compiled(compiled: Callable[..., Any], plain: Callable[..., Any], inputs: Sequence[Tensor], slopes: Tensor) -> None:
    """Same outputs, same gradients, to the bit: the kernels are the same."""

    def all_of(function: Callable[..., Any]) -> list[Tensor]:
        out, lse = function(*inputs)
        return [out, lse, *torch.autograd.grad(out.sin().sum() + lse.cos().sum(), [*inputs, slopes])]

    for got, wanted in zip(all_of(compiled), all_of(plain), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # inductor's own
def test_inductor_compiles_forward_and_backward_without_a_break() -> None:
    function, slopes = learned()
    check_compiled(torch.compile(function, fullgraph=True), function, qkv(grad=True), slopes)


def test_lengths_share_one_graph() -> None:
    function, slopes = learned()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
    for tokens in (20, 33, 64, 87):
        check_compiled(compiled, function, qkv(tokens, grad=True), slopes)
    assert counter.frame_count == 1


def test_windows_tables_and_new_patterns_of_one_function_share_one_graph() -> None:
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(lambda q, k, v, p: attention(q, k, v, p, backend="eager"), fullgraph=True, dynamic=True, backend=counter)
    inputs = qkv()
    for window in (3, 5, 18):
        for doc in (DOC, DOC // 2):
            torch.testing.assert_close(
                compiled(*inputs, sliding(window=window)), attention(*inputs, sliding(window=window), backend="eager")
            )
            torch.testing.assert_close(compiled(*inputs, documents(doc=doc)), attention(*inputs, documents(doc=doc), backend="eager"))
    assert counter.frame_count == 2


def test_a_window_may_be_bound_inside_the_graph() -> None:
    inputs = qkv()
    compiled = torch.compile(
        lambda q, k, v, n: attention(q, k, v, sliding(window=n + 1), backend="eager"), fullgraph=True, dynamic=True, backend="aot_eager"
    )
    for window in (3, 8):
        torch.testing.assert_close(compiled(*inputs, window - 1), attention(*inputs, sliding(window=window), backend="eager"))


def test_tables_and_segments_may_be_bound_inside_the_graph() -> None:
    def bound(q: Tensor, k: Tensor, v: Tensor, doc: Tensor, slopes: Tensor, bounds: Tensor) -> Any:
        same = attention(q, k, v, documents(doc=doc), score=alibi(slopes=slopes), backend="eager")
        return same + attention(q, k, v, documents(doc=lacuna.segments(bounds)), backend="eager")

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(bound, fullgraph=True, dynamic=True, backend=counter)
    for tokens in (20, 33):
        inputs, slopes = qkv(tokens), SLOPES.clone().requires_grad_()
        rest = (torch.arange(tokens) // 7, slopes, torch.tensor([0, 9, tokens]))
        got, wanted = (function(*inputs, *rest) for function in (compiled, bound))
        torch.testing.assert_close(got, wanted)
        torch.testing.assert_close(*(torch.autograd.grad(each.sin().sum(), slopes) for each in (got, wanted)))
    assert counter.frame_count == 1


def test_numbers_that_are_not_python_s_own_compile() -> None:
    pattern, score, inputs = sliding(window=np.int32(5)), capped(cap=Fraction(5, 2)), qkv()
    compiled = torch.compile(lambda q, k, v: attention(q, k, v, pattern, score=score, backend="eager"), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), attention(*inputs, sliding(window=5), score=capped(cap=2.5), backend="eager"))


def test_closures_grids_and_segments_compile() -> None:
    shift = 3

    @lacuna.pattern
    def ahead(q: Any, k: Any, *, causal: Any = True) -> Any:
        return k <= q + shift if causal else k >= q

    @lacuna.pattern(rank=2)
    def near(q: Any, k: Any, *, r: Any) -> Any:
        return (abs(q[0] - k[0]) <= r) & (abs(q[1] - k[1]) <= r)

    inputs = qkv()
    for pattern in (ahead, ahead(causal=False), near(r=1).on(4, 5), documents(doc=lacuna.segments(torch.tensor([0, 9, 20])))):
        compiled = torch.compile(lambda q, k, v, p=pattern: attention(q, k, v, p, backend="eager"), fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*inputs), attention(*inputs, pattern, backend="eager"))


def test_lengths_per_item_and_packed_sequences_compile() -> None:
    def both(q: Tensor, k: Tensor, v: Tensor, kv_len: Tensor, bounds: Tensor) -> tuple[Any, Any]:
        packed = [each[0].transpose(0, 1) for each in (q, k, v)]
        window = sliding(window=4)
        return (
            attention(q, k, v, window, kv_len=kv_len, q_offset="end", backend="eager"),
            varlen(*packed, window, cu_seqlens_q=bounds, backend="eager"),
        )

    compiled = torch.compile(both, fullgraph=True, dynamic=True, backend="aot_eager")
    for kv_len, bounds in ((torch.tensor([3, 20]), torch.tensor([0, 8, 20])), (torch.tensor([20, 0]), torch.tensor([0, 1, 2, 20]))):
        for got, wanted in zip(compiled(*qkv(), kv_len, bounds), both(*qkv(), kv_len, bounds), strict=True):
            assert got.shape == wanted.shape
        inputs = qkv()
        torch.testing.assert_close(compiled(*inputs, kv_len, bounds), both(*inputs, kv_len, bounds))


def test_a_mistake_is_reported_while_compiling() -> None:
    query, key, value = qkv()
    compiled = torch.compile(lambda: attention(query, key, value[:, :1]), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match="key and value do not agree"):
        compiled()


# -- torch.export -----------------------------------------------------------------------------------------------------


class Module(torch.nn.Module):
    """Reads a buffer in its mask and a parameter in its score."""

    def __init__(self) -> None:
        super().__init__()
        self.doc = torch.nn.Buffer(DOC.clone())
        self.slopes = torch.nn.Parameter(SLOPES.clone())
        self.pattern = documents(doc=self.doc) & sliding(window=9)
        self.score = alibi(slopes=self.slopes)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Any:
        return attention(query, key, value, self.pattern, score=self.score, return_lse=True, backend="eager")


@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize("strict", [False, True], ids=["traced", "strict"])
def test_an_exported_module_is_saved_loaded_and_run_at_other_lengths(strict: bool) -> None:
    module = Module()
    tokens = torch.export.Dim("tokens", min=2, max=4096)
    exported = torch.export.export(module, qkv(), dynamic_shapes=({2: tokens},) * 3, strict=strict)
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for length in (20, 47):
        inputs = qkv(length)
        torch.testing.assert_close(loaded(*inputs), module(*inputs), rtol=0, atol=0)


LOADED = """
import sys, torch, lacuna
lacuna.attention  # registers the operators
program = torch.export.load(sys.argv[1]).module()
inputs, wanted = torch.load(sys.argv[2])
for got, expected in zip(program(*inputs), wanted):
    torch.testing.assert_close(got, expected)
print("right")
"""


@pytest.mark.filterwarnings("ignore")
def test_an_exported_module_runs_in_a_process_without_the_pattern(tmp_path: Path) -> None:
    module, inputs = Module(), qkv()
    torch.export.save(torch.export.export(module, inputs), tmp_path / "module.pt2")
    torch.save((inputs, [each.detach() for each in module(*inputs)]), tmp_path / "wanted.pt")
    command = [sys.executable, "-c", LOADED, str(tmp_path / "module.pt2"), str(tmp_path / "wanted.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "right\n", done.stderr


# -- tracing of shapes, and of TorchScript ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [None, "cpp", "eager", "triton"])
def test_meta_tensors_get_shapes(backend: str | None) -> None:
    query, key, value = (each.to("meta").requires_grad_() for each in qkv())
    out, lse = attention(query, key, value, sliding(window=5), return_lse=True, backend=backend)
    out.sum().backward()
    assert (out.shape, out.device.type, lse.shape, lse.dtype) == (query.shape, "meta", query.shape[:3], torch.float32)
    assert key.grad is not None
    assert key.grad.shape == key.shape
    packed = torch.empty(40, 4, 16, device="meta")
    assert lacuna.varlen_attention(packed, packed, packed, cu_seqlens_q=torch.tensor([0, 9, 40])).shape == packed.shape  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, {"kv_len": torch.tensor([9, 15])}, {"q_offset": "end", "score": alibi(slopes=SLOPES)}])
def test_torch_jit_traces_a_call_for_other_lengths(options: dict[str, Any]) -> None:
    def call(*inputs: Tensor) -> Any:
        return attention(*inputs, documents(doc=DOC), **options)

    traced: Any = torch.jit.trace(call, qkv(), check_trace=False)
    for tokens in (20, 31):
        inputs = qkv(tokens, grad=True)
        found, wanted = traced(*inputs), call(*inputs)
        assert torch.equal(found, wanted)
        assert torch.equal(*(torch.autograd.grad(out.square().sum(), inputs[1])[0] for out in (found, wanted)))


# -- torch.func.vmap --------------------------------------------------------------------------------------------------


def check_vmapped(function: Callable[..., Tensor], dims: tuple[int | None, ...], arguments: list[Tensor]) -> None:
    """As one call for each item."""
    items = next(each.shape[dim] for each, dim in zip(arguments, dims, strict=True) if dim is not None)
    own = [
        function(*(each if dim is None else each.select(dim, item) for each, dim in zip(arguments, dims, strict=True)))
        for item in range(items)
    ]
    torch.testing.assert_close(torch.func.vmap(function, in_dims=dims)(*arguments), torch.stack(own))


def many(batch: int = 2) -> list[Tensor]:
    return [torch.randn(3, batch, heads, 12, 8) for heads in (4, 2, 2)]


@pytest.mark.parametrize("layout", ["bhld", "blhd"])
def test_vmap_goes_over_any_dimension_of_any_tensor(layout: str) -> None:
    pattern, score = per_item(width=torch.tensor([3, 9])), alibi(slopes=SLOPES)

    def function(query: Tensor, key: Tensor, value: Tensor) -> Any:
        return attention(query, key, value, pattern, score=score, layout=layout, backend="eager")

    query, key, value = many() if layout == "bhld" else (each.transpose(2, 3) for each in many())
    check_vmapped(function, (0, 0, 0), [query, key, value])
    check_vmapped(function, (2, 0, 1), [query.movedim(0, 2).contiguous(), key, value.movedim(0, 1)])
    check_vmapped(function, (0, None, None), [query, key[0], value[0]])
    check_vmapped(function, (None, 0, 0), [query[0], key, value])
    check_vmapped(function, (0, None, 0), [query, key[0], value])
    check_vmapped(function, (0, None, None), [query, key[0, :1], value[0, :1]])
    check_vmapped(function, (0, 0, None), [query, key[:, :1], value[0, :1]])


def test_vmap_goes_over_tables_lengths_and_packed_sequences() -> None:
    query, key, value = many()

    def biased(q: Tensor, slopes: Tensor) -> Any:
        return attention(q, q, q, score=alibi(slopes=slopes), backend="eager")

    def ragged(q: Tensor, lens: Tensor) -> Any:
        return attention(q, q, q, sliding(window=4), kv_len=lens, backend="eager")

    check_vmapped(biased, (0, 0), [query, torch.rand(3, 4)])
    check_vmapped(ragged, (0, None), [query, torch.tensor([3, 12])])
    check_vmapped(ragged, (0, 0), [query, torch.tensor([[3, 12], [1, 2], [12, 0]])])
    bounds = torch.tensor([0, 5, 12])
    packed = [each[:, 0].transpose(1, 2) for each in (query, key, value)]
    check_vmapped(lambda q, k, v: varlen(q, k, v, cu_seqlens_q=bounds, backend="eager"), (0, 0, None), [*packed[:2], packed[2][0]])


# -- autocast, strides, inference mode --------------------------------------------------------------------------------


def test_autocast_casts_as_scaled_dot_product_attention_does() -> None:
    inputs = [torch.randn(1, 2, 12, 16, requires_grad=True) for _ in range(3)]
    sdpa: Callable[..., Tensor] = torch.nn.functional.scaled_dot_product_attention
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, theirs = attention(*inputs, backend="eager"), sdpa(*inputs)
        double = [each.detach().double() for each in inputs]
        assert attention(*double, backend="eager").dtype == sdpa(*double).dtype == torch.float64
    assert out.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(out, theirs, rtol=0.02, atol=0.02)
    for got, wanted in zip(*(torch.autograd.grad(each.float().sum(), inputs) for each in (out, theirs)), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, wanted, rtol=0.05, atol=0.05)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[Arguments]:
    """Arguments that C++ kernels were called with."""
    seen: list[Arguments] = []
    call = CppKernel.__call__

    def watched(kernel: CppKernel, arguments: Any) -> None:
        seen.append(Arguments.from_buffer_copy(arguments))
        call(kernel, arguments)

    monkeypatch.setattr(CppKernel, "__call__", watched)
    return seen


def test_strided_tensors_are_read_where_they_are(launches: list[Arguments]) -> None:
    whole = torch.randn(2, 40, 3, 4, 16)  # [batch, tokens, 3, heads, dim], as one projection gives it
    query, key, value = whole[:, ::2].unbind(2)
    wanted = attention(*(each.transpose(1, 2).contiguous() for each in (query, key, value)), sliding(window=5), backend="cpp")
    for _ in range(2):  # the second call is one that is remembered
        launches.clear()
        blhd = attention(query, key, value, sliding(window=5), layout="blhd", backend="cpp")
        bhld = attention(*(each.transpose(1, 2) for each in (query, key, value)), sliding(window=5), backend="cpp")
        torch.testing.assert_close(blhd.transpose(1, 2), wanted)
        torch.testing.assert_close(bhld, wanted)
        for seen in launches:
            assert [seen.q, seen.k, seen.v] == [query.data_ptr(), key.data_ptr(), value.data_ptr()]
            assert list(seen.q_strides) == [40 * 192, 16, 384]
        assert [seen.out for seen in launches] == [blhd.data_ptr(), bhld.data_ptr()]
        assert len(launches) == 2


def test_inference_mode_sees_tables_that_change_in_place() -> None:
    inputs = qkv()
    with torch.inference_mode():
        doc = DOC.clone()
        pattern = documents(doc=doc)
        first = attention(*inputs, pattern, backend="cpp")
        doc[4:] = 9
        second = attention(*inputs, pattern, backend="cpp")
        assert second.is_inference()
        torch.testing.assert_close(second, attention(*inputs, documents(doc=doc.clone()), backend="cpp"))
    assert not torch.equal(first, second)


# -- calls that are remembered ----------------------------------------------------------------------------------------


def test_a_remembered_call_is_checked_for_whatever_may_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    prepare = cpp_backend.prepare
    monkeypatch.setattr(prepared_calls, "_prepared", {})
    monkeypatch.setattr(cpp_backend, "prepare", lambda request: made.append(request) or prepare(request))
    inputs, doc = qkv(), DOC.clone()
    pattern = documents(doc=doc)
    outs = [attention(*inputs, pattern, backend="cpp") for _ in range(3)]
    assert len(made) == 1
    doc[3:11] = 1
    changed = attention(*inputs, pattern, backend="cpp")
    assert len(made) == 2
    assert not torch.equal(outs[-1], changed)
    torch.testing.assert_close(changed, attention(*inputs, pattern, backend="eager"))
    doc.resize_(19)
    with pytest.raises(ValueError, match="table `doc` holds 19 entries"):
        attention(*inputs, pattern, backend="cpp")
    lens = torch.tensor([20, 3])
    attention(*inputs, kv_len=lens, backend="cpp")
    lens[1] = 21
    with pytest.raises(ValueError, match="`kv_len` is 21"):
        attention(*inputs, kv_len=lens, backend="cpp")


def test_calls_that_differ_in_one_thing_do_not_share_what_is_remembered() -> None:
    query, key, value = qkv()
    kinds: list[dict[str, Any]] = [{}, {"scale": 0.5}, {"q_offset": 3}, {"q_len": 7}, {"kv_len": 7}, {"pattern": sliding(window=3)}]
    kinds += [{"pattern": sliding(window=4)}, {"score": capped(cap=2.0)}, {"score": capped(cap=1.0)}]
    for _ in range(2):
        for kind in kinds:
            torch.testing.assert_close(
                attention(query, key, value, backend="cpp", **kind), attention(query, key, value, backend="eager", **kind)
            )
    half = [each.bfloat16() for each in (query, key, value)]
    assert attention(*half, backend="cpp").dtype == torch.bfloat16


# -- threads and processes --------------------------------------------------------------------------------------------


def test_eight_threads_get_what_one_gets() -> None:
    inputs = qkv(70)
    wanted = [attention(*inputs, sliding(window=window + 1), backend="cpp") for window in range(8)]
    wrong: list[int] = []

    def work(window: int) -> None:
        for _ in range(200):
            if not torch.equal(attention(*inputs, sliding(window=window + 1), backend="cpp"), wanted[window]):
                wrong.append(window)

    threads = [threading.Thread(target=work, args=(window,)) for window in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on forking beside threads
def test_a_forked_process_does_not_wait_for_threads_it_does_not_have() -> None:
    inputs = qkv(200)  # few enough for torch to compare them on one thread: its own loops would wait
    wanted = attention(*inputs, backend="cpp")
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a process that waits forever
        same = torch.equal(attention(*inputs, backend="cpp"), wanted)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_library_stays_registered() -> None:
    assert operators.LIBRARY.ns == "lacuna"
