"""What commands print: data on stdout (text or JSON), prose and progress on stderr; and how they write files."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pki.errors import OutputError

Progress = Callable[[int], None]
"""Called with the number of bytes (or steps) done so far."""

_BAR_AFTER_SECONDS = 1.0


def emit(data: object, as_json: bool, text: str) -> None:
    """Print the result: `data` as one JSON document if asked for, else `text`."""
    sys.stdout.write((json.dumps(data, indent=2) if as_json else text).rstrip("\n") + "\n")


def say(line: str) -> None:
    """One line of prose for the person at the terminal."""
    sys.stderr.write(line + "\n")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain aligned columns: readable on any terminal, in a log, and by a tired operator."""
    widths = [max(len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    lines = [headings, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


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

    Raises OutputError if `path` exists or cannot be written; then nothing is left behind.
    """
    if path.exists():
        raise OutputError(f"{path} exists: choose another name, or move it away first")
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        os.link(temporary, path)
        sync_folder(path.parent)
    except FileExistsError:
        raise OutputError(f"{path} exists: choose another name, or move it away first") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable (fsync on the directory)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
