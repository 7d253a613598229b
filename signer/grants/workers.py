"""The work of a batch on all cores: worker processes started by spawn, parts coming back in order, few in flight.

A worker gets the secrets of the batch through the pipe that started it: not by arguments, not by environment. A pool
lives as long as one batch.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from pki.errors import OutputError
from signer.grants.leaves import LeafMaker, Part, Recipe, leaf_maker

_IN_FLIGHT_FOR_EACH_WORKER = 4

_maker: LeafMaker | None = None
"""In a worker process: the maker for its one batch."""


def core_count() -> int:
    """How many processes can work side by side here."""
    return len(os.sched_getaffinity(0))


def parts(recipe: Recipe, blocks: Iterable[bytes], worker_count: int) -> Iterator[Part]:
    """The part of each block, in order; in this process if one worker is wanted.

    Raises GrantRefused GR-03, OutputError if a worker is killed, and what `blocks` raises.
    """
    if worker_count == 1:
        yield from map(leaf_maker(recipe), blocks)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(worker_count, context, initializer=_begin, initargs=(recipe,)) as pool:
        waiting: deque[Future[Part]] = deque()
        try:
            for block in blocks:
                waiting.append(pool.submit(_part, block))
                if len(waiting) == worker_count * _IN_FLIGHT_FOR_EACH_WORKER:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise OutputError("a worker process ended before its work was done; nothing was written") from None
        finally:  # also when the caller gives up: nothing with the batch's secrets outlives it
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(recipe: Recipe) -> None:
    global _maker  # noqa: PLW0603 (a worker process has one batch, and this is where its pool puts it)
    _maker = leaf_maker(recipe)


def _part(block: bytes) -> Part:
    if _maker is None:
        raise AssertionError("the pool begins every worker")
    return _maker(block)
