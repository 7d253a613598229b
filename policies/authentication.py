"""From signed files to people who ask and people who agree: everything that can refuse a statement before policy.

Rules RQ-04 to RQ-07, AP-04 to AP-12, and SS-… of the signatures: docs/spec/requests-and-approvals.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from pki.errors import PolicyViolation
from policies.allowed_signers import AllowedSigners
from policies.approval import APPROVAL_NAMESPACE, Approval, decode_approval
from policies.object_request import ObjectRequest, decode_object_request
from policies.people import People, Person
from policies.refusals import StatementExpired
from policies.request import REQUEST_NAMESPACE, SigningRequest, decode_request
from policies.ssh_keys import SshPublicKey
from policies.sshsig import SshSignature, verify_ssh_signature
from policies.statement import format_time

LIFETIME_MAX = timedelta(days=31)
"""How far `not_after` may lie ahead when a statement is used: an old signature must not wait for a better day."""

APPROVALS_MAX = 16


class SignedStatement(msgspec.Struct, frozen=True):
    """A statement's file and its `.sig` file, as they were read."""

    statement: bytes
    signature: bytes


class AuthenticRequest(msgspec.Struct, frozen=True):
    """A request that its requester signed and may make. Only `authenticate_request` makes one."""

    request: SigningRequest
    requester: Person
    key_fingerprint: str
    is_hardware_backed: bool = False
    is_user_verified: bool = False


class AuthenticObjectRequest(msgspec.Struct, frozen=True):
    """A request for an object that its requester signed and may make. Only `authenticate_object_request` makes one."""

    request: ObjectRequest
    requester: Person
    key_fingerprint: str
    is_hardware_backed: bool = False
    is_user_verified: bool = False


AnyAuthenticRequest = AuthenticRequest | AuthenticObjectRequest
"""A request that approvals can be for."""


class AuthenticApproval(msgspec.Struct, frozen=True):
    """An approval that its approver signed and may give. Only `authenticate_approvals` makes one."""

    approval: Approval
    approver: Person
    key_fingerprint: str
    is_hardware_backed: bool = False
    is_user_verified: bool = False


def authenticate_request(
    signed: SignedStatement, signers: AllowedSigners, people: People, now: datetime
) -> AuthenticRequest:
    """The request, once its form, its requester, its time and its signature have passed, in this order.

    Raises Malformed RQ-01 to RQ-03; PolicyViolation RQ-04 (nobody), RQ-05 (no requester), RQ-07 (too far ahead),
    RQ-08 (the key speaks for somebody else too); StatementExpired RQ-06; and SS-… of the key and the signature.
    """
    request = decode_request(signed.statement)
    requester, made = _requested(request, signed, signers, people, now)
    return AuthenticRequest(request, requester, made.key.fingerprint, made.key.is_hardware_backed, made.user_verified)


def authenticate_object_request(
    signed: SignedStatement, signers: AllowedSigners, people: People, now: datetime
) -> AuthenticObjectRequest:
    """The same for a request for an object other than a package, under the same rules."""
    request = decode_object_request(signed.statement)
    requester, made = _requested(request, signed, signers, people, now)
    return AuthenticObjectRequest(
        request, requester, made.key.fingerprint, made.key.is_hardware_backed, made.user_verified
    )


def _requested(
    request: SigningRequest | ObjectRequest,
    signed: SignedStatement,
    signers: AllowedSigners,
    people: People,
    now: datetime,
) -> tuple[Person, SshSignature]:
    """RQ-04 to RQ-08 and SS-…, in this order."""
    requester = require_requester(request.requester, people)
    require_request_in_time(request.not_after, now)
    made = _verify(signed, requester, REQUEST_NAMESPACE, signers, now)
    _require_one_person(made.key, requester, signers, people, "RQ-08")
    return requester, made


def authenticate_approvals(
    request: AnyAuthenticRequest,
    approvals: Sequence[SignedStatement],
    signers: AllowedSigners,
    people: People,
    now: datetime,
) -> tuple[AuthenticApproval, ...]:
    """The approvals of this request, in the order given; one that does not count refuses them all.

    Raises what `authenticate_approval` raises of each; PolicyViolation AP-10 (a person twice), AP-11 (a key twice),
    AP-12 (too many). Whether they are enough is a question of policy.
    """
    if len(approvals) > APPROVALS_MAX:
        raise PolicyViolation("AP-12", f"more than {APPROVALS_MAX} approvals; give those that the policy asks for")
    people_seen: set[str] = set()
    keys_seen = {request.key_fingerprint}
    found = []
    for signed in approvals:
        approval = authenticate_approval(request, signed, signers, people, now)
        if approval.approver.id in people_seen:
            raise PolicyViolation("AP-10", f"{approval.approver.id!r} approves twice; one person counts once")
        if approval.key_fingerprint in keys_seen:
            raise PolicyViolation(
                "AP-11", f"key {approval.key_fingerprint} signed twice; each person signs with theirs"
            )
        people_seen.add(approval.approver.id)
        keys_seen.add(approval.key_fingerprint)
        found.append(approval)
    return tuple(found)


