"""One module through torch's compiler, exporter and vmap: attention is an operator of torch, and lengths stay symbols."""

import io

import lacuna
import torch
from lacuna import patterns

HEADS, WIDTH = 4, 128


@lacuna.score
def alibi(s, h, q, k, *, slopes):  # noqa: ANN001, ANN201 (scores are written without annotations)
    return s - slopes[h] * (q - k)


class Local(torch.nn.Module):
    """Attention to the last 32 tokens of [batch, tokens, WIDTH], with slopes that are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.project = torch.nn.Linear(WIDTH, 3 * WIDTH)
        self.slopes = torch.nn.Parameter(torch.rand(HEADS))
        self.pattern, self.score = patterns.sliding_window(32), alibi(slopes=self.slopes)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        query, key, value = self.project(hidden).unflatten(-1, (3, HEADS, -1)).unbind(-3)
        return lacuna.attention(query, key, value, self.pattern, score=self.score, layout="blhd").flatten(-2)


def main() -> None:
    torch.manual_seed(0)
    module = Local()
    compiled = torch.compile(module, fullgraph=True, dynamic=True)
    for tokens in (100, 333):
        hidden = torch.randn(2, tokens, WIDTH)
        ours, plain = (torch.autograd.grad(run(hidden).square().sum(), module.slopes)[0] for run in (compiled, module))
        torch.testing.assert_close(ours, plain)
        print(f"compiled, {tokens} tokens: gradient of the slopes {', '.join(f'{each:.1f}' for each in ours)}")

    exported = torch.export.export(module, (hidden,), dynamic_shapes=({1: torch.export.Dim("tokens", min=2, max=65536)},))
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    loaded = torch.export.load(file).module()  # another process needs the operators, `import lacuna; lacuna.attention`, not this file
    hidden = torch.randn(2, 1000, WIDTH)
    torch.testing.assert_close(loaded(hidden), module(hidden))
    print(f"exported: {len(file.getbuffer()) // 1024} KiB, run at 1000 tokens")

    many = torch.randn(3, 2, 64, WIDTH)
    torch.testing.assert_close(torch.func.vmap(module)(many), torch.stack([module(each) for each in many]))
    print("mapped: three items as one call")


if __name__ == "__main__":
    main()
