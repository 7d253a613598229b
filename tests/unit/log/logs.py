"""Logs for tests: events and times that are easy to read in an assertion, and real logs in a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from signer.log.audit_log import TileLog, open_audit_log
from signer.log.recovery import begin_log
from signer.log.values import Event, EventKind
from tests.unit.log.software_key import SoftwareKey

BEGUN = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
LABEL = "sr:application-release:pump-x2:0001"


def later(seconds: float) -> datetime:
    return BEGUN + timedelta(seconds=seconds)


def event(number: int = 0, kind: EventKind = EventKind.SIGN_INTENT, **details: Any) -> Event:
    return Event(kind=kind, actor="ada", details={"key_label": LABEL, "number": number, **details})


@contextmanager
def fast_folder() -> Iterator[Path]:
    """On tmpfs, where a sync costs nothing: what is tested is the order of writes, not the disk."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-log-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))  # noqa: S108
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_log(folder: Path, key: SoftwareKey, entry_count: int = 1, step_seconds: float = 1) -> TileLog:
    """A log with a checkpoint over `entry_count` entries, the first of which is log-begun."""
    begin_log(folder, key, "ada", BEGUN)
    log = open_audit_log(folder, key)
    events = [event(number) for number in range(1, entry_count)]
    for number, item in enumerate(events, 1):
        log.append([item], later(number * step_seconds))
    if events:
        log.checkpoint()
    return log
