"""A hidden pair gives nothing, whatever its key, value, query or gradient holds: NaN and infinities reach those alone who see them."""

# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import pytest
import torch
from conftest import PROFILE
from hidden_numbers import Poisoned, Trial, exact, poisoned, same_bits, same_kinds, trial
from random_problems import LENGTHS
from torch import Tensor

pytestmark = pytest.mark.usefixtures("compiled_quickly")
PROVE = PROFILE == "prove"
ALL = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
FEW_ROWS = (1, 2, 7, 16)
ROUGH = {torch.float64: 1e-9, torch.float32: 2e-4, torch.float16: 3e-2, torch.bfloat16: 0.15}


def run(call: Trial, backend: str, leaves: tuple[Tensor, ...], rise: Tensor, rise_lse: Tensor) -> tuple[Tensor, ...]:
    """Output, log-sum-exp and the gradient of every leaf."""
    given = [leaf.detach().requires_grad_() for leaf in leaves]
    out, lse = call.attend(*given, backend=backend)
    return out.detach(), lse.detach(), *torch.autograd.grad((out, lse), given, (rise, rise_lse))


def check(call: Trial, backend: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, _, value = call.leaves[:3]
    rise = torch.randn(*query.shape[:3], value.shape[3], generator=generator).to(query.dtype)
    rise_lse = torch.randn(query.shape[:3], generator=generator).to(torch.float64 if query.dtype is torch.float64 else torch.float32)
    given = poisoned(call, rise, rise_lse, seed)
    found = run(call, backend, given.leaves, given.rise, given.rise_lse)
    clean = run(call, backend, tuple(map(torch.clone, call.leaves)), rise, rise_lse)
    for name, ours, theirs, untouched in zip(NAMES, found, clean, _untouched(call, given), strict=False):
        assert same_bits(ours, theirs, untouched), f"{call.name}: {name} is changed by what is hidden"
    if call.straight:
        check_kinds(call, given, found)


NAMES = ("output", "log-sum-exp", "query", "key", "value", "extra key", "extra value")


def _untouched(call: Trial, given: Poisoned) -> tuple[Tensor, ...]:
    keys, extra = given.keys[..., : call.keys[0]], given.keys[..., call.keys[0] :]
    return given.rows_out, given.rows_out, given.rows, keys, keys, extra, extra


def check_kinds(call: Trial, given: Poisoned, found: tuple[Tensor, ...]) -> None:
    wanted = exact(call, given)
    if wanted is None:
        return
    count = call.keys[0]
    parts = (*wanted, *(each[:, :, count:] for each in wanted[3:])) if call.keys[1] else wanted
    cut = (*parts[:3], *(each[:, :, :count] for each in parts[3:5]), *parts[5:])
    for name, ours, theirs in zip(NAMES, found, cut, strict=False):
        assert same_kinds(ours, theirs), f"{call.name}: {name} is not what IEEE arithmetic gives"
        finite = theirs.isfinite()
        off = (ours.double()[finite] - theirs[finite]).abs().max() if bool(finite.any()) else 0.0
        assert float(off) <= ROUGH[ours.dtype] * float(1 + theirs[finite].abs().max()) if bool(finite.any()) else True, (
            f"{call.name}: {name}"
        )


@pytest.mark.parametrize("seed", range(500 if PROVE else 7))
def test_cpp_rows_keep_their_bits_beside_numbers_they_do_not_see(seed: int) -> None:
    check(trial(seed, ALL, 150, LENGTHS), "cpp", seed)


@pytest.mark.parametrize("seed", () if PROVE else (13, 40, 100))
def test_optimised_cpp_rows_keep_their_bits_too(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LACUNA_CXX", raising=False)  # the other tests of this file have a quick compiler, but under `make prove`
    check(trial(seed, ALL, 150, LENGTHS), "cpp", seed)


@pytest.mark.parametrize("seed", range(500 if PROVE else 24))
def test_eager_rows_keep_their_bits_beside_numbers_they_do_not_see(seed: int) -> None:
    check(trial(seed, ALL, 150, LENGTHS), "eager", seed)


@pytest.mark.parametrize("seed", range(500 if PROVE else 4))
def test_interpreted_triton_rows_keep_their_bits_beside_numbers_they_do_not_see(seed: int) -> None:
    check(trial(seed, ALL[:3], 90, LENGTHS), "triton", seed)
