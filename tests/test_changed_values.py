"""Whatever a call reads beside query, key and value may be written between calls, and past torch: through numpy, `.data`, `set_`, another
map of its memory, a copy in C, in inference mode. A call uses what is there when it is made, or refuses that.

The oracle is dense attention in float64 of a mask that torch makes of the values, see `reference`.
"""

# Patterns are written without annotations; torch's are partial.
# ruff: noqa: ANN001, ANN201, ANN202, ANN401
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false
from __future__ import annotations

import ctypes
import random
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import lacuna
import numpy as np
import pytest
import reference
import torch
from lacuna import patterns
from lacuna.interop.block_mask import from_block_mask
from lacuna.interop.bsr import Bsr, from_bsr
from lacuna.interop.cu_seqlens import from_cu_seqlens
from lacuna.interop.dense_mask import from_dense
from lacuna.interop.flex import create_block_mask
from lacuna.interop.given_tiles import given_tiles
from lacuna.runtime.calls import call as one_call
from lacuna.runtime.calls.prepared_calls import forget_prepared
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

pytestmark = pytest.mark.usefixtures("compiled_quickly")
B, H, L, D = 2, 2, 90, 8
EDGE = L // 3
ROWS, KEYS = torch.arange(L)[:, None], torch.arange(L)[None, :]
Random = random.Random
attention: Any = lacuna.attention
varlen_attention: Any = lacuna.varlen_attention
exact_attention: Any = reference.attention


@lacuna.pattern
def same(q, k, *, doc):
    return doc[q] == doc[k]


@lacuna.pattern
def below(q, k, *, doc):
    return k <= q + doc[q]


@lacuna.pattern
def seen(k, *, keys):
    return keys[k]


@lacuna.pattern
def near(q, k, h, *, reach):
    return abs(q - k) <= reach[h]


@lacuna.score
def biased(s, k, *, bias):
    return s + bias[k]


class Subject(NamedTuple):
    """values: something to hold, fresh. bind: what is called with query, key, value and a backend. mask: bool, broadcasting to the pairs.

    score: what the values add to scores.
    """

    values: Callable[[Random], Tensor]
    bind: Callable[[Tensor], Callable[..., Tensor]]
    mask: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Callable[[Tensor], Tensor]] | None = None


def by_pattern(pattern_of: Callable[[Tensor], Any], **others: Any) -> Callable[[Tensor], Callable[..., Tensor]]:
    def bind(tensor: Tensor) -> Callable[..., Tensor]:
        pattern = pattern_of(tensor)
        return lambda q, k, v, backend: attention(q, k, v, pattern, backend=backend, **others)

    return bind


def by_length(name: str) -> Callable[[Tensor], Callable[..., Tensor]]:
    return lambda tensor: lambda q, k, v, backend: attention(q, k, v, patterns.causal(), backend=backend, **{name: tensor})


def documents(dtype: torch.dtype) -> Callable[[Random], Tensor]:
    def values(rng: Random) -> Tensor:
        found = [rng.randrange(5) for _ in range(L)]
        return torch.tensor(sorted(found) if rng.random() < 0.6 else found, dtype=dtype)

    return values


def offsets(rng: Random) -> Tensor:
    return torch.tensor([0, *sorted(rng.randrange(1, L) for _ in range(3)), L], dtype=torch.int32)


def segment(values: Tensor) -> Tensor:
    return torch.bucketize(torch.arange(L), values[1:].long(), right=True)


def lengths(dtype: torch.dtype) -> Callable[[Random], Tensor]:
    return lambda rng: torch.tensor([rng.randrange(L + 1) for _ in range(B)], dtype=dtype)


def per_item(values: Tensor) -> Tensor:
    return values.view(B, 1, 1, 1)


def packed(tensor: Tensor) -> Callable[..., Tensor]:
    """Of every batch item on its own, which is one row of packed sequences."""

    def call(q: Tensor, k: Tensor, v: Tensor, backend: str) -> Tensor:
        items = [
            varlen_attention(*(each[item].transpose(0, 1) for each in (q, k, v)), None, cu_seqlens_q=tensor, backend=backend)
            for item in range(B)
        ]
        return torch.stack([each.transpose(0, 1) for each in items])

    return call


