"""What goes into the audit log and comes out of it, and what the rest of the signer asks of a log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

_ACTOR = re.compile(r"[ -~]{1,200}")


class EventKind(StrEnum):
    """What happened. Values are extend-only; docs/spec/audit-log.md says what each carries."""

    LOG_BEGUN = "log-begun"
    SIGN_INTENT = "sign-intent"
    SIGN_RESULT = "sign-result"
    SIGN_FAILED = "sign-failed"
    REQUEST_REFUSED = "request-refused"
    RELEASED = "released"
    KEY_GENERATED = "key-generated"
    KEY_STATE_CHANGED = "key-state-changed"
    KEY_DESTROYED = "key-destroyed"
    KEY_BACKED_UP = "key-backed-up"
    KEY_RESTORED = "key-restored"
    KEY_COPY_ENDED = "key-copy-ended"
    KEY_BACKUP_ENDED = "key-backup-ended"
    CONTENT_KEY_KEPT = "content-key-kept"
    CONTENT_KEY_USED = "content-key-used"
    CEREMONY_BEGUN = "ceremony-begun"
    CEREMONY_RESUMED = "ceremony-resumed"
    CEREMONY_ENDED = "ceremony-ended"
    CEREMONY_ABORTED = "ceremony-aborted"
    LOG_RESTORED = "log-restored"
    STORE_RESTORED = "store-restored"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be logged. `actor` is a person's id or an account of the machine; `details` is JSON without floats.

    No secret ever stands in `details`: digests, labels, key ids, names and rule ids do.
    """

    kind: EventKind
    actor: str
    details: dict[str, Any]

    def __post_init__(self) -> None:
        if not _ACTOR.fullmatch(self.actor):
            raise ValueError("an event's actor has 1 to 200 printable ASCII characters")


class LoggedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the log: `index` from 0, `at` in UTC, `leaf_hash` the RFC 6962 hash of its bytes (32 bytes)."""

    index: int
    at: datetime
    event: Event
    leaf_hash: bytes


class InclusionProof(msgspec.Struct, frozen=True, kw_only=True):
    """That an entry stands in the tree of a signed checkpoint (RFC 6962, section 2.1.1). `hashes` from leaf to root."""

    index: int
    entry: bytes
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    """The signed note, with every cosignature known when the proof was made."""


class AuditLog(Protocol):
    """The log as those who act see it. `append` returns when the entries would survive a power cut, not before."""

    def append(self, events: Sequence[Event], now: datetime) -> tuple[LoggedEntry, ...]:
        """Append in order, all or none. Raises AuditError, and Rollback for a clock earlier than the newest entry."""

    def newest_time(self) -> datetime | None:
        """When the newest entry was made; None while the log is empty."""

    def find(self, name: str, value: str) -> tuple[LoggedEntry, ...]:
        """Entries whose details have the string `value` under the indexed name `name`, in order.

        Indexed names: request_digest, head_digest, key_label, product, ceremony_digest; and request_event, whose value
        `KIND:PRODUCT` is derived, for entries that have both request_digest and product.
        """

    def checkpoint(self) -> bytes:
        """Sign and publish a checkpoint over every entry so far; the signed note. Raises AuditError, TokenError."""

    def prove(self, index: int) -> InclusionProof:
        """An inclusion proof against the newest checkpoint, which must cover the entry. Raises AuditError."""
