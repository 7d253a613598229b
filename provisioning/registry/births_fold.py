"""What a station's records say about each device, taken into the registry record by record.

Rules BR-05, BR-06, BR-08, BR-09 against what this ledger said before; RG-10 to RG-14 against every other ledger, order
and service order. A block of records is judged in memory; its rows are written together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from sqlalchemy import Connection

from pki.values import PublicKey
from provisioning.registry import tables
from provisioning.registry.device_state import DeviceState, load_devices
from provisioning.registry.errors import refused
from provisioning.registry.proofs import CertificateFacts, ProvenRecord
from provisioning.registry.rows import Changes, Row, next_id, rows_where
from provisioning.station.records import BirthEvent, BirthRecord
from rpc.objects.signed_status import SignedStatus
from signer.device_objects.common import Injection
from signer.device_objects.work_order import WorkOrder
from signer.store.stored_times import time_to_text

_Value = TypeVar("_Value")


@dataclass(slots=True)
class Birth:
    """One UID in this ledger: its row of `births`."""

    row: Row
    is_new: bool
    is_changed: bool = False

    @property
    def is_counted(self) -> bool:
        """Whether it has a sequence."""
        return self.row["sequence"] is not None

    @property
    def waits(self) -> bool:
        """Counted, and neither activated nor scrapped."""
        return self.is_counted and self.row["state"] in ("begun", "failed")

    def set(self, **values: object) -> None:
        """Change columns of its row."""
        self.row.update(values)
        self.is_changed = True


@dataclass(slots=True)
class _Known:
    """What the registry has about the devices of a block."""

    births: dict[str, Birth] = field(default_factory=dict)
    uid_of_serial: dict[str, str] = field(default_factory=dict)
    activations: dict[str, Row] = field(default_factory=dict)
    devices: dict[int, DeviceState] = field(default_factory=dict)
    id_of_uid: dict[str, int] = field(default_factory=dict)
    owner_of_key: dict[str, int] = field(default_factory=dict)
    certificate_numbers: set[str] = field(default_factory=set)


class BirthsFold:
    """Takes the records of one ledger in order, block by block. `ledger` is its row, kept up to date."""

    def __init__(self, connection: Connection, order: WorkOrder, product_id: str, ledger: Row) -> None:
        self._connection = connection
        self._order = order
        self._product_id = product_id
        self.ledger = ledger
        self._next_device_id = next_id(connection, tables.devices)
        self._next_status_id = next_id(connection, tables.statuses)
        self._known = _Known()
        self._changes = Changes()

    def take(self, block: Sequence[ProvenRecord]) -> None:
        """Judge a block and write its rows. Raises PolicyViolation BR-…, RG-…."""
        self._known = self._load([proven.taken.record for proven in block])
        self._load_certificate_numbers([proven.certificate for proven in block if proven.certificate is not None])
        for proven in block:
            record = proven.taken.record
            _TAKERS[record.event](self, proven)
            self._insert_record(proven)
            self.ledger.update(last_number=record.number, head=proven.taken.hash.hex(), last_at=time_to_text(record.at))
        for birth in self._known.births.values():
            if birth.is_new:
                self._changes.insert(tables.births, birth.row)
            elif birth.is_changed:
                self._changes.update(tables.births, ("ledger_id", "uid"), birth.row)
        for device in self._known.devices.values():
            device.write(self._changes)
        self._changes.write(self._connection)

    # What is known

    def _load(self, records: Sequence[BirthRecord]) -> _Known:
        connection, known, ledger_id = self._connection, _Known(), self.ledger["id"]
        uids = {record.uid.hex() for record in records}
        births = tables.births.c
        for row in rows_where(connection, tables.births, births.uid, uids, births.ledger_id == ledger_id):
            known.births[row["uid"]] = Birth(row, is_new=False)
        serials = {record.serial for record in records if record.serial}
        for row in rows_where(connection, tables.births, births.serial, serials, births.ledger_id == ledger_id):
            known.uid_of_serial[row["serial"]] = row["uid"]
        digests = {record.activation_digest.hex() for record in records if record.activation_digest is not None}
        for row in rows_where(connection, tables.activations, tables.activations.c.digest, digests):
            known.activations[row["digest"]] = row
        devices = tables.devices.c
        found = rows_where(connection, tables.devices, devices.uid, uids, devices.product_id == self._product_id)
        known.devices = load_devices(connection, found)
        known.id_of_uid = {device.row["uid"]: device.id for device in known.devices.values()}
        points = {point.hex() for record in records for point in _device_keys(record)}
        keys = tables.device_keys.c
        for row in rows_where(connection, tables.device_keys, keys.public_key, points, keys.role != "group"):
            known.owner_of_key[row["public_key"]] = row["device_id"]
        return known

    def _load_certificate_numbers(self, certificates: Sequence[CertificateFacts]) -> None:
        column = tables.certificates.c
        numbers = {certificate.serial_number for certificate in certificates}
        issuer = self._order.issuing_ca.hex()
        rows = rows_where(
            self._connection, tables.certificates, column.serial_number, numbers, column.issuer_spki_sha256 == issuer
        )
        self._known.certificate_numbers = {row["serial_number"] for row in rows}

    # Events

    def _take_begun(self, proven: ProvenRecord) -> None:
        record = proven.taken.record
        uid, serial = record.uid.hex(), _present(record.serial)
        birth = self._known.births.get(uid)
        if birth is not None and (birth.is_counted or birth.row["state"] == "scrapped"):
            _broken("BR-05", record, "counts a device that was counted or scrapped before")
        if serial and self._known.uid_of_serial.setdefault(serial, uid) != uid:
            _broken("BR-05", record, "has the serial number of another device")
        sequence = _present(record.sequence)
        if sequence != self.ledger["last_sequence"] + 1 or sequence > self.ledger["sub_quota"]:
            expected, most = self.ledger["last_sequence"] + 1, self.ledger["sub_quota"]
            _broken("BR-05", record, f"has sequence {sequence}: {expected} is next, {most} the sub-quota")
        device = self._device_to_begin(record)
        row = {
            "ledger_id": self.ledger["id"],
            "uid": uid,
            "sequence": sequence,
            "device_id": device.id,
            "state": "begun",
            "serial": serial,
            "identity_public_key": _present(record.identity_public_key).hex(),
            "certificate_sha256": _present(proven.certificate).sha256,
            "activation_digest": _present(record.activation_digest).hex(),
            "at": time_to_text(record.at),
        }
        if birth is None:
            self._known.births[uid] = Birth(row, is_new=True)
        else:
            birth.set(**row)
        self.ledger["last_sequence"] = sequence
        self._begin_device(device, record, _present(proven.certificate))
        self._insert_activation(record)

    def _take_renewed(self, proven: ProvenRecord) -> None:
        record = proven.taken.record
        birth = self._waiting(record, "BR-06")
        if _present(proven.certificate).sha256 != birth.row["certificate_sha256"]:
            _broken("BR-06", record, "has another certificate than was begun with")
        self._insert_activation(record)
        digest = _present(record.activation_digest).hex()
        birth.set(activation_digest=digest, state="begun", at=time_to_text(record.at))

    def _take_activated(self, proven: ProvenRecord) -> None:
        record = proven.taken.record
        birth = self._waiting(record, "BR-08")
        digest, uid = _present(record.activation_digest).hex(), record.uid.hex()
        activation = self._known.activations.get(digest)
        if activation is None or (activation["ledger_id"], activation["uid"]) != (self.ledger["id"], uid):
            _broken("BR-08", record, "names an activation that is not in this ledger")
        agreement = _present(record.agreement_public_key)
        if activation["agreement_public_key"] != agreement.hex():
            _broken("BR-08", record, "names another agreement key than its activation")
        status = SignedStatus.parse(_present(record.signed_status))
        if status.certificate_digest.hex() != birth.row["certificate_sha256"]:
            _broken("BR-08", record, "is of a device that has another certificate on record")
        device = self._known.devices[birth.row["device_id"]]
        if device.lifecycle != "locked":
            _refuse_second_life(record, device)
        birth.set(activation_digest=digest, state="activated", at=time_to_text(record.at))
        self._activate_device(device, record, status)

    def _take_failed(self, proven: ProvenRecord) -> None:
        record = proven.taken.record
        birth = self._ended(record)
        if birth.row["state"] == "begun":
            birth.set(state="failed", at=time_to_text(record.at))

    def _take_scrapped(self, proven: ProvenRecord) -> None:
        record = proven.taken.record
        birth = self._ended(record)
        birth.set(state="scrapped", at=time_to_text(record.at))
        if birth.is_counted:
            device = self._known.devices[birth.row["device_id"]]
            if self._is_its_newest_life(device, birth):
                device.set_lifecycle(
                    self._changes, "scrapped", time_to_text(record.at), "birth", proven.taken.hash.hex()
                )

    def _waiting(self, record: BirthRecord, rule_id: str) -> Birth:
        """The birth that waits for its activation, if the record says the same of it."""
        birth = self._known.births.get(record.uid.hex())
        if birth is None or not birth.waits:
            _broken(rule_id, record, "is of a device that does not wait for its activation")
        said = (_present(record.identity_public_key).hex(), record.sequence, record.serial)
        if said != (birth.row["identity_public_key"], birth.row["sequence"], birth.row["serial"]):
            _broken(rule_id, record, "has another key, sequence or serial number than was begun with")
        return birth

    def _ended(self, record: BirthRecord) -> Birth:
        """The birth that ends, or fails; a UID that was never counted gets a row without a sequence."""
        uid = record.uid.hex()
        birth = self._known.births.get(uid)
        if birth is None:
            birth = Birth(self._uncounted(record), is_new=True)
        row = birth.row
        said = (record.sequence, _hex(record.activation_digest), record.serial)
        is_same_key = not birth.is_counted or _hex(record.identity_public_key) == row["identity_public_key"]
        if said != (row["sequence"], row["activation_digest"], row["serial"]) or not is_same_key:
            _broken("BR-09", record, "does not say what was begun with this device")
        if row["state"] == "scrapped":
            _broken("BR-09", record, "is of a device that was scrapped")
        self._known.births[uid] = birth
        return birth

    def _uncounted(self, record: BirthRecord) -> Row:
        return dict.fromkeys(tables.births.c.keys()) | {
            "ledger_id": self.ledger["id"],
            "uid": record.uid.hex(),
            "state": "failed",
            "at": time_to_text(record.at),
        }

    # Devices

    def _device_to_begin(self, record: BirthRecord) -> DeviceState:
        """The device that this record begins. RG-10 to RG-13: neither a clone, nor a second life of a living one."""
        known, uid = self._known, record.uid.hex()
        device = known.devices.get(known.id_of_uid.get(uid, 0))
        for point in _device_keys(record):
            owner = known.owner_of_key.get(point.hex())
            if owner is not None and (device is None or owner != device.id):
                _broken("RG-10", record, "has a key of another device: one of the two is a clone")
        if device is None:
            return self._new_device(record)
        if device.lifecycle in ("operational", "decommissioned", "scrapped"):
            _refuse_second_life(record, device)
        identity = _present(record.identity_public_key).hex()
        if device.row["identity_public_key"] not in (None, identity):
            _broken(
                "RG-12",
                record,
                "has another identity key than before: a clone, or a device that was in service; then take its service "
                "order first (`strongroom registry import`)",
            )
        if device.row["identity_public_key"] is None and identity in known.owner_of_key:
            _broken("RG-12", record, "has an identity key that it had destroyed")
        return device

    def _new_device(self, record: BirthRecord) -> DeviceState:
        row = dict.fromkeys(tables.devices.c.keys()) | {
            "id": self._next_device_id,
            "product_id": self._product_id,
            "uid": record.uid.hex(),
        }
        device = DeviceState(row, is_new=True)
        self._next_device_id += 1
        self._known.devices[device.id] = device
        self._known.id_of_uid[record.uid.hex()] = device.id
        return device

    def _begin_device(self, device: DeviceState, record: BirthRecord, certificate: CertificateFacts) -> None:
        at, evidence = time_to_text(record.at), record.hash.hex()
        identity = _present(record.identity_public_key)
        made = _present(record.made_agreement_public_key)
        device.set(
            serial=record.serial,
            lot=record.lot,
            hardware_revision=record.hardware_revision,
            order_id=self.ledger["order_id"],
            station=self.ledger["station"],
            sequence=record.sequence,
            begun_at=at,
            activated_at=None,
            protection=record.protection,
            identity_public_key=identity.hex(),
            agreement_public_key=made.hex(),
            heard_at=at,
        )
        device.set_lifecycle(self._changes, "locked", at, "birth", evidence)
        device.set_trust_bundle_version(_present(record.trust_bundle_version), at)
        self._add_key(device, "identity", identity, at)
        self._add_key(device, "agreement", made, at)
        if certificate.serial_number in self._known.certificate_numbers:
            _broken("RG-14", record, "has a certificate whose serial number another one has")
        self._known.certificate_numbers.add(certificate.serial_number)
        self._changes.insert(
            tables.certificates,
            {
                "sha256": certificate.sha256,
                "device_id": device.id,
                "issuer_spki_sha256": certificate.issuer_spki_sha256,
                "serial_number": certificate.serial_number,
                "der": _present(record.certificate),
                "not_before": certificate.not_before,
                "not_after": certificate.not_after,
                "since": at,
                "until": None,
            },
        )

    def _activate_device(self, device: DeviceState, record: BirthRecord, status: SignedStatus) -> None:
        at, evidence = time_to_text(record.at), record.hash.hex()
        agreement = _present(record.agreement_public_key)
        replaced = device.row["agreement_public_key"]
        if replaced is not None and replaced != agreement.hex():
            self._changes.update(
                tables.device_keys,
                ("device_id", "role", "public_key"),
                {"device_id": device.id, "role": "agreement", "public_key": replaced, "until": at},
            )
            self._add_key(device, "agreement", agreement, at)
        if self._order.inject & Injection.GROUP_KEY:
            self._add_key(device, "group", _present(self._order.group_public_key).point, at)
        device.set(
            serial=record.serial,
            lot=record.lot,
            order_id=self.ledger["order_id"],
            station=self.ledger["station"],
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
            if self._known.owner_of_key.get(public_key) == device.id:
                return
            self._known.owner_of_key[public_key] = device.id
        key_id = PublicKey(point).key_id.hex()
        row = {"device_id": device.id, "role": role, "public_key": public_key, "key_id": key_id, "since": at}
        self._changes.insert(tables.device_keys, row | {"until": None})

    def _is_its_newest_life(self, device: DeviceState, birth: Birth) -> bool:
        mine = (self.ledger["order_id"], self.ledger["station"], birth.row["sequence"])
        return mine == (device.row["order_id"], device.row["station"], device.row["sequence"])

    # Rows

    def _insert_activation(self, record: BirthRecord) -> None:
        digest = _present(record.activation_digest).hex()
        if digest in self._known.activations:
            _broken("BR-06", record, "repeats an activation")
        row = {
            "digest": digest,
            "ledger_id": self.ledger["id"],
            "uid": record.uid.hex(),
            "agreement_public_key": _present(record.agreement_public_key).hex(),
        }
        self._known.activations[digest] = row
        self._changes.insert(tables.activations, row)

    def _insert_record(self, proven: ProvenRecord) -> None:
        taken, record = proven.taken, proven.taken.record
        self._changes.insert(
            tables.birth_records,
            {
                "ledger_id": self.ledger["id"],
                "number": record.number,
                "digest": taken.hash.hex(),
                "event": record.event.value,
                "uid": record.uid.hex(),
                "at": time_to_text(record.at),
                "reason": record.reason,
                "record": taken.canonical.decode("ascii"),
                "signature": taken.signature,
            },
        )


_TAKERS = {
    BirthEvent.BEGUN: BirthsFold._take_begun,
    BirthEvent.RENEWED: BirthsFold._take_renewed,
    BirthEvent.ACTIVATED: BirthsFold._take_activated,
    BirthEvent.FAILED: BirthsFold._take_failed,
    BirthEvent.SCRAPPED: BirthsFold._take_scrapped,
}


def _device_keys(record: BirthRecord) -> tuple[bytes, ...]:
    """The keys in a record that no other device may have."""
    if record.event is not BirthEvent.BEGUN:
        return ()
    points = (record.identity_public_key, record.made_agreement_public_key, record.agreement_public_key)
    return tuple(point for point in points if point is not None)


def _refuse_second_life(record: BirthRecord, device: DeviceState) -> NoReturn:
    if device.lifecycle == "operational":
        _broken(
            "RG-11",
            record,
            f"is of a device that is operational by order {device.row['order_id']}: take the service order that ended "
            "that life first (`strongroom registry import`)",
        )
    _broken("RG-13", record, f"is of a device that is {device.lifecycle}")


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _present(value: _Value | None) -> _Value:
    """A field that the record's event demands."""
    assert value is not None  # noqa: S101 (BirthRecord has checked it)
    return value


def _broken(rule_id: str, record: BirthRecord, fault: str) -> NoReturn:
    raise refused(rule_id, f"birth record {record.number} (UID {record.uid.hex()}) {fault}")
