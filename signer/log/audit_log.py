"""The audit log on disk: durable entries, tiles, and checkpoints signed by the log's key.

docs/spec/audit-log.md, section 4, says what is written in which order and what a crash leaves; this does it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pki.errors import AuditError, FormatError
from signer.log import index_file
from signer.log.appending import Append, encode_rows
from signer.log.checkpoint import Checkpoint, NoteSignature, TreeHead, parse_checkpoint, sign_head
from signer.log.entry import INDEXED_NAMES, decode_entry, leaf_hash, parse_time
from signer.log.group_commit import GroupCommit, Waiting
from signer.log.merkle import inclusion_proof, root_from_inclusion
from signer.log.publishing import (
    CHECKPOINT_FILE,
    WITNESSED_FILE,
    at_right_edge,
    publish,
    publish_witnessed,
    unfinished_files,
    write_tiles,
)
from signer.log.signed_by import read_checkpoint, require_signed_by
from signer.log.tiles import TILE_WIDTH, TileReader
from signer.log.values import Event, InclusionProof, LoggedEntry
from signer.signing_key import SigningKey

EVENTS_MAX = 4096
"""In one append."""
FOUND_MAX = 100_000
_GROUP_MAX = 256
_HOLD_ATTEMPTS_MAX = 10


class TileLog:
    """Implements `signer.log.values.AuditLog`. For many threads of one process; other processes have their own."""

    def __init__(self, folder: Path, key: SigningKey | None, *, end_interrupted: bool = True) -> None:
        """Open the log in `folder` and end what a crash interrupted; `key` None is for reading and appending only.

        Raises AuditError for a log that is missing, damaged, or older than its checkpoint, AL-05 for another key.
        """
        self.folder = folder
        self._key = key
        self._path = folder / index_file.INDEX_FILE
        self._process_id = os.getpid()
        self._group: GroupCommit[Append, tuple[LoggedEntry, ...]] = GroupCommit(self._commit, _GROUP_MAX)
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        with self._reading() as connection:
            self.origin = index_file.origin(connection)
        self._recover(end_interrupted)

    # What the protocol promises

    def append(self, events: Sequence[Event], now: datetime) -> tuple[LoggedEntry, ...]:
        """Append in order, all or none; durable when it returns. Raises AuditError, and Rollback (AL-01)."""
        if not 1 <= len(events) <= EVENTS_MAX:
            raise AuditError(f"an append has 1 to {EVENTS_MAX} events, not {len(events)}")
        return self._group.carry_out(Append(events, now, time.monotonic()))

    def newest_time(self) -> datetime | None:
        """When the newest entry was made; None while the log is empty."""
        with self._reading() as connection:
            at = index_file.newest(connection)[1]
        return None if at is None else parse_time(at)

    def find(self, name: str, value: str) -> tuple[LoggedEntry, ...]:
        """Entries with the string `value` under the indexed name. Raises AuditError."""
        if name not in INDEXED_NAMES:
            raise ValueError(f"{name!r} is not indexed")
        with self._reading() as connection:
            numbers = index_file.numbers_by_name(connection, name, value, FOUND_MAX + 1)
            if len(numbers) > FOUND_MAX:
                raise AuditError(f"more than {FOUND_MAX} entries have {name} {value!r}; read the log itself")
            return tuple(self._entry(connection, number) for number in numbers)

    def checkpoint(self) -> bytes:
        """Sign and publish a checkpoint over every entry so far, unless there is one. Raises AuditError, TokenError."""
        with self._writing() as connection:
            size = index_file.newest(connection)[0]
            last = self._newest_checkpoint(connection)
            if last is not None and last.head.size == size:
                return last.note
            writer = write_tiles(self.folder, connection, last, size)
            signed = sign_head(TreeHead(self.origin, size, writer.root), self._require_key(last))
            index_file.put_checkpoint(connection, size, signed.note)
            connection.execute("COMMIT")
            publish(self.folder, signed)
            writer.remove_superseded()
            return signed.note

    def prove(self, index: int) -> InclusionProof:
        """An inclusion proof against the newest checkpoint, verified. Raises AuditError if none covers the entry."""
        with self._reading() as connection:
            signed = self._newest_checkpoint(connection)
        if signed is None:
            raise AuditError(f"no checkpoint covers entry {index}; `strongroom audit checkpoint` signs one")
        return self.prove_under(index, signed)

    def witnessed_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that a witness has cosigned, None before the first. Raises AuditError."""
        return read_checkpoint(self.folder / WITNESSED_FILE)

    def prove_under(self, index: int, signed: Checkpoint) -> InclusionProof:
        """An inclusion proof against one of this log's checkpoints, verified. Raises AuditError if it cannot be."""
        head = signed.head
        with self._reading() as connection:
            if not 0 <= index < head.size:
                raise AuditError(f"no checkpoint covers entry {index}; `strongroom audit checkpoint` signs one")
            entry = next(index_file.entries(connection, index, index + 1))
        hashes = inclusion_proof(index, head.size, TileReader(self.folder, head.size).subtree)
        if root_from_inclusion(index, head.size, leaf_hash(entry), hashes) != head.root:
            raise AuditError(
                f"entry {index} is not what the checkpoint covers: tiles or index are damaged; `strongroom audit "
                "verify` says where"
            )
        return InclusionProof(index=index, entry=entry, hashes=hashes, checkpoint=signed.note)

    # More than the protocol

    @property
    def size(self) -> int:
        """How many entries there are."""
        with self._reading() as connection:
            return index_file.newest(connection)[0]

    def entries(self, start: int = 0) -> Iterator[LoggedEntry]:
        """All entries from `start` on as of now, one after the other."""
        stop = self.size
        for low in range(start, stop, TILE_WIDTH):
            with self._reading() as connection:
                found = list(index_file.entries(connection, low, min(low + TILE_WIDTH, stop)))
            for number, entry in enumerate(found, low):
                yield _decoded(number, entry)

    def newest_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint, whether it covers all entries or not."""
        with self._reading() as connection:
            return self._newest_checkpoint(connection)

    def add_cosignature(self, head: TreeHead, cosignature: NoteSignature) -> Checkpoint:
        """Keep a cosignature that the caller has verified, with its checkpoint. Raises AuditError for another's."""
        with self._writing() as connection:
            note = index_file.checkpoint_of(connection, head.size)
            known = None if note is None else parse_checkpoint(note)
            if known is None or known.head != head:
                raise AuditError(
                    f"this log never signed that checkpoint of size {head.size}: somebody forked it, or it is "
                    "another log's; keep the file as evidence"
                )
            grown = known.with_signature(cosignature)
            index_file.put_checkpoint(connection, head.size, grown.note)
            newest = self._newest_checkpoint(connection)
            connection.execute("COMMIT")
            if newest is not None and newest.head.size == head.size:
                publish(self.folder, grown)
            publish_witnessed(self.folder, grown)
            return grown

    def check_right_edge(self) -> None:
        """A quick look: do tiles and newest entries lead to the newest checkpoint? Raises AuditError."""
        with self._reading() as connection:
            at_right_edge(self.folder, connection, self._newest_checkpoint(connection))

    @contextmanager
    def held_at_checkpoint(self) -> Iterator[tuple[Checkpoint, sqlite3.Connection]]:
        """Hold the log's lock at a moment when a checkpoint covers every entry, for a copy. Raises AuditError."""
        for _ in range(_HOLD_ATTEMPTS_MAX):
            self.checkpoint()
            with self._writing() as connection:
                checkpoint = self._newest_checkpoint(connection)
                if checkpoint is not None and checkpoint.head.size == index_file.newest(connection)[0]:
                    yield checkpoint, connection
                    return
        raise AuditError("other processes write to the audit log without a pause; try again")

    def close(self) -> None:
        """Close the index. The log can be used again; it opens anew."""
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Appending

    def _commit(self, group: list[Waiting[Append, tuple[LoggedEntry, ...]]]) -> None:
        with self._writing() as connection:
            size, newest = index_file.newest(connection)
            at = None if newest is None else parse_time(newest)
            rows: list[index_file.Row] = []
            names: list[tuple[str, str, int]] = []
            for waiting in group:
                try:
                    at, made = encode_rows(waiting.order, size + len(rows), at, rows, names)
                except Exception as error:  # noqa: BLE001 (its own caller gets it; the others' entries go on)
                    waiting.error = error
                else:
                    waiting.answer = made
            if rows:
                index_file.insert(connection, rows, names)
                connection.execute("COMMIT")

    # Opening

    def _require_key(self, last: Checkpoint | None) -> SigningKey:
        if self._key is None:
            raise AuditError("the audit log was opened without its key, and cannot sign a checkpoint")
        if last is not None:
            require_signed_by(last, self._key)
        return self._key

    def _recover(self, end_interrupted: bool) -> None:
        """End what a crash interrupted, if that is wanted; refuse an index older than the checkpoint beside it."""
        path = self.folder / CHECKPOINT_FILE
        with self._reading() as connection:
            last = self._newest_checkpoint(connection)
        shown = read_checkpoint(path)
        if shown is not None and (last is None or last.head.size < shown.head.size):
            raise AuditError(
                f"the index of the audit log {self.folder} is older than its checkpoint of {shown.head.size} entries: "
                "it was replaced by an old copy; `strongroom audit rebuild` makes it again from the tiles"
            )
        if last is None:
            return
        if last.head.origin != self.origin or (
            shown is not None and shown.head.size == last.head.size and shown.head != last.head
        ):
            raise AuditError(f"{path} is not the checkpoint that the index knows; `strongroom audit verify`")
        if self._key is not None:
            require_signed_by(last, self._key)
        is_behind = shown is None or shown.note != last.note
        if end_interrupted and (is_behind or (self._key is not None and unfinished_files(self.folder))):
            with self._writing() as connection:
                for path in unfinished_files(self.folder):
                    path.unlink(missing_ok=True)
                newest = self._newest_checkpoint(connection)
                if newest is not None and is_behind:
                    publish(self.folder, newest)

    # The index

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._process_id:
            raise AuditError("an open audit log cannot be used in a forked child; open it in each process")
        with self._mutex, index_file.explained(self._path, "read"):
            if self._connection is None:
                self._connection = index_file.connect(self._path)
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the log's lock. What is not committed inside is rolled back.

        After any error the index is closed: nothing is built on a connection that has failed.
        """
        with self._reading() as connection, index_file.explained(self._path, "write to"):
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except BaseException:
                self.close()
                raise

    def _newest_checkpoint(self, connection: sqlite3.Connection) -> Checkpoint | None:
        note = index_file.newest_checkpoint(connection)
        try:
            return None if note is None else parse_checkpoint(note)
        except FormatError as error:
            raise AuditError(f"the index of the audit log {self.folder} is damaged: {error}") from None

    def _entry(self, connection: sqlite3.Connection, number: int) -> LoggedEntry:
        return _decoded(number, next(index_file.entries(connection, number, number + 1)))


def _decoded(number: int, entry: bytes) -> LoggedEntry:
    try:
        return decode_entry(number, entry)
    except FormatError as error:
        raise AuditError(f"the index of the audit log is damaged: {error}") from None


def open_audit_log(folder: Path, key: SigningKey | None, *, end_interrupted: bool = True) -> TileLog:
    """Open the log in `folder` and end what a crash interrupted. See TileLog."""
    return TileLog(folder, key, end_interrupted=end_interrupted)
