"""A mask that is a graph: points see their neighbours. Tokens are put in an order in which neighbours share tiles."""

import time

import lacuna
import torch

POINTS, RADIUS, ROUNDS = 1500, 0.06, 5


@lacuna.pattern
def linked(q, k, *, edges):  # noqa: ANN001, ANN201 (patterns are written without annotations)
    return edges[q, k]


def milliseconds(tensors: list[torch.Tensor], pattern: object, order: object) -> float:
    """The median of a few calls, after one that builds the kernel."""
    taken = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        lacuna.attention(*tensors, pattern, order=order)
        taken.append(1e3 * (time.perf_counter() - start))
    return sorted(taken[1:])[ROUNDS // 2]


def main() -> None:
    torch.manual_seed(0)
    points = torch.rand(POINTS, 2)
    edges = torch.cdist(points, points) < RADIUS
    pattern = linked(edges=edges)
    tensors = [torch.randn(1, 4, POINTS, 64) for _ in range(3)]

    order = lacuna.orders.reverse_cuthill_mckee(edges)
    print(order)

    out = lacuna.attention(*tensors, pattern, order=order)
    torch.testing.assert_close(out, torch.nn.functional.scaled_dot_product_attention(*tensors, attn_mask=edges))
    print(f"{milliseconds(tensors, pattern, None):.1f} ms as they are, {milliseconds(tensors, pattern, order):.1f} ms in order")


if __name__ == "__main__":
    main()
