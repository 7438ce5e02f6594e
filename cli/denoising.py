"""Denoise a photograph by neighborhood attention, beside SDPA with the same mask.

Non-local means is attention. A pixel's patch is its query and its key, its colour is its value, and the weight of pixel k for pixel q is

    exp(-|p_q - p_k|^2 / h^2)  ~  exp(2/h^2 p_q . p_k - |p_k|^2 / h^2)

which is a scaled score plus a term looked up by k. Each pixel looks at the 21 x 21 pixels around it, in windows that shift inward at the
edges.
"""

# Scores are written without annotations, torch's types are partly unknown, and matplotlib's too.
# ruff: noqa: ANN001, ANN201, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention, unfold

from ..ir.pattern import Pattern
from ..ir.score import score
from ..patterns import gna
from ..runtime.calls.attention import attention
from .answers import Misuse
from .interleaved import Pairs, Ratio, Run, seconds

WINDOW, PATCH, NOISE, STRENGTH = 21, 5, 0.1, 0.9
CHECKED_ROWS = 512
PAIRS = 3


@score
def less_norm(s, k, *, norms):
    return s - norms[k]


@dataclass(frozen=True)
class Peer:
    """ms: the median. ratio: its time over ours. failed: why it did not run."""

    name: str
    ms: float | None
    ratio: Ratio | None
    failed: str | None = None


@dataclass(frozen=True)
class Denoised:
    """What came out.

    psnr_before, psnr_after: in decibels. error: largest difference from float64 over all keys, on some of the rows.
    first_ms: of the first call, compilation included; `ms`: median of later ones.
    """

    rows: int
    cols: int
    psnr_before: float
    psnr_after: float
    error: float
    first_ms: float
    ms: float
    peers: tuple[Peer, ...]


