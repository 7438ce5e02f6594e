"""Text and a video in one sequence: rules per pair, a bias on the video alone, boxes in it; and one kernel for every resolution."""

import lacuna
import torch
from lacuna import orders, patterns


@lacuna.score(rank=3)
def nearer(s, q, k, *, per_frame, per_row):  # noqa: ANN001, ANN201 (scores are written without annotations)
    return s + per_frame[q[0] - k[0] + 3] + per_row[q[1] - k[1] + 15]


@lacuna.pattern(rank=2)
def under(q, k, *, ratio):  # noqa: ANN001, ANN201
    return (q[0] // ratio == k[0]) & (q[1] // ratio == k[1])


def tensors(queries: int, keys: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    query, key, value = (torch.randn(1, 2, tokens, 32) for tokens in (queries, keys, keys))
    return query, key, value


def main() -> None:
    video = (4, 16, 40)
    whole = lacuna.sequence(text=22, video=lacuna.grid(*video))
    pattern = patterns.segmented(whole, {("video", "video"): patterns.gna(video, (3, 5, 5))})
    bias = nearer(per_frame=torch.randn(7), per_row=torch.randn(31)).on(whole["video"])
    qkv = tensors(whole.tokens, whole.tokens)
    plain = lacuna.attention(*qkv, pattern, score=bias)  # kernels take boxes by themselves where they gain
    print(f"taken: boxes of {lacuna.explain(pattern, whole.tokens).orders[0].boxes}")
    boxes = orders.parts(whole, video=orders.boxes(video, (4, 4, 4)))
    boxed = lacuna.attention(*qkv, pattern, score=bias, order=boxes)
    assert isinstance(plain, torch.Tensor)
    assert isinstance(boxed, torch.Tensor)
    visited = [int((lacuna.schedule(pattern, whole.tokens, block=(64, 64), order=order).tiles() > 0).sum()) for order in (None, boxes)]
    print(f"{whole}: {visited[0]} tiles row-major, {visited[1]} in boxes; largest difference {(plain - boxed).abs().max():.1e}")

    pooled = under(ratio=4).on(queries=lacuna.grid(16, 40), keys=lacuna.grid(4, 10))
    print(f"cross-resolution: {lacuna.dense(pooled, 640, 40).sum(-1).unique().tolist()} keys for each query")

    near = patterns.gna(lacuna.grid(None, "rows", "cols"), (3, 5, 5))
    for frames, rows, cols in ((4, 12, 16), (7, 9, 24), (3, 30, 10)):
        tokens = frames * rows * cols
        lacuna.attention(*tensors(tokens, tokens), near(rows=rows, cols=cols))
        tiles = lacuna.schedule(near(rows=rows, cols=cols), tokens)
        print(f"{frames} x {rows} x {cols}: exact {tiles.exact}, found {tiles.route}, by the kernel of the others")


if __name__ == "__main__":
    main()
