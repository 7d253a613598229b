"""The record of one signature: what evidence is made of later, kept on the shelf beside the package."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pki.canonical_json import encode_canonical, parse_canonical
from pki.errors import FormatError, PolicyViolation
from policies.authentication import SignedStatement
from signer.service.admission import Admitted
from signer.service.evidence import APPROVALS_MAX, Count, Kind, ProductIdHex, Sha256Hex, SignedText, SignerFacts
from signer.service.shelf import RECORD_SIZE_BYTES_MAX
from signer.service.values import SignOrder


class SigningRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Statements, decision and package of one request. Names are the JSON keys."""

    type: Literal["strongroom-signing-record-1"] = "strongroom-signing-record-1"
    request: SignedText
    approvals: Annotated[tuple[SignedText, ...], msgspec.Meta(max_length=APPROVALS_MAX)]
    approvers: tuple[str, ...]
    requester: str
    allowed_signers: str
    policy_digest: Sha256Hex
    policy_ids: tuple[str, ...]
    head_digest: Sha256Hex
    kind: Kind
    product: str
    product_id: ProductIdHex
    version: str
    security_version: Count
    target: str
    sbom_digest: Sha256Hex | None
    signers: Annotated[tuple[SignerFacts, ...], msgspec.Meta(min_length=1, max_length=2)]
    key_labels: tuple[str, ...]
    package_digest: Sha256Hex
    package_size_bytes: Count
    intent_index: Count

    def encode(self) -> bytes:
        """The canonical bytes."""
        return encode_canonical(msgspec.to_builtins(self))


def decode_record(data: bytes) -> SigningRecord:
    """Read a record of the shelf. Raises PolicyViolation SV-31 for anything that `encode` does not write."""
    try:
        return msgspec.convert(parse_canonical(data, "signing record", RECORD_SIZE_BYTES_MAX), SigningRecord)
    except (FormatError, msgspec.ValidationError) as error:
        raise PolicyViolation("SV-31", f"a record on the shelf is damaged: {error}; restore store/signed/") from None


def signed_text(signed: SignedStatement) -> SignedText:
    """A verified statement as text: it is canonical JSON, its signature ASCII armour."""
    return SignedText(signed.statement.decode("utf-8"), signed.signature.decode("ascii"))


def record_of(
    order: SignOrder, admitted: Admitted, allowed_signers: str, package: tuple[bytes, int], intent_index: int
) -> SigningRecord:
    """The record of an order that was signed. `package`: SHA-256 and size in bytes of the finished file."""
    request = admitted.request.request
    signed = zip(admitted.approvals, order.approvals, strict=True)
    by_approver = sorted(signed, key=lambda pair: pair[0].approver.id)
    return SigningRecord(
        request=signed_text(order.request),
        approvals=tuple(signed_text(statement) for _, statement in by_approver),
        approvers=tuple(admitted.approvers),
        requester=request.requester,
        allowed_signers=allowed_signers,
        policy_digest=request.policy_digest.hex(),
        policy_ids=admitted.decision.policy_ids,
        head_digest=request.head_digest.hex(),
        kind=request.kind,
        product=request.product,
        product_id=request.product_id,
        version=request.version,
        security_version=request.security_version,
        target=request.target,
        sbom_digest=None if request.sbom_digest is None else request.sbom_digest.hex(),
        signers=tuple(SignerFacts(key.public_key.key_id.hex(), key.public_key.spki.hex()) for key in admitted.keys),
        key_labels=tuple(sorted(key.label for key in admitted.keys)),
        package_digest=package[0].hex(),
        package_size_bytes=package[1],
        intent_index=intent_index,
    )
