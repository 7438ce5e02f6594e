"""Write patterns/README.md: for every static pattern of the catalogue its definition, its test, and how well tiles fit it.

python benchmarks/patterns_table.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import lacuna
import torch
from lacuna import patterns
from lacuna.ir.order import Boxes
from lacuna.ir.pattern import Pattern
from lacuna.passes.costs.box_pair_counts import met
from lacuna.runtime.views.explanation import Explanation
from lacuna.runtime.views.simulate import grid_of

TARGET = Path(__file__).parent.parent / "patterns" / "README.md"
BLOCK = 64
GRID = (32, 64)
GRIDS = "test_patterns_grids.py::test_pattern_is_its_definition_and_its_tiles_are_its_classes"
FLAT = "test_patterns.py::test_pattern_is_its_definition"
GNA = "test_patterns_gna.py::test_random_problems_are_their_definition"
HEAD = f"""# The static patterns

Written by `python benchmarks/patterns_table.py`; `tests/test_patterns_table.py` holds it to what the code does. The rows are the
systems whose mask depends on positions alone. *Checked by* is a test in `tests/` that writes the definition out in plain integers and
shares no code with the pattern. *Order* is the order of tokens that C++ kernels make tiles of: row-major, boxes (and how far their tokens
are apart, where that is not 1), or residue classes as problems of their own. *Efficiency* is live pairs over visited pairs, padding
counted, of the problem in the second column in tiles of {BLOCK} x {BLOCK} tokens in that order, of head 0: what it lacks to 1 is work
thrown away.

| row | function and problem | seen where | checked by | keys | density | order | efficiency |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
FOOT = """
Beside them: `segmented` gives a sequence of segments (text, an image, pooled keys) one rule for each pair of them, on grids that may
differ between queries and keys. Of the four rules for windows at an edge, shifting inward is `gna`, clipping `halo`, `window`,
`conv_window` and `disc_local`, wrapping around `torus_window`; zero padding that counts in the softmax is clipping with
`zero_keys=` of the call, the counts of `halo_padding`, `overlapping_cross_padding`, `conv_window_padding` or `window_padding`.
"""


@dataclass(frozen=True)
class Row:
    """One system of the catalogue. where: its definition in short. keys: tokens, where they are not the queries."""

    name: str
    function: str
    arguments: tuple[object, ...]
    where: str
    oracle: str
    named: Mapping[str, object] = field(default_factory=dict[str, object])
    tokens: int = GRID[0] * GRID[1]
    keys: int | None = None
    heads: int = 1

    @property
    def pattern(self) -> Pattern:
        return getattr(patterns, self.function)(*self.arguments, **self.named)

    def _order(self, told: Explanation) -> tuple[str, int]:
        """The order that C++ kernels take, and the tiles that they visit in it."""
        boxes = told.orders[0].boxes if told.orders else None
        if isinstance(boxes, Boxes):
            return f"boxes of {boxes}", met(grid_of(self.pattern), boxes.box, boxes.box)
        classes, (_, partial, full) = told.residues or (0, told.classes)
        return f"{classes} residue classes" if classes else "row-major", partial + full

    def __str__(self) -> str:
        """The line of the table."""
        told = lacuna.explain(self.pattern, self.tokens, self.keys, block=(BLOCK, BLOCK), heads=self.heads)
        order, tiles = self._order(told)
        efficiency = told.live_pairs / (tiles * BLOCK * BLOCK)
        written = [_written(each) for each in self.arguments] + [f"{name}={_written(value)}" for name, value in self.named.items()]
        cells = (self.name, f"`{self.function}({', '.join(written)})`", self.where, f"`{self.oracle}`")
        return f"| {' | '.join(cells)} | {self.keys or self.tokens} | {told.density:.3f} | {order} | {efficiency:.2f} |"


def _written(value: object) -> str:
    return f"torch.tensor({value.tolist()})" if isinstance(value, torch.Tensor) else repr(value)


