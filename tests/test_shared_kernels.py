"""Numbers that a pattern is made with are parameters of one kernel: shifts of windows, and the length that groups are cut from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lacuna import attention, dense, orders, patterns
from lacuna.runtime.compilers.cpp_compiler import tally

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SERIES: dict[str, list[tuple[int, Any]]] = {
    "torus of two axes": [(64, patterns.torus_window((8, 8), 4, shift)) for shift in (0, 1, 2, (3, 1))],
    "torus of three": [(96, patterns.torus_window((4, 4, 6), (2, 2, 3), shift)) for shift in (0, 1, (0, 1, 2))],
    "torus of one": [(60, patterns.torus_window(60, 12, shift)) for shift in (0, 3, 11)],
    "shifted windows": [(80, patterns.window((8, 10), 4, shift)) for shift in (0, 2, (1, 3))],
    "dilated windows": [(120, patterns.gna((10, 12), window, 1, (1, 2))) for window in (3, 5, (2, 6))],
    "dilated windows of a sequence": [(120, patterns.gna(120, window, 1, 3)) for window in (3, 8, 40)],
    "groups that are packed": [(length, patterns.shifted_sparse_s2attn(length, 4)) for length in (128, 100, 68)],
    "groups that are rolled": [(length, patterns.shifted_sparse_s2attn(length, 4, wrap=True)) for length in (128, 100, 68)],
}


@pytest.mark.parametrize("named", SERIES)
def test_one_kernel_serves_every_number(named: str) -> None:
    before = tally.compilations
    for seed, (length, pattern) in enumerate(SERIES[named]):
        query, key, value = torch.randn(3, 1, 4, length, 24, generator=torch.Generator().manual_seed(seed))
        space = pattern.program.space
        order = orders.row_major(space.extents) if space.rank > 1 else None  # boxes are chosen by the numbers
        out = attention(query, key, value, pattern, order=order, backend="cpp")
        assert tally.compilations <= before + 1
        visible = dense(pattern, length, heads=4)
        wanted = torch.nn.functional.scaled_dot_product_attention(query, key, value, visible)
        assert isinstance(out, torch.Tensor)
        assert torch.allclose(out, wanted, atol=1e-5)
