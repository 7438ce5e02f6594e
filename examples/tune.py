"""Let the machine choose the tile shape of a problem: measured once, kept in the cache, used by every process that starts after."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN201
from __future__ import annotations

import tempfile
from pathlib import Path

import lacuna
import torch

ROWS, COLUMNS = 12, 40


@lacuna.pattern(rank=2)
def near(q, k, *, reach):
    """A query on a grid sees the keys at most `reach` away along each axis."""
    return (abs(q[0] - k[0]) <= reach) & (abs(q[1] - k[1]) <= reach)


def main() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, ROWS * COLUMNS, 32) for _ in range(3))
    pattern = near(reach=4).on(ROWS, COLUMNS)
    before = lacuna.attention(query, key, value, pattern)
    for backward in (False, True):
        print(lacuna.tune(query, key, value, pattern, backward=backward, rounds=5))
    after = lacuna.attention(query, key, value, pattern)
    print(f"largest difference: {(after - before).abs().max():.1e}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tuning.json")  # for machines like this one
        print(f"{lacuna.export_tuning(path)} choices written, {lacuna.import_tuning(path)} taken over")


if __name__ == "__main__":
    main()
