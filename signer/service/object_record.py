"""The record of one object's signature, kept on the shelf beside it: who asked, who agreed, what decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from pki.canonical_json import encode_canonical
from policies.object_request import Fact
from signer.service.evidence import APPROVALS_MAX, Count, KeyIdHex, ProductIdHex, Sha256Hex, SignedText, SpkiHex
from signer.service.record import signed_text

if TYPE_CHECKING:
    from signer.service.object_admission import AdmittedObject
    from signer.service.objects import ObjectOrder


class ObjectRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Statements, decision and object of one request. Names are the JSON keys."""

    type: Literal["strongroom-object-record-1"] = "strongroom-object-record-1"
    request: SignedText
    approvals: Annotated[tuple[SignedText, ...], msgspec.Meta(max_length=APPROVALS_MAX)]
    approvers: tuple[str, ...]
    requester: str
    allowed_signers: str
    policy_digest: Sha256Hex
    policy_ids: tuple[str, ...]
    object_digest: Sha256Hex
    kind: str
    product: str
    product_id: ProductIdHex
    facts: dict[str, Fact]
    signer_key_id: KeyIdHex
    signer_public_key: SpkiHex
    key_label: str
    signed_object_digest: Sha256Hex
    signed_object_size_bytes: Count
    intent_index: Count


def object_record(
    order: ObjectOrder,
    admitted: AdmittedObject,
    allowed_signers: str,
    artefact: tuple[bytes, int],
    intent_index: int,
) -> bytes:
    """The canonical bytes of the record. `artefact`: SHA-256 and size in bytes of the signed object."""
    request = admitted.request.request
    signed = zip(admitted.approvals, order.approvals, strict=True)
    by_approver = sorted(signed, key=lambda pair: pair[0].approver.id)
    key = admitted.key.public_key
    record = ObjectRecord(
        request=signed_text(order.request),
        approvals=tuple(signed_text(statement) for _, statement in by_approver),
        approvers=tuple(admitted.approvers),
        requester=request.requester,
        allowed_signers=allowed_signers,
        policy_digest=request.policy_digest.hex(),
        policy_ids=admitted.decision.policy_ids,
        object_digest=request.object_digest.hex(),
        kind=request.kind,
        product=request.product,
        product_id=request.product_id,
        facts=request.facts,
        signer_key_id=key.key_id.hex(),
        signer_public_key=key.spki.hex(),
        key_label=admitted.key.label,
        signed_object_digest=artefact[0].hex(),
        signed_object_size_bytes=artefact[1],
        intent_index=intent_index,
    )
    return encode_canonical(msgspec.to_builtins(record))
