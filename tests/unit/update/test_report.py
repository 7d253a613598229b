"""The report, its exit code, and what people see of it."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import pytest

from cli.exit_codes import ExitCode
from cli.update_display import Bars, Lines, readable
from pki.errors import InputRefused
from rpc.addresses import NodeLink
from rpc.update.fleet import Claims, update_devices
from rpc.update.package_facts import PackageFile
from rpc.update.planner import Action, Step
from rpc.update.report import DeviceReport, Fault, Result, UpdateReport
from tests.unit.update.material import PACKAGE
from tests.updates.desk import DeskLink, job, known
from tests.updates.fleet import application, device

FILE = PackageFile(Path("folder") / "app-1.1.0.srp", PACKAGE, 1_156, b"s" * 32)


def report(*devices: DeviceReport, verified: bool = True) -> UpdateReport:
    return UpdateReport(
        FILE, devices, "2026-11-27T10:00:00Z", "2026-11-27T10:01:00Z", is_dry_run=False, is_verified=verified
    )


def ended(result: Result, fault: Fault | None = None, **other: Any) -> DeviceReport:
    return DeviceReport("udp://192.0.2.1:1337", result=result, fault=fault, **other)


GOOD = ended(Result.UPDATED)


@pytest.mark.parametrize(
    ("devices", "name"),
    [
        ((GOOD, ended(Result.CURRENT), ended(Result.PLANNED)), "OK"),
        ((GOOD, ended(Result.FAILED, Fault.LINK)), "LINK"),
        ((ended(Result.FAILED, Fault.LINK), ended(Result.FAILED, Fault.DEVICE)), "REFUSED_BY_DEVICE"),
        ((ended(Result.FAILED, Fault.DEVICE), ended(Result.REFUSED, Fault.POLICY)), "POLICY"),
        ((ended(Result.REFUSED, Fault.POLICY), ended(Result.FAILED, Fault.VERIFICATION)), "VERIFICATION"),
        ((ended(Result.FAILED, Fault.LINK), ended(Result.FAILED, Fault.MATERIAL)), "INPUT"),
        ((ended(Result.FAILED, Fault.DEFECT), ended(Result.FAILED, Fault.VERIFICATION)), "INTERNAL"),
        ((ended(Result.STOPPED),), "LINK"),
        ((), "LINK"),
    ],
)
def test_the_most_serious_fault_gives_the_exit_code(devices: tuple[DeviceReport, ...], name: str) -> None:
    """Whatever the order of the devices."""
    for order in itertools.permutations(devices):
        assert report(*order).exit_code_name == name
    assert ExitCode[name] in {0, 1, 3, 4, 5, 11, 15}


def test_the_report_says_what_it_is_about() -> None:
    found = report(GOOD).as_json()
    assert found["package"] == {
        "file": "app-1.1.0.srp",
        "sha256": (b"s" * 32).hex(),
        "head_hash": (b"h" * 32).hex(),
        "package_type": 1,
        "version": "1.1.0.0",
        "security_version": 10,
        "size_bytes": 1_156,
    }
    assert found["devices"][0]["result"] == "updated"
    assert (found["dry_run"], found["verified"]) == (False, True)


def test_people_read_why_not() -> None:
    text = readable(report(GOOD, ended(Result.REFUSED, Fault.POLICY, rule="UP-17", reason="not newer"), verified=False))
    assert "[UP-17] not newer" in text
    assert "1 of 2 devices: application 1.1.0.0" in text
    assert "NOT VERIFIED" in text


def test_lines_say_when_a_device_is_found_and_done(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.found("udp://x", "00ff")
    lines.step("udp://x", Step(Action.UPLOAD))
    lines.sent("udp://x", 1, 2)
    lines.finished("udp://x", "failed", "no reply")
    assert capsys.readouterr().err.splitlines() == ["udp://x: device 00ff", "udp://x: failed (no reply)"]


def test_every_device_has_a_bar_and_nothing_in_it_is_markup() -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    out = io.StringIO()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    console = Console(file=out, force_terminal=True, width=120)
    with Progress(*columns, console=console) as progress:
        bars = Bars(progress)
        for via in ("udp://[::1]:1337", "serial:/dev/ttyUSB0"):
            bars.found(via, "00ff")
            bars.step(via, Step(Action.UPLOAD, "1.1.0.0"))
            bars.sent(via, 50, 100)
            bars.finished(via, "failed", "[red]no reply")
    assert [task.completed for task in progress.tasks] == [50, 50]
    assert "udp://[::1]:1337" in out.getvalue()
    assert "[red]no reply" in out.getvalue()


def test_a_device_is_claimed_by_the_first_address() -> None:
    claims = Claims()
    assert claims.claim("00", "a")
    assert claims.claim("00", "a")
    assert not claims.claim("00", "b")
    assert claims.claim("01", "b")


def test_a_defect_met_with_one_device_costs_no_other_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = {"udp://first": DeskLink(device(0), "udp://first"), "udp://second": DeskLink(device(1), "udp://second")}
    nodes = {via: NodeLink(via, link) for via, link in links.items()}
    monkeypatch.setattr("rpc.update.fleet.open_links", lambda via: [nodes[via]])

    def broken(_message: bytes, _timeout_seconds: float) -> bytes:
        raise RuntimeError("a defect")

    monkeypatch.setattr(links["udp://first"], "exchange", broken)
    done = update_devices(list(links), job(tmp_path, application(2), keys=known(0, 1)), lambda: "now")
    assert [entry.result for entry in done.devices] == [Result.FAILED, Result.UPDATED]
    assert "RuntimeError: a defect" in str(done.devices[0].reason)
    assert done.exit_code_name == "INTERNAL"


def test_addresses_are_checked_before_any_is_asked(tmp_path: Path) -> None:
    work = job(tmp_path, application(2))
    for vias in (["gopher://x"], ["udp://192.0.2.1", "udp://192.0.2.1:1337"]):
        with pytest.raises(InputRefused):
            update_devices(vias, work, lambda: "now")
