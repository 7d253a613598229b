"""How far long work has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called now and then with the bytes worked through and their total, which is reached at the end."""


def no_progress(done_bytes: int, total_bytes: int) -> None:
    """For callers who do not want to know."""


class ProgressCount:
    """Adds up steps for a `Progress`; work that goes over the same bytes again counts them again."""

    __slots__ = ("_done_bytes", "_progress", "_total_bytes")

    def __init__(self, progress: Progress, total_bytes: int) -> None:
        self._progress = progress
        self._total_bytes = total_bytes
        self._done_bytes = 0

    def advance(self, size_bytes: int) -> None:
        """So many more bytes are done."""
        self._done_bytes += size_bytes
        self._progress(self._done_bytes, self._total_bytes)
