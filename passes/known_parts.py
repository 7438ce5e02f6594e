"""Tiles of sequences of which one part is as long as the keys of a call leave it: at known lengths they are found part by part.

    q < Lk - 3840 or Lk - 3840 <= q and abs((q - (Lk - 3840)) // 80 - (k - (Lk - 3840)) // 80) <= 2

says where its parts begin once `Lk` is a number. A kernel has the symbol, so that its tiles come in lists.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir.expr import K_LEN, Q_LEN, Const, names, walk
from ..ir.program import Program, Space
from ..ir.schedule import Tile
from .canonicalise import simplified
from .integer_sets import OverBudget
from .launch import Launch
from .refine import Lists, Refinement
from .sequence_form import sequence_form
from .sequence_strips import sequence_strips
from .strips import strip_schedule
from .tiles import tiles
from .transpose import transposed


def in_known_parts(program: Program, block: tuple[int, int], launch: Launch) -> Refinement | None:
    """Every tile's class, exactly; None where the program is no such sequence, lengths differ between batch items, or row 0 is not token 0.

    Takes transposed programs too, with their launches: of these `Lq` is the number of keys.
    """
    lengths = {Q_LEN, K_LEN} & set(walk(program.mask))
    if launch.ragged or launch.moves or program.space.is_bound or names(program.mask) - {"q", "k"} or len(lengths) != 1:
        return None
    is_turned = lengths == {Q_LEN}
    rows, tokens = (launch.k_len, launch.q_len) if is_turned else (launch.q_len, launch.k_len)
    if rows > tokens:  # some are no tokens of the sequence
        return None
    known = (transposed(program) if is_turned else program).substituted({K_LEN: Const(tokens)})
    known = replace(known, mask=simplified(known.mask), space=Space(1, (tokens,)))
    form = sequence_form(known, shifted=False)
    if form is None:
        return None
    form = form.transposed if is_turned else form
    try:
        found = tiles(strip_schedule(known, sequence_strips(form, block), block), launch, {})
    except OverBudget:
        return None
    arrays: dict[str, np.ndarray] = {}
    for name, tile in (("partial", Tile.PARTIAL), ("full", Tile.FULL)):
        lists = Lists()
        rows, columns = np.nonzero(found == tile)
        lists.append(rows, columns, len(found))
        arrays[f"{name}_start"], arrays[f"{name}_tile"] = lists.arrays((1, 1, len(found) + 1))
    return Refinement(arrays, 0, 0, 0)
