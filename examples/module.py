"""A small language model whose attention is local, with ALiBi slopes that it learns; compiled by torch."""

import sys

import lacuna
import torch
from lacuna import patterns


@lacuna.score
def alibi(s, h, q, k, *, slopes):  # noqa: ANN001, ANN201 (scores are written without annotations)
    return s - slopes[h] * abs(q - k)


class Model(torch.nn.Module):
    """One layer over bytes."""

    def __init__(self, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        slopes = torch.nn.Parameter(torch.full((heads,), 0.1))
        self.embed = torch.nn.Embedding(256, width)
        self.attention = lacuna.nn.Attention(patterns.sliding_window(32), width, heads, num_kv_heads=2, score=alibi(slopes=slopes))
        self.norm = torch.nn.LayerNorm(width)
        self.head = torch.nn.Linear(width, 256)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        hidden = self.embed(text)
        return self.head(hidden + self.attention(self.norm(hidden)))


def main() -> None:
    torch.manual_seed(0)
    text = torch.tensor(list(b"attention over the gaps that nobody fills, " * 12))[None]
    model = Model()
    forward = torch.compile(model, fullgraph=True) if "--compile" in sys.argv else model
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(21):
        loss = torch.nn.functional.cross_entropy(forward(text[:, :-1]).flatten(0, 1), text[0, 1:])
        if step % 5 == 0:
            slopes = ", ".join(f"{slope:.3f}" for slope in model.attention.score_slopes)
            print(f"step {step:2}  loss {loss.item():.3f}  slopes {slopes}")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


if __name__ == "__main__":
    main()
