"""Matrix products of Triton's interpreter in an order of our own: a library's differ in the last bits by processor, shape and memory."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest


def product(a: Any, b: Any, dtype: Any = None) -> np.ndarray:  # noqa: ANN401 (as numpy's)
    """The sum over the inner axis, one term after another, each operation rounded by itself."""
    left, right = np.asarray(a, dtype), np.asarray(b, dtype)
    total = left[..., :, :1] * right[..., :1, :]
    for at in range(1, left.shape[-1]):
        total = total + left[..., :, at : at + 1] * right[..., at : at + 1, :]
    return total


@contextmanager
def own_products() -> Generator[None]:
    """Bits may be compared where the interpreter multiplies so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "matmul", product)
        yield
