"""What a birth record proves by itself: activation, certificate, receipt and status, each by the key it belongs to.

Rules BR-07, BR-08 (as far as one record shows it), RG-05 to RG-08. No database is asked.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from pki.chain import Purpose, VerifiedChain, check_issued, hardware_module_name
from pki.device_identity import uid_of_certificate
from pki.errors import FormatError, PolicyViolation, StrongroomError
from pki.values import PublicKey
from provisioning.registry.births_file import TakenRecord
from provisioning.registry.errors import NotAuthentic, refused
from provisioning.station.records import BirthEvent, BirthRecord
from rpc.objects.lifecycle import OPERATIONAL
from rpc.objects.receipt import Receipt
from rpc.objects.signed_status import SignedStatus
from signer.device_objects.activation import Activation, parse_activation
from signer.device_objects.work_order import WorkOrder
from signer.signing_key import require_on_curve
from signer.store.stored_times import time_to_text

_Value = TypeVar("_Value")

CLOCK_TOLERANCE = timedelta(hours=1)
"""How far a station's clock may be ahead of the registry's."""


class CertificateFacts(msgspec.Struct, frozen=True):
    """What the registry lists of a certificate; `serial_number` in lower-case hexadecimal digits."""

    sha256: str
    issuer_spki_sha256: str
    serial_number: str
    not_before: str
    not_after: str


class ProvenRecord(msgspec.Struct, frozen=True):
    """A record whose own proofs hold."""

    taken: TakenRecord
    certificate: CertificateFacts | None = None


class RecordProofs:
    """Checks the records of one order; `issuer` is its issuing CA, verified."""

    def __init__(self, order: WorkOrder, issuer: VerifiedChain, now: datetime) -> None:
        self._order = order
        self._order_digest = order.digest.value
        self._issuer = issuer
        self._latest = now + CLOCK_TOLERANCE
        self._last_certificate: tuple[bytes, CertificateFacts] | None = None

    def prove(self, taken: TakenRecord) -> ProvenRecord:
        """Raises PolicyViolation BR-07, BR-08, RG-06 to RG-08; NotAuthentic BR-07, BR-08, RG-05."""
        record = taken.record
        if record.at > self._latest:
            raise refused("RG-08", f"birth record {record.number} is of {record.at.isoformat()}, which is yet to come")
        if record.event in (BirthEvent.BEGUN, BirthEvent.RENEWED):
            self._require_ordered(record)
            activation = self._proven_activation(record)
            _require_says_the_same(record, activation, self._order)
            return ProvenRecord(taken, self._proven_certificate(record))
        if record.event is BirthEvent.ACTIVATED:
            _require_activated(record, self._order)
        return ProvenRecord(taken)

    def _require_ordered(self, record: BirthRecord) -> None:
        """RG-06: the order is for such a device. RG-07: and for that time."""
        order = self._order
        is_ordered = (
            record.product_id == order.product_id
            and record.lot == order.lot
            and order.hardware_revision_min <= record.hardware_revision <= order.hardware_revision_max
            and _present(record.trust_bundle_version) >= order.trust_bundle_version_min
            and not order.protection_required & ~_present(record.protection)
        )
        if not is_ordered:
            raise refused(
                "RG-06",
                f"birth record {record.number}: the order is not for this device (product, lot, hardware revision, "
                "protection or trust bundle)",
            )
        if not order.not_before <= int(record.at.timestamp()) <= order.not_after:
            raise refused("RG-07", f"birth record {record.number}: {record.at.isoformat()} is outside the order's time")

    def _proven_activation(self, record: BirthRecord) -> Activation:
        try:
            signed = parse_activation(_present(record.activation))
            signed.verify(self._order.lot_public_key)
        except FormatError as error:
            raise refused("BR-07", f"birth record {record.number}: {error}") from None
        except StrongroomError as error:
            raise NotAuthentic("BR-07", f"birth record {record.number}: its activation: {error}") from None
        if signed.digest.value != record.activation_digest:
            raise refused("BR-07", f"birth record {record.number} names another digest than its activation's")
        return signed.activation

    def _proven_certificate(self, record: BirthRecord) -> CertificateFacts:
        """RG-05: an identity certificate by the order's CA, for this key and this device."""
        der = _present(record.certificate)
        if self._last_certificate is not None and self._last_certificate[0] == der:
            return self._last_certificate[1]
        try:
            verified = check_issued(der, self._issuer, record.at, Purpose.DEVICE_IDENTITY)
        except StrongroomError as error:
            raise NotAuthentic("RG-05", f"birth record {record.number}: its certificate is refused: {error}") from None
        if verified.public_key.point != record.identity_public_key:
            raise refused("RG-05", f"birth record {record.number}: the certificate is not for the device's key")
        name = hardware_module_name(verified.certificate)
        serial_number = (record.serial or record.uid.hex()).encode("ascii")
        named = uid_of_certificate(verified.certificate)
        if name is None or name.serial_number != serial_number or named != record.uid:
            raise refused("RG-05", f"birth record {record.number}: the certificate names another device")
        certificate = verified.certificate
        facts = CertificateFacts(
            sha256=hashlib.sha256(der).hexdigest(),
            issuer_spki_sha256=self._issuer.public_key.spki_sha256.hex(),
            serial_number=f"{certificate.serial_number:x}",
            not_before=time_to_text(certificate.not_valid_before_utc),
            not_after=time_to_text(certificate.not_valid_after_utc),
        )
        self._last_certificate = (der, facts)
        return facts


