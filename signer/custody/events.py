"""What acts of custody did, as events for the audit log: names, identifiers and digests, never a secret."""

from __future__ import annotations

from typing import Any

from signer.log.values import Event, EventKind
from signer.store.values import KeyRecord


def key_event(kind: EventKind, actor: str, record: KeyRecord, **details: Any) -> Event:
    """An event about a key; details that are None are left out."""
    about = {"key_label": record.label, "cka_id": record.cka_id.hex()}
    if record.product is not None:
        about["product"] = record.product
    return Event(kind=kind, actor=actor, details=about | {name: it for name, it in details.items() if it is not None})


def token_name(token: tuple[str, str]) -> str:
    """A token (serial, label) as events name it."""
    return f"{token[0]}/{token[1]}"
