"""Heads of a video model in orders of their own: those that follow a patch through time take tokens with frames innermost."""

# ruff: noqa: ANN001, ANN201 (patterns are written without annotations)
import lacuna
import torch

FRAMES, ROWS, COLS, HEADS = 12, 12, 12, 6
TOKENS = FRAMES * ROWS * COLS


@lacuna.pattern(rank=3)
def video(q, k, h, *, temporal):
    """Temporal heads see patches near their own in every frame, spatial heads the frames next to theirs."""
    beside = (abs(q[1] - k[1]) <= 1) & (abs(q[2] - k[2]) <= 1)
    return lacuna.where(temporal[h], beside, abs(q[0] - k[0]) <= 1)


def visited(pattern, order) -> int:
    """Tiles of 64 x 64 tokens that kernels visit, of all heads."""
    found = lacuna.schedule(pattern, TOKENS, block=(64, 64), heads=HEADS, order=order)
    return sum(int((found.tiles(h=head) > 0).sum()) for head in range(HEADS))


def dense(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)


def main() -> None:
    torch.manual_seed(0)
    temporal = torch.tensor([True, False, False, True, True, False])  # as a model was found to look
    pattern = video(temporal=temporal).on(FRAMES, ROWS, COLS)
    frames_innermost = lacuna.orders.axes((FRAMES, ROWS, COLS), (1, 2, 0))
    order = [frames_innermost if each else None for each in temporal]  # None is left to kernels

    before, after = visited(pattern, None), visited(pattern, order)
    print(f"tiles: {before} row-major, {after} with an order for each head")
    assert after < 0.75 * before

    shapes = [(1, heads, TOKENS, 16) for heads in (HEADS, 3, 3)]  # two query heads share a key head, some in different orders
    query, key, value = tensors = [torch.randn(shape, requires_grad=True) for shape in shapes]
    out = lacuna.attention(query, key, value, pattern, order=order)
    exact = dense(query, key, value, lacuna.dense(pattern, TOKENS, heads=HEADS))
    assert isinstance(out, torch.Tensor)
    worst = max((a - b).abs().max() for a, b in zip(*(torch.autograd.grad(each.sum(), tensors) for each in (out, exact)), strict=True))
    print(f"output differs by {(out - exact).abs().max():.1e}, gradients by {worst:.1e}")
    assert torch.allclose(out, exact, atol=1e-5)
    assert worst < 1e-4


if __name__ == "__main__":
    main()
