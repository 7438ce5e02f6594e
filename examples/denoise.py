"""Denoise a photograph by neighborhood attention: `make demo`.

Non-local means is attention. A pixel's patch is its query and its key, its colour is its value, and the weight of pixel k for pixel q is

    exp(-|p_q - p_k|^2 / h^2)  ~  exp(2/h^2 p_q . p_k - |p_k|^2 / h^2)

which is a scaled score plus a term looked up by k. Each pixel looks at the 21 x 21 pixels around it.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import lacuna
import torch
from matplotlib import cbook, image
from rich.console import Console
from torch import Tensor
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention, unfold

WINDOW, PATCH, NOISE, STRENGTH = 21, 5, 0.1, 0.9
console = Console(highlight=False)


@lacuna.pattern(rank=2)
def near(q, k, *, window, extents):  # noqa: ANN001, ANN201 (patterns are written without annotations)
    """Windows that shift inward at the edges, as in neighborhood attention."""
    inside = True
    for axis, (size, extent) in enumerate(zip(window, extents, strict=True)):
        start = lacuna.minimum(lacuna.maximum(q[axis] - size // 2, 0), extent - size)
        inside = inside & (start <= k[axis]) & (k[axis] < start + size)
    return inside


@lacuna.score
def less_norm(s, k, *, norms):  # noqa: ANN001, ANN201
    return s - norms[k]


def photograph(rows: int, cols: int) -> Tensor:
    """float32[3, rows, cols] in 0..1: the portrait that ships with matplotlib."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        pixels = torch.tensor(image.imread(file, format="jpg")).permute(2, 0, 1).float() / 255
    crop = pixels[:, 40:460, 60:480]
    return interpolate(crop.unsqueeze(0), (rows, cols), mode="bilinear", antialias=True)[0]


def patches(picture: Tensor) -> Tensor:
    """float32[rows * cols, 3 * PATCH * PATCH]: what surrounds each pixel."""
    edge = PATCH // 2
    padded = pad(picture.unsqueeze(0), (edge,) * 4, mode="reflect")
    return unfold(padded, PATCH)[0].T.contiguous()


