"""What `lacuna.tune` tunes of Triton kernels on grids: boxes and configuration together, by the GPU's own clock."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from ...ir.configuration import Cut
from ..choices import cuts
from ..request.request import Request
from ..triton.launch import target_of, unconfigured
from .configurations import TunedConfigurations
from .subject import Tiles

IN_BOXES = 3  # that are timed, beside what is in use and the best row-major cut


class TunedCuts(TunedConfigurations):
    """Cuts of one kernel of a request on a grid. family: as in `TunedConfigurations`."""

    def __init__(self, request: Request, family: str) -> None:
        super().__init__(request, family)
        plain = unconfigured(request, target_of(request.query.device))
        self.variant = plain if family == "forward" else plain._replace(family=family, together=1)

    @property
    def is_choice(self) -> bool:
        """Whether the model ranks any boxes."""
        return any(each.order is not None for each in cuts.cuts_considered(self.variant, self.request))

    @property
    def in_use(self) -> Tiles:
        return cuts.cut_in_use(self.variant, self.request)

    @property
    def ranking(self) -> Sequence[Tiles]:
        found = cuts.cuts_considered(self.variant, self.request)
        return (*[each for each in found if each.order is not None][:IN_BOXES], *(each for each in found if each.order is None))

    def keep(self, tiles: Tiles) -> None:
        assert isinstance(tiles, Cut)
        cuts.keep_cut(self.variant, self.request, tiles)

    def tried(self, tiles: Tiles) -> AbstractContextManager[None]:
        assert isinstance(tiles, Cut)
        return cuts.tried_cut(self.variant, self.request, tiles)
