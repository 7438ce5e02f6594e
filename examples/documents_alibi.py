"""Packed documents with ALiBi: a pattern with a table, combined with another, and a score."""

import lacuna
import torch
from lacuna import patterns


@lacuna.score
def alibi(s, h, q, k, *, slopes):  # noqa: ANN001, ANN201 (scores are written without annotations)
    return s + slopes[h] * (k - q)


def main() -> None:
    offsets = lacuna.segments(torch.tensor([0, 300, 420, 1000]))
    pattern = patterns.documents(offsets) & ~patterns.strided(64)
    query, key, value = torch.randn(1, 8, 1000, 64), torch.randn(1, 2, 1000, 64), torch.randn(1, 2, 1000, 64)
    slopes = 2.0 ** -torch.arange(1, 9)
    out = lacuna.attention(query, key, value, pattern, score=alibi(slopes=slopes))
    print(f"out {tuple(out.shape)}: 8 query heads share 2 heads of keys")
    print(lacuna.explain(pattern, 1000, block=(64, 64)))


if __name__ == "__main__":
    main()
