"""The work of a batch on all cores: worker processes started by spawn, parts coming back in order, few in flight.

A worker gets the secrets of the batch through the pipe that starts it: not by arguments, not by environment. Workers
live as long as one batch. (Not by concurrent.futures: where a worker is killed early, its pool may wait for ever.)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Self

from pki.errors import OutputError
from signer.grants.leaves import Part, Recipe, leaf_maker
from signer.grants.rules import GrantRefused

_IN_FLIGHT_FOR_EACH_WORKER = 4
_END_SECONDS_MAX = 5.0


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
    with _Workers(recipe, worker_count) as workers:
        yield from _in_order(workers, iter(blocks), worker_count * _IN_FLIGHT_FOR_EACH_WORKER)


def _in_order(workers: _Workers, blocks: Iterator[bytes], window: int) -> Iterator[Part]:
    """Whoever is idle gets the next block; what comes back early waits for those before it, at most a window full."""
    made: dict[int, Part] = {}
    sent = returned = 0
    while True:
        while workers.idle and sent < returned + window and (block := next(blocks, None)) is not None:
            workers.send(sent, block)
            sent += 1
        if returned == sent:
            return
        made.update(workers.receive())
        while returned in made:
            yield made.pop(returned)
            returned += 1


class _Workers:
    """The processes of one batch, each with a pipe of its own. A context manager that leaves none behind."""

    def __init__(self, recipe: Recipe, count: int) -> None:
        context = get_context("spawn")
        self.idle: list[Connection] = []
        self._busy: dict[Connection, int] = {}
        self._processes: list[BaseProcess] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, recipe), daemon=True)
            process.start()
            theirs.close()  # so that the end of the process is the end of the pipe
            self._processes.append(process)
            self.idle.append(ours)

    def send(self, number: int, block: bytes) -> None:
        """Give an idle worker a block. Raises OutputError if it has ended."""
        worker = self.idle.pop()
        self._busy[worker] = number
        with _ended_is_an_error():
            worker.send_bytes(block)

    def receive(self) -> dict[int, Part]:
        """Wait for at least one worker that is done; its part by the number of its block. Raises GrantRefused too."""
        found: dict[int, Part] = {}
        ready = wait(list(self._busy))
        for worker in [one for one in self._busy if one in ready]:
            with _ended_is_an_error():
                result: Part | GrantRefused = worker.recv()
            if isinstance(result, GrantRefused):
                raise result
            found[self._busy.pop(worker)] = result
            self.idle.append(worker)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self.idle, *self._busy):
            worker.close()  # a worker that hears nothing more ends by itself
        for process in self._processes:
            process.join(_END_SECONDS_MAX)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()


@contextmanager
def _ended_is_an_error() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError):  # what a pipe says whose other end is gone
        raise OutputError("a worker process ended before its work was done; nothing was written") from None


def _work(pipe: Connection, recipe: Recipe) -> None:
    """A worker: block after block, until the other end is gone."""
    make = leaf_maker(recipe)
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            block = pipe.recv_bytes()
            try:
                result: Part | GrantRefused = make(block)
            except GrantRefused as refusal:
                result = refusal
            pipe.send(result)
