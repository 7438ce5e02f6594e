"""A causal window: one kernel for every window and every length."""

import lacuna
import torch


@lacuna.pattern
def sliding(q, k, *, window):  # noqa: ANN001, ANN201 (patterns are written without annotations)
    return (k <= q) & (q - k < window)


def main() -> None:
    for length, window in ((1000, 256), (777, 1), (64, 10_000)):
        query, key, value = (torch.randn(1, 4, length, 64) for _ in range(3))
        out, lse = lacuna.attention(query, key, value, sliding(window=window), return_lse=True)
        print(f"length {length}, window {window}: out {tuple(out.shape)}, log-sum-exp of row 0 {lse[0, 0, 0]:.3f}")
    print(lacuna.plot(sliding(window=200), 1024, block=(64, 64)))


if __name__ == "__main__":
    main()
