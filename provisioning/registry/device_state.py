"""What the registry knows of a device now, and how a signed status, a birth or a service order changes it.

One device's row, its newest entries in each history, and the rows that a change adds. Rules RG-10 to RG-14.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from provisioning.registry import tables
from provisioning.registry.rows import Changes, Row, rows_where
from rpc.objects.lifecycle import DECOMMISSIONED, LOCKED, OPERATIONAL, RMA
from rpc.objects.signed_status import APPLICATION_NONE, SignedStatus

LIFECYCLE_NAMES = {LOCKED: "locked", OPERATIONAL: "operational", RMA: "rma", DECOMMISSIONED: "decommissioned"}

_ZERO_VERSION = (0, 0, 0, 0)
_NO_HASH = bytes(32)
_Firmware = tuple[int, str, int, str | None]
"""Number in the history, version, security version, head hash."""


@dataclass(slots=True)
class DeviceState:
    """A device: `row` is its row of `devices`; the numbers are those of its newest history entries, 0 without any."""

    row: Row
    is_new: bool
    is_changed: bool = False
    lifecycle_number: int = 0
    bundle_number: int = 0
    bundle: tuple[int, str] | None = None
    """Version and digest of the newest trust bundle in its history."""
    firmware: dict[str, _Firmware] = field(default_factory=dict)

    @property
    def id(self) -> int:
        """Its number in this registry."""
        return int(self.row["id"])

    @property
    def lifecycle(self) -> str:
        """As in the column."""
        return str(self.row["lifecycle"])

    def set(self, **values: Any) -> None:
        """Change columns of its row."""
        self.row.update(values)
        self.is_changed = True

    def set_lifecycle(self, changes: Changes, lifecycle: str, at: str, cause: str, evidence: str) -> None:
        """A new entry in its history of life, unless it is in that state already."""
        if self.lifecycle_number and self.lifecycle == lifecycle:
            return
        self.lifecycle_number += 1
        self.set(lifecycle=lifecycle)
        changes.insert(
            tables.lifecycles,
            {"device_id": self.id, "number": self.lifecycle_number, "lifecycle": lifecycle, "at": at, "cause": cause}
            | {"evidence": evidence},
        )

    def set_trust_bundle_version(self, version: int, at: str) -> None:
        """`trust_bundle_since` is when this version was first heard of, of the versions in a row."""
        if self.row["trust_bundle_version"] != version:
            self.set(trust_bundle_version=version, trust_bundle_since=at)

    def _hear_trust_bundle(self, changes: Changes, status: SignedStatus, at: str, evidence: str) -> None:
        found = (status.trust_bundle_version, status.trust_bundle_digest.hex())
        if not status.trust_bundle_version:
            return
        self.set_trust_bundle_version(status.trust_bundle_version, at)
        if found == self.bundle:
            return
        self.bundle_number += 1
        self.bundle = found
        changes.insert(
            tables.trust_bundles,
            {"device_id": self.id, "number": self.bundle_number, "version": found[0], "digest": found[1], "at": at}
            | {"evidence": evidence},
        )

    def hear(self, changes: Changes, status: SignedStatus, at: str, evidence: str) -> None:
        """Take over what a verified status says, which is the newest there is."""
        self.set(heard_at=at, protection=int(status.protection))
        self._hear_trust_bundle(changes, status, at, evidence)
        lifecycle = LIFECYCLE_NAMES.get(status.lifecycle)
        if lifecycle is not None and self.lifecycle != "scrapped":
            self.set_lifecycle(changes, lifecycle, at, "status", evidence)
        self._hear_firmware(changes, status, at, evidence)

    def _hear_firmware(self, changes: Changes, status: SignedStatus, at: str, evidence: str) -> None:
        copies = (
            ("bootloader-a", status.bootloader_version_a, status.bootloader_security_version_a),
            ("bootloader-b", status.bootloader_version_b, status.bootloader_security_version_b),
        )
        for component, version, security_version in copies:
            if version != _ZERO_VERSION:
                self._set_firmware(changes, component, (str(version), security_version, None), at, evidence)
        if status.application_state == APPLICATION_NONE or status.application_head_hash == _NO_HASH:
            self.set(application_version=None, application_head_hash=None)
            return
        head_hash, version_text = status.application_head_hash.hex(), str(status.application_version)
        self._set_firmware(
            changes, "application", (version_text, status.application_security_version, head_hash), at, evidence
        )
        self.set(application_version=version_text, application_head_hash=head_hash)

    def _set_firmware(
        self, changes: Changes, component: str, found: tuple[str, int, str | None], at: str, evidence: str
    ) -> None:
        newest = self.firmware.get(component)
        if newest is not None and newest[1:] == found:
            return
        number = 1 if newest is None else newest[0] + 1
        version, security_version, head_hash = found
        self.firmware[component] = (number, version, security_version, head_hash)
        changes.insert(
            tables.firmware,
            {"device_id": self.id, "component": component, "number": number, "version": version}
            | {"security_version": security_version, "head_hash": head_hash, "at": at, "evidence": evidence},
        )

    def end_keys(self, changes: Changes, connection: Connection, at: str) -> None:
        """The device destroyed its keys: they and their certificates end, and stay known for ever."""
        ending = ((tables.device_keys, ("device_id", "role", "public_key")), (tables.certificates, ("sha256",)))
        for table, keys in ending:
            query = select(*(table.c[key] for key in keys)).where(table.c.device_id == self.id, table.c.until.is_(None))
            for row in connection.execute(query).mappings():
                changes.update(table, keys, dict(row) | {"until": at})
        self.set(identity_public_key=None, agreement_public_key=None)

    def write(self, changes: Changes) -> None:
        """Its own row, if there is anything to write."""
        if self.is_new:
            changes.insert(tables.devices, dict(self.row))
        elif self.is_changed:
            changes.update(tables.devices, ("id",), dict(self.row))
        self.is_new = self.is_changed = False


def load_devices(connection: Connection, rows: Iterable[Row]) -> dict[int, DeviceState]:
    """The states of devices whose rows were found, by id: with the newest entry of each history."""
    states = {int(row["id"]): DeviceState(row, is_new=False) for row in rows}
    for row in rows_where(connection, tables.lifecycles, tables.lifecycles.c.device_id, states):
        state = states[row["device_id"]]
        state.lifecycle_number = max(state.lifecycle_number, row["number"])
    for row in rows_where(connection, tables.trust_bundles, tables.trust_bundles.c.device_id, states):
        state = states[row["device_id"]]
        if row["number"] > state.bundle_number:
            state.bundle_number, state.bundle = row["number"], (row["version"], row["digest"])
    for row in rows_where(connection, tables.firmware, tables.firmware.c.device_id, states):
        newest = states[row["device_id"]].firmware
        component, number = row["component"], row["number"]
        if component not in newest or number > newest[component][0]:
            newest[component] = (number, row["version"], row["security_version"], row["head_hash"])
    return states
