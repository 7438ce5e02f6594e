"""Two things timed in turns, so that a drifting clock touches both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Run = Callable[[], object]


def seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Ratio:
    """Of pairs of measurements: median, smallest and largest."""

    median: float
    smallest: float
    largest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.smallest:.2f}..{self.largest:.2f})"


@dataclass(frozen=True)
class Pairs:
    """Seconds of two runs, taken in turns after one of each that does not count."""

    ours: list[float]
    other: list[float]

    @staticmethod
    def of(ours: Run, other: Run, count: int) -> Pairs:
        ours()
        other()
        times = [(seconds(ours), seconds(other)) for _ in range(count)]
        return Pairs([a for a, _ in times], [b for _, b in times])

    def ratio(self, factor: float = 1.0) -> Ratio:
        """other / ours, times `factor`."""
        ratios = sorted(factor * b / a for a, b in zip(self.ours, self.other, strict=True))
        return Ratio(statistics.median(ratios), ratios[0], ratios[-1])

    @property
    def our_median(self) -> float:
        return statistics.median(self.ours)