def psnr(picture: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels."""
    return -10 * math.log10(float(((picture - truth) ** 2).mean()))


def timed(run: Callable[[], Tensor], times: int = 3) -> tuple[Tensor, float]:
    """The result, and the median milliseconds."""
    found: list[float] = []
    result = torch.empty(0)
    for _ in range(times):
        start = time.perf_counter()
        result = run()
        found.append(1e3 * (time.perf_counter() - start))
    return result, sorted(found)[len(found) // 2]


def check(out: Tensor, features: Tensor, norms: Tensor, colours: Tensor, extents: tuple[int, int]) -> float:
    """Largest difference on 512 random rows from float64 attention over all keys, the mask written out coordinate by coordinate."""
    rows, cols = extents
    chosen = torch.randperm(rows * cols)[:512]
    seen = torch.ones(512, rows * cols, dtype=torch.bool)
    every = torch.arange(rows * cols)
    for position, extent in ((lambda at: at // cols, rows), (lambda at: at % cols, cols)):
        start = (position(chosen) - WINDOW // 2).clamp(0, extent - WINDOW)[:, None]
        seen &= (start <= position(every)[None]) & (position(every)[None] < start + WINDOW)
    scores = 2 / STRENGTH**2 * features[chosen].double() @ features.double().T - norms.double()
    exact = torch.softmax(scores.masked_fill(~seen, -math.inf), -1) @ colours.double()
    return float((out[chosen] - exact).abs().max())


def against_flex(qkv: tuple[Tensor, Tensor, Tensor], norms: Tensor, extents: tuple[int, int], scale: float) -> float | str:
    """Median milliseconds of FlexAttention compiled, or why it did not run."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    rows, cols = extents

    def mask(b, h, q, k):  # noqa: ANN001, ANN202 (as FlexAttention has them)
        top = (q // cols - WINDOW // 2).clamp(0, rows - WINDOW)
        left = (q % cols - WINDOW // 2).clamp(0, cols - WINDOW)
        return (top <= k // cols) & (k // cols < top + WINDOW) & (left <= k % cols) & (k % cols < left + WINDOW)

    def score(s, b, h, q, k):  # noqa: ANN001, ANN202
        return s - norms[k]

    try:
        block_mask = create_block_mask(mask, None, None, rows * cols, rows * cols, device="cpu")
        compiled = torch.compile(flex_attention, dynamic=False)
        compiled(*qkv, score_mod=score, block_mask=block_mask, scale=scale)
        return timed(lambda: compiled(*qkv, score_mod=score, block_mask=block_mask, scale=scale))[1]
    except Exception as error:  # a peer that cannot run here is no failure of ours
        return f"did not run: {type(error).__name__}: {str(error).splitlines()[0][:80]}"


def save(folder: Path, pictures: dict[str, Tensor]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(pictures), 4.4), layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(1, len(pictures)), pictures.items(), strict=True):
        axes.imshow(picture.permute(1, 2, 0).clamp(0, 1).numpy())
        axes.set_title(title)
        axes.axis("off")
    path = folder / "denoised.png"
    figure.savefig(path, dpi=150)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--cols", type=int, default=128)
    parser.add_argument("--no-peers", action="store_true", help="leave SDPA and FlexAttention out")
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    extents = (options.rows, options.cols)

    truth = photograph(*extents)
    noisy = truth + NOISE * torch.randn_like(truth)
    features, colours = patches(noisy), noisy.flatten(1).T.contiguous()
    norms = (features**2).sum(-1) / STRENGTH**2
    scale = 2 / STRENGTH**2
    query, value = features[None, None], colours[None, None]
    pattern = near(window=(WINDOW, WINDOW), extents=extents).on(*extents)
    tokens = options.rows * options.cols

    with console.status("compiling and denoising"):
        start = time.perf_counter()
        lacuna.attention(query, query, value, pattern, score=less_norm(norms=norms), scale=scale)
        first = 1e3 * (time.perf_counter() - start)
        out, ours = timed(lambda: lacuna.attention(query, query, value, pattern, score=less_norm(norms=norms), scale=scale))
    denoised = out[0, 0].T.reshape(truth.shape)
    console.rule(f"[bold]{options.rows} x {options.cols} pixels, window {WINDOW} x {WINDOW}, patches {PATCH} x {PATCH} x 3")
    console.print(f"PSNR {psnr(noisy, truth):.2f} dB before, [bold]{psnr(denoised, truth):.2f} dB[/] after")
    console.print(f"largest error on 512 rows against float64 over all keys: {check(out[0, 0], features, norms, colours, extents):.1e}")
    console.print(f"lacuna {ours:.0f} ms   (first call {first:.0f} ms, compilation included)")
    pictures = {"photograph": truth, f"noisy, {psnr(noisy, truth):.1f} dB": noisy, f"denoised, {psnr(denoised, truth):.1f} dB": denoised}
    console.print(f"pictures: {save(options.out, pictures)}, {options.out / 'tiles.png'}", markup=False)

    with console.status("deriving the tiles"):
        told = lacuna.explain(pattern, tokens, block=(64, 64))
    console.rule("[bold]the program, and what becomes of it")
    console.print(str(told), markup=False)
    console.print(f"\n{lacuna.plot(pattern, tokens, path=options.out / 'tiles.png', block=(64, 64), most=32)}", markup=False)
    console.print("tiles: . empty, / partial or mixed, # full\n")
    if options.no_peers:
        return
    console.rule("[bold]beside others")

    with console.status("SDPA with the same mask, which sees every pair"):
        bias = torch.where(lacuna.dense(pattern, tokens)[0, 0], -norms, -math.inf)[None, None]
        _, sdpa = timed(lambda: scaled_dot_product_attention(query, query, value, attn_mask=bias, scale=scale), times=1)
    console.print(f"SDPA with a mask {sdpa:.0f} ms: {sdpa / ours:.1f} times as long")
    with console.status("FlexAttention, compiled"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flex = against_flex((query, query, value), norms, extents, scale)
    told_of_flex = flex if isinstance(flex, str) else f"{flex:.0f} ms: {flex / ours:.1f} times as long"
    console.print(f"FlexAttention compiled {told_of_flex}", markup=False)


if __name__ == "__main__":
    main()
