"""`strongroom update` as its users run it: a process, real links, devices that are processes of their own."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from uuid import UUID

import pytest

from tests.links.served import ROOT, serving, write_devices
from tests.updates.fleet import (
    PRODUCT_ID,
    application,
    device,
    granted_application,
    identity_of,
    running_version,
    update,
    world,
    write_grants,
    write_public_files,
)

TOPOLOGIES = {
    "udp": ("--on", "udp:0"),
    "tcp": ("--on", "tcp:0"),
    "serial": ("--on", "serial"),
    "star": ("--topology", "star", "--on", "serial"),
    "chain": ("--topology", "chain", "--on", "serial"),
    "bus": ("--topology", "bus", "--on", "tcp:0"),
}
COUNT = 3


def links(topology: str, count: int = COUNT) -> int:
    return 1 if {"chain", "bus", "star"} & {topology} else count


def via_options(vias: list[str]) -> list[str]:
    return [word for via in vias for word in ("--via", via)]


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_three_devices_in_every_topology(topology: str, tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [device(number) for number in range(COUNT)])
    known = write_public_files(tmp_path, range(COUNT))
    package = tmp_path / "app-2.srp"
    package.write_bytes(application(2, 20_000))
    with serving(paths, *TOPOLOGIES[topology], links=links(topology)) as served:
        done = update(package, *via_options(served.vias), "--devices", str(known))
        assert (done.code, done.results) == (0, ["updated"] * COUNT), done.said
        assert {entry["uid"] for entry in done.devices} == {world(number).padded_uid.hex() for number in range(COUNT)}
        if topology == "udp":
            again = update(package, *via_options(served.vias), "--devices", str(known))
            assert (again.code, again.results) == (0, ["current"] * COUNT)
        assert served.stop() == 0
    assert [running_version(path) for path in paths] == ["2.0.0.0 confirmed"] * COUNT


def test_a_failing_device_holds_up_no_other_and_the_report_says_why(tmp_path: Path) -> None:
    """One is updated, one newer already, one on no record, one not there, one at no address at all."""
    paths = write_devices(tmp_path, [device(0), device(1, version=3), device(2)])
    known = write_public_files(tmp_path, [0, 1])
    package, report = tmp_path / "app-2.srp", tmp_path / "report.json"
    package.write_bytes(application(2))
    with serving(paths, "--on", "udp:0", links=COUNT) as served:
        nobody, no_port = "tcp://127.0.0.1:9", "chain:serial:/dev/no-such-port"
        vias = [*served.vias, nobody, no_port]
        words = ("--devices", str(known), "--report", str(report), "--wait-link", "1")
        done = update(package, "--via", f"star:{','.join(vias)}", *words)
        served.stop()
    assert [entry["via"] for entry in done.devices] == vias
    assert done.results == ["updated", "refused", "refused", "failed", "failed"]
    assert done.rules == [None, "UP-20", "UP-10", "LK-09", "LK-09"]
    assert done.code == 4
    assert json.loads(report.read_text()) == done.report
    assert all(entry["reason"] for entry in done.devices[1:])
    assert [running_version(path) for path in paths] == ["2.0.0.0 confirmed", "3.0.0.0 confirmed", "1.0.0.0 confirmed"]


def test_the_report_is_written_for_people_too(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [device(0)])
    package, report = tmp_path / "app-2.srp", tmp_path / "report.json"
    package.write_bytes(application(2))
    with serving(paths, "--on", "tcp:0") as served:
        words = ["update", str(package), "--via", served.vias[0], "--unverified", "--report", str(report)]
        command = [sys.executable, "-m", "cli.start", *words]
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
        assert run.returncode == 0, run.stderr
        assert "1 of 1 devices: application 2.0.0.0" in run.stdout
        assert "NOT VERIFIED" in run.stdout
        assert "WARNING: --unverified" in run.stderr
        found = json.loads(report.read_text())
        assert (found["format"], found["verified"]) == ("strongroom-update-report-1", False)
        assert found["package"]["version"] == "2.0.0.0"
        assert [found["devices"][0][name] for name in ("result", "rule")] == ["updated", None]
        again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
        assert again.returncode == 8, "a report is never overwritten"
        assert "already" in again.stderr or "exists" in again.stderr


def test_grants_and_trust_bundles_go_first(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [device(number) for number in range(COUNT)])
    known = write_public_files(tmp_path, range(COUNT))
    content, plan = granted_application(2)
    package = tmp_path / "granted.srp"
    package.write_bytes(content)
    grants = write_grants(tmp_path / "grants.srg", plan, [0, 1])
    with serving(paths, "--topology", "chain", "--on", "serial") as served:
        words = [*via_options(served.vias), "--devices", str(known)]
        without = update(package, *words)
        assert (without.code, without.rules) == (5, ["UP-27"] * COUNT)
        done = update(package, *words, "--grants", str(grants))
        assert (done.code, done.results) == (5, ["updated", "updated", "refused"])
        assert done.devices[0]["steps"][:2] == ["enter-update-mode", "send-grant"]
        served.stop()
    assert running_version(paths[0]) == "2.0.0.0 confirmed"
    assert running_version(paths[2]) == "1.0.0.0 confirmed"


def test_a_killed_tool_leaves_nothing_that_a_second_run_does_not_finish(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [device(number) for number in range(COUNT)])
    known = write_public_files(tmp_path, range(COUNT))
    package = tmp_path / "app-2.srp"
    package.write_bytes(application(2, 80_000))
    with serving(paths, "--on", "udp:0", "--erase-ms", "300", links=COUNT) as served:
        words = ["update", str(package), *via_options(served.vias), "--devices", str(known)]
        process = subprocess.Popen([sys.executable, "-m", "cli.start", *words], cwd=ROOT, stderr=subprocess.DEVNULL)
        time.sleep(1.5)
        process.kill()
        process.wait()
        done = update(package, *words[2:])
        assert (done.code, set(done.results) <= {"updated", "current"}) == (0, True), done.said
        served.stop()
    assert [running_version(path) for path in paths] == ["2.0.0.0 confirmed"] * COUNT


def test_ctrl_c_stops_between_messages_and_the_report_is_still_written(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [device(0)])
    known = write_public_files(tmp_path, [0])
    package, report = tmp_path / "app-2.srp", tmp_path / "report.json"
    package.write_bytes(application(2, 150_000))
    with serving(paths, "--on", "udp:0", "--erase-ms", "600") as served:
        words = ["update", str(package), *via_options(served.vias), "--devices", str(known), "--report", str(report)]
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.start", *words], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert "device" in process.stderr.readline(), "it is at work"
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 2
        assert "stopped" in process.stderr.read()
        process.stderr.close()
        (entry,) = json.loads(report.read_text())["devices"]
        assert entry["result"] == "stopped"
        done = update(package, *words[2:6])
        assert done.results == ["updated"]
        served.stop()
    assert running_version(paths[0]) == "2.0.0.0 confirmed"


def test_a_device_that_is_killed_in_the_middle_is_updated_when_it_is_back(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [device(number) for number in range(COUNT)])
    known = write_public_files(tmp_path, range(COUNT))
    package = tmp_path / "app-2.srp"
    package.write_bytes(application(2, 80_000))
    options = ("--topology", "star", "--on", "tcp:0", "--erase-ms", "300", "--restart")
    with serving(paths, *options) as served:
        words = ["update", str(package), *via_options(served.vias), "--devices", str(known), "--json"]
        process = subprocess.Popen([sys.executable, "-m", "cli.start", *words], cwd=ROOT, stdout=subprocess.PIPE)
        time.sleep(1.5)
        os.kill(served.pids[1], signal.SIGKILL)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        served.stop()
    assert [running_version(path) for path in paths] == ["2.0.0.0 confirmed"] * COUNT


def test_a_device_that_is_in_use_is_not_touched(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [device(0)])
    known = write_public_files(tmp_path, [0])
    package = tmp_path / "app-2.srp"
    package.write_bytes(application(2))
    with serving(paths, "--on", "udp:0", "--unsafe-for", "3600") as served:
        words = [*via_options(served.vias), "--devices", str(known), "--wait-safe", "0.3"]
        done = update(package, *words)
        assert (done.code, done.rules) == (11, ["UP-41"])
        assert "safe state" in done.devices[0]["reason"]
        served.stop()
    assert running_version(paths[0]) == "1.0.0.0 confirmed"


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        ((), "say how devices are known", 2),
        (("--unverified", "--devices", "x"), "say how devices are known", 2),
        (("--unverified", "--via", "gopher://x"), "begin with serial:", 3),
        (("--unverified", "--via", "udp://127.0.0.1:1", "--via", "udp://127.0.0.1:1"), "twice", 3),
        (("--devices", "/nowhere"), "/nowhere", 3),
        (("--unverified", "--bundles", "/etc/hostname"), "UP-04", 3),
        (("--unverified", "--grants", "/etc/hostname"), "GR-3", 4),
    ],
)
def test_what_is_wrong_with_the_command_line_is_told_before_any_device_is_asked(
    options: tuple[str, ...], words: str, code: int, tmp_path: Path
) -> None:
    package = tmp_path / "app-2.srp"
    package.write_bytes(application(2))
    command = [sys.executable, "-m", "cli.start", "update", str(package), "--via", "udp://127.0.0.1:1", *options]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert (run.returncode, words in run.stderr) == (code, True), run.stderr
    assert run.stdout == ""


def registry_with(path: Path, keys: dict[int, bytes]) -> str:
    """A registry that knows these devices by these keys; filled in by hand, as far as the update tool looks."""
    from provisioning.registry.address import parse_address
    from provisioning.registry.maintenance import create_registry

    url = f"sqlite:///{path}"
    create_registry(parse_address(url))
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        columns = {row[1]: row for row in database.execute("PRAGMA table_info(devices)")}
        for number, key in keys.items():
            fields: dict[str, object] = {
                name: (0 if "INT" in row[2] else "") for name, row in columns.items() if row[3]
            }
            fields |= {
                "id": number + 1,
                "uid": world(number).padded_uid.hex(),
                "product_id": str(UUID(bytes=PRODUCT_ID)),
            }
            fields |= {"identity_public_key": key.hex(), "lifecycle": "OPERATIONAL"}
            marks = ", ".join("?" * len(fields))
            database.execute(f"INSERT INTO devices ({', '.join(fields)}) VALUES ({marks})", tuple(fields.values()))  # noqa: S608
        database.commit()
    return url


def test_keys_come_from_the_registry(tmp_path: Path) -> None:
    """One is on record, one with another key than it has, one is not."""
    paths = write_devices(tmp_path, [device(number) for number in range(COUNT)])
    package = tmp_path / "app-2.srp"
    package.write_bytes(application(2))
    keys = {0: identity_of(0).public, 1: identity_of(2).public}
    url = registry_with(tmp_path / "registry.sqlite", keys)
    with serving(paths, "--topology", "star", "--on", "udp:0") as served:
        done = update(package, "--via", served.vias[0], "--registry", url)
        served.stop()
    assert (done.code, done.results) == (4, ["updated", "failed", "refused"])
    assert done.rules == [None, "LK-12", "UP-10"]
    assert running_version(paths[0]) == "2.0.0.0 confirmed"
    assert [running_version(path) for path in paths[1:]] == ["1.0.0.0 confirmed"] * 2


def test_on_a_terminal_every_device_has_its_bar(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [device(number) for number in range(2)])
    package = tmp_path / "app-2.srp"
    package.write_bytes(application(2))
    master, slave = pty.openpty()
    with serving(paths, "--topology", "star", "--on", "udp:0") as served:
        words = ["update", str(package), "--via", served.vias[0], "--unverified"]
        command = [sys.executable, "-m", "cli.start", *words]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "160"}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        seen = b""
        with suppress(OSError):  # what a terminal says when nobody writes to it any more
            while piece := os.read(master, 65_536):
                seen += piece
        output = process.communicate(timeout=60)[0]
        os.close(master)
    assert process.returncode == 0
    assert b"2 of 2 devices" in output
    for via in (entry.removeprefix("star:") for entry in served.vias[0].split(",")):
        assert via.encode() in seen
    assert b"updated" in seen


def test_before_a_break_in_a_chain_devices_are_updated(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [device(number) for number in range(COUNT)])
    known = write_public_files(tmp_path, range(COUNT))
    package = tmp_path / "app-2.srp"
    package.write_bytes(application(2))
    with serving(paths, "--topology", "chain", "--on", "serial") as served:
        os.kill(served.pids[1], signal.SIGKILL)
        done = update(package, *via_options(served.vias), "--devices", str(known))
        assert (done.code, done.results, done.rules) == (15, ["updated", "failed"], [None, "LK-08"])
        assert "node 1 is silent" in done.devices[1]["reason"]
        assert done.devices[1]["via"].endswith("#1")
        served.stop()
    assert running_version(paths[0]) == "2.0.0.0 confirmed"