def _require_says_the_same(record: BirthRecord, activation: Activation, order: WorkOrder) -> None:
    """BR-07: the activation is for what the record says."""
    made = _present(record.made_agreement_public_key)
    in_force = made if activation.agreement_key is None else activation.agreement_key.public_key.point
    pairs = (
        (activation.uid, record.uid),
        (activation.order_digest, record.order_digest),
        (activation.station, record.station),
        (activation.sequence, record.sequence),
        (activation.identity_key_digest, hashlib.sha256(_present(record.identity_public_key)).digest()),
        (activation.agreement_key_digest, hashlib.sha256(made).digest()),
        (activation.certificate_digest, hashlib.sha256(_present(record.certificate)).digest()),
        (activation.serial, record.serial),
        (activation.injected, order.inject),
        (activation.trust_bundle_version, record.trust_bundle_version),
        (in_force, record.agreement_public_key),
    )
    if any(said != written for said, written in pairs):
        raise refused("BR-07", f"birth record {record.number}: its activation does not say what the record says")
    for what, point in (("identity", record.identity_public_key), ("agreement", made), ("agreement", in_force)):
        _require_point(record, what, _present(point))


def _require_point(record: BirthRecord, what: str, point: bytes) -> None:
    try:
        require_on_curve(PublicKey(point), f"the {what} key")
    except StrongroomError as error:
        raise refused("BR-07", f"birth record {record.number}: {error}") from None


def _require_activated(record: BirthRecord, order: WorkOrder) -> None:
    """BR-08: the device itself says that it is OPERATIONAL by this activation, and so does its receipt."""
    identity = PublicKey(_present(record.identity_public_key))
    try:
        status = SignedStatus.parse(_present(record.signed_status))
        status.verify(identity, _present(record.status_nonce))
        receipt = None if record.receipt is None else Receipt.parse(record.receipt)
        if receipt is not None:
            receipt.verify(identity)
    except FormatError as error:
        raise refused("BR-08", f"birth record {record.number}: {error}") from None
    except PolicyViolation:
        raise
    except StrongroomError as error:
        raise NotAuthentic("BR-08", f"birth record {record.number}: {error}") from None
    pairs = [
        (status.uid, record.uid),
        (status.product_id, order.product_id),
        (status.order_id, order.order_id),
        (status.activation_digest, record.activation_digest),
        (status.lifecycle, OPERATIONAL),
        (int(status.protection), record.protection),
        (status.trust_bundle_version, record.trust_bundle_version),
        (status.identity_key_id, identity.key_id),
    ]
    if receipt is not None:
        pairs += [
            (receipt.uid, record.uid),
            (receipt.object_digest, record.activation_digest),
            (receipt.lifecycle, OPERATIONAL),
            (receipt.agreement_public_key, record.agreement_public_key),
        ]
    if any(said != written for said, written in pairs):
        raise refused("BR-08", f"birth record {record.number}: status or receipt do not say what the record says")


def _present(value: _Value | None) -> _Value:
    """A field that the record's event demands."""
    assert value is not None  # noqa: S101 (BirthRecord has checked it)
    return value
