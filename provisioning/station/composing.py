"""Makes birth records for their place in the ledger, and signs the activation that goes into one."""

from __future__ import annotations

from typing import Any

from pki.values import Digest, PublicKey
from provisioning.station.boards import Board
from provisioning.station.facts import ChallengeFacts, StatusFacts
from provisioning.station.injecting import Injected
from provisioning.station.ledger import Place
from provisioning.station.records import BirthEvent, BirthRecord
from provisioning.station.rules import Rule, refused
from signer.device_objects.activation import Activation
from signer.device_objects.work_order import SignedWorkOrder
from signer.signing_key import SigningKey, sign_verified


class Composer:
    """Makes the records of one order at one station."""

    def __init__(self, order: SignedWorkOrder, station: bytes, lot_key: SigningKey) -> None:
        self._order = order
        self._station = station
        self._lot_key = lot_key

    def issued(
        self,
        event: BirthEvent,
        challenge: ChallengeFacts,
        place: Place,
        sequence: int,
        serial: str,
        certificate: bytes,
        injected: Injected,
    ) -> BirthRecord:
        """A *begun* or *renewed* record, with the activation that it permits to be sent. Raises TokenError."""
        identity, made = keys_of(challenge)
        activation = Activation(
            uid=challenge.uid,
            nonce=challenge.nonce,
            order_digest=self._order.digest.value,
            station=self._station,
            sequence=sequence,
            trust_bundle_version=challenge.trust_bundle_version,
            identity_key_digest=Digest.of(identity.point).value,
            agreement_key_digest=Digest.of(made.point).value,
            certificate_digest=Digest.of(certificate).value,
            serial=serial,
            group_key=injected.group_key,
            agreement_key=injected.agreement_key,
        )
        signature = sign_verified(self._lot_key, activation.digest)
        return BirthRecord(
            **self._common(event, place, challenge),
            identity_public_key=identity.point,
            sequence=sequence,
            serial=serial,
            protection=int(challenge.protection),
            trust_bundle_version=challenge.trust_bundle_version,
            made_agreement_public_key=made.point,
            agreement_public_key=injected.agreement_key_in_force(made).point,
            certificate=certificate,
            activation=activation.signed(signature),
            activation_digest=activation.digest.value,
        )

    def activated(
        self, challenge: ChallengeFacts, place: Place, issued: BirthRecord, status: StatusFacts, receipt: bytes | None
    ) -> BirthRecord:
        """The device of an *issued* record is OPERATIONAL, says its status."""
        return BirthRecord(
            **self._common(BirthEvent.ACTIVATED, place, challenge),
            identity_public_key=issued.identity_public_key,
            sequence=issued.sequence,
            serial=issued.serial,
            protection=int(status.protection),
            trust_bundle_version=status.trust_bundle_version,
            agreement_public_key=issued.agreement_public_key,
            activation_digest=issued.activation_digest,
            receipt=receipt,
            status_nonce=status.nonce,
            signed_status=status.raw,
        )

    def failed(self, challenge: ChallengeFacts, place: Place, board: Board | None, rule: Rule) -> BirthRecord:
        """A refusal; what was counted stays counted."""
        identity = challenge.identity_public_key
        return BirthRecord(
            **self._common(BirthEvent.FAILED, place, challenge),
            reason=rule.value,
            **_counted_as(board, None if identity is None else identity.point),
        )

    def scrapped(
        self, uid: bytes, hardware_revision: int, place: Place, board: Board | None, reason: str
    ) -> BirthRecord:
        """The end of a board. Raises PolicyViolation BR-01 for a reason that no record holds."""
        return BirthRecord(
            **self._where(BirthEvent.SCRAPPED, place),
            uid=uid,
            product_id=self._order.order.product_id,
            lot=self._order.order.lot,
            hardware_revision=hardware_revision,
            reason=reason,
            **_counted_as(board, None),
        )

    def _common(self, event: BirthEvent, place: Place, challenge: ChallengeFacts) -> dict[str, Any]:
        return {
            **self._where(event, place),
            "uid": challenge.uid,
            "product_id": challenge.product_id,
            "lot": challenge.lot,
            "hardware_revision": challenge.hardware_revision,
        }

    def _where(self, event: BirthEvent, place: Place) -> dict[str, Any]:
        return {
            "order_id": self._order.order.order_id,
            "order_digest": self._order.digest.value,
            "station": self._station,
            "number": place.number,
            "previous": place.previous,
            "at": place.at,
            "event": event,
        }


def keys_of(challenge: ChallengeFacts) -> tuple[PublicKey, PublicKey]:
    """Identity and agreement key of a device that has both. Raises PolicyViolation ST-35."""
    identity, agreement = challenge.identity_public_key, challenge.agreement_public_key
    if identity is None or agreement is None:
        raise refused(Rule.NO_KEYS, "the board has no keys; its option bytes are not as its board file demands")
    return identity, agreement


def _counted_as(board: Board | None, identity_public_key: bytes | None) -> dict[str, Any]:
    """What a failure or an end says of a device: what was begun with it, or the key that it showed."""
    if board is None or board.sequence is None:
        return {"identity_public_key": identity_public_key}
    return {
        "identity_public_key": board.identity_public_key,
        "sequence": board.sequence,
        "serial": board.serial,
        "activation_digest": board.activation_digest,
    }