def captured(tensor: Tensor) -> Callable[..., Tensor]:
    block_mask = create_block_mask(lambda b, h, q, k: tensor[q] == tensor[k], None, None, L, L)
    return lambda q, k, v, backend: attention(q, k, v, block_mask.pattern, backend=backend)


def listed(tensor: Tensor) -> Any:
    """tensor: int32[1, 1, 3, 8]: how many blocks of a row are partial, which, how many are full, which."""
    parts = (tensor[..., 0], tensor[..., 1:4], tensor[..., 4], tensor[..., 5:8])
    return from_block_mask(BlockMask.from_kv_blocks(*parts, BLOCK_SIZE=EDGE, mask_mod=lambda b, h, q, k: q >= k))


def lists(rng: Random) -> Tensor:
    rows: list[list[int]] = []
    for _ in range(3):
        kinds = [rng.randrange(3) for _ in range(3)]
        which = [[column for column in range(3) if kinds[column] == kind] for kind in (1, 2)]
        rows.append([number for each in which for number in (len(each), *each, *(0,) * (3 - len(each)))])
    return torch.tensor(rows, dtype=torch.int32)[None, None]


def of_lists(values: Tensor) -> Tensor:
    mask = torch.zeros(L, L, dtype=torch.bool)
    for row, numbers in enumerate(values[0, 0].tolist()):
        for count, columns, seen_there in ((numbers[0], numbers[1:4], ROWS >= KEYS), (numbers[4], numbers[5:8], ROWS >= -1)):
            for column in columns[:count]:
                here = (row == ROWS // EDGE) & (column == KEYS // EDGE)
                mask |= here & seen_there
    return mask


def rows_of_tiles(tensor: Tensor) -> Any:
    """tensor: int32[9], a class for each of 3 x 3 tiles, all of which are listed; the pairs of partial ones are those of a triangle."""
    crow, columns = torch.tensor([0, 3, 6, 9], dtype=torch.int32), torch.tensor([0, 1, 2] * 3, dtype=torch.int32)
    inside = torch.ones(EDGE, EDGE, dtype=torch.bool).tril().expand(9, EDGE, EDGE)
    return from_bsr(Bsr(crow, columns, tensor, inside, (EDGE, EDGE), (L, L)))


def spread(tiles: Tensor) -> Tensor:
    return tiles.repeat_interleave(EDGE, -2).repeat_interleave(EDGE, -1)


def of_classes(values: Tensor) -> Tensor:
    classes = spread(values.view(3, 3))
    return (classes == 2) | ((classes == 1) & (KEYS % EDGE <= ROWS % EDGE))


def bits(*shape: int) -> Callable[[Random], Tensor]:
    def values(rng: Random) -> Tensor:
        return torch.tensor([rng.random() < 0.5 for _ in range(int(np.prod(shape)))]).view(shape)

    return values


def ordered(tensor: Tensor) -> Callable[..., Tensor]:
    order = lacuna.orders.permutation(torch.arange(L))
    order = type(order)(order.name, order.extents, tensor)
    return lambda q, k, v, backend: attention(q, k, v, patterns.causal(), backend=backend, order=order)


def permuted(rng: Random) -> Tensor:
    return torch.tensor(rng.sample(range(L), L), dtype=torch.int32)


SUBJECTS: dict[str, Subject] = {
    **{
        f"documents {dtype}": Subject(documents(dtype), by_pattern(lambda t: same(doc=t)), lambda doc: doc[:, None] == doc)
        for dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
    },
    "documents as numpy": Subject(documents(torch.int32), by_pattern(lambda t: same(doc=t.numpy())), lambda doc: doc[:, None] == doc),
    "reach": Subject(documents(torch.int64), by_pattern(lambda t: below(doc=t)), lambda doc: ROWS + doc[:, None] >= KEYS),
    "truth values": Subject(bits(L), by_pattern(lambda t: seen(keys=t)), lambda keys: keys[None, :]),
    "by head": Subject(
        lambda rng: torch.tensor([rng.randrange(L) for _ in range(H)]),
        by_pattern(lambda t: near(reach=t)),
        lambda reach: (ROWS - KEYS).abs() <= reach.view(1, H, 1, 1),
    ),
    "reals": Subject(
        lambda rng: torch.tensor([rng.random() for _ in range(L)]),
        lambda tensor: (lambda score: lambda q, k, v, backend: attention(q, k, v, None, score=score, backend=backend))(biased(bias=tensor)),
        lambda bias: ROWS >= -1,
        lambda bias: lambda s: s + bias.double(),
    ),
    "segments": Subject(
        offsets,
        by_pattern(lambda t: patterns.documents(lacuna.segments(t))),
        lambda cu: (segment(cu)[:, None] == segment(cu)) & (ROWS >= KEYS),
    ),
    "kv_len": Subject(lengths(torch.int32), by_length("kv_len"), lambda n: (ROWS >= KEYS) & (per_item(n) > KEYS)),
    "kv_len int64": Subject(lengths(torch.int64), by_length("kv_len"), lambda n: (ROWS >= KEYS) & (per_item(n) > KEYS)),
    "q_len": Subject(lengths(torch.int32), by_length("q_len"), lambda n: (ROWS >= KEYS) & (per_item(n) > ROWS)),
    "q_offset": Subject(lengths(torch.int64), by_length("q_offset"), lambda n: ROWS + per_item(n) >= KEYS),
    "cu_seqlens": Subject(offsets, packed, lambda cu: segment(cu)[:, None] == segment(cu)),
    "cu_seqlens int64": Subject(lambda rng: offsets(rng).long(), packed, lambda cu: segment(cu)[:, None] == segment(cu)),
    "order": Subject(permuted, ordered, lambda tokens: ROWS >= KEYS),
    "captured int32": Subject(documents(torch.int32), captured, lambda doc: doc[:, None] == doc),
    "captured uint8": Subject(documents(torch.uint8), captured, lambda doc: doc[:, None] == doc),
    "block lists": Subject(lists, by_pattern(listed), of_lists),
    "tiles": Subject(bits(1, 1, 3, 3), by_pattern(lambda t: given_tiles(t, (EDGE, EDGE))), lambda tiles: spread(tiles)),
    "dense mask": Subject(bits(L, L), by_pattern(from_dense), lambda mask: mask),
    "dense mask, transposed": Subject(bits(L, L), by_pattern(lambda t: from_dense(t.t())), lambda mask: mask.t()),
    "classes of tiles": Subject(
        lambda rng: torch.tensor([rng.randrange(1, 3) for _ in range(9)], dtype=torch.uint8), by_pattern(rows_of_tiles), of_classes
    ),
    "packed for flash": Subject(offsets, by_pattern(from_cu_seqlens), lambda cu: segment(cu)[:, None] == segment(cu)),
}


# -- memory, and what writes it ---------------------------------------------------------------------------------------


def sliced(values: Tensor) -> Tensor:
    """Every other number of a longer buffer along the first axis that is longer than one."""
    axis = next((axis for axis, size in enumerate(values.shape) if size > 1), 0)
    sizes = list(values.shape)
    sizes[axis] *= 2
    found = torch.zeros(sizes, dtype=values.dtype)[(*(slice(None),) * axis, slice(None, None, 2))]
    return found.copy_(values)


def mapped(values: Tensor) -> Tensor:
    """Memory of a file that others map too."""
    path = tempfile.NamedTemporaryFile(delete=False).name  # noqa: SIM115  (its name is all that is wanted)
    found = torch.from_file(path, shared=True, size=values.numel(), dtype=values.dtype).view(values.shape)
    MAPS[found.data_ptr()] = path
    return found.copy_(values)


MAPS: dict[int, str] = {}


def inferred(values: Tensor) -> Tensor:
    with torch.inference_mode():
        return values.clone()


def through_numpy(tensor: Tensor, values: Tensor) -> None:
    tensor.numpy()[...] = values.numpy()


def through_data(tensor: Tensor, values: Tensor) -> None:
    tensor.data.copy_(values)


def as_data(tensor: Tensor, values: Tensor) -> None:
    tensor.data = values.clone()


def through_set(tensor: Tensor, values: Tensor) -> None:
    tensor.set_(values.clone())  # pyright: ignore[reportArgumentType]  (the stub names storages only)


def in_c(tensor: Tensor, values: Tensor) -> None:
    ctypes.memmove(tensor.data_ptr(), values.contiguous().data_ptr(), values.nbytes)


def through_a_map(tensor: Tensor, values: Tensor) -> None:
    np.memmap(MAPS[tensor.data_ptr()], values.numpy().dtype, "r+", shape=tuple(values.shape))[...] = values.numpy()


def by_torch(tensor: Tensor, values: Tensor) -> None:
    with torch.inference_mode(tensor.is_inference()):
        tensor.copy_(values)


Write = Callable[[Tensor, Tensor], None]
MEMORY: dict[Callable[[Tensor], Tensor], tuple[Write, ...]] = {
    torch.clone: (through_numpy, through_data, as_data, through_set, in_c, by_torch),
    sliced: (through_numpy, through_data, by_torch),
    mapped: (through_a_map, through_numpy, in_c),
    inferred: (through_numpy, in_c, by_torch),
}
STAYS = ("documents as numpy", "block lists", "dense mask", "dense mask, transposed", "tiles")
"""Subjects that look at memory of the tensor through views or arrays of their own, which another memory of the tensor leaves behind."""


def inputs(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(B, H, L, D, generator=generator) for _ in range(3))
    return query, key, value


def check(subject: Subject, call: Callable[..., Tensor], values: Tensor, backend: str, *, grad: bool) -> None:
    given = inputs(int(values.double().sum()) & 255)
    wanted = [each.double().requires_grad_() for each in given]
    mask = subject.mask(values).expand(B, H, L, L)
    exact, _ = exact_attention(*wanted, mask, score=None if subject.score is None else subject.score(values))
    given = tuple(each.requires_grad_(grad) for each in given)
    out = call(*given, backend)
    torch.testing.assert_close(out.double(), exact, rtol=1e-4, atol=1e-4)
    if grad:
        found, right = (torch.autograd.grad(each.double().square().sum(), of) for each, of in ((out, given), (exact, wanted)))
        for mine, theirs in zip(found, right, strict=True):
            torch.testing.assert_close(mine.double(), theirs, rtol=1e-3, atol=1e-3)


COMPILED = frozenset({"documents torch.int64", "truth values", "segments", "kv_len", "cu_seqlens", "captured uint8"})
"""Subjects whose kernels the quick profile builds too."""


def test_a_call_uses_what_is_there_when_it_is_made(prove: bool) -> None:
    for seed in range(2000 if prove else 40):
        rng = Random(seed)
        name, memory = sorted(SUBJECTS)[seed % len(SUBJECTS)], rng.choice(list(MEMORY))
        backend = rng.choice(("eager", "cpp") if prove or name in COMPILED else ("eager",))
        told = [name, memory.__name__, backend]
        try:
            tell(SUBJECTS[name], memory, backend, rng, told)
        except BaseException as error:
            error.add_note(f"seed {seed}: {', '.join(told)}")
            raise


def tell(subject: Subject, memory: Callable[[Tensor], Tensor], backend: str, rng: Random, told: list[str]) -> None:
    """Write, and call with what was bound before or with the same bound anew. told: what was done."""
    tensor = memory(subject.values(rng))
    call = subject.bind(tensor)
    grad = backend == "eager" and memory is not inferred and rng.random() < 0.3
    check(subject, call, tensor.clone(), backend, grad=grad)
    for _ in range(2):
        write = rng.choice([each for each in MEMORY[memory] if told[0] not in STAYS or each not in (as_data, through_set)])
        values, anew = subject.values(rng), rng.random() < 0.5
        told.append(f"{write.__name__}{', bound anew' * anew}")
        write(tensor, values)
        call = subject.bind(tensor) if anew else call
        check(subject, call, values, backend, grad=grad)
        assert torch.equal(call(*inputs(0), backend), call(*inputs(0), backend))


@pytest.mark.parametrize("name", ["documents torch.int64", "kv_len"])
def test_gradients_of_kernels_are_those_of_what_was_there(name: str) -> None:
    subject, rng = SUBJECTS[name], Random(3)
    tensor = subject.values(rng)
    call = subject.bind(tensor)
    for _ in range(3):
        values = subject.values(rng)
        through_numpy(tensor, values)
        check(subject, call, values, "cpp", grad=True)


@pytest.mark.parametrize("name", ["documents torch.int64", "kv_len"])
def test_triton_kernels_meet_what_is_there(name: str) -> None:
    subject, rng = SUBJECTS[name], Random(4)
    tensor = subject.values(rng)
    call = subject.bind(tensor)
    for write in (by_torch, through_numpy):
        values = subject.values(rng)
        write(tensor, values)
        check(subject, call, values, "triton", grad=False)


# -- what is refused --------------------------------------------------------------------------------------------------


def lengths_past_the_keys(write: Write) -> Callable[[], object]:
    tensor = torch.tensor([5, 9])
    call = by_length("kv_len")(tensor)
    call(*inputs(0), "cpp")
    write(tensor, torch.tensor([5, L + 1]))
    return lambda: call(*inputs(0), "cpp")


def boundaries_that_fall(write: Write) -> Callable[[], object]:
    tensor = torch.tensor([0, 5, 9, L])
    call = packed(tensor)
    call(*inputs(0), "cpp")
    write(tensor, torch.tensor([0, 9, 5, L]))
    return lambda: call(*inputs(0), "cpp")


@lacuna.pattern
def through(q, k, *, at, doc):
    return doc[at[q]] == doc[at[k]]


def places_outside_the_table(write: Write) -> Callable[[], object]:
    tensor = torch.arange(L)
    pattern = through(at=tensor, doc=torch.zeros(L, dtype=torch.int32))
    attention(*inputs(0), pattern, backend="cpp")
    write(tensor, torch.arange(L) + 1)
    return lambda: attention(*inputs(0), pattern, backend="cpp")


def no_permutation(write: Write) -> Callable[[], object]:
    tensor = torch.arange(L, dtype=torch.int32)
    call = ordered(tensor)
    call(*inputs(0), "eager")
    write(tensor, torch.zeros(L, dtype=torch.int32))
    return lambda: call(*inputs(0), "eager")


def blocks_nobody_can_ask(write: Write) -> Callable[[], object]:
    def odd(b, h, q, k):
        return q.cumsum(0) >= k

    counts, columns = torch.zeros(1, 1, 3, dtype=torch.int32), torch.full((1, 1, 3, 3), 2, dtype=torch.int32)
    every = torch.arange(3, dtype=torch.int32).expand(1, 1, 3, 3)
    mask = BlockMask.from_kv_blocks(counts, columns, torch.full_like(counts, 2), every, BLOCK_SIZE=EDGE, mask_mod=odd)
    pattern = from_block_mask(mask)
    attention(*inputs(0), pattern, backend="eager")
    write(counts, torch.ones_like(counts))
    return lambda: attention(*inputs(0), pattern, backend="eager")


def sequences_that_differ(write: Write) -> Callable[[], object]:
    rows, keys = torch.tensor([0, 5, L]), torch.tensor([0, 5, L])
    pattern = from_cu_seqlens(rows, keys)
    attention(*inputs(0), pattern, backend="eager")
    write(keys, torch.tensor([0, 7, L]))
    return lambda: attention(*inputs(0), pattern, backend="eager")


def tiles_without_elements(write: Write) -> Callable[[], object]:
    crow, columns = torch.tensor([0, 1, 2, 3], dtype=torch.int32), torch.tensor([0, 1, 2], dtype=torch.int32)
    classes = torch.full((3,), 2, dtype=torch.uint8)
    pattern = from_bsr(Bsr(crow, columns, classes, None, (EDGE, EDGE), (L, L)))
    attention(*inputs(0), pattern, backend="eager")
    write(classes, torch.tensor([2, 1, 2], dtype=torch.uint8))
    return lambda: attention(*inputs(0), pattern, backend="eager")


REFUSED: dict[Callable[[Write], Callable[[], object]], str] = {
    lengths_past_the_keys: f"`kv_len` is {L + 1}, which is more than the {L} tokens of the tensor",
    boundaries_that_fall: "`cu_seqlens_q` decreases from 9 to 5 at entry 2",
    places_outside_the_table: f"table `doc` .*{L}",
    no_permutation: "`order` is no permutation: it does not hold each of 0 to 89 once",
    blocks_nobody_can_ask: "the block mask has partial blocks by now, and its `mask_mod` was no expression when the pattern was made",
    sequences_that_differ: "`cu_seqlens_k` was `cu_seqlens_q` when the pattern was made, and is not now",
    tiles_without_elements: "tile \\(1, 1\\) is partial, and nothing says which pairs of it are visible",
}


@pytest.mark.parametrize("write", [through_numpy, through_data, in_c])
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.__name__)
def test_what_is_no_longer_right_is_refused(case: Callable[[Write], Callable[[], object]], write: Write) -> None:
    call = case(write)
    with pytest.raises((ValueError, TypeError, IndexError), match=REFUSED[case]):
        call()


