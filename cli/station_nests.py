"""The nests of a station, side by side: one thread each, a board after the other, until the station is stopped."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from cli.station_open import OpenStation
from pki.errors import StrongroomError
from provisioning.station.facts import Terms, Verdict
from provisioning.station.fixture import FactoryImage, FixtureError
from provisioning.station.fixture_socket import FixtureSocket, SocketNest
from provisioning.station.rules import Rule
from provisioning.station.runner import Runner
from provisioning.station.steps import Step
from rpc.addresses import open_links
from rpc.client import DeviceClient

LOOK_SECONDS = 1.0
CHANGE_SECONDS = 0.1
PAUSE_AFTER_FAULT_SECONDS = 1.0
NESTS_MAX = 128


class Watcher(Protocol):
    """Is told what goes on in the nests, by their threads."""

    def waits(self, nest: int) -> None:
        """An empty nest."""

    def does(self, nest: int, step: Step) -> None:
        """A step begins."""

    def ends(self, nest: int, verdict: Verdict, seconds: float) -> None:
        """A board has its verdict."""

    def faults(self, nest: int, text: str) -> None:
        """The fixture of this nest does not work."""


class Nests:
    """Every nest of one fixture, at work. `boards_max`: stop after so many verdicts; None: never."""

    def __init__(
        self,
        opened: OpenStation,
        terms: Terms,
        image: FactoryImage,
        fixture: Path,
        watcher: Watcher,
        ask_serial: Callable[[int], str],
        boards_max: int | None,
    ) -> None:
        self._opened = opened
        self._terms = terms
        self._image = image
        self._fixture = fixture
        self._watcher = watcher
        self._ask_serial = ask_serial
        self._boards_left = boards_max
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.stopped_by: Verdict | StrongroomError | None = None
        """Why the station itself stopped; None if it was told to."""

    def run(self, count: int) -> None:
        """Until `stop`, the last board, or a fault of the station itself."""
        threads = [
            threading.Thread(target=self._work, args=(nest,), name=f"nest-{nest}", daemon=True) for nest in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            # Signals are handled by the main thread, which must not sleep in a join that nothing wakes.
            while thread.is_alive():
                thread.join(LOOK_SECONDS / 4)

    def stop(self) -> None:
        """No board is begun any more; those in work are finished."""
        self._stop.set()

    def _work(self, nest: int) -> None:
        while not self._stop.is_set():
            try:
                with ExitStack() as stack:
                    self._boards(nest, stack)
            except FixtureError as error:
                self._watcher.faults(nest, str(error))
                self._stop.wait(PAUSE_AFTER_FAULT_SECONDS)
            except StrongroomError as error:
                self._end(error)
            except BaseException as error:
                self._end(StrongroomError(f"nest {nest}: {type(error).__name__}: {error}"))
                raise

    def _boards(self, nest: int, stack: ExitStack) -> None:
        """One connection's worth of boards."""
        fixture = stack.enter_context(FixtureSocket(self._fixture))
        socket_nest = SocketNest(fixture, nest)
        client = DeviceClient(open_links(fixture.links()[nest])[0].link)
        stack.callback(client.close)
        runner = Runner(
            self._opened.station,
            socket_nest,
            client,
            self._image,
            self._opened.bundles,
            os.urandom,
            lambda: self._ask_serial(nest),
            lambda step: self._watcher.does(nest, step),
        )
        self._watcher.waits(nest)
        while not self._stop.is_set():
            if not socket_nest.wait_for_board(LOOK_SECONDS):
                continue
            begun = time.monotonic()
            verdict = runner.attempt(self._terms)
            self._take(nest, verdict, time.monotonic() - begun)
            self._await_change(socket_nest, verdict)
            self._watcher.waits(nest)

    def _await_change(self, socket_nest: SocketNest, verdict: Verdict) -> None:
        """Until the board is out, or another one is in already: hands may be quicker than a look."""
        while not self._stop.is_set() and not socket_nest.wait_for_removal(CHANGE_SECONDS):
            if verdict.uid is not None and socket_nest.read_uid() not in (None, verdict.uid):
                return

    def _take(self, nest: int, verdict: Verdict, seconds: float) -> None:
        with self._lock:
            self._watcher.ends(nest, verdict, seconds)
            if self._boards_left is not None:
                self._boards_left -= 1
                if self._boards_left <= 0:
                    self._stop.set()
        if verdict.rule is Rule.STATION_STOPPED:
            self._end(verdict)

    def _end(self, reason: Verdict | StrongroomError) -> None:
        with self._lock:
            self.stopped_by = self.stopped_by or reason
        self._stop.set()
