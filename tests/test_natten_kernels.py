"""How many kernels NATTEN's functions compile: one for every layout and window of as many axes."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from lacuna import attention, patterns
from lacuna.interop.natten import na1d, na2d, na3d
from lacuna.runtime.compilers.cpp_compiler import tally
from torch import Tensor

pytestmark = pytest.mark.usefixtures("compiled_quickly")
CALLS = {
    1: (na1d, [((24,), 3), ((31,), 5), ((17,), 4)]),
    2: (na2d, [((8, 8), 3), ((10, 9), 5), ((12, 7), (4, 3))]),
    3: (na3d, [((3, 5, 4), 3), ((4, 3, 6), 2), ((3, 4, 5), (2, 3, 4))]),
}


@pytest.mark.parametrize("axes", CALLS)
def test_layouts_and_windows_share_one_kernel(axes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_BACKEND", "cpp")
    function, problems = CALLS[axes]
    before = tally.compilations
    for number, (layout, window) in enumerate(problems):
        query, key, value = torch.randn(3, 1, *layout, 2, 24, generator=torch.Generator().manual_seed(number))
        out = cast(Tensor, function(query, key, value, window))
        assert tally.compilations <= before + 1
        q, k, v = (each.flatten(1, axes) for each in (query, key, value))
        wanted = cast(Tensor, attention(q, k, v, patterns.gna(layout, window), layout="blhd", backend="eager"))
        assert torch.allclose(out.flatten(1, axes), wanted, atol=1e-5)
