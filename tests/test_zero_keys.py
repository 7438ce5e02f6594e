"""Zero padding that counts in the softmax, beside attention over images that are really padded."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# (torch's types are partial)
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import lacuna
import pytest
import torch
from lacuna import patterns
from lacuna.ir.pattern import Pattern
from torch import Tensor
from torch.nn.functional import pad

ROWS, COLS = 6, 8
Windows = Callable[[int, int], list[tuple[int, int]]]


def of_blocks(block: int, halo: int) -> Windows:
    """Where the window of a query lies, off the edges too."""

    def window(row: int, col: int) -> list[tuple[int, int]]:
        top, left = row // block * block - halo, col // block * block - halo
        return [(top + i, left + j) for i in range(block + 2 * halo) for j in range(block + 2 * halo)]

    return window


def around(kernel: int, dilation: int) -> Windows:
    steps = [dilation * step for step in range(-(kernel // 2), kernel // 2 + 1)]
    return lambda row, col: [(row + i, col + j) for i in steps for j in steps]


def padded(qkv: Sequence[Tensor], windows: Windows, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Row by row over an image with a rim of zeros. bias: added to the scores, by the place of a key in its window."""
    query, key, value = qkv
    rim = 8
    keys, values = (pad(each.unflatten(2, (ROWS, COLS)), (0, 0, rim, rim, rim, rim)) for each in (key, value))
    outs, lses = list[Tensor](), list[Tensor]()
    for at in range(ROWS * COLS):
        places = windows(at // COLS, at % COLS)
        k, v = (torch.stack([each[:, :, row + rim, col + rim] for row, col in places], 2) for each in (keys, values))
        scores = (query[:, :, at : at + 1] @ k.transpose(-1, -2)) / math.sqrt(query.shape[-1])
        scores = scores if bias is None else scores + bias
        outs.append(torch.softmax(scores, -1) @ v)
        lses.append(torch.logsumexp(scores, -1))
    return torch.cat(outs, 2), torch.cat(lses, 2)


CASES: dict[str, tuple[Pattern, tuple[int, ...], Windows]] = {
    "halo": (patterns.halo((ROWS, COLS), 2, 1), patterns.halo_padding((ROWS, COLS), 2, 1), of_blocks(2, 1)),
    "overlapping": (
        patterns.overlapping_cross((ROWS, COLS), 2, 2.0),
        patterns.overlapping_cross_padding((ROWS, COLS), 2, 2.0),
        of_blocks(2, 2),
    ),
    "convolution": (patterns.conv_window((ROWS, COLS), 3), patterns.conv_window_padding((ROWS, COLS), 3), around(3, 1)),
    "with holes": (patterns.conv_window((ROWS, COLS), 3, 2), patterns.conv_window_padding((ROWS, COLS), 3, 2), around(3, 2)),
    "windows": (patterns.window((ROWS, COLS), 5), patterns.window_padding((ROWS, COLS), 5), of_blocks(5, 0)),
}


def close(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    return all(torch.allclose(a, b, atol=1e-10) for a, b in zip(found, wanted, strict=True))


def drawn() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 2, ROWS * COLS, 4, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(3)]


def shown(qkv: Sequence[Tensor], pattern: Pattern) -> tuple[Tensor, Tensor]:
    found = lacuna.attention(qkv[0], qkv[1], qkv[2], pattern, return_lse=True, backend="eager")
    return cast(tuple[Tensor, Tensor], found)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_counted_padding_is_padding_with_its_gradients(case: tuple[Pattern, tuple[int, ...], Windows]) -> None:
    pattern, count, windows = case
    qkv = drawn()
    want = padded(qkv, windows)
    found = lacuna.zero_keys(*shown(qkv, pattern), count)
    assert close(found, want)
    grads = [torch.autograd.grad(out.sin().sum() + lse.square().sum(), qkv) for out, lse in (found, want)]
    assert close(*grads)


@lacuna.score
def _placed(s: Any, q: Any, k: Any, *, bias: Any) -> Any:  # noqa: ANN401 (traced)
    row, col = k // COLS - q // COLS + 1, k % COLS - q % COLS + 1
    return s + bias[lacuna.minimum(lacuna.maximum(3 * row + col, 0), 8)]


def test_padded_keys_with_a_bias_count_its_exponential_and_teach_it() -> None:
    bias = torch.linspace(-1, 1, 9, dtype=torch.float64).requires_grad_()
    qkv, windows = drawn(), around(3, 1)
    want = padded(qkv, windows, bias)
    outside = [[not (0 <= row < ROWS and 0 <= col < COLS) for row, col in windows(at // COLS, at % COLS)] for at in range(ROWS * COLS)]
    mass = torch.tensor(outside).double() @ bias.exp()
    out = lacuna.attention(
        qkv[0], qkv[1], qkv[2], patterns.conv_window((ROWS, COLS), 3), score=_placed(bias=bias), return_lse=True, backend="eager"
    )
    found = lacuna.zero_keys(*cast(tuple[Tensor, Tensor], out), mass)
    assert close(found, want)
    grads = [torch.autograd.grad(out.sin().sum() + lse.square().sum(), [*qkv, bias]) for out, lse in (found, want)]
    assert close(*grads)


def test_rows_that_see_nothing_stay_0_and_their_gradients_are_numbers() -> None:
    out = torch.zeros(1, 1, 3, 2, requires_grad=True)
    lse = torch.tensor([[[-math.inf, -math.inf, 0.0]]], requires_grad=True)
    found, merged = lacuna.zero_keys(out, lse, torch.tensor([0, 2, 1]))
    assert found.abs().max() == 0
    assert merged.flatten().tolist() == [-math.inf, pytest.approx(math.log(2)), pytest.approx(math.log(2))]
    for grad in torch.autograd.grad(found.sum() + merged[..., 1:].sum(), (out, lse)):
        assert grad.isfinite().all()


def test_no_padding_changes_nothing_however_small_the_sum_is() -> None:
    out, lse = torch.randn(1, 1, 3, 2), torch.tensor([[[-500.0, 0.0, 500.0]]])
    found = lacuna.zero_keys(out, lse, (0, 0, 0))
    assert torch.equal(found[0], out)
    assert torch.equal(found[1], lse)
    half = lacuna.zero_keys(out, lse, (1, 1, 1))[0] / out
    assert torch.allclose(half[0, 0, :, 0], torch.tensor([0.0, 0.5, 1.0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(1, 1, 3, 2), torch.zeros(1, 3), (0, 0, 0)), r"`out` has the shape .* and `lse` \(1, 3\)"),
        ((torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3), (0, 0)), r"`count` has the shape \(2,\), of \(1, 1, 3\) rows"),
        ((torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3), (0, 0, -1)), "`count` has negative entries"),
    ],
)
def test_counts_that_do_not_fit_are_refused(arguments: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=message):
        lacuna.zero_keys(*arguments)
