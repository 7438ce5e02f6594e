"""Tiles of sequences of which one part is as long as the keys of a call leave it: at known lengths they are found part by part.

    q < Lk - 3840 or Lk - 3840 <= q and abs((q - (Lk - 3840)) // 80 - (k - (Lk - 3840)) // 80) <= 2

says where its parts begin once `Lk` is a number. A kernel has the symbol, so that its tiles come in lists.
Every launch with lists asks this, so the set library is loaded for such sequences only.
"""

from __future__ import annotations

from dataclasses import replace

from ...ir.expr import K_LEN, Q_LEN, Const, names, walk
from ...ir.program import Program, Space
from ...ir.schedule import Schedule
from ..bounds.refine import Refinement, refined, refinement_of
from ..bounds.widths import require_64_bits
from ..program.call_values import Launch
from ..program.canonicalise import simplified
from ..sequences.parts import parts_of
from .tile_classes import tiles
from .transpose import transposed


def classified(program: Program, block: tuple[int, int], launch: Launch, together: int = 1) -> Refinement:
    """Every tile's class at the lengths and values of `launch`: part by part where that is possible, else by refinement.

    Raises: as `refined`.
    """
    return in_known_parts(program, block, launch) or refined(program, block, launch, together)


def in_known_parts(program: Program, block: tuple[int, int], launch: Launch) -> Refinement | None:
    """Every tile's class, exactly; None where the program is no such sequence, lengths differ between batch items, or row 0 is not token 0.

    Takes transposed programs too, with their launches. None too where there is no set library, as there need not be beside a bundle.

    Raises:
        TooWide, MeaninglessShift: as `refined`.
    """
    lengths = {Q_LEN, K_LEN} & set(walk(program.mask))
    if launch.ragged or launch.moves or program.space.is_bound or names(program.mask) - {"q", "k"} or len(lengths) != 1:
        return None
    is_turned = lengths == {Q_LEN}  # the number of keys of a transposed program
    count, tokens = (launch.k_len, launch.q_len) if is_turned else (launch.q_len, launch.k_len)
    known = (transposed(program) if is_turned else program).substituted({K_LEN: Const(tokens)})
    known = replace(known, mask=simplified(known.mask), space=Space(1, (tokens,)))
    if count > tokens or parts_of(known) is None:  # of more rows some are no tokens of the sequence
        return None
    require_64_bits(program, launch)
    schedule = _schedule(known, block, is_turned=is_turned)
    return None if schedule is None else refinement_of(tiles(schedule, launch, {}))


def _schedule(known: Program, block: tuple[int, int], *, is_turned: bool) -> Schedule | None:
    try:
        from ..sets.integer_sets import OverBudget  # islpy comes with these
    except ImportError:
        return None
    from ..grids.row_major_strips import strip_schedule
    from ..sequences.sequence_form import sequence_form
    from ..sequences.sequence_strips import sequence_strips

    form = sequence_form(known, shifted=False)
    if form is None:
        return None
    try:
        return strip_schedule(known, sequence_strips(form.transposed if is_turned else form, block), block)
    except OverBudget:
        return None
