"""A key whose every use is logged: intent, then the token, then the result, and only then is the signature returned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from pki.errors import AuditError, ConfigurationError, Rollback
from pki.key_specs import parse_key_label
from pki.values import Digest, PublicKey, Scheme, Signature
from signer.log.values import AuditLog, Event, EventKind, LoggedEntry
from signer.signing_key import SigningKey


class LoggedKey:
    """A `SigningKey` around another. If the log fails before the token is asked, the token is not asked.

    `actor` is a person's id or the machine's account; `purpose` says in a few words what the signature is for.
    """

    __slots__ = ("_actor", "_clock", "_details", "_key", "_log", "label")

    def __init__(
        self,
        key: SigningKey,
        label: str,
        log: AuditLog,
        actor: str,
        purpose: str,
        clock: Callable[[], datetime],
    ) -> None:
        self.label = label
        self._key = key
        self._log = log
        self._actor = actor
        self._clock = clock
        self._details: dict[str, Any] = {
            "key_id": key.public_key.key_id.hex(),
            "key_label": label,
            "purpose": purpose,
            **_product_of(label),
        }

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        return self._key.public_key

    @property
    def cka_id(self) -> bytes:
        """The key's CKA_ID."""
        return self._key.public_key.cka_id

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        """Sign, between an intent and a result in the log. Raises AuditError, Rollback, and what the key raises.

        Whatever is raised, no signature is released.
        """
        return self.sign_all((digest,), scheme)[0]

    def sign_all(self, digests: Sequence[Digest], scheme: Scheme) -> tuple[Signature, ...]:
        """Sign one after the other, between the intents and the results of all: two commits, however many there are.

        Raises as `sign`; then what was signed before the failure is in the log, and no signature is released.
        """
        details = [{**self._details, "digest": digest.value.hex()} for digest in digests]
        intents = self._append([Event(kind=EventKind.SIGN_INTENT, actor=self._actor, details=item) for item in details])
        details = [{**item, "intent": intent.index} for item, intent in zip(details, intents, strict=True)]
        signatures: list[Signature] = []
        results: list[Event] = []
        try:
            for digest, item in zip(digests, details, strict=True):
                signature = self._key.sign(digest, scheme)
                signatures.append(signature)
                done = {**item, "signature_sha256": hashlib.sha256(signature.value).hexdigest()}
                results.append(Event(kind=EventKind.SIGN_RESULT, actor=self._actor, details=done))
        except BaseException as error:
            failed = {**details[len(results)], "error": type(error).__name__}
            results.append(Event(kind=EventKind.SIGN_FAILED, actor=self._actor, details=failed))
            # The error itself is what the caller must hear of, also when the log cannot be told.
            with suppress(AuditError, Rollback):
                self._append(results)
            raise
        self._append(results)
        return tuple(signatures)

    def _append(self, events: Sequence[Event]) -> tuple[LoggedEntry, ...]:
        return self._log.append(events, self._clock())

    def __repr__(self) -> str:
        return f"<LoggedKey {self.label!r}>"


def _product_of(label: str) -> dict[str, str]:
    try:
        product = parse_key_label(label).product
    except ConfigurationError:
        return {}
    return {} if product is None else {"product": product}