NEAR = "on each axis the window of the group's leader, shifted inward, in the residue class"
BLOCKS = "(q - shift) // P == (k - shift) // P on each axis"
ROWS = [
    Row("A1", "gna", (GRID, (7, 9), (3, 2)), NEAR, GNA),
    Row("A2", "neighborhood", (7,), "as `gna`, stride and dilation 1", GNA, {"length": GRID}),
    Row("A3", "dilated_neighborhood", (7, (2, 4)), "as `gna`, stride 1", GNA, {"length": GRID}),
    Row("A4", "s2_local_stride", (4,), "k <= q, and local blocks or a stride of blocks", FLAT, {"local_blocks": 4}, heads=4),
    Row("A5", "disc_local", (GRID, 8), "squared distance below r squared; text; pooled keys", GRIDS, {"text": 77, "pool": 4}, 2125, 2253),
    Row("A6", "radial", (8, 256), "a band per frame distance, frames thinned", GRIDS, {"block": 64}),
    Row("A7", "inward_window", ((2, 32, 32), (4, 4)), "d on either side, and what is missing on the other; all frames", GRIDS),
    Row("A8", "halo", (GRID, 8, 3), "b (q // b) - h <= k < b (q // b) + b + h on each axis", GRIDS),
    Row("A9", "grid", (GRID, 8), "q = k mod extent / G on each axis", GRIDS),
    Row("A10", "long_short_distance", (GRID, 8, 4), "q // (G I) == k // (G I) and q = k mod I on each axis", GRIDS),
    Row("A11", "elastic_sink_local", (torch.tensor([4, 8]),), "k <= q, and the sink block or local blocks of the head", FLAT, heads=2),
    Row("A12", "shifted_sparse_s2attn", (2048, 2), "k <= q in groups, shifted by half a group in half of the heads", FLAT, heads=2),
    Row(
        "A13",
        "hierarchical_local_guided",
        (77, GRID, (16, 32)),
        "text everything; large image near itself and its part of the small one",
        "test_patterns_grids.py::test_a_large_image_sees_the_part_of_its_small_copy_under_its_window",
        tokens=2637,
    ),
    Row("A14", "neighboring_ar", (GRID,), "sum of coordinates of k at most that of q", GRIDS),
    Row("A15", "torus_window", (GRID, (16, 32), (4, 8)), "(q - shift) mod extent // P alike on each axis", GRIDS),
    Row("A16", "overlapping_cross", (GRID, 8, 0.5), "`halo` of M and overlap * M / 2", GRIDS),
    Row("A17", "window", (GRID, 8), BLOCKS, GRIDS),
    Row(
        "A18",
        "block_local_prefix",
        (2048, 64, 4),
        "own block up to q; the prefix of the own block",
        "test_patterns_grids.py::test_tokens_of_a_block_see_its_prefix_alone",
        keys=2176,
    ),
    Row("A19", "long_short_heads", (1, 256), "k <= q, in the first heads q - k < w", FLAT, heads=2),
    Row("A20", "item_local", (4,), "the same item; the end token in the last one", FLAT, tokens=2049),
    Row("A21", "modality_mutual", ((64, 640), (640, 768)), "k <= q, or q in the image and k in the question", FLAT),
    Row("A22", "composite_modality", (576,), "text sees the image and the text before", FLAT),
    Row("A23", "patch_local", (16,), "q // n == k // n", "test_patterns_grids.py::test_the_examples_of_windows_halos_and_grids"),
    Row("A24", "conv_window", (GRID, 7), "within r d on each axis, d dividing the distance, clipped", GRIDS),
    Row("A25", "dilated_neighborhood", (7, 1), "as A3", GNA, {"length": GRID}),
    Row("A26", "window", (GRID, 16), BLOCKS, GRIDS),
    Row("A27", "window", (GRID, (8, 16)), BLOCKS, GRIDS),
    Row("A28", "torus_window", (GRID, 16, 8), "as A15, its output averaged with that of shift 0", GRIDS),
    Row("A29", "sliding_window", ((128, 128),), "q - k within left and right", FLAT),
    Row("A30", "neighborhood", (5,), "as A2", GNA, {"length": GRID}),
]


def main() -> None:
    TARGET.write_text(HEAD + "\n".join(map(str, ROWS)) + "\n" + FOOT, encoding="utf-8")
    print(TARGET)


if __name__ == "__main__":
    main()
