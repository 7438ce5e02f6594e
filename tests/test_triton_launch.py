"""In which order Triton's programs take their tiles, and for which GPU they are made."""

# torch's annotations are partial.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import lacuna
import pytest
import random_problems as problems
import torch
from lacuna.runtime.gpu import devices as gpu
from lacuna.runtime.triton import backend as triton_backend
from lacuna.runtime.triton import backward as triton_backward
from lacuna.runtime.triton import call as triton_call
from lacuna.runtime.triton.call import turns
from triton_kernels import CAUSAL, Operations, Shape, attend, loaded, plan

attention: Callable[..., Any] = lacuna.attention


@pytest.mark.parametrize("cache_bytes", [1, 50_000, 10**9])
def test_the_order_of_tiles_does_not_change_a_bit(tmp_path: Path, cache_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heads that share keys at a time, five times as many, the rest after them, and all."""
    tensors = Shape(70, 70, batch=3, heads=6, kv_heads=2).tensors()
    kernel = loaded(plan(CAUSAL), tmp_path)
    monkeypatch.setattr(triton_call, "CACHE_BYTES", cache_bytes)
    found = attend(kernel, tensors)
    for item in range(3):
        alone = attend(kernel, tuple(each[item : item + 1] for each in tensors))  # pyright: ignore[reportArgumentType]
        assert all(torch.equal(one, all_items[item : item + 1]) for one, all_items in zip(alone, found, strict=True))


def test_heavy_tiles_of_all_heads_come_first_as_far_as_the_cache_holds_their_keys() -> None:
    assert turns(planes=64, together=4, shared_bytes=2**25) == {"planes": 64, "section": 4}
    assert turns(planes=64, together=4, shared_bytes=2**22) == {"planes": 64, "section": 32}
    assert turns(planes=64, together=4, shared_bytes=2**10)["section"] == 64
    assert turns(planes=64, together=1, shared_bytes=2**40)["section"] == 1


def test_kernels_are_made_for_the_gpu_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", Mock(return_value=(9, 0)))
    assert gpu.name_of(torch.device("cuda", 0)) == "sm_90"
    amd = SimpleNamespace(gcnArchName="gfx942:sramecc+:xnack-")
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "get_device_properties", Mock(return_value=amd))
    assert gpu.name_of(torch.device("cuda", 0)) == "gfx942"


@pytest.mark.parametrize("name", ["run", "run_backward"])
def test_no_call_waits_for_the_device_once_its_numbers_are_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as torch's operations show it; what is started is left out."""
    whole, given = getattr(triton_backend, name), []

    def watched(*arguments: Any) -> object:  # noqa: ANN401
        given.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr(triton_backend, name, watched)
    slopes = torch.rand(4).requires_grad_()
    query, key = torch.randn(2, 4, 40, 16).requires_grad_(), torch.randn(2, 2, 40, 16)
    lengths = torch.tensor([40, 7])
    out = attention(query, key, key, problems.causal, score=problems.alibi(slopes=slopes), kv_len=lengths, backend="triton")
    out.sum().backward()
    started: list[int] = []
    for module in (triton_call, triton_backward):
        monkeypatch.setattr(module, "start", lambda kernel, what, device: started.append(what.programs))
    with Operations() as seen:
        whole(*given[0])
    assert started
    assert not seen.met & {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "unique"}
