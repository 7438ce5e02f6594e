"""Calls beside the plain one, for `gpu.py`: keys beside the pattern, an order for each head, a video beside text.

Each is compared with the eager backend, and the last two are timed.
"""

# torch's annotations are partial.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import lacuna
import torch
from gpu_timings import Bench, Result, Step
from lacuna import orders, patterns
from lacuna.ir.pattern import Pattern
from torch import Tensor

attention: Any = lacuna.attention
ALLOWED = 0.03  # of the largest entry, in bfloat16
Extents = tuple[int, ...]


def beside_eager(leaves: Sequence[Tensor], pattern: Pattern, **options: object) -> Result:
    """How far Triton's output and gradients of query, key and value are from those of the eager backend, over the largest entry of each.

    leaves: these three, which require gradients.   options: of the call.
    """
    rise = torch.randn(*leaves[0].shape[:-1], leaves[2].shape[-1], device=leaves[0].device, dtype=leaves[0].dtype)
    results: list[list[Tensor]] = []
    for backend in ("triton", "eager"):
        out = attention(*leaves, pattern, backend=backend, **options)
        results.append([out.detach(), *torch.autograd.grad(out, leaves, rise)])
    named = zip(("out", "query", "key", "value"), *results, strict=True)
    apart = {name: float((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max()) for name, ours, theirs in named}
    return {**apart, "wrong": [name for name, error in apart.items() if not error <= ALLOWED]}


def drawn(device: str, heads: tuple[int, int], tokens: int, dim: int = 64) -> list[Tensor]:
    """Query, key and value. heads: of queries, and of keys."""
    sizes = [(1, count, tokens, dim) for count in (heads[0], heads[1], heads[1])]
    return [torch.randn(size, device=device, dtype=torch.bfloat16).requires_grad_() for size in sizes]


def video_beside_text(text: int, video: Extents, window: Extents) -> tuple[int, Pattern]:
    """Tokens of a sequence in which frames see a neighborhood of each other, and text and video each other."""
    whole = lacuna.sequence(text=text, video=lacuna.grid(*video))
    return whole.tokens, patterns.segmented(whole, {("video", "video"): patterns.gna(video, window)})


# -- right ------------------------------------------------------------------------------------------------------------


def call_checks(bench: Bench) -> Iterator[Step]:
    edge = 8 if bench.dry else 64
    yield Step("correct: keys beside the pattern", functools.partial(_keys_beside, bench.device, edge))
    yield Step("correct: an order for each head", functools.partial(_order_of_each_head, bench.device, 2 if bench.dry else 16))
    yield Step("correct: a video beside text", functools.partial(_video, bench.device, (2, 8, 8) if bench.dry else (8, 24, 40)))


def _keys_beside(device: str, edge: int) -> Result:
    leaves = drawn(device, (4, 2), edge * edge)
    extra = [torch.randn(1, 2, 19, 64, device=device, dtype=torch.bfloat16) for _ in range(2)]
    counts = torch.randint(0, 9, (edge * edge,), device=device)
    near = patterns.gna((edge, edge), min(13, edge - 1))
    return beside_eager(leaves, near, extra_keys=extra[0], extra_values=extra[1], zero_keys=counts)


def _order_of_each_head(device: str, frames: int) -> Result:
    """Heads that follow a patch through time beside heads that look around in their frame; each two share a key head."""
    video = (frames, 8, 8)

    @lacuna.pattern(rank=3)
    def either(q: Any, k: Any, h: Any) -> Any:  # noqa: ANN401
        return lacuna.where(h % 2 == 0, (q[1] == k[1]) & (abs(q[2] - k[2]) <= 1), q[0] == k[0])

    innermost = orders.axes(video, (1, 2, 0))
    leaves = drawn(device, (4, 2), math.prod(video))
    return beside_eager(leaves, either.on(*video), order=[innermost, None, innermost, None])


def _video(device: str, video: Extents) -> Result:
    tokens, pattern = video_beside_text(22, video, tuple(min(5, edge) for edge in video))
    return beside_eager(drawn(device, (2, 2), tokens), pattern)


# -- timing -----------------------------------------------------------------------------------------------------------


def calls(bench: Bench) -> Iterator[Step]:
    """HunyuanVideo's sequence beside the video alone, and extra keys in the kernel beside two calls that are merged."""
    problem = (22, (2, 8, 8), (1, 5, 5)) if bench.dry else (226, (30, 48, 80), (18, 24, 24))
    yield Step("calls: a video beside text", functools.partial(_text_timed, bench, problem))
    yield Step("calls: extra keys", functools.partial(_extra_timed, bench, 8 if bench.dry else 256))


def _text_timed(bench: Bench, problem: tuple[int, Extents, Extents]) -> Result:
    """Milliseconds of the sequence, and the time of the same tokens row-major over it."""
    text, video, window = problem
    tokens, pattern = video_beside_text(text, video, window)
    query, key, value = (each.detach() for each in drawn(bench.device, (4, 4), tokens, 128))
    flat = orders.row_major((tokens,))
    ms, ratio = bench.beside(
        lambda: attention(query, key, value, pattern, backend="triton"),
        lambda: attention(query, key, value, pattern, backend="triton", order=flat),
    )
    return {"ms": ms, "row-major": ratio}


def _extra_timed(bench: Bench, edge: int) -> Result:
    """Milliseconds with extra keys in the kernel, and the time of two calls that are merged over it."""
    from lacuna.interop.natten import merge_attentions

    query, key, value = (each.detach() for each in drawn(bench.device, (8, 8), edge * edge))
    extra = [torch.randn(1, 8, 64, 64, device=bench.device, dtype=torch.bfloat16) for _ in range(2)]
    near = patterns.gna((edge, edge), min(13, edge - 1))

    def merged() -> object:
        pairs = [attention(query, *of, backend="triton", return_lse=True) for of in ((key, value, near), (*extra, None))]
        return merge_attentions([out.transpose(1, 2) for out, _ in pairs], [lse.transpose(1, 2) for _, lse in pairs])

    ms, ratio = bench.beside(
        lambda: attention(query, key, value, near, extra_keys=extra[0], extra_values=extra[1], backend="triton"), merged
    )
    return {"ms": ms, "merged": ratio}
