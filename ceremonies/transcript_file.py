"""A transcript on disk: one process at a time, appended to and synced entry by entry, never changed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ceremonies.rules import TRANSCRIPT_DAMAGED
from ceremonies.transcript import FILE_SIZE_BYTES_MAX, Entry, parse_transcript
from pki.errors import CeremonyAborted, InputRefused, OutputError
from signer.durable import sync_folder


class TranscriptFile:
    """Opened for one process, which takes the ceremony up; a context manager. `entries` is what it holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self._descriptor = -1

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self.path, flags, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load()
            sync_folder(self.path.parent)
        except BlockingIOError:
            self._close()
            raise InputRefused(f"{self.path}: another process is at this ceremony; let it end") from None
        except OSError as error:
            self._close()
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from None
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def append(self, entry: Entry) -> None:
        """Add an entry; it survives a power cut when this returns. Raises OutputError: then the ceremony must stop."""
        data = entry.line + b"\n"
        try:
            view = memoryview(data)
            while view.nbytes:
                view = view[os.write(self._descriptor, view) :]
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written ({error.strerror}); free some space, then resume the ceremony"
            ) from None
        self.entries.append(entry)

    def _load(self) -> None:
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            stream.seek(0)
            data = stream.read(FILE_SIZE_BYTES_MAX + 1)
        self.entries, size_bytes = parse_transcript(data)
        if size_bytes != len(data):
            # The rest of an entry that was cut off: it was never acted upon.
            os.ftruncate(self._descriptor, size_bytes)
            os.fsync(self._descriptor)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_transcript(path: Path) -> list[Entry]:
    """The entries of a transcript that nobody is to change. Raises CeremonyAborted CE-24, InputRefused."""
    try:
        with path.open("rb") as stream:
            data = stream.read(FILE_SIZE_BYTES_MAX + 1)
    except OSError as error:
        raise InputRefused(f"{path}: cannot be read ({error.strerror})") from None
    entries, size_bytes = parse_transcript(data)
    if not entries or size_bytes != len(data):
        raise CeremonyAborted(TRANSCRIPT_DAMAGED, f"{path} is empty or cut off; compare it with its copies")
    return entries
