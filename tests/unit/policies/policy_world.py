"""Shipped policies, questions and authentic statements for tests of decisions. Signatures are made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from policies.approval import Approval
from policies.authentication import AuthenticApproval, AuthenticRequest
from policies.facts import KeyFact, LastRelease, PolicyFacts, SignatureCounts
from policies.people import Person
from policies.policy_set import PolicySet
from policies.question import Approver, PolicyQuestion
from policies.request import SigningRequest

ROOT = Path(__file__).resolve().parents[3]
DEFAULTS = ROOT / "policies" / "defaults"
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
KEY_ID = bytes(range(8))
_ROLES = {"application": "application-release", "bootloader": "bootloader-release", "factory-test": "production"}


@cache
def default_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(DEFAULTS.iterdir())}


@cache
def default_set() -> PolicySet:
    return PolicySet.of(default_files())


def files_with(**changes: bytes | str | None) -> dict[str, bytes]:
    """The shipped files, some changed or (None) removed; `__` in a keyword stands for the dot of the name."""
    files = dict(default_files())
    for keyword, content in changes.items():
        name = keyword.replace("__", ".")
        if content is None:
            files.pop(name)
        else:
            files[name] = content.encode() if isinstance(content, str) else content
    return files


def person(name: str, *groups: str, roles: Sequence[str] = ("requester", "approver")) -> Person:
    return Person(id=name, name=name, roles=list(roles), groups=list(groups))  # type: ignore[arg-type]


ADA = person("ada", "engineering", roles=["requester"])
EVE = person("eve", "engineering", roles=["approver"])
QUINN = person("quinn", "quality", roles=["approver"])
SAM = person("sam", "security", roles=["approver"])


def question(**changes: Any) -> PolicyQuestion:
    """An application in production that the shipped policies allow, with some fields changed."""
    fields: dict[str, Any] = {
        "action": "sign-application",
        "environment": "production",
        "product": "pump-x2",
        "requester": ADA,
        "requester_is_hardware_backed": False,
        "approvers": (Approver(EVE), Approver(QUINN)),
        "key_role": "application-release",
        "target": "any",
        "version_order": "newer",
        "security_version": 4,
        "last_security_version": 4,
        "sbom": True,
        "tests": True,
        "freeze_windows": (),
        "signed": SignatureCounts(),
    }
    return PolicyQuestion(**{**fields, **changes})


def request(requester: Person = ADA, policy_set: PolicySet | None = None, **changes: Any) -> AuthenticRequest:
    """An authentic request for the same, with some fields changed."""
    kind = changes.get("kind", "application")
    fields: dict[str, Any] = {
        "environment": "production",
        "head_digest": b"\x01" * 32,
        "image_digest": b"\x02" * 32,
        "kind": kind,
        "product": "pump-x2",
        "product_id": "6f1a4b7e3c524d0e9b7d0a3c5e8f1d24",
        "version": "1.3.0",
        "security_version": 4,
        "target": "any",
        "key_ids": (KEY_ID, b"\xff" * 8) if kind == "bootloader" else (KEY_ID,),
        "sbom_digest": b"\x03" * 32,
        "test_evidence_digest": b"\x04" * 32,
        "not_after": NOW + timedelta(days=1),
        "policy_digest": (policy_set or default_set()).digest,
        "requester": requester.id,
    }
    return AuthenticRequest(SigningRequest(**{**fields, **changes}), requester, "SHA256:requester")


def approval(asked: AuthenticRequest, approver: Person) -> AuthenticApproval:
    statement = Approval(request_digest=asked.request.digest, approver=approver.id, not_after=NOW + timedelta(days=1))
    return AuthenticApproval(statement, approver, f"SHA256:{approver.id}")


def facts(asked: AuthenticRequest, **changes: Any) -> PolicyFacts:
    """Facts that fit the request, with some changed."""
    role = _ROLES[asked.request.kind]
    fields: dict[str, Any] = {
        "environment": asked.request.environment,
        "keys": tuple(KeyFact(key_id, f"sr:{role}:pump-x2:0001", role, "pump-x2") for key_id in asked.request.key_ids),
        "last_release": LastRelease("1.2.0", 4),
        "sbom_present": True,
        "test_evidence_present": True,
        "signed": SignatureCounts(),
    }
    return PolicyFacts(**{**fields, **changes})


replace = msgspec.structs.replace
