"""The approval: one person agrees to one request, named by its digest.

The statement's form and rules AP-01 to AP-03: docs/spec/requests-and-approvals.md.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Literal

import msgspec

from pki.canonical_json import encode_canonical
from policies.names import is_slug
from policies.refusals import Malformed
from policies.statement import (
    DIGEST_SIZE_BYTES,
    format_time,
    parse_hex,
    parse_statement,
    parse_text,
    parse_time,
    require_size,
    require_time,
)

APPROVAL_TYPE = "strongroom-approval-1"
APPROVAL_NAMESPACE = "strongroom-approval-v1"


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """An approval of the request whose encoding has this SHA-256. ValueError for what its encoding could not carry."""

    request_digest: bytes
    approver: str
    not_after: datetime
    decision: Literal["approve"] = "approve"

    def __post_init__(self) -> None:
        require_size(self.request_digest, DIGEST_SIZE_BYTES, "request_digest")
        if not is_slug(self.approver):
            raise ValueError("`approver` must be a name: lower-case letters, digits and inner hyphens")
        require_time(self.not_after, "not_after")
        if self.decision != "approve":
            raise ValueError("`decision` must be approve: there is no other")

    def fields(self) -> dict[str, Any]:
        """The statement as a JSON object."""
        return {
            "type": APPROVAL_TYPE,
            "request_digest": self.request_digest.hex(),
            "approver": self.approver,
            "not_after": format_time(self.not_after),
            "decision": self.decision,
        }

    def encode(self) -> bytes:
        """The bytes that the approver signs."""
        return encode_canonical(self.fields())

    @property
    def digest(self) -> bytes:
        """SHA-256 of the encoding, 32 bytes."""
        return hashlib.sha256(self.encode()).digest()


FIELD_NAMES = ("type", *Approval.__struct_fields__)


def decode_approval(data: bytes) -> Approval:
    """Read an approval strictly; nothing in it has been verified yet. Raises Malformed AP-01, AP-02, AP-03."""
    fields = parse_statement(data, "AP", APPROVAL_TYPE, FIELD_NAMES)
    try:
        decision: Any = parse_text(fields["decision"], "decision")
        approval = Approval(
            request_digest=parse_hex(fields["request_digest"], "request_digest"),
            approver=parse_text(fields["approver"], "approver"),
            not_after=parse_time(fields["not_after"], "not_after"),
            decision=decision,
        )
    except ValueError as error:
        raise Malformed("AP-03", "approval", str(error)) from None
    if approval.fields() != fields:
        raise Malformed("AP-03", "approval", "a value is not in its one form")
    return approval
