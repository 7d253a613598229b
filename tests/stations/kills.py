"""A station that is killed (SIGKILL) at one chosen moment, and the board that lives on outside of it.

The station is a forked child with the ledger and the evidence in files; the board stays in the parent, and answers over
a pipe. Moments are counted in the order in which they come: each step of the machine, each write, each message.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pki.errors import StrongroomError
from provisioning.station.facts import Verdict
from provisioning.station.ledger import Ledger
from provisioning.station.ledger_file import LedgerFile
from provisioning.station.steps import Step
from tests.stations.paper_bench import Bench, PaperNest

METHODS = frozenset(
    (
        *("wait_until_up", "enter_update_mode", "challenge", "send_trust_bundle", "send_activation", "signed_status"),
        *("read_uid", "read_option_bytes", "write_option_bytes", "compare_flash", "erase", "program", "power_cycle"),
    )
)


class FileEvidence:
    """An `EvidenceStore` in a folder: one file for each object, as a token keeps them; never torn."""

    def __init__(self, folder: Path, moment: Callable[[str], None] = lambda _: None) -> None:
        self._folder = folder
        self.moment = moment
        folder.mkdir(exist_ok=True)

    def read(self, order_id: bytes) -> tuple[bytes, ...]:
        return tuple(path.read_bytes() for path in sorted(self._folder.iterdir()))

    def replace(self, order_id: bytes, data: bytes) -> None:
        old = list(self._folder.iterdir())
        made = self._folder / data[56:64].hex()
        self.moment("evidence is about to be made")
        temporary = self._folder.parent / "evidence.part"
        temporary.write_bytes(data)
        temporary.rename(made)
        self.moment("evidence is made, the old not destroyed")
        for path in old:
            if path != made:
                path.unlink()
        self.moment("evidence is written")


@dataclass
class Moments:
    """Kills the process at moment `at`, counted from 0; -1: never."""

    at: int
    count: int = 0

    def __call__(self, name: str) -> None:
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


class Remote:
    """The board, as the child sees it: each call is a message to the parent and one back."""

    def __init__(self, connection: Connection, moments: Moments) -> None:
        self._connection = connection
        self._moments = moments

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self._moments(f"{name} is about to be sent")
            self._connection.send((name, arguments))
            answer, error = self._connection.recv()
            self._moments(f"{name} was answered")
            if error is not None:
                raise error
            return answer

        return call


@dataclass
class Outcome:
    """`verdict` is None where the station was killed; `moments` are those that passed."""

    verdict: Verdict | None
    moments: int


def answers_before_it_is_durable() -> None:
    """The defect of the control: ledger and evidence are each written one call late. For a process thrown away."""
    append, replace = LedgerFile.append, FileEvidence.replace
    late_rows: list[Any] = []
    late_evidence: list[tuple[bytes, bytes]] = []

    def append_late(self: LedgerFile, rows: Any) -> None:
        for earlier in late_rows:
            append(self, earlier)
        late_rows[:] = [rows]

    def replace_late(self: FileEvidence, order_id: bytes, data: bytes) -> None:
        for earlier in late_evidence:
            replace(self, *earlier)
        late_evidence[:] = [(order_id, data)]

    LedgerFile.append = append_late  # type: ignore[method-assign]
    FileEvidence.replace = replace_late  # type: ignore[method-assign]


def attempt_until_killed(
    bench: Bench, nest: PaperNest, kill_at: int, defect: Callable[[], None] = lambda: None
) -> Outcome:
    """One board in one station process, which is killed at the moment `kill_at`, or ends."""
    ours, theirs = Pipe()
    child = os.fork()
    if child == 0:
        ours.close()
        defect()
        _station(bench, theirs, Moments(kill_at))
    theirs.close()
    outcome = _serve(ours, nest)
    os.waitpid(child, 0)
    ours.close()
    return outcome


def _serve(connection: Connection, nest: PaperNest) -> Outcome:
    """The parent: the board answers until the station is gone."""
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return Outcome(None, -1)
        if name == "verdict":
            return Outcome(*arguments)
        try:
            answer, error = getattr(nest, name)(*arguments), None
        except StrongroomError as refusal:
            answer, error = None, refusal
        try:
            connection.send((answer, error))
        except (BrokenPipeError, ConnectionResetError):
            return Outcome(None, -1)


def _station(bench: Bench, connection: Connection, moments: Moments) -> None:
    """The child: never returns."""
    try:
        evidence = bench.evidence
        assert isinstance(evidence, FileEvidence)
        evidence.moment = moments
        _patch(moments)
        station = bench.open()
        remote: Any = Remote(connection, moments)
        steps: list[Step] = []
        verdict = bench.run(station, remote, remote, steps, bench.terms(), "", lambda: moments("a step begins"))
        connection.send(("verdict", (verdict, moments.count)))
    finally:
        os._exit(0)


def _patch(moments: Moments) -> None:
    """Moments around what makes a record durable. The child is thrown away, so nothing is put back."""
    append, compose = LedgerFile.append, Ledger._compose

    def watched_append(self: LedgerFile, rows: Any) -> None:
        moments("the ledger is about to be written")
        append(self, rows)
        moments("the ledger is written")

    def watched_compose(self: Ledger, *arguments: Any) -> None:
        compose(self, *arguments)
        moments("a record is signed")

    LedgerFile.append = watched_append  # type: ignore[method-assign]
    Ledger._compose = watched_compose  # type: ignore[method-assign,assignment]
