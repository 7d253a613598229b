"""An audit log in memory: the same entries, tree, proofs and refusals as the real one, and nothing survives.

The contract tests (test_contract.py) run on both. `fails` makes the next appends fail, as a full disk would.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pki.errors import AuditError
from signer.log.checkpoint import TreeHead, sign_head
from signer.log.clock import entry_time
from signer.log.entry import decode_entry, encode_entry, indexed_values
from signer.log.merkle import inclusion_proof, root_of, subtree_from_leaves
from signer.log.values import Event, InclusionProof, LoggedEntry
from signer.signing_key import SigningKey
from tests.unit.log.software_key import SoftwareKey

ORIGIN = "strongroom-log/0123456789abcdef"


@dataclass
class MemoryLog:
    """Implements `signer.log.values.AuditLog`."""

    key: SigningKey = field(default_factory=SoftwareKey)
    origin: str = ORIGIN
    entries: list[LoggedEntry] = field(default_factory=list)
    fails: bool = False
    _bytes: list[bytes] = field(default_factory=list)
    _signed: tuple[int, bytes] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def append(self, events: Sequence[Event], now: datetime) -> tuple[LoggedEntry, ...]:
        with self._lock:
            if self.fails:
                raise AuditError("the audit log cannot be written; nothing was released")
            at = entry_time(now, self.newest_time())
            encoded = [encode_entry(event, at) for event in events]
            first = len(self.entries)
            made = tuple(decode_entry(first + number, entry) for number, entry in enumerate(encoded))
            self.entries += made
            self._bytes += encoded
            return made

    def newest_time(self) -> datetime | None:
        return self.entries[-1].at if self.entries else None

    def find(self, name: str, value: str) -> tuple[LoggedEntry, ...]:
        return tuple(entry for entry in self.entries if (name, value) in indexed_values(entry.event))

    def checkpoint(self) -> bytes:
        size = len(self.entries)
        if self._signed is None or self._signed[0] != size:
            if self.fails:
                raise AuditError("the audit log cannot be written; nothing was released")
            root = root_of(entry.leaf_hash for entry in self.entries)
            self._signed = size, sign_head(TreeHead(self.origin, size, root), self.key).note
        return self._signed[1]

    def prove(self, index: int) -> InclusionProof:
        if self._signed is None or not 0 <= index < self._signed[0]:
            raise AuditError(f"no checkpoint covers entry {index}; sign one first")
        size, note = self._signed
        leaves = [entry.leaf_hash for entry in self.entries[:size]]
        hashes = inclusion_proof(index, size, subtree_from_leaves(leaves))
        return InclusionProof(index=index, entry=self._bytes[index], hashes=hashes, checkpoint=note)

    def kinds(self) -> list[str]:
        """The kinds of all entries, in order: what most tests want to see."""
        return [entry.event.kind.value for entry in self.entries]
