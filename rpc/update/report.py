"""What became of each device, as values; docs/spec/update.md, section 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from rpc.link import LinkCounters
from rpc.objects.signed_status import RUNS_BOOTLOADER, SignedStatus
from rpc.update.package_facts import PackageFile

REPORT_FORMAT: Final = "strongroom-update-report-1"
_STATES: Final = {0: "none", 1: "on trial", 2: "confirmed"}


class Result(Enum):
    """How it ended for one device."""

    UPDATED = "updated"
    CURRENT = "current"
    PLANNED = "planned"
    REFUSED = "refused"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_good(self) -> bool:
        """Whether the device is as it should be, or would be."""
        return self in {Result.UPDATED, Result.CURRENT, Result.PLANNED}


class Fault(Enum):
    """What kind of thing went wrong, most serious first. The values are names of exit codes."""

    DEFECT = "INTERNAL"
    VERIFICATION = "VERIFICATION"
    POLICY = "POLICY"
    DEVICE = "REFUSED_BY_DEVICE"
    MATERIAL = "INPUT"
    LINK = "LINK"


@dataclass(slots=True)
class DeviceReport:
    """One device, or one address at which none was found."""

    via: str
    uid: str | None = None
    serial: str | None = None
    lot: str | None = None
    board: str | None = None
    result: Result = Result.FAILED
    rule: str | None = None
    reason: str | None = None
    fault: Fault | None = None
    found: dict[str, Any] | None = None
    left: dict[str, Any] | None = None
    steps: list[str] = field(default_factory=list)
    rounds: int = 0
    seconds: float = 0.0
    signed_status: str | None = None
    bytes_sent: int = 0
    bytes_received: int = 0
    retries: int = 0

    def read(self, status: SignedStatus) -> None:
        """Take in a status: the first says what was found, the last what was left."""
        self.uid, self.serial, self.lot, self.board = status.uid.hex(), status.serial, status.lot, status.board
        self.left, self.signed_status = seen(status), status.raw.hex()
        if self.found is None:
            self.found = self.left

    def count(self, counters: LinkCounters) -> None:
        """What the link has counted for this device."""
        self.bytes_sent, self.bytes_received = counters.bytes_sent, counters.bytes_received
        self.retries = counters.retries

    def as_json(self) -> dict[str, Any]:
        """Field by field."""
        names = (
            "via",
            "uid",
            "serial",
            "lot",
            "board",
            "rule",
            "reason",
            "found",
            "left",
            "steps",
            "rounds",
            "signed_status",
        )
        fields = {name: getattr(self, name) for name in names}
        counts = {name: getattr(self, name) for name in ("bytes_sent", "bytes_received", "retries")}
        return {**fields, "result": self.result.value, "seconds": round(self.seconds, 3), **counts}


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """One run. Times are RFC 3339, from the caller's clock."""

    package: PackageFile
    devices: Sequence[DeviceReport]
    started_at: str
    ended_at: str
    is_dry_run: bool
    is_verified: bool

    @property
    def is_good(self) -> bool:
        """Whether there were devices, and all are as they should be."""
        return bool(self.devices) and all(device.result.is_good for device in self.devices)

    @property
    def exit_code_name(self) -> str:
        """The name of the exit code (docs/spec/exit-codes.md): OK, or the most serious fault of any device."""
        if self.is_good:
            return "OK"
        faults = {device.fault for device in self.devices if device.fault is not None}
        return next((fault.value for fault in Fault if fault in faults), Fault.LINK.value)

    def as_json(self) -> dict[str, Any]:
        """The report as it is written."""
        file, facts = self.package, self.package.facts
        return {
            "format": REPORT_FORMAT,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "package": {
                "file": file.path.name,
                "sha256": file.sha256.hex(),
                "head_hash": facts.head_hash.hex(),
                "package_type": int(facts.package_type),
                "version": str(facts.version),
                "security_version": facts.security_version,
                "size_bytes": file.size_bytes,
            },
            "dry_run": self.is_dry_run,
            "verified": self.is_verified,
            "devices": [device.as_json() for device in self.devices],
        }


def seen(status: SignedStatus) -> dict[str, Any]:
    """What a report says of one status."""
    return {
        "trust_bundle_version": status.trust_bundle_version,
        "runs": "update mode" if status.runs == RUNS_BOOTLOADER else "application",
        "installed_type": status.installed_type,
        "application_version": str(status.application_version) if status.installed_type else None,
        "application_state": _STATES[status.application_state],
        "running_copy": "AB"[status.running_copy],
        "bootloader_version_a": str(status.bootloader_version_a),
        "bootloader_version_b": str(status.bootloader_version_b),
    }
