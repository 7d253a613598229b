"""What a station's records say about each device, taken into the registry record by record.

Rules BR-05, BR-06, BR-08, BR-09 against what this ledger said before; RG-10 to RG-14 against every other ledger, order
and service order. A block of records is judged in memory; its rows are written together.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from provisioning.registry import tables
from provisioning.registry.births_devices import BirthDevices
from provisioning.registry.births_known import Birth, broken, hex_or_none, load_known, present
from provisioning.registry.proofs import ProvenRecord
from provisioning.registry.rows import Changes, Row
from provisioning.station.records import BirthEvent, BirthRecord
from rpc.objects.signed_status import SignedStatus
from signer.device_objects.work_order import WorkOrder
from signer.store.stored_times import time_to_text


class BirthsFold:
    """Takes the records of one ledger in order, block by block. `ledger` is its row, kept up to date."""

    def __init__(self, connection: Connection, order: WorkOrder, product_id: str, ledger: Row) -> None:
        self._connection = connection
        self._product_id = product_id
        self.ledger = ledger
        self._changes = Changes()
        self._devices = BirthDevices(connection, order, product_id, ledger, self._changes)
        self._known = self._devices.known

    def take(self, block: Sequence[ProvenRecord]) -> None:
        """Judge a block and write its rows. Raises PolicyViolation BR-…, RG-…."""
        self._known = self._devices.known = load_known(
            self._connection, self._product_id, int(self.ledger["id"]), block
        )
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

    # Events

    def _take_begun(self, proven: ProvenRecord) -> None:
        record = proven.taken.record
        uid, serial = record.uid.hex(), present(record.serial)
        birth = self._known.births.get(uid)
        if birth is not None and (birth.is_counted or birth.row["state"] == "scrapped"):
            broken("BR-05", record, "counts a device that was counted or scrapped before")
        if serial and self._known.uid_of_serial.setdefault(serial, uid) != uid:
            broken("BR-05", record, "has the serial number of another device")
        sequence = present(record.sequence)
        if sequence != self.ledger["last_sequence"] + 1 or sequence > self.ledger["sub_quota"]:
            expected, most = self.ledger["last_sequence"] + 1, self.ledger["sub_quota"]
            broken("BR-05", record, f"has sequence {sequence}: {expected} is next, {most} the sub-quota")
        device = self._devices.to_begin(record)
        row = {
            "ledger_id": self.ledger["id"],
            "uid": uid,
            "sequence": sequence,
            "device_id": device.id,
            "state": "begun",
            "serial": serial,
            "identity_public_key": present(record.identity_public_key).hex(),
            "certificate_sha256": present(proven.certificate).sha256,
            "activation_digest": present(record.activation_digest).hex(),
            "at": time_to_text(record.at),
        }
        if birth is None:
            self._known.births[uid] = Birth(row, is_new=True)
        else:
            birth.set(**row)
        self.ledger["last_sequence"] = sequence
        self._devices.begin(device, record, present(proven.certificate))
        self._insert_activation(record)

    def _take_renewed(self, proven: ProvenRecord) -> None:
        record = proven.taken.record
        birth = self._waiting(record, "BR-06")
        if present(proven.certificate).sha256 != birth.row["certificate_sha256"]:
            broken("BR-06", record, "has another certificate than was begun with")
        self._insert_activation(record)
        digest = present(record.activation_digest).hex()
        birth.set(activation_digest=digest, state="begun", at=time_to_text(record.at))

    def _take_activated(self, proven: ProvenRecord) -> None:
        record = proven.taken.record
        birth = self._waiting(record, "BR-08")
        digest, uid = present(record.activation_digest).hex(), record.uid.hex()
        activation = self._known.activations.get(digest)
        if activation is None or (activation["ledger_id"], activation["uid"]) != (self.ledger["id"], uid):
            broken("BR-08", record, "names an activation that is not in this ledger")
        agreement = present(record.agreement_public_key)
        if activation["agreement_public_key"] != agreement.hex():
            broken("BR-08", record, "names another agreement key than its activation")
        status = SignedStatus.parse(present(record.signed_status))
        if status.certificate_digest.hex() != birth.row["certificate_sha256"]:
            broken("BR-08", record, "is of a device that has another certificate on record")
        device = self._known.devices[birth.row["device_id"]]
        birth.set(activation_digest=digest, state="activated", at=time_to_text(record.at))
        self._devices.activate(device, record, status)

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
            if self._devices.is_its_newest_life(device, birth):
                device.set_lifecycle(
                    self._changes, "scrapped", time_to_text(record.at), "birth", proven.taken.hash.hex()
                )

    def _waiting(self, record: BirthRecord, rule_id: str) -> Birth:
        """The birth that waits for its activation, if the record says the same of it."""
        birth = self._known.births.get(record.uid.hex())
        if birth is None or not birth.waits:
            broken(rule_id, record, "is of a device that does not wait for its activation")
        said = (present(record.identity_public_key).hex(), record.sequence, record.serial)
        if said != (birth.row["identity_public_key"], birth.row["sequence"], birth.row["serial"]):
            broken(rule_id, record, "has another key, sequence or serial number than was begun with")
        return birth

    def _ended(self, record: BirthRecord) -> Birth:
        """The birth that ends, or fails; a UID that was never counted gets a row without a sequence."""
        uid = record.uid.hex()
        birth = self._known.births.get(uid)
        if birth is None:
            birth = Birth(self._uncounted(record), is_new=True)
        row = birth.row
        said = (record.sequence, hex_or_none(record.activation_digest), record.serial)
        is_same_key = not birth.is_counted or hex_or_none(record.identity_public_key) == row["identity_public_key"]
        if said != (row["sequence"], row["activation_digest"], row["serial"]) or not is_same_key:
            broken("BR-09", record, "does not say what was begun with this device")
        if row["state"] == "scrapped":
            broken("BR-09", record, "is of a device that was scrapped")
        self._known.births[uid] = birth
        return birth

    def _uncounted(self, record: BirthRecord) -> Row:
        return dict.fromkeys(tables.births.c.keys()) | {
            "ledger_id": self.ledger["id"],
            "uid": record.uid.hex(),
            "state": "failed",
            "at": time_to_text(record.at),
        }

    # Rows

    def _insert_activation(self, record: BirthRecord) -> None:
        digest = present(record.activation_digest).hex()
        if digest in self._known.activations:
            broken("BR-06", record, "repeats an activation")
        row = {
            "digest": digest,
            "ledger_id": self.ledger["id"],
            "uid": record.uid.hex(),
            "agreement_public_key": present(record.agreement_public_key).hex(),
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
