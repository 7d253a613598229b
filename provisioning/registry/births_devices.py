"""Devices as births make and change them: keys, certificates, states of life. Rules RG-10 to RG-14."""

from __future__ import annotations

from typing import NoReturn

from sqlalchemy import Connection

from pki.values import PublicKey
from provisioning.registry import tables
from provisioning.registry.births_known import Birth, Known, broken, device_keys, present
from provisioning.registry.device_state import DeviceState
from provisioning.registry.proofs import CertificateFacts
from provisioning.registry.rows import Changes, Row, next_id
from provisioning.station.records import BirthRecord
from rpc.objects.signed_status import SignedStatus
from signer.device_objects.common import Injection
from signer.device_objects.work_order import WorkOrder
from signer.store.stored_times import time_to_text


class BirthDevices:
    """The devices of one ledger's records. `known` is what the registry has about the block in hand."""

    def __init__(
        self, connection: Connection, order: WorkOrder, product_id: str, ledger: Row, changes: Changes
    ) -> None:
        self._order = order
        self._product_id = product_id
        self._ledger = ledger
        self._changes = changes
        self._next_device_id = next_id(connection, tables.devices)
        self._next_status_id = next_id(connection, tables.statuses)
        self.known = Known()

    def to_begin(self, record: BirthRecord) -> DeviceState:
        """The device that this record begins. RG-10 to RG-13: neither a clone, nor a second life of a living one."""
        known, uid = self.known, record.uid.hex()
        device = known.devices.get(known.id_of_uid.get(uid, 0))
        for point in device_keys(record):
            owner = known.owner_of_key.get(point.hex())
            if owner is not None and (device is None or owner != device.id):
                broken("RG-10", record, "has a key of another device: one of the two is a clone")
        if device is None:
            return self._new_device(record)
        if device.lifecycle in ("operational", "decommissioned", "scrapped"):
            refuse_second_life(record, device)
        identity = present(record.identity_public_key).hex()
        if device.row["identity_public_key"] not in (None, identity):
            broken(
                "RG-12",
                record,
                "has another identity key than before: a clone, or a device that was in service; then take its service "
                "order first (`strongroom registry import`)",
            )
        if device.row["identity_public_key"] is None and identity in known.owner_of_key:
            broken("RG-12", record, "has an identity key that it had destroyed")
        return device

    def _new_device(self, record: BirthRecord) -> DeviceState:
        row = dict.fromkeys(tables.devices.c.keys()) | {
            "id": self._next_device_id,
            "product_id": self._product_id,
            "uid": record.uid.hex(),
        }
        device = DeviceState(row, is_new=True)
        self._next_device_id += 1
        self.known.devices[device.id] = device
        self.known.id_of_uid[record.uid.hex()] = device.id
        return device

    def begin(self, device: DeviceState, record: BirthRecord, certificate: CertificateFacts) -> None:
        """It was counted: its row, keys and certificate. Raises RG-14."""
        at, evidence = time_to_text(record.at), record.hash.hex()
        identity = present(record.identity_public_key)
        made = present(record.made_agreement_public_key)
        device.set(
            serial=record.serial,
            lot=record.lot,
            hardware_revision=record.hardware_revision,
            order_id=self._ledger["order_id"],
            station=self._ledger["station"],
            sequence=record.sequence,
            begun_at=at,
            activated_at=None,
            protection=record.protection,
            identity_public_key=identity.hex(),
            agreement_public_key=made.hex(),
            heard_at=at,
        )
        device.set_lifecycle(self._changes, "locked", at, "birth", evidence)
        device.set_trust_bundle_version(present(record.trust_bundle_version), at)
        self._add_key(device, "identity", identity, at)
        self._add_key(device, "agreement", made, at)
        if certificate.serial_number in self.known.certificate_numbers:
            broken("RG-14", record, "has a certificate whose serial number another one has")
        self.known.certificate_numbers.add(certificate.serial_number)
        self._changes.insert(
            tables.certificates,
            {
                "sha256": certificate.sha256,
                "device_id": device.id,
                "issuer_spki_sha256": certificate.issuer_spki_sha256,
                "serial_number": certificate.serial_number,
                "der": present(record.certificate),
                "not_before": certificate.not_before,
                "not_after": certificate.not_after,
                "since": at,
                "until": None,
            },
        )

    def activate(self, device: DeviceState, record: BirthRecord, status: SignedStatus) -> None:
        """It said itself that it is operational. Raises RG-10, RG-11, RG-13."""
        if device.lifecycle != "locked":
            refuse_second_life(record, device)
        at, evidence = time_to_text(record.at), record.hash.hex()
        agreement = present(record.agreement_public_key)
        owner = self.known.owner_of_key.get(agreement.hex())
        if owner is not None and owner != device.id:
            broken("RG-10", record, "has a key of another device: one of the two is a clone")
        replaced = device.row["agreement_public_key"]
        if replaced is not None and replaced != agreement.hex():
            self._changes.update(
                tables.device_keys,
                ("device_id", "role", "public_key"),
                {"device_id": device.id, "role": "agreement", "public_key": replaced, "until": at},
            )
            self._add_key(device, "agreement", agreement, at)
        if self._order.inject & Injection.GROUP_KEY:
            self._add_key(device, "group", present(self._order.group_public_key).point, at)
        device.set(
            serial=record.serial,
            lot=record.lot,
            order_id=self._ledger["order_id"],
            station=self._ledger["station"],
            sequence=record.sequence,
            activated_at=at,
            agreement_public_key=agreement.hex(),
        )
        device.set_lifecycle(self._changes, "operational", at, "birth", evidence)
        device.hear(self._changes, status, at, evidence)
        self._changes.insert(
            tables.statuses,
            {
                "id": self._next_status_id,
                "device_id": device.id,
                "digest": status.digest.value.hex(),
                "nonce": status.nonce.hex(),
                "signed": status.raw,
                "at": at,
            },
        )
        self._next_status_id += 1

    def _add_key(self, device: DeviceState, role: str, point: bytes, at: str) -> None:
        """A key of a device, unless it is known as this device's."""
        public_key = point.hex()
        if role != "group":
            if self.known.owner_of_key.get(public_key) == device.id:
                return
            self.known.owner_of_key[public_key] = device.id
        key_id = PublicKey(point).key_id.hex()
        row = {"device_id": device.id, "role": role, "public_key": public_key, "key_id": key_id, "since": at}
        self._changes.insert(tables.device_keys, row | {"until": None})

    def is_its_newest_life(self, device: DeviceState, birth: Birth) -> bool:
        """Whether no other ledger has begun it since."""
        mine = (self._ledger["order_id"], self._ledger["station"], birth.row["sequence"])
        return mine == (device.row["order_id"], device.row["station"], device.row["sequence"])


def refuse_second_life(record: BirthRecord, device: DeviceState) -> NoReturn:
    """RG-11, RG-13: a device lives once, until a service order ends it."""
    if device.lifecycle == "operational":
        broken(
            "RG-11",
            record,
            f"is of a device that is operational by order {device.row['order_id']}: take the service order that ended "
            "that life first (`strongroom registry import`)",
        )
    broken("RG-13", record, f"is of a device that is {device.lifecycle}")
