"""The report of an update run: the last signed status of each device (docs/spec/update.md, section 4). Rule RG-25.

The nonce of each status stands in it alone: who imports a report answers for the run that asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pki.errors import FormatError
from provisioning.registry.database import Database
from provisioning.registry.errors import DeviceUnknown, refused
from provisioning.registry.imports import record_import
from provisioning.registry.statuses import Finding, take_one
from rpc.objects.signed_status import STATUS_SIZE_BYTES, SignedStatus
from signer.store.stored_times import time_to_text

REPORT_SIZE_BYTES_MAX = 64 * 1024 * 1024
DEVICES_MAX = 100_000
REPORT_FORMAT = "strongroom-update-report-1"
_STATUS = re.compile(rf"[0-9a-f]{{{2 * STATUS_SIZE_BYTES}}}")


@dataclass(frozen=True, slots=True)
class ReportTaken:
    """`added` statuses were new; `unknown` devices are on no record, and were left out."""

    added: int
    known: int
    unknown: int
    findings: tuple[Finding, ...]


def is_report(data: bytes) -> bool:
    """Whether a file says that it is one, near its beginning."""
    return REPORT_FORMAT.encode("ascii") in data[:1024]


def take_report(database: Database, data: bytes, now: datetime, who: str) -> ReportTaken:
    """Verify the status of every device in a report, and take what is new, all or nothing.

    Raises FormatError, PolicyViolation RG-25 for a run that verified nothing, NotAuthentic RG-24.
    """
    statuses, ended_at = _read(data)
    at = time_to_text(min(ended_at, now))
    added = known = unknown = 0
    findings: list[Finding] = []
    with database.writing() as connection:
        for status in statuses:
            try:
                taken = take_one(connection, status, status.nonce, at)
            except DeviceUnknown:
                unknown += 1
                continue
            added, known = added + taken.is_new, known + (not taken.is_new)
            findings += taken.findings
        if added:
            record_import(connection, "status", hashlib.sha256(data).digest(), time_to_text(now), who, added)
    return ReportTaken(added, known, unknown, tuple(findings))


def _read(data: bytes) -> tuple[list[SignedStatus], datetime]:
    try:
        report = json.loads(data.decode("utf-8"))
        if not isinstance(report, dict) or report.get("format") != REPORT_FORMAT:
            raise ValueError(f"not a {REPORT_FORMAT}")
        devices = report["devices"]
        if not isinstance(devices, list) or len(devices) > DEVICES_MAX:
            raise ValueError(f"not a list of at most {DEVICES_MAX:,} devices")
        ended_at = datetime.fromisoformat(report["ended_at"]).astimezone(UTC)
        texts = [_status_text(device) for device in devices]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError("update report", 0, f"{type(error).__name__}: {error}") from None
    if report.get("verified") is not True:
        raise refused(
            "RG-25", "this run verified no status: run it with --registry or --devices, and import that report"
        )
    return [SignedStatus.parse(bytes.fromhex(text)) for text in texts if text is not None], ended_at


def _status_text(device: dict[str, Any]) -> str | None:
    text = device["signed_status"]
    if text is not None and not _STATUS.fullmatch(text):
        raise ValueError("a signed status is no hexadecimal text of its size")
    return None if text is None else str(text)
