"""Neighborhood attention on a grid: coordinates instead of flat positions, and an `if` over a static parameter."""

import lacuna
import torch


@lacuna.pattern(rank=2)
def near(q, k, *, radius, rows_only=False):  # noqa: ANN001, ANN201 (patterns are written without annotations)
    if rows_only:
        return abs(q[0] - k[0]) <= radius
    return (abs(q[0] - k[0]) <= radius) & (abs(q[1] - k[1]) <= radius)


def main() -> None:
    pattern = near(radius=3).on(24, 40)
    query, key, value = (torch.randn(1, 2, 24 * 40, 32) for _ in range(3))
    out = lacuna.attention(query, key, value, pattern)
    print(f"out {tuple(out.shape)}")
    print(lacuna.explain(pattern, 24 * 40, block=(64, 64)))
    print(lacuna.plot(pattern, 24 * 40, block=(64, 64)))


if __name__ == "__main__":
    main()
