"""Learn how fast four running averages forget, through ALiBi slopes; a recurrence without attention says what is right."""

import lacuna
import torch
from lacuna import patterns

RATES = torch.tensor([1.0, 0.5, 0.2, 0.1])
HEADS, TOKENS, WIDTH = len(RATES), 128, 16


@lacuna.score
def alibi(s, h, q, k, *, slopes):  # noqa: ANN001, ANN201 (scores are written without annotations)
    return s - slopes[h] * (q - k)


def averages(signal: torch.Tensor) -> torch.Tensor:
    """What is to be learned: running averages of [batch, heads, tokens, width], head h forgetting at RATES[h]."""
    keep = torch.exp(-RATES)[:, None]
    total, weight, found = torch.zeros(WIDTH), torch.zeros(1), []
    for token in signal.unbind(2):
        total, weight = keep * total + token, keep * weight + 1
        found.append(total / weight)
    return torch.stack(found, dim=2)


class Model(torch.nn.Module):
    """Causal attention within a window; queries and keys are projections, values are the signal."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.slopes = torch.nn.Parameter(torch.full((HEADS,), 0.3))
        self.pattern, self.score = patterns.sliding_window(64), alibi(slopes=self.slopes)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return lacuna.attention(self.query(signal), self.key(signal), signal, self.pattern, score=self.score)


def main() -> None:
    torch.manual_seed(0)
    model = Model()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-2)
    for step in range(101):
        signal = torch.randn(1, HEADS, TOKENS, WIDTH)
        loss = torch.nn.functional.mse_loss(model(signal), averages(signal))
        if step % 20 == 0:
            print(f"step {step:3}  loss {loss.item():.5f}  slopes {', '.join(f'{slope:.3f}' for slope in model.slopes)}")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"{'':22}rates  {', '.join(f'{rate:.3f}' for rate in RATES)}")
    torch.testing.assert_close(model.slopes.detach(), RATES, rtol=0.05, atol=0.01)


if __name__ == "__main__":
    main()
