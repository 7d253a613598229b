"""The facts that policies decide on, gathered from the log, the releases and the keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pki.key_specs import parse_key_label
from policies.facts import KeyFact, LastRelease, PolicyFacts, SignedBefore, count_signatures
from policies.request import EnvironmentName, SigningRequest, version_parts
from signer.log.entry import REQUEST_EVENT, request_event
from signer.log.values import AuditLog, EventKind, LoggedEntry
from signer.service.releases import ReleaseHistory
from signer.service.values import ReleaseKey


class Past:
    """What this authority has signed and released: the log is asked first, the folder of releases too.

    A release whose file was removed still stands in the log; one from before the log was begun anew stands in a file.
    """

    def __init__(self, log: AuditLog, history: ReleaseHistory, product_names: Sequence[str]) -> None:
        self._log = log
        self._history = history
        self._product_names = product_names

    def signed(self) -> list[SignedBefore]:
        """Every request that was signed. Raises AuditError."""
        results = (self._about_requests(EventKind.SIGN_RESULT, name) for name in self._product_names)
        return [_signed_before(entry) for of_product in results for entry in of_product]

    def last_release(self, product: str, kind: str) -> LastRelease | None:
        """The release of greatest version, then greatest security version. Raises AuditError, ConfigurationError."""
        found = list(_released(self._about_requests(EventKind.RELEASED, product), kind))
        on_file = self._history.last(product, kind)
        if on_file is not None:
            package = on_file.evidence.package
            found.append(LastRelease(package.version, package.security_version))
        return max(found, key=lambda last: (version_parts(last.version), last.security_version), default=None)

    def _about_requests(self, kind: EventKind, product: str) -> tuple[LoggedEntry, ...]:
        """Through the index: what keys did beside requests, however much, costs nothing here."""
        return self._log.find(REQUEST_EVENT, request_event(kind, product))


def gather(
    request: SigningRequest, environment: EnvironmentName, keys: Iterable[ReleaseKey], past: Past, now: datetime
) -> PolicyFacts:
    """The facts about a request whose files were compared with it. Raises AuditError, ConfigurationError."""
    return PolicyFacts(
        environment=environment,
        keys=tuple(_key_fact(key) for key in keys),
        last_release=past.last_release(request.product, request.kind),
        sbom_present=request.sbom_digest is not None,
        test_evidence_present=request.test_evidence_digest is not None,
        signed=count_signatures(past.signed(), request.product, request.kind, request.requester, now),
    )


def _key_fact(key: ReleaseKey) -> KeyFact:
    parts = parse_key_label(key.label)
    return KeyFact(key.public_key.key_id, key.label, parts.role.value, parts.product)


def _signed_before(entry: LoggedEntry) -> SignedBefore:
    details = entry.event.details
    return SignedBefore(entry.at, details["product"], details["kind"], details["requester"])


def _released(entries: Iterable[LoggedEntry], kind: str) -> Iterable[LastRelease]:
    for entry in entries:
        details = entry.event.details
        if details.get("kind") == kind:
            yield LastRelease(details["version"], details["security_version"])
