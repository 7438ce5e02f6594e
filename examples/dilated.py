"""A dilated window: every fourth of the last 1024 tokens. Its residue classes are found, and run as four windows of 256."""

import lacuna
import torch

LENGTH = 2048


@lacuna.pattern
def dilated(q, k, *, window, dilation):  # noqa: ANN001, ANN201 (patterns are written without annotations)
    return (k <= q) & (q - k < window * dilation) & ((q - k) % dilation == 0)


def main() -> None:
    torch.manual_seed(0)
    pattern = dilated(window=256, dilation=4)
    query, key, value = (torch.randn(1, 4, LENGTH, 64) for _ in range(3))

    out = lacuna.attention(query, key, value, pattern)

    # The same by hand: tokens c, c + 4, c + 8, ... of queries and keys see each other and nobody else.
    window = lacuna.patterns.sliding_window(256)
    by_hand = torch.empty_like(out)
    for c in range(4):
        by_hand[:, :, c::4] = lacuna.attention(query[:, :, c::4], key[:, :, c::4], value[:, :, c::4], window)
    torch.testing.assert_close(out, by_hand)

    told = str(lacuna.explain(pattern, LENGTH, block=(64, 64))).splitlines()
    print(*(line for line in told if line.startswith(("tiles", "token order", "predicted"))), sep="\n")


if __name__ == "__main__":
    main()