class Denoising:
    """A noisy photograph, and attention that takes the noise away."""

    def __init__(self, rows: int, cols: int) -> None:
        if min(rows, cols) < WINDOW:
            raise Misuse(f"{rows} x {cols} pixels hold no window of {WINDOW} x {WINDOW}", f"`--rows {WINDOW} --cols {WINDOW}` or more")
        torch.manual_seed(0)
        self.extents = (rows, cols)
        self.truth = photograph(rows, cols)
        self.noisy = self.truth + NOISE * torch.randn_like(self.truth)
        self.features = _patches(self.noisy)
        self.colours = self.noisy.flatten(1).T.contiguous()
        self.norms = (self.features**2).sum(-1) / STRENGTH**2
        self.scale = 2 / STRENGTH**2
        self.pattern: Pattern = gna((rows, cols), WINDOW)
        self.score = less_norm(norms=self.norms)
        self.first_ms = 1e3 * seconds(self.run)
        self.out = self.run()

    @property
    def tokens(self) -> int:
        return self.extents[0] * self.extents[1]

    @property
    def denoised(self) -> Tensor:
        """float32[3, rows, cols]."""
        return self.out[0, 0].T.reshape(self.truth.shape)

    def run(self) -> Tensor:
        query, value = self.features[None, None], self.colours[None, None]
        out = attention(query, query, value, self.pattern, score=self.score, scale=self.scale)
        assert isinstance(out, Tensor)
        return out

    def found(self, peers: dict[str, Callable[[], Run]]) -> Denoised:
        timed = [self._beside(name, make) for name, make in peers.items()]
        ours = [ms for _, all_ms in timed for ms in all_ms] or [1e3 * seconds(self.run) for _ in range(PAIRS)]
        return Denoised(
            *self.extents,
            psnr(self.noisy, self.truth),
            psnr(self.denoised, self.truth),
            self.error(),
            self.first_ms,
            statistics.median(ours),
            tuple(peer for peer, _ in timed),
        )

    def _beside(self, name: str, make: Callable[[], Run]) -> tuple[Peer, list[float]]:
        """A peer, and milliseconds of ours in turns with it."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's compiler has some of its own
                pairs = Pairs.of(self.run, make(), PAIRS)
        except Exception as error:  # a peer that cannot run here is no failure of ours
            return Peer(name, None, None, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:80]}"), []
        return Peer(name, 1e3 * statistics.median(pairs.other), pairs.ratio()), [1e3 * each for each in pairs.ours]

    # -- peers --------------------------------------------------------------------------------------------------------

    def sdpa(self) -> Run:
        """SDPA with the same mask, and the score's term in it: it sees every pair."""
        query, value = self.features[None, None], self.colours[None, None]
        bias = torch.where(self.seen(torch.arange(self.tokens)), -self.norms, -math.inf)[None, None]
        return lambda: scaled_dot_product_attention(query, query, value, attn_mask=bias, scale=self.scale)

    def flex(self) -> Run:
        """FlexAttention, compiled."""
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        rows, cols = self.extents
        query, value, norms = self.features[None, None], self.colours[None, None], self.norms

        def mask(b, h, q, k):
            top = (q // cols - WINDOW // 2).clamp(0, rows - WINDOW)
            left = (q % cols - WINDOW // 2).clamp(0, cols - WINDOW)
            return (top <= k // cols) & (k // cols < top + WINDOW) & (left <= k % cols) & (k % cols < left + WINDOW)

        def less(s, b, h, q, k):
            return s - norms[k]

        block_mask = create_block_mask(mask, None, None, self.tokens, self.tokens, device="cpu")
        compiled = torch.compile(flex_attention, dynamic=False)
        return lambda: compiled(query, query, value, score_mod=less, block_mask=block_mask, scale=self.scale)

    # -- by definition ------------------------------------------------------------------------------------------------

    def seen(self, chosen: Tensor) -> Tensor:
        """bool[chosen, tokens], the mask written out coordinate by coordinate."""
        rows, cols = self.extents
        every = torch.arange(self.tokens)
        found = torch.ones(len(chosen), self.tokens, dtype=torch.bool)
        for mine, other, extent in ((chosen // cols, every // cols, rows), (chosen % cols, every % cols, cols)):
            start = (mine - WINDOW // 2).clamp(0, extent - WINDOW)[:, None]
            found &= (start <= other) & (other < start + WINDOW)
        return found

    def error(self) -> float:
        """Largest difference from float64 attention over all keys, on some rows."""
        chosen = torch.randperm(self.tokens)[:CHECKED_ROWS]
        scores = self.scale * self.features[chosen].double() @ self.features.double().T - self.norms.double()
        exact = torch.softmax(scores.masked_fill(~self.seen(chosen), -math.inf), -1) @ self.colours.double()
        return float((self.out[0, 0][chosen] - exact).abs().max())


def photograph(rows: int, cols: int) -> Tensor:
    """float32[3, rows, cols] in 0..1: the portrait that ships with matplotlib."""
    from matplotlib import cbook, image

    pixels = torch.tensor(image.imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))).permute(2, 0, 1).float() / 255
    crop = pixels[:, 40:460, 60:480]
    return interpolate(crop.unsqueeze(0), (rows, cols), mode="bilinear", antialias=True)[0]


def _patches(picture: Tensor) -> Tensor:
    """float32[rows * cols, 3 * PATCH * PATCH]: what surrounds each pixel."""
    edge = PATCH // 2
    padded = pad(picture.unsqueeze(0), (edge,) * 4, mode="reflect")
    return unfold(padded, PATCH)[0].T.contiguous()


def psnr(picture: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels."""
    return -10 * math.log10(float(((picture - truth) ** 2).mean()))


def save(pictures: dict[str, Tensor], path: Path) -> None:
    """Write float32[3, rows, cols] pictures side by side, each under its title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(pictures), 4.4), layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(1, len(pictures)), pictures.items(), strict=True):
        axes.imshow(picture.permute(1, 2, 0).clamp(0, 1).numpy())
        axes.set_title(title)
        axes.axis("off")
    figure.savefig(path, dpi=150)