# -- between the passes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["cpp", "eager"])
@pytest.mark.parametrize(
    ("name", "called"), [("documents torch.int64", "table `doc`"), ("kv_len", "`kv_len`"), ("cu_seqlens", "`cu_seqlens_q`")]
)
def test_what_was_written_after_the_forward_pass_is_refused_by_name(name: str, called: str, backend: str) -> None:
    subject, rng = SUBJECTS[name], Random(0)
    tensor = subject.values(rng)
    call, given = subject.bind(tensor), tuple(each.requires_grad_() for each in inputs(0))
    out = call(*given, backend)
    before = tensor.clone()
    through_numpy(tensor, subject.values(rng))
    with pytest.raises(RuntimeError, match=f"{called} was written after the forward pass.*\n  write into another tensor"):
        out.sum().backward(retain_graph=True)
    through_numpy(tensor, before)  # as it was: there is nothing to refuse
    out.sum().backward()


def test_a_table_that_is_made_of_another_is_kept_for_the_backward_pass() -> None:
    rng, exact = Random(0), []
    tensor = documents(torch.uint8)(rng)
    call, given = captured(tensor), tuple(each.requires_grad_() for each in inputs(0))
    first, second = tensor.clone(), documents(torch.uint8)(rng)
    outs = [call(*given, "eager")]
    through_numpy(tensor, second)
    outs.append(call(*given, "eager"))
    for values in (first, second):
        exact.append(exact_attention(*given, values[:, None] == values)[0])
    for out, right in zip(outs, exact, strict=True):
        mine, theirs = (torch.autograd.grad(each.double().square().sum(), given) for each in (out, right))
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


# -- what is remembered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [torch.clone, inferred, sliced])
@pytest.mark.parametrize("name", ["documents torch.int64", "kv_len", "cu_seqlens"])
def test_a_call_with_the_same_values_is_not_checked_again(
    name: str, memory: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, rng = SUBJECTS[name], Random(1)
    forget_prepared()  # else the numbers of the memory before
    tensor, others = memory(subject.values(rng)), subject.values(rng)
    call, checked = subject.bind(tensor), list[int]()
    right = call(*inputs(0), "cpp")
    request = one_call.Call.request
    monkeypatch.setattr(one_call.Call, "request", lambda self: checked.append(1) or request(self))
    assert torch.equal(call(*inputs(0), "cpp"), right)
    assert not checked
    by_torch(tensor, others)
    assert not torch.equal(call(*inputs(0), "cpp"), right)
    assert checked
