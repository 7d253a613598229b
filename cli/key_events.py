"""Changes of keys in the audit log: that a change is about to be made, and that it was made.

The entries are durable at once; they come under the next checkpoint that a command signs, so that retiring a key needs
no other key at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cli.context import may_be_unlogged, now, operator
from pki.errors import ConfigurationError
from pki.key_specs import parse_key_label
from pki.roles import Role
from signer.authority.key_intents import KeyIntent, KeyIntents
from signer.log.values import Event, EventKind

if TYPE_CHECKING:
    from signer.authority.repository import AuthorityRepository
    from signer.log.audit_log import TileLog


class KeyEvents:
    """The log as commands that change keys see it; without a log, nothing happens."""

    def __init__(self, log: TileLog | None) -> None:
        self._log = log

    def begins(self, kind: EventKind, label: str, **details: str) -> None:
        """About to be done. Raises AuditError, Rollback; then it must not be done."""
        self._append(kind, label, "intent", details)

    def is_done(self, kind: EventKind, label: str, **details: str) -> None:
        """Done. Raises AuditError, Rollback."""
        self._append(kind, label, "done", details)

    def _append(self, kind: EventKind, label: str, stage: str, more: dict[str, str]) -> None:
        if self._log is not None:
            details: dict[str, Any] = {"key_label": label, "stage": stage, **_product_of(label), **more}
            self._log.append([Event(kind=kind, actor=operator(), details=details)], now())


class LoggedIntents(KeyIntents):
    """Intents to generate keys, each of which is in the log before its file is written."""

    def __init__(self, repository: AuthorityRepository, events: KeyEvents) -> None:
        super().__init__(repository.key_intents_path)
        self._events = events

    def write(self, intent: KeyIntent) -> None:
        """Log, then write. Raises AuditError, Rollback, OutputError."""
        token = {"token_serial": intent.token_serial, "token_label": intent.token_label}
        self._events.begins(EventKind.KEY_GENERATED, intent.label, **token)
        super().write(intent)


@contextmanager
def key_events(repository: AuthorityRepository, role: Role | None) -> Iterator[KeyEvents]:
    """For a change of a key of this role. The log's own first key is made before there is a log.

    Raises AuditError for a log that is configured and not there; AL-02 in production without one, unless the key is
    for it.
    """
    folder = repository.log_path
    is_first_log_key = role is Role.LOG and (folder is None or not folder.exists())
    if is_first_log_key or may_be_unlogged(repository):
        yield KeyEvents(None)
        return
    from cli.context import open_log

    with open_log(repository, None) as log:
        yield KeyEvents(log)


def role_of_label(label: str) -> Role | None:
    """The role in a label; None for a label outside the scheme."""
    try:
        return parse_key_label(label).role
    except ConfigurationError:
        return None


def _product_of(label: str) -> dict[str, str]:
    try:
        product = parse_key_label(label).product
    except ConfigurationError:
        return {}
    return {} if product is None else {"product": product}
