"""The story of one run: told briefly on the terminal while it happens, and at length in story.md."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_COMMAND_WIDTH = 110


@dataclass(slots=True)
class Step:
    """One thing that happened: the commands with what they printed, and what came of it."""

    title: str
    what: str
    why: str
    transcript: list[str] = field(default_factory=list)
    outcome: str = ""

    def add_command(self, argv: Sequence[str], output: str, exit_code: int) -> None:
        """A command as a person would type it, what it printed, and its exit code if that is not 0."""
        self.transcript += [f"$ {_folded(argv)}", *(line.rstrip() for line in output.splitlines())]
        if exit_code:
            self.transcript.append(f"(exit code {exit_code})")

    def as_markdown(self, number: int) -> str:
        """The step as a section."""
        commands = "\n".join(self.transcript).replace("\n$ ", "\n\n$ ")
        block = f"```console\n{commands}\n```\n\n" if commands else ""
        return (
            f"### {number}. {self.title}\n\n{self.what}\n\n*Why it matters:* {self.why}\n\n{block}"
            f"**Outcome:** {self.outcome}\n"
        )


def _folded(argv: Sequence[str]) -> str:
    """The command line, continued over lines with backslashes where it is long."""
    lines, line = [], ""
    for word in (shlex.quote(argument) for argument in argv):
        if line and len(line) + len(word) + 1 > _COMMAND_WIDTH:
            lines.append(line)
            line = f"    {word}"
        else:
            line = f"{line} {word}" if line else word
    return " \\\n".join([*lines, line])


@dataclass(slots=True)
class Chapter:
    """Steps that belong together."""

    title: str
    introduction: str
    steps: list[Step] = field(default_factory=list)


class Story:
    """Chapters in order. Each step is printed when it is finished, so a run that stops shows where."""

    def __init__(self) -> None:
        self.chapters: list[Chapter] = []
        self._began = time.monotonic()

    def chapter(self, title: str, introduction: str) -> None:
        """Begin a chapter."""
        self.chapters.append(Chapter(title, introduction))
        _print(f"\n{title}")

    def begin(self, title: str, what: str, why: str) -> Step:
        """Begin a step of the current chapter."""
        step = Step(title, what, why)
        self.chapters[-1].steps.append(step)
        return step

    def finish(self, step: Step, outcome: str) -> None:
        """What came of it, in one sentence; it was as expected, or the demonstration would have stopped."""
        step.outcome = outcome
        _print(f"  {self.step_count:2}. {step.title}\n      {outcome}")

    @property
    def step_count(self) -> int:
        """How many steps there are so far."""
        return sum(len(chapter.steps) for chapter in self.chapters)

    @property
    def seconds(self) -> float:
        """Time since the story began."""
        return time.monotonic() - self._began

    def as_markdown(self, opening: str, closing: str) -> str:
        """The whole story."""
        parts, number = [opening], 0
        for chapter in self.chapters:
            parts.append(f"## {chapter.title}\n\n{chapter.introduction}\n")
            for step in chapter.steps:
                number += 1
                parts.append(step.as_markdown(number))
        return "\n".join([*parts, closing])


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
