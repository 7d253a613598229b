"""The signatures that birth records carry: BR-04, BR-07, and the signed half of BR-08 (docs/spec/birth-record.md).

A ledger is built without them, at each start, since it is the station's own; here they are verified, each one.
"""

from __future__ import annotations

from pki.errors import FormatError, PolicyViolation, VerificationError
from pki.values import Digest, PublicKey
from provisioning.station.ledger import verify_record
from provisioning.station.records import BirthEvent, BirthRecord, SignedRecord
from rpc.objects.lifecycle import OPERATIONAL
from rpc.objects.receipt import Receipt
from rpc.objects.signed_status import SignedStatus
from signer.device_objects.activation import parse_activation
from signer.device_objects.work_order import SignedWorkOrder


def verify_proofs(signed: SignedRecord, order: SignedWorkOrder, station_key: PublicKey) -> None:
    """Verify everything that the record can prove by itself. Raises PolicyViolation BR-04, BR-07, BR-08."""
    verify_record(signed, station_key)
    record = signed.record
    if record.event in (BirthEvent.BEGUN, BirthEvent.RENEWED):
        _verify_activation(record, order)
    elif record.event is BirthEvent.ACTIVATED:
        _verify_activated(record)


def _verify_activation(record: BirthRecord, order: SignedWorkOrder) -> None:
    assert record.activation and record.identity_public_key and record.certificate  # noqa: S101, PT018 (BR-01)
    assert record.made_agreement_public_key  # noqa: S101
    try:
        signed = parse_activation(record.activation)
        signed.verify(order.order.lot_public_key)
    except (FormatError, VerificationError) as error:
        raise _refused("BR-07", record, str(error)) from None
    activation = signed.activation
    in_force = (
        record.made_agreement_public_key
        if activation.agreement_key is None
        else activation.agreement_key.public_key.point
    )
    pairs = (
        (signed.digest.value, record.activation_digest),
        (activation.uid, record.uid),
        (activation.order_digest, record.order_digest),
        (activation.station, record.station),
        (activation.sequence, record.sequence),
        (activation.serial, record.serial),
        (activation.trust_bundle_version, record.trust_bundle_version),
        (activation.identity_key_digest, Digest.of(record.identity_public_key).value),
        (activation.agreement_key_digest, Digest.of(record.made_agreement_public_key).value),
        (activation.certificate_digest, Digest.of(record.certificate).value),
        (in_force, record.agreement_public_key),
        (activation.injected, order.order.inject),
    )
    if any(said != recorded for said, recorded in pairs):
        raise _refused("BR-07", record, "the activation says something else than the record")


def _verify_activated(record: BirthRecord) -> None:
    assert record.identity_public_key and record.signed_status and record.status_nonce  # noqa: S101, PT018 (BR-01)
    key = PublicKey(record.identity_public_key)
    try:
        status = SignedStatus.parse(record.signed_status)
        status.verify(key, record.status_nonce)
        said = [(status.uid, status.lifecycle, status.activation_digest, status.order_id)]
        if record.receipt is not None:
            receipt = Receipt.parse(record.receipt)
            receipt.verify(key)
            said.append((receipt.uid, receipt.lifecycle, receipt.object_digest, record.order_id))
    except (FormatError, VerificationError) as error:
        raise _refused("BR-08", record, str(error)) from None
    if any(item != (record.uid, OPERATIONAL, record.activation_digest, record.order_id) for item in said):
        raise _refused("BR-08", record, "status or receipt say something else than the record")


def _refused(rule_id: str, record: BirthRecord, fault: str) -> PolicyViolation:
    return PolicyViolation(rule_id, f"birth record {record.number} (UID {record.uid.hex()}): {fault}")
