"""Group commit: callers that arrive while a commit runs share the next one, so that its syncs are paid once for all.

One of the waiting callers leads: it takes what has gathered, has it done, and hands over to the next. There is no
thread of its own, and no timer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Order = TypeVar("_Order")
_Answer = TypeVar("_Answer")


class Waiting(Generic[_Order, _Answer]):
    """An order in the queue. Whoever carries it out sets `answer` or `error`."""

    __slots__ = ("answer", "error", "leads", "order", "wake")

    def __init__(self, order: _Order) -> None:
        self.order = order
        self.answer: _Answer | None = None
        self.error: Exception | None = None
        self.leads = False
        self.wake = threading.Lock()
        self.wake.acquire()


class GroupCommit(Generic[_Order, _Answer]):
    """Carries out orders in the order of their arrival, many at a time.

    `commit` gets at most `orders_max` of them, sets each one's answer or error, and may raise: then all of them fail
    with what it raised.
    """

    def __init__(self, commit: Callable[[list[Waiting[_Order, _Answer]]], None], orders_max: int) -> None:
        self._commit = commit
        self._orders_max = orders_max
        self._lock = threading.Lock()
        self._queue: list[Waiting[_Order, _Answer]] = []
        self._is_led = False

    def carry_out(self, order: _Order) -> _Answer:
        """Wait until the order is done; its answer, or its error raised."""
        mine: Waiting[_Order, _Answer] = Waiting(order)
        with self._lock:
            self._queue.append(mine)
            mine.leads = not self._is_led
            self._is_led = True
        if not mine.leads:
            self._await(mine)
        if mine.leads:
            self._lead()
        if mine.error is not None:
            raise mine.error
        assert mine.answer is not None  # noqa: S101 (`commit` sets one of the two)
        return mine.answer

    def _await(self, mine: Waiting[_Order, _Answer]) -> None:
        try:
            mine.wake.acquire()
        except BaseException:
            # Interrupted (Ctrl-C). Whoever was to lead must, or the others would wait for ever.
            with self._lock:
                if mine in self._queue and not mine.leads:
                    self._queue.remove(mine)
            if mine.leads:
                self._lead()
            raise

    def _lead(self) -> None:
        with self._lock:
            group, self._queue = self._queue[: self._orders_max], self._queue[self._orders_max :]
        try:
            self._commit(group)
        except Exception as error:  # noqa: BLE001 (nothing may be lost: every caller gets it)
            for waiting in group:
                waiting.answer, waiting.error = None, error
        finally:
            self._hand_over(group)

    def _hand_over(self, group: list[Waiting[_Order, _Answer]]) -> None:
        with self._lock:
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].wake.release()
            else:
                self._is_led = False
        for waiting in group:
            if waiting.error is None and waiting.answer is None:
                waiting.error = RuntimeError("the leader of this commit was interrupted")
            if not waiting.leads:
                waiting.wake.release()
