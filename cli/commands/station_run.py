"""`strongroom station run`: boards in, devices out."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.station_make import FolderArgument
from cli.options import JsonOption
from cli.output import say
from cli.station_display import Lines, Panels
from cli.station_nests import NESTS_MAX, Nests
from cli.station_open import open_station
from cli.station_words import count_fields
from pki.errors import InputRefused, PolicyViolation, StrongroomError
from provisioning.station.fixture_socket import FixtureSocket
from provisioning.station.rules import Rule
from provisioning.station.serial_numbers import SCANNED_LENGTH_MAX, serial_from_scan

if TYPE_CHECKING:
    from provisioning.station.boards import Boards


def run(
    context: typer.Context,
    folder: FolderArgument,
    fixture: Annotated[Path, typer.Option(metavar="SOCKET", help="The fixture's control socket.")],
    links: Annotated[
        int | None, typer.Option(min=1, max=NESTS_MAX, help="How many nests to work with; by default all of them.")
    ] = None,
    boards: Annotated[int | None, typer.Option(min=1, help="End after so many boards; by default never.")] = None,
    scan_serials: Annotated[
        bool, typer.Option("--scan-serials", help="Ask for each board's serial number (UDI); a scanner types a line.")
    ] = False,
    reprogram: Annotated[
        bool, typer.Option("--reprogram", help="Erase boards whose flash is neither blank nor the factory image.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Provision the boards that are put into the fixture's nests, all at once, until Ctrl-C or SIGTERM.

    Each nest shows PASS or FAIL. With --json, or without a terminal, each board is one line.
    """
    with open_station(context, folder, to_work=True) as opened:
        count = _nest_count(fixture, links)
        terms = opened.terms(reprograms=reprogram, asks_serial=scan_serials)
        on_screen = sys.stdout.isatty() and sys.stderr.isatty() and not as_json and not scan_serials
        with Panels(count) if on_screen else Lines(as_json) as watcher:
            nests = Nests(opened, terms, opened.image(), fixture, watcher, _scanner(), boards)
            _stop_on_signals(nests.stop)
            nests.run(count)
        say(_summary(opened.station.ledger.boards))
    if isinstance(nests.stopped_by, StrongroomError):
        raise nests.stopped_by
    if nests.stopped_by is not None:
        raise PolicyViolation(Rule.STATION_STOPPED.value, nests.stopped_by.text)


def _nest_count(fixture: Path, links: int | None) -> int:
    with FixtureSocket(fixture) as control:
        have = len(control.links())
    if links is not None and links > have:
        raise InputRefused(f"--links {links}: the fixture has {have} nests")
    return min(links or have, NESTS_MAX)


def _scanner() -> Callable[[int], str]:
    """Ask for one serial number at a time, whichever nests wait; three lines for each before the board fails."""
    lock = threading.Lock()

    def ask(nest: int) -> str:
        with lock:
            failure: PolicyViolation | None = None
            for _ in range(3):
                say(f"NEST {nest}: scan the serial number")
                line = sys.stdin.readline(SCANNED_LENGTH_MAX + 2)
                if not line:
                    break
                try:
                    return serial_from_scan(line)
                except PolicyViolation as error:
                    failure = error
                    say(str(error))
        raise failure or PolicyViolation(Rule.SERIAL_NUMBER.value, "nothing was scanned")

    return ask


def _stop_on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())


def _summary(boards: Boards) -> str:
    counts = count_fields(boards)
    return ", ".join(f"{name} {value}" for name, value in counts.items())
