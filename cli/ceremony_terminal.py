"""A room with people: one terminal, made so that a tired operator cannot misread it.

Every step begins with a bar, its number and whose turn it is. What is typed to confirm are words, never a single
letter; PINs are not shown; nothing goes on without Enter. `stop` ends the ceremony for good, after a second question.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import Any, TextIO

from ceremonies.conduct import StepView, StoppedByPeople
from ceremonies.engine import CONFIRM_ATTEMPTS_MAX, normal
from ceremonies.script_text import what_is_done
from pki.errors import InputRefused

_WIDTH = 78
_STOP = "stop"
_STOP_FOR_GOOD = "stop this ceremony for good"
_LINE_LENGTH_MAX = 200
_NOT_SHOWN = frozenset({"public_key"})


class TerminalRoom:
    """Implements `ceremonies.conduct.Room` on a terminal."""

    def __init__(self, source: TextIO | None = None, out: TextIO | None = None) -> None:
        """Raises InputRefused without a terminal: answers are given by people, or in development by --answers."""
        self._source = source or sys.stdin
        self._out = out or sys.stderr
        self.parts: dict[str, str] = {}
        """Who plays which part, for custodians who are called to the screen."""
        if not (self._source.isatty() and self._out.isatty()):
            raise InputRefused("a ceremony needs a terminal; in a development environment, --answers FILE does without")

    def say(self, view: StepView) -> None:
        """The text in quotation marks, and Enter when it was read."""
        self._header(view)
        self._paragraph(f"“{view.step.text}”", "    ")
        while True:
            if not self._asked("Read it aloud, then press Enter: "):
                return
            self._print("  Only Enter goes on (or `stop`).")

    def confirm(self, view: StepView, answers: Sequence[str], attempt: int) -> str:
        """What was typed."""
        if attempt == 1:
            self._header(view)
            self._paragraph(view.step.text, "    ")
        else:
            self._print("")
            self._print("  THAT IS NOT WHAT THE SCRIPT SAYS. Nothing was done.")
            self._print(f"  Attempt {attempt} of {CONFIRM_ATTEMPTS_MAX}.")
        self._print("")
        words = ["  Type exactly:    " if place == 0 else "  or, if not so:   " for place in range(len(answers))]
        for word, answer in zip(words, answers, strict=True):
            self._print(word + answer)
        self._print("")
        return self._asked("> ")

    def before_unlock(self, view: StepView, token: str, *, again: bool) -> None:
        """Who enters the PIN, and of which token. The PIN itself is asked for without echo."""
        self._header(view)
        self._paragraph(view.step.text, "    ")
        if again:
            self._print("")
            self._paragraph(f"Token {token} was unlocked before the interruption; its PIN is needed again.", "    ")
        self._print("")

    def before_act(self, view: StepView) -> None:
        """What will be done, and Enter before it is."""
        self.parts = view.parts
        self._header(view)
        self._paragraph(view.step.text, "    ")
        while self._asked("Press Enter to have it done: "):
            self._print("  Only Enter goes on (or `stop`).")
        self._print("  working …")

    def after_act(self, view: StepView, fixed: dict[str, Any], varying: dict[str, Any]) -> None:  # noqa: ARG002
        """What was done: to be read and written down."""
        self._print("  DONE")
        for name, value in varying.items():
            if value not in (None, [], "") and name not in _NOT_SHOWN:
                self._paragraph(f"{name.replace('_', ' ')}: {_shown(value)}", "    ")

    # The terminal

    def _header(self, view: StepView) -> None:
        self._print("")
        self._print("=" * _WIDTH)
        number = f"STEP {view.number} of {view.total}"
        self._print(f"{number}{what_is_done(view.step):>{_WIDTH - len(number)}}")
        self._print(f"{view.person.role.upper()}: {view.person.name} ({view.person.id})")
        self._print("=" * _WIDTH)

    def _paragraph(self, text: str, indent: str) -> None:
        for line in textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent):
            self._print(line)

    def _asked(self, prompt: str) -> str:
        """One line that a person types. Raises StoppedByPeople, KeyboardInterrupt at the end of input."""
        self._out.write(f"  {prompt}")
        self._out.flush()
        line = self._source.readline(_LINE_LENGTH_MAX)
        if not line:
            raise KeyboardInterrupt
        typed = line.strip()
        if normal(typed) == _STOP:
            self._print(f"  To end the ceremony for good, type:   {_STOP_FOR_GOOD}")
            self._out.write("  Anything else goes on: ")
            self._out.flush()
            if normal(self._source.readline(_LINE_LENGTH_MAX)) == _STOP_FOR_GOOD:
                raise StoppedByPeople
            return self._asked(prompt)
        return typed

    def _print(self, line: str) -> None:
        self._out.write("".join(char if char.isprintable() else " " for char in line) + "\n")


def _shown(value: Any) -> str:
    """Digests and identifiers in groups of four, as people compare them."""
    if isinstance(value, str) and len(value) >= 16 and all(char in "0123456789abcdef" for char in value):
        return " ".join(value[place : place + 4] for place in range(0, len(value), 4))
    if isinstance(value, list):
        return "; ".join(map(_shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_shown(item)}" for name, item in value.items())
    return str(value)
