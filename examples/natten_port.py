"""A vision model for NATTEN, moved over by its import line, learns how stripes run and move: `python natten_port.py --steps 300`."""

import argparse

import torch
from lacuna.interop.natten import NeighborhoodAttention3D, na2d  # was: from natten import NeighborhoodAttention3D, na2d
from torch import Tensor, nn

FRAMES, SIDE, DIM, HEADS, CLASSES = 3, 12, 32, 2, 4


class Model(nn.Module):
    """A dilated 2-D layer that sees four learned registers too, on each frame; then a 3-D layer, causal in time, on the video."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Linear(1, DIM), nn.Linear(DIM, 3 * DIM)
        self.registers = nn.Parameter(torch.randn(2, 1, 4, HEADS, DIM // HEADS))
        self.video = NeighborhoodAttention3D(DIM, HEADS, kernel_size=(2, 5, 5), is_causal=(True, False, False))
        self.head = nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, 2 * DIM), nn.GELU(), nn.Linear(2 * DIM, CLASSES))

    def forward(self, video: Tensor) -> Tensor:
        hidden = self.embed(video.unsqueeze(-1))
        query, key, value = self.qkv(hidden.flatten(0, 1)).unflatten(-1, (3, HEADS, -1)).unbind(-3)
        more, values = self.registers.expand(-1, len(query), -1, -1, -1)
        seen = na2d(query, key, value, kernel_size=3, dilation=(2, 4), additional_keys=more, additional_values=values)
        hidden = hidden + seen.reshape(hidden.shape)
        return self.head((hidden + self.video(hidden)).amax((1, 2, 3)))


def stripes(batch: int) -> tuple[Tensor, Tensor]:
    """float32[batch, frames, side, side] of stripes along rows or columns that stand still or move, and which of the four they do."""
    label = torch.randint(CLASSES, (batch,))
    place = torch.arange(SIDE).view(1, 1, SIDE) - torch.arange(FRAMES).view(1, FRAMES, 1) * (label >= 2).view(-1, 1, 1)
    wave = torch.sin(1.5 * place + 6.3 * torch.rand(batch, 1, 1)).unsqueeze(-1).expand(-1, -1, -1, SIDE)
    picture = torch.where((label % 2 == 0).view(-1, 1, 1, 1), wave, wave.transpose(-1, -2))
    return picture + 0.2 * torch.randn(picture.shape), label


def train(model: Model, steps: int) -> list[float]:
    optimiser, losses = torch.optim.AdamW(model.parameters(), 3e-3), list[float]()
    for _ in range(steps):
        video, label = stripes(8)
        losses.append((loss := nn.functional.cross_entropy(model(video), label)).item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    torch.manual_seed(0)
    found = train(Model(), parser.parse_args().steps)
    print(f"loss {sum(found[:5]) / 5:.3f} at first, {sum(found[-5:]) / 5:.3f} at last")
