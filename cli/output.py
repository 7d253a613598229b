"""What commands print: data on stdout (text or JSON), prose and progress on stderr; and how they write files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pki.errors import InputRefused

Progress = Callable[[int], None]
"""Called with the number of bytes (or steps) done so far."""

_BAR_AFTER_SECONDS = 1.0


def emit(data: object, as_json: bool, text: str) -> None:
    """Print the result: `data` as one JSON document if asked for, else `text`."""
    if as_json:
        import json

        text = json.dumps(data, indent=2)
    sys.stdout.write(text.rstrip("\n") + "\n")


def say(line: str) -> None:
    """One line of prose for the person at the terminal."""
    sys.stderr.write(line + "\n")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain aligned columns: readable on any terminal, in a log, and by a tired operator."""
    from signer.inventory.text_table import text_table

    return text_table(headings, rows)


@contextmanager
def progress(title: str, total: int) -> Iterator[Progress]:
    """A progress bar on stderr once the work has taken a second; none where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    bar = _Bar(title, total)
    try:
        yield bar.update
    finally:
        bar.close()


class _Bar:
    def __init__(self, title: str, total: int) -> None:
        import time

        self._clock = time.monotonic
        self._begun = self._clock()
        self._title = title
        self._total = max(total, 1)
        self._shown = -1

    def update(self, done: int) -> None:
        if self._clock() - self._begun < _BAR_AFTER_SECONDS:
            return
        percent = min(100, done * 100 // self._total)
        if percent != self._shown:
            self._shown = percent
            filled = percent * 30 // 100
            sys.stderr.write(f"\r{self._title} [{'#' * filled}{'.' * (30 - filled)}] {percent:3d} %")
            sys.stderr.flush()

    def close(self) -> None:
        if self._shown >= 0:
            sys.stderr.write("\n")


def write_new_file(path: Path, content: bytes) -> None:
    """Write a new file durably: it appears complete or not at all, and an existing one is never replaced.

    Raises OutputError if `path` exists or cannot be written; then nothing is left behind. Work that a person or a token
    would have to repeat is better done inside `with NewFile(path)`, which refuses before the work.
    """
    from signer.new_file import NewFile

    with NewFile(path) as out:
        out.write_at(0, content)
        out.publish()


def read_input(path: Path, what: str, size_bytes_max: int) -> bytes:
    """A whole input file. Raises InputRefused if it cannot be read or is larger than allowed."""
    try:
        with path.open("rb") as stream:
            content = stream.read(size_bytes_max + 1)
    except OSError as error:
        raise InputRefused(f"{what} {path}: cannot be read ({error.strerror})") from None
    if len(content) > size_bytes_max:
        raise InputRefused(f"{what} {path}: has more than {size_bytes_max} bytes; check which file this is")
    return content
