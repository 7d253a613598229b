"""Looking for, and removing, what an interrupted act of custody left on tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pki.values import PublicKey
from signer.store.values import KeyRecord, TokenRecord
from signer.tokens import KeyRef
from signer.tokens.errors import KeyInconsistent, KeyNotFound

if TYPE_CHECKING:
    from signer.tokens.session import Session


def token_of(session: Session) -> tuple[str, str]:
    """Serial and label of the token that a session is with."""
    return (session.token.serial, session.token.label)


def token_record(session: Session) -> TokenRecord:
    """The token as the key store records it."""
    return TokenRecord(session.token.serial, session.token.label, session.module.path)


def finished_key(session: Session, label: str) -> PublicKey | None:
    """The public key of the one finished key pair under a label; None if there is no such pair.

    Raises KeyAmbiguous for more than one.
    """
    try:
        return session.find(KeyRef(label=label)).public_key
    except (KeyNotFound, KeyInconsistent):
        return None


def is_on_token(session: Session, record: KeyRecord) -> bool:
    """Whether any object of a recorded key is on the token."""
    return any(item.cka_id == record.cka_id and item.label == record.label for item in session.objects())


def dangerously_remove(session: Session, label: str) -> None:
    """Destroy everything that the token has under a label, finished or not: for keys that are recorded nowhere."""
    if any(item.label == label for item in session.objects()):
        try:
            session.dangerously_destroy_unfinished(label)
        except KeyInconsistent:
            session.dangerously_destroy_key(KeyRef(label=label))
    session.dangerously_destroy_unfinished(label)
