"""Comparing on a busy machine: A, B, A, B, … and the median of the ratios of neighbours.

What slows the machine for a while slows neighbours alike, and a median does not mind the few pairs that it hits
unevenly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

Measurement = Callable[[], float]
"""Does the work once and returns the seconds that it took."""


class Rounds:
    """Seconds by contestant, one of each in every round."""

    def __init__(self, seconds: Mapping[str, list[float]]) -> None:
        self._seconds = seconds

    def ratio(self, numerator: str, denominator: str) -> float:
        """The median over the rounds of one contestant's time divided by another's of the same round."""
        pairs = zip(self._seconds[numerator], self._seconds[denominator], strict=True)
        return median(above / below for above, below in pairs)

    def seconds(self, contestant: str) -> float:
        """The median time of a contestant."""
        return median(self._seconds[contestant])


def interleave(contestants: Mapping[str, Measurement], round_count: int, warm_up_count: int = 2) -> Rounds:
    """Run all contestants in turn, so many rounds; the rounds to warm up are not counted.

    Every second round goes backwards, so that nobody always comes after the same one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    forwards = list(contestants.items())
    for number in range(-warm_up_count, round_count):
        for name, measure in forwards if number % 2 else reversed(forwards):
            took = measure()
            if number >= 0:
                seconds[name].append(took)
    return Rounds(seconds)


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that `work` took."""
    begun = clock()
    work()
    return clock() - begun
