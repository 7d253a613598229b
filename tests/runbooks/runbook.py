"""Runbooks as programs: the ```sh blocks of a runbook, run as they stand, and what each line is said to print."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "runbooks"
SECTIONS = ("When", "Who must be there", "How long", "Before you begin", "Steps", "It worked if", "What not to do")
DRILL_SECONDS_MAX = 300
_MARK = "@@ line"
_SAID = re.compile(r"(?P<command>.*?)\s+# (?P<printed>.+)")


@dataclass(frozen=True, slots=True)
class Line:
    """A command of a block, and what stands after its `#`: a part of what it prints; empty where nothing does."""

    command: str
    printed: str


@dataclass(frozen=True, slots=True)
class Block:
    """A block under a heading of the second or third order; `case` is that of the third, or empty."""

    section: str
    case: str
    lines: tuple[Line, ...]


def sections(text: str) -> list[str]:
    return re.findall(r"^## (.+)$", text, re.MULTILINE)


def blocks(text: str) -> list[Block]:
    """Every ```sh block, in order. A line that ends with a backslash goes on in the next."""
    found = []
    section = case = ""
    for match in re.finditer(
        r"^(?P<heading>##+ [^\n]+)$|^ *```sh\n(?P<body>.*?)^ *```$", text, re.MULTILINE | re.DOTALL
    ):
        if match["heading"]:
            level, _, name = match["heading"].partition(" ")
            section, case = (section, name) if level == "###" else (name, "")
        else:
            found.append(Block(section, case, tuple(_lines(match["body"]))))
    return found


def _lines(body: str) -> list[Line]:
    lines = []
    for text in body.replace("\\\n", " ").splitlines():
        said = _SAID.fullmatch(text.strip())
        lines.append(Line(said["command"], said["printed"]) if said else Line(text.strip(), ""))
    return [line for line in lines if line.command]


def run_lines(lines: Sequence[Line], folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Run the lines in one shell that stops at the first failure; what each printed, checked against what it says."""
    script = "\n".join(f"{line.command}\nprintf '\\n{_MARK}\\n'" for line in lines)
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script], cwd=folder, env={**os.environ, **environment},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=DRILL_SECONDS_MAX, start_new_session=True,
    )  # fmt: skip
    outputs = done.stdout.split(f"\n{_MARK}\n")
    if done.returncode != 0:
        reached = lines[min(len(outputs), len(lines)) - 1].command
        raise AssertionError(f"the drill stopped at: {reached}\n{outputs[-1][-3000:]}")
    assert len(outputs) == len(lines) + 1, "a line of the runbook is no command of its own"
    for line, output in zip(lines, outputs, strict=False):
        assert line.printed in output, f"{line.command}\nwas to print {line.printed!r}, but printed:\n{output}"
    return outputs


def cases(runbook: str) -> list[str]:
    """The headings of a runbook's cases, in order; a drill is of one of them."""
    text = (FOLDER / f"{runbook}.md").read_text(encoding="utf-8")
    return re.findall(r"^### (.+)$", text, re.MULTILINE)
