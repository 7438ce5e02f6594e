"""What `lacuna.tune` tunes of C++ kernels on grids: the order of tokens."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ...ir.order import Order
from ..choices.positions import in_order
from ..choices.shapes import chosen
from ..cpp.threads import one_thread
from ..cpp.token_orders import keep_order, order_of, orders_considered
from ..cpp.variants import target_here, variant_of
from ..request.request import Request
from .shapes import backward_run, forward_run, seconds_of_one_thread
from .subject import Run, Tiles


class TunedOrders:
    """Orders of the kernel of a request, forward or backward; row-major tokens have the shape of tiles that is in use."""

    def __init__(self, request: Request, family: str) -> None:
        self.request = request
        self.direction = family

    @property
    def in_use(self) -> Order | None:
        return order_of(self.request, self.direction)

    @property
    def ranking(self) -> tuple[Order | None, ...]:
        return tuple(dict.fromkeys([None, *orders_considered(self.request, self.direction)]))

    def keep(self, tiles: Tiles) -> None:
        assert isinstance(tiles, Order | None)
        keep_order(self.request, self.direction, tiles)

    def run_of(self, tiles: Tiles) -> Run:
        assert isinstance(tiles, Order | None)
        request = in_order(self.request, tiles)
        variant = variant_of(request, target_here())
        if self.direction == "forward":
            return forward_run(request, variant)
        return backward_run(request, chosen(variant._replace(family="backward"), request.q_len) if tiles is None else None)

    def quiet(self) -> AbstractContextManager[object]:
        return one_thread()

    def seconds(self, run: Run, repeats: int) -> float:
        return seconds_of_one_thread(run, repeats)
