"""What an operator sees of each nest: PASS or FAIL in letters that are read across a room, or one line for each board.

On a terminal every nest has a panel that keeps its verdict until the next board lies in it. Words and shapes say what
colours say: green and red are told apart by few enough people.
"""

from __future__ import annotations

import json
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cli.output import say
from cli.station_words import verdict_fields, verdict_line
from provisioning.station.facts import Verdict
from provisioning.station.steps import Step

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.panel import Panel

_LETTERS = {
    "P": ("████ ", "█   █", "████ ", "█    ", "█    "),
    "A": (" ███ ", "█   █", "█████", "█   █", "█   █"),
    "S": (" ████", "█    ", " ███ ", "    █", "████ "),
    "F": ("█████", "█    ", "████ ", "█    ", "█    "),
    "I": ("█████", "  █  ", "  █  ", "  █  ", "█████"),
    "L": ("█    ", "█    ", "█    ", "█    ", "█████"),
}
_ROWS = 5
_PANEL_WIDTH = 34
_TEXT_LENGTH = 90
_STEP_WORDS = {
    "ReadOptionBytes": "reading option bytes",
    "ReadFlash": "reading flash",
    "EraseBoard": "erasing",
    "Program": "programming",
    "WriteOptionBytes": "writing option bytes",
    "PowerCycle": "power off and on",
    "Challenge": "asking the device",
    "SendBundles": "sending trust bundles",
    "LookUp": "looking it up",
    "AskSerial": "SCAN THE SERIAL NUMBER",
    "Begin": "certifying and counting",
    "Renew": "making another activation",
    "SendActivation": "activating",
    "ReadStatus": "reading its status",
    "Complete": "recording",
    "RecordFailure": "recording the refusal",
}


def big(word: str) -> str:
    """PASS or FAIL, five lines high."""
    return "\n".join("  ".join(_LETTERS[letter][row] for letter in word) for row in range(_ROWS))


class Lines:
    """One line for each board: JSON, or text, for pipes and logs."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._lock = threading.Lock()

    def waits(self, nest: int) -> None:
        """Nothing to say."""

    def does(self, nest: int, step: Step) -> None:
        """Nothing to say."""

    def ends(self, nest: int, verdict: Verdict, seconds: float) -> None:
        """The verdict."""
        line = json.dumps(verdict_fields(nest, verdict, seconds)) if self._as_json else verdict_line(nest, verdict)
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def faults(self, nest: int, text: str) -> None:
        """For people."""
        say(f"nest {nest}: {text}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put back."""


class Panels:
    """A panel for each nest, on the whole terminal."""

    def __init__(self, count: int) -> None:
        self._panels: list[Panel] = [_panel(nest, "", "put a board in", "white") for nest in range(count)]
        self._lock = threading.Lock()
        self._passed = self._failed = 0
        self._live: Live | None = None

    def waits(self, nest: int) -> None:
        """The last verdict stays until the next board is touched: nobody has to have looked at the right moment."""

    def does(self, nest: int, step: Step) -> None:
        """What goes on."""
        self._show(nest, _panel(nest, "", _STEP_WORDS.get(type(step).__name__, ""), "yellow"))

    def ends(self, nest: int, verdict: Verdict, seconds: float) -> None:
        """Large, and with what to do."""
        self._passed += verdict.passed
        self._failed += not verdict.passed
        number = f"number {verdict.sequence}: " if verdict.sequence is not None else ""
        text = f"{number}{verdict.serial or ''} {verdict.text} ({seconds:.1f} s)".strip()
        word, colour = ("PASS", "green") if verdict.passed else ("FAIL", "red")
        self._show(nest, _panel(nest, word, text, colour))

    def faults(self, nest: int, text: str) -> None:
        """The fixture."""
        self._show(nest, _panel(nest, "", f"FIXTURE: {text}", "magenta"))

    def _show(self, nest: int, panel: Panel) -> None:
        with self._lock:
            self._panels[nest] = panel
            if self._live is not None:
                self._live.update(self._whole())

    def _whole(self) -> Group:
        from rich.columns import Columns
        from rich.console import Group
        from rich.text import Text

        return Group(Columns(self._panels), Text(f"passed {self._passed}   failed {self._failed}", style="bold"))

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(self._whole(), console=Console(stderr=True), screen=True)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


def _panel(nest: int, word: str, text: str, colour: str) -> Panel:
    from rich.panel import Panel
    from rich.text import Text

    letters = big(word) if word else "\n" * (_ROWS - 1)
    body = Text(f"{letters}\n\n", style=f"bold {colour}")
    body.append(text[:_TEXT_LENGTH], style="bold")
    return Panel(body, title=f"NEST {nest}", width=_PANEL_WIDTH, height=_ROWS + 6, style=colour)
