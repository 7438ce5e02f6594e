"""Ten kernels: the specification that test_bundle_ten.py builds, and what it runs where nothing can be built."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# torch's annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import sys
from typing import Any

if __name__ == "__main__":
    import without_compiler as without_compiler  # refuses what builds kernels
import lacuna
import torch
from lacuna import patterns

TOKENS = 256


@lacuna.score
def alibi(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:
    return s + slopes[h] * (k - q)


@lacuna.pattern
def documents(q: Any, k: Any, *, doc: Any) -> Any:
    return (k <= q) & (doc[q] == doc[k])


MEANINGS = (
    (None, None),
    (patterns.causal(), None),
    (patterns.sliding_window(window=100), None),
    (patterns.causal(), alibi(slopes=torch.tensor([0.5, 0.25]))),
    (patterns.prefix_lm(prefix=100), None),
    (patterns.sink_window(4, 50), None),
    (patterns.neighborhood((7, 7), length=(16, 16)), None),
    (documents(doc=torch.arange(TOKENS, dtype=torch.int32) // 60), None),
    (patterns.sliding_window(window=20) | patterns.prefix_lm(prefix=3), None),
    (~patterns.causal(), None),
)
kernels = [
    lacuna.KernelSpec(pattern, score, dtypes=("bf16",), passes=("forward",), rows=("long",), ragged=False) for pattern, score in MEANINGS
]
targets = ("cpu:avx512", "sm_80", "sm_90", "gfx942")


def use(bundle: str) -> None:
    """Call each kernel, on the CPU and as each GPU would be asked."""
    from lacuna.runtime.calls.claimed import claimed
    from lacuna.runtime.gpu.recording import Recording
    from without_compiler import plain

    torch.manual_seed(1)
    query, key, value = (torch.randn(2, 2, TOKENS, 64).bfloat16() for _ in range(3))
    for target in targets[1:]:
        with claimed(target, Recording()) as driver, torch.no_grad():
            lacuna.load(bundle)
            for pattern, score in MEANINGS:
                lacuna.attention(query, key, value, pattern, score=score, backend="triton")
            assert [each.layout.target for each in driver.launches] == [target] * len(MEANINGS)
    lacuna.load(bundle)
    positions = torch.arange(TOKENS)
    slopes = torch.tensor([0.5, 0.25])[:, None, None] * (positions[None, :] - positions[:, None])
    for pattern, score in MEANINGS:
        found = lacuna.attention(query, key, value, pattern, score=score, backend="cpp")
        mask = torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.bool) if pattern is None else lacuna.dense(pattern, TOKENS)
        bias = slopes if score is not None else 0.0
        wanted = plain(query.float(), key.float(), value.float(), mask, bias)
        assert isinstance(found, torch.Tensor)
        assert (found.float() - wanted).abs().max() < 0.03, repr(pattern)
    print("ten kernels, four targets: right")


if __name__ == "__main__":
    use(sys.argv[1])
