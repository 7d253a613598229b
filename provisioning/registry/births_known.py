"""What the registry has about the devices of a block of birth records: one query for each kind of thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from sqlalchemy import Connection

from provisioning.registry import tables
from provisioning.registry.device_state import DeviceState, load_devices
from provisioning.registry.errors import refused
from provisioning.registry.proofs import ProvenRecord
from provisioning.registry.rows import Row, rows_where
from provisioning.station.records import BirthEvent, BirthRecord

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
class Known:
    """What the registry has about the devices of a block."""

    births: dict[str, Birth] = field(default_factory=dict)
    uid_of_serial: dict[str, str] = field(default_factory=dict)
    activations: dict[str, Row] = field(default_factory=dict)
    devices: dict[int, DeviceState] = field(default_factory=dict)
    id_of_uid: dict[str, int] = field(default_factory=dict)
    owner_of_key: dict[str, int] = field(default_factory=dict)
    certificate_numbers: set[str] = field(default_factory=set)


def load_known(connection: Connection, product_id: str, ledger_id: int, block: Sequence[ProvenRecord]) -> Known:
    """Everything that a judgement of these records may ask for."""
    records, known = [proven.taken.record for proven in block], Known()
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
    found = rows_where(connection, tables.devices, devices.uid, uids, devices.product_id == product_id)
    known.devices = load_devices(connection, found)
    known.id_of_uid = {device.row["uid"]: device.id for device in known.devices.values()}
    points = {point.hex() for record in records for point in device_keys(record)}
    keys = tables.device_keys.c
    for row in rows_where(connection, tables.device_keys, keys.public_key, points, keys.role != "group"):
        known.owner_of_key[row["public_key"]] = row["device_id"]
    _load_certificate_numbers(connection, known, block)
    return known


def _load_certificate_numbers(connection: Connection, known: Known, block: Sequence[ProvenRecord]) -> None:
    certificates = [proven.certificate for proven in block if proven.certificate is not None]
    column, numbers = tables.certificates.c, {certificate.serial_number for certificate in certificates}
    issuers = {certificate.issuer_spki_sha256 for certificate in certificates}
    rows = rows_where(
        connection, tables.certificates, column.serial_number, numbers, column.issuer_spki_sha256.in_(issuers)
    )
    known.certificate_numbers = {row["serial_number"] for row in rows}


def device_keys(record: BirthRecord) -> tuple[bytes, ...]:
    """The keys in a record that no other device may have."""
    if record.event not in (BirthEvent.BEGUN, BirthEvent.ACTIVATED):
        return ()
    points = (record.identity_public_key, record.made_agreement_public_key, record.agreement_public_key)
    return tuple(point for point in points if point is not None)


def hex_or_none(value: bytes | None) -> str | None:
    """Hexadecimal digits of what is there."""
    return None if value is None else value.hex()


def present(value: _Value | None) -> _Value:
    """A field that the record's event demands."""
    assert value is not None  # noqa: S101 (BirthRecord has checked it)
    return value


def broken(rule_id: str, record: BirthRecord, fault: str) -> NoReturn:
    """Refuse a record by a rule; `fault` goes on after its number and UID."""
    raise refused(rule_id, f"birth record {record.number} (UID {record.uid.hex()}) {fault}")
