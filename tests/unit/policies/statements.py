"""A request, approvals, people and their keys, to build right and spoil one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from policies.allowed_signers import AllowedSigners, parse_allowed_signers
from policies.approval import APPROVAL_NAMESPACE, Approval
from policies.authentication import SignedStatement
from policies.people import People, Person
from policies.request import REQUEST_NAMESPACE, SigningRequest
from tests.vectors.generator.ssh_signature import SK_ED25519, Signed

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
WEEK = timedelta(days=7)

REQUEST = SigningRequest(
    environment="production",
    head_digest=b"h" * 32,
    image_digest=b"i" * 32,
    kind="application",
    product="pump-x2",
    product_id="6f1a4b7e3c524d0e9b7d0a3c5e8f1d24",
    version="1.2.0",
    security_version=3,
    target="any",
    key_ids=(b"key-id-1",),
    sbom_digest=b"s" * 32,
    test_evidence_digest=None,
    not_after=NOW + WEEK,
    policy_digest=b"p" * 32,
    requester="rita",
)

PEOPLE = {
    "rita": ["requester"],
    "ada": ["approver"],
    "bob": ["approver", "custodian"],
    "both": ["requester", "approver"],
    "olga": ["operator"],
}


@cache
def signature_of(person: str, namespace: str, message: bytes, key_type: str = SK_ED25519) -> bytes:
    return Signed(key_type, person, namespace=namespace, message=message).armored.encode("ascii")


def key_line(name: str) -> str:
    return Signed(SK_ED25519, name).key_line


@dataclass
class Desk:
    """What authentication is given besides the statements."""

    roles: dict[str, list[Any]] = field(default_factory=lambda: {name: list(roles) for name, roles in PEOPLE.items()})
    lines: list[str] = field(default_factory=lambda: [f"{name} {key_line(name)}" for name in PEOPLE])

    @property
    def people(self) -> People:
        return People(format=1, people=[Person(id=name, name=name, roles=roles) for name, roles in self.roles.items()])

    @property
    def signers(self) -> AllowedSigners:
        return parse_allowed_signers("\n".join(self.lines))


def request(**changes: Any) -> SigningRequest:
    return msgspec.structs.replace(REQUEST, **changes)


def signed_request(asked: SigningRequest = REQUEST, key: str | None = None) -> SignedStatement:
    data = asked.encode()
    return SignedStatement(data, signature_of(key or asked.requester, REQUEST_NAMESPACE, data))


def approval(approver: str, asked: SigningRequest = REQUEST, not_after: datetime = NOW + WEEK) -> Approval:
    return Approval(request_digest=asked.digest, approver=approver, not_after=not_after)


def signed_approval(
    approver: str, asked: SigningRequest = REQUEST, not_after: datetime = NOW + WEEK, key: str | None = None
) -> SignedStatement:
    data = approval(approver, asked, not_after).encode()
    return SignedStatement(data, signature_of(key or approver, APPROVAL_NAMESPACE, data))
