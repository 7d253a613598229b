"""Sorting any number of records of one size in bounded memory: sorted runs in a temporary file, then merged."""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from pki.errors import OutputError

_RUN_RECORDS = 1 << 14
_MERGED_AT_ONCE = 64
_READ_RECORDS = 512


class _Run(msgspec.Struct, frozen=True):
    """A sorted run: where it begins in the temporary file, and its number of records."""

    offset: int
    count: int


class RecordFile:
    """Records of one size in a temporary file that has no name and ends with the process. A context manager.

    It lies in `folder`, where there has to be room for what is being made anyway. Raises OutputError.
    """

    def __init__(self, folder: Path, record_size_bytes: int) -> None:
        self.record_size_bytes = record_size_bytes
        self._folder = folder
        self.end = 0

    def append(self, records: Iterable[bytes]) -> int:
        """Write records at the end; returns how many there were."""
        begun = self.end
        waiting: list[bytes] = []
        for record in records:
            waiting.append(record)
            if len(waiting) == _READ_RECORDS:
                self._write(waiting)
                waiting.clear()
        self._write(waiting)
        return (self.end - begun) // self.record_size_bytes

    def blocks(self, offset: int, count: int, records_a_block: int = _READ_RECORDS) -> Iterator[bytes]:
        """`count` records from `offset` on, in blocks of at most `records_a_block`."""
        end = offset + count * self.record_size_bytes
        while offset < end:
            size_bytes = min(records_a_block * self.record_size_bytes, end - offset)
            try:
                block = os.pread(self._stream.fileno(), size_bytes, offset)
            except OSError as error:
                raise self._failed(error) from None
            if len(block) != size_bytes:
                raise OutputError(f"a temporary file in {self._folder} does not read back; check the disk")
            yield block
            offset += size_bytes

    def records(self, offset: int, count: int) -> Iterator[bytes]:
        """The same, one by one."""
        size = self.record_size_bytes
        for block in self.blocks(offset, count):
            for start in range(0, len(block), size):
                yield block[start : start + size]

    def _write(self, records: list[bytes]) -> None:
        view = memoryview(b"".join(records))
        try:
            while view.nbytes:
                written = os.pwrite(self._stream.fileno(), view, self.end)
                self.end += written
                view = view[written:]
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"cannot use a temporary file in {self._folder}: {error.strerror}")

    def __enter__(self) -> Self:
        try:
            self._stream = tempfile.TemporaryFile(dir=self._folder, buffering=0)
        except OSError as error:
            raise self._failed(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


def sorted_records(unsorted: Iterable[bytes], spool: RecordFile, run_records: int = _RUN_RECORDS) -> Iterator[bytes]:
    """The records in ascending order. Memory: one run; disk: what the records need, and again for each merge.

    Every record of `unsorted` has been taken before this returns.
    """
    runs = _sorted_runs(unsorted, spool, run_records)
    while len(runs) > _MERGED_AT_ONCE:
        some, runs = runs[:_MERGED_AT_ONCE], runs[_MERGED_AT_ONCE:]
        offset = spool.end
        runs.append(_Run(offset, spool.append(_merged(some, spool))))
    return _merged(runs, spool)


def _sorted_runs(unsorted: Iterable[bytes], spool: RecordFile, run_records: int) -> list[_Run]:
    runs: list[_Run] = []
    run: list[bytes] = []

    def end_run() -> None:
        if run:
            run.sort()
            runs.append(_Run(spool.end, spool.append(run)))
            run.clear()

    for record in unsorted:
        run.append(record)
        if len(run) == run_records:
            end_run()
    end_run()
    return runs


def _merged(runs: list[_Run], spool: RecordFile) -> Iterator[bytes]:
    return heapq.merge(*(spool.records(run.offset, run.count) for run in runs))