def authenticate_approval(
    request: AnyAuthenticRequest, signed: SignedStatement, signers: AllowedSigners, people: People, now: datetime
) -> AuthenticApproval:
    """One approval by itself, once form, request, approver, time and signature have passed, in this order.

    Raises Malformed AP-01 to AP-03; PolicyViolation AP-04 (nobody), AP-05 (no approver), AP-07 (too far ahead), AP-08
    (another request), AP-09 (one's own request), AP-11 (the key speaks for somebody else too); StatementExpired AP-06;
    and SS-… of the key and the signature.
    """
    approval = decode_approval(signed.statement)
    if approval.request_digest != request.request.digest:
        raise PolicyViolation(
            "AP-08", f"approves request {approval.request_digest.hex()}, not this one, {request.request.digest.hex()}"
        )
    approver = require_approver(approval.approver, request, people)
    require_approval_in_time(approval.not_after, now)
    made = _verify(signed, approver, APPROVAL_NAMESPACE, signers, now)
    _require_one_person(made.key, approver, signers, people, "AP-11")
    return AuthenticApproval(approval, approver, made.key.fingerprint, made.key.is_hardware_backed, made.user_verified)


def require_requester(person_id: str, people: People) -> Person:
    """The person, if they may ask. Raises PolicyViolation RQ-04, RQ-05."""
    person = people.find(person_id)
    if person is None:
        raise PolicyViolation("RQ-04", f"requester {person_id!r} is not in people.toml")
    if "requester" not in person.roles:
        raise PolicyViolation("RQ-05", f"{person.id!r} does not have the role requester")
    return person


def require_approver(person_id: str, request: AnyAuthenticRequest, people: People) -> Person:
    """The person, if they may approve this request. Raises PolicyViolation AP-04, AP-05, AP-09."""
    person = people.find(person_id)
    if person is None:
        raise PolicyViolation("AP-04", f"approver {person_id!r} is not in people.toml")
    if "approver" not in person.roles:
        raise PolicyViolation("AP-05", f"{person.id!r} does not have the role approver")
    if person.id == request.requester.id:
        raise PolicyViolation("AP-09", f"{person.id!r} asked for this signature and cannot approve it")
    return person


def require_request_in_time(not_after: datetime, now: datetime) -> None:
    """Raises StatementExpired RQ-06, PolicyViolation RQ-07."""
    _require_in_time(not_after, now, "request", ("RQ-06", "RQ-07"))


def require_approval_in_time(not_after: datetime, now: datetime) -> None:
    """Raises StatementExpired AP-06, PolicyViolation AP-07."""
    _require_in_time(not_after, now, "approval", ("AP-06", "AP-07"))


def _require_in_time(not_after: datetime, now: datetime, what: str, rule_ids: tuple[str, str]) -> None:
    expired, too_far = rule_ids
    if now > not_after:
        raise StatementExpired(expired, f"the {what} expired at {format_time(not_after)}; make a new one")
    if not_after > now + LIFETIME_MAX:
        raise PolicyViolation(
            too_far,
            f"the {what} would hold until {format_time(not_after)}; at most {LIFETIME_MAX.days} days are accepted",
        )


def _verify(
    signed: SignedStatement, person: Person, namespace: str, signers: AllowedSigners, now: datetime
) -> SshSignature:
    keys = signers.keys_for(person.id, namespace, now)
    return verify_ssh_signature(keys, namespace, signed.statement, signed.signature)


def _require_one_person(
    key: SshPublicKey, person: Person, signers: AllowedSigners, people: People, rule_id: str
) -> None:
    """A key that stands for two people stands for neither, whatever time or namespace the other line has."""
    others = sorted(name for name in signers.principals_of(key) if name != person.id and people.find(name) is not None)
    if others:
        raise PolicyViolation(rule_id, f"key {key.fingerprint} is listed for {person.id!r} and for {others[0]!r}")
