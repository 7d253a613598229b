"""A lock that is granted in the order in which it was asked for.

Several devices share the port of a chain or a bus, one thread each. threading.Lock promises no order: the one that has
just released it may take it again (docs/adr/0082).
"""

from __future__ import annotations

import threading
from collections import deque


class FairLock:
    """First come, first served. Not re-entrant."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    def __enter__(self) -> None:
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                self._changed.wait_for(lambda: self._queue[0] is ticket)
            except BaseException:  # an interrupted thread must not keep its place
                self._queue.remove(ticket)
                self._changed.notify_all()
                raise

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._queue.popleft()
            self._changed.notify_all()
