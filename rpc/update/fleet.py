"""Many devices side by side: found, updated and reported, each in a thread of its own (docs/spec/update.md)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

from pki.errors import InputRefused
from rpc.addresses import NodeLink, open_links, parts_of
from rpc.client import DeviceClient
from rpc.errors import ChainBroken, LinkError
from rpc.update.device_run import DeviceRun
from rpc.update.job import Job
from rpc.update.limits import DEVICES_MAX, PARALLEL
from rpc.update.report import DeviceReport, Fault, Result, UpdateReport

Now = Callable[[], str]
"""The time, RFC 3339."""


class Claims:
    """Which address a device is worked on through: the first at which it answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_uid: dict[str, str] = {}

    def claim(self, uid: str, via: str) -> bool:
        """Whether this address is the one."""
        with self._lock:
            return self._by_uid.setdefault(uid, via) == via


def update_devices(vias: Sequence[str], job: Job, now: Now, parallel: int = PARALLEL) -> UpdateReport:
    """Bring the package to every device behind these addresses; the report says what became of each.

    `job.claim` is replaced. Raises InputRefused for what is no address, before any device is asked.
    Ctrl-C stops every device after its next message, and the report says how far each came.
    """
    started_at = now()
    job = replace(job, claim=Claims().claim)
    found = _find(vias)
    nodes = [entry for entry in found if isinstance(entry, NodeLink)]
    names = [node.name for node in nodes]
    if len(nodes) > DEVICES_MAX or len(set(names)) != len(names):
        raise InputRefused(f"an address is given twice, or there are more than {DEVICES_MAX:,} devices")
    reports = _run_all(found, job, max(1, min(parallel, len(nodes))))
    return UpdateReport(job.package, reports, started_at, now(), job.is_dry_run, job.keys is not None)


def _find(vias: Sequence[str]) -> list[NodeLink | DeviceReport]:
    """The nodes behind each address, in order; a chain that does not answer is a report already."""
    parts = [part for via in vias for part in parts_of(via)]
    with ThreadPoolExecutor(max_workers=max(1, min(PARALLEL, len(parts)))) as pool:
        return [entry for entries in pool.map(_open, parts) for entry in entries]


def _open(via: str) -> Sequence[NodeLink | DeviceReport]:
    try:
        return open_links(via)
    except ChainBroken as error:
        # Who stands before the break can be reached all the same.
        before = open_links(f"{via}#0-{error.answering - 1}") if error.answering and via.startswith("chain:") else []
        return [*before, _unreached(f"{via}#{error.answering}" if before else via, error)]
    except LinkError as error:
        return [_unreached(via, error)]


def _unreached(via: str, error: LinkError) -> DeviceReport:
    reason = str(error).removeprefix(f"[{error.rule_id}] ")
    return DeviceReport(via, result=Result.FAILED, rule=error.rule_id, reason=reason, fault=Fault.LINK)


def _run_all(found: Sequence[NodeLink | DeviceReport], job: Job, workers: int) -> list[DeviceReport]:
    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = [pool.submit(_worked_on, entry, job) for entry in found]
        try:
            wait(futures)
        except KeyboardInterrupt:
            job.stop.set()
        return [future.result() for future in futures]


def _worked_on(entry: NodeLink | DeviceReport, job: Job) -> DeviceReport:
    if isinstance(entry, DeviceReport):
        job.observer.finished(entry.via, entry.result.value, entry.reason)
        return entry
    try:
        return DeviceRun(entry.name, DeviceClient(entry.link), job).run()
    except Exception as error:  # noqa: BLE001 - a defect met with one device must not cost the report of all others
        reason = f"internal error, please report it: {type(error).__name__}: {error}"
        job.observer.finished(entry.name, Result.FAILED.value, reason)
        return DeviceReport(entry.name, result=Result.FAILED, reason=reason, fault=Fault.DEFECT)
