"""`strongroom station`: what is made and what is refused, on a real token; boards are in tests/stations."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from pki.values import PublicKey
from provisioning.station.births_file import BirthsReader
from provisioning.station.folder import CONFIG_FILE, StationFolder
from signer.device_objects.common import Injection
from signer.device_objects.work_order import StationQuota
from tests.cli.world import PRODUCT, label
from tests.stations.station_world import StationWorld, station_template, station_world, uid_of

__all__ = ["station_template", "station_world"]


@pytest.fixture
def line(station_world: StationWorld) -> Path:
    return station_world.make_station()


def refused(world: StationWorld, rule: str, *arguments: str | Path, code: ExitCode = ExitCode.POLICY) -> None:
    message = world.fails(code, *arguments)
    assert f"[{rule}]" in message, message


# init


def test_a_station_is_made_closed_and_whole(station_world: StationWorld, line: Path) -> None:
    assert line.stat().st_mode & 0o777 == 0o700
    for path in line.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    folder = StationFolder(line)
    assert folder.config.protection == ["readout", "write-protect", "brown-out"]
    assert [path.name for path in folder.bundle_paths()] == ["1.srb"]
    status = station_world.ok("station", "status", line, "--json").json
    assert (status["begun"], status["left"], status["sub_quota"], status["lot"]) == (0, 3, 3, "LOT-7")
    assert "activated" in station_world.ok("station", "status", line, "--verify").out


def test_a_station_is_not_made_twice(station_world: StationWorld, line: Path) -> None:
    order = station_world.out / "line.srw"
    message = station_world.fails(ExitCode.OUTPUT, *station_world.init_arguments(line, order))
    assert "exists already" in message


def test_what_counted_is_not_begun_anew(station_world: StationWorld, line: Path) -> None:
    station_world.ok("station", "scrap", line, uid_of(1), "--reason", "fell down")
    shutil.rmtree(line)
    refused(station_world, "ST-27", *station_world.init_arguments(line, station_world.out / "line.srw"))
    assert not line.exists()


def test_an_init_that_was_interrupted_is_done_again(station_world: StationWorld, line: Path) -> None:
    shutil.rmtree(line)
    station_world.ok(*station_world.init_arguments(line, station_world.out / "line.srw"))


def test_orders_that_do_not_fit_are_refused(station_world: StationWorld) -> None:
    world, out = station_world, station_world.out / "line"
    now = datetime.now(UTC)
    other = PublicKey(world.public_key(label("production")).point)
    for rule, changed in (
        ("ST-04", {"stations": (StationQuota(b"\x01" * 32, 3),)}),
        ("ST-05", {"lot_public_key": other}),
        ("ST-06", {"issuing_ca": b"\x07" * 32}),
        ("ST-07", {"not_before": int((now + timedelta(hours=1)).timestamp())}),
        ("ST-08", {"not_after": int((now - timedelta(hours=1)).timestamp())}),
        ("ST-10", {"product_id": bytes(range(16))}),
        ("ST-11", {"inject": Injection.GROUP_KEY, "group_public_key": other}),
        ("ST-13", {"trust_bundle_version_min": 2}),
        (
            "ST-14",
            {
                "quota": 2_000_000,
                "stations": (StationQuota(world.public_key(label("station")).spki_sha256, 1_000_001),),
            },
        ),
    ):
        refused(world, rule, *world.init_arguments(out, world.make_order("wrong", **changed)))
        assert not out.exists()


def test_a_forged_order_is_refused(station_world: StationWorld) -> None:
    order = station_world.make_order("forged")
    data = bytearray(order.read_bytes())
    data[56] ^= 1  # the quota
    order.write_bytes(data)
    refused(station_world, "ST-03", *station_world.init_arguments(station_world.out / "line", order))
    release = station_world.public_key(label("application-release"))
    order = station_world.make_order("other-signer", signer_key_id=release.key_id)
    refused(station_world, "ST-03", *station_world.init_arguments(station_world.out / "line", order))


@pytest.mark.parametrize("size", [0, 639, 641])
def test_a_file_that_is_no_order_is_refused(station_world: StationWorld, size: int) -> None:
    path = station_world.out / "no.srw"
    path.write_bytes(bytes(size))
    station_world.fails(ExitCode.INPUT, *station_world.init_arguments(station_world.out / "line", path))


def test_another_ca_certificate_is_refused(station_world: StationWorld) -> None:
    arguments = station_world.init_arguments(
        station_world.out / "line", station_world.make_order(), issuing_ca=station_world.out / "production-ca.pem"
    )
    refused(station_world, "ST-06", *arguments)


def test_a_factory_image_with_another_genesis_is_refused(station_world: StationWorld) -> None:
    other = station_world.out / "other.srb"
    station_world.ok("bundle", "genesis", "-p", PRODUCT, "-o", other)
    order = station_world.make_order()
    refused(station_world, "ST-10", *station_world.init_arguments(station_world.out / "line", order, [other]))


def test_a_broken_chain_of_bundles_is_refused(station_world: StationWorld) -> None:
    broken = station_world.out / "broken.srb"
    data = bytearray(station_world.bundle.read_bytes())
    data[100] ^= 1
    broken.write_bytes(data)
    arguments = station_world.init_arguments(station_world.out / "line", station_world.make_order(), [broken])
    station_world.fails(ExitCode.VERIFICATION, *arguments)


# The folder


def test_files_that_were_changed_since_are_refused(station_world: StationWorld, line: Path) -> None:
    for name in ("order.srw", "issuing-ca.der"):
        good = (line / name).read_bytes()
        (line / name).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        refused(station_world, "ST-01", "station", "scrap", line, uid_of(1), "--reason", "x")
        (line / name).write_bytes(good)


@pytest.mark.parametrize(("name", "mode"), [("", 0o750), ("order.srw", 0o640), (CONFIG_FILE, 0o604)])
def test_what_others_can_open_is_refused(station_world: StationWorld, line: Path, name: str, mode: int) -> None:
    (line / name).chmod(mode)
    refused(station_world, "ST-01", "station", "status", line)


def test_a_folder_that_is_none_is_refused(station_world: StationWorld) -> None:
    refused(station_world, "ST-01", "station", "status", station_world.out / "nothing")
    link = station_world.out / "link"
    link.symlink_to(station_world.out)
    refused(station_world, "ST-01", "station", "status", link)


def test_a_changed_configuration_is_refused(station_world: StationWorld, line: Path) -> None:
    config = line / CONFIG_FILE
    config.write_text(config.read_text() + 'more = "x"\n')
    station_world.fails(ExitCode.CONFIGURATION, "station", "status", line)


def test_one_process_works_in_a_folder(station_world: StationWorld, line: Path) -> None:
    with StationFolder(line).locked():
        refused(station_world, "ST-02", "station", "scrap", line, uid_of(1), "--reason", "x")
        station_world.ok("station", "status", line)


def test_a_copy_of_the_folder_does_not_count_again(station_world: StationWorld, line: Path) -> None:
    copy = station_world.out / "copy"
    shutil.copytree(line, copy)
    station_world.ok("station", "scrap", line, uid_of(1), "--reason", "x")
    refused(station_world, "ST-20", "station", "scrap", copy, uid_of(2), "--reason", "x")


# scrap, export, bundle, backup, restore


def test_scrapping(station_world: StationWorld, line: Path) -> None:
    made = station_world.ok("station", "scrap", line, uid_of(1), "--reason", "cracked", "--json").json
    assert (made["scrapped"], made["sequence"]) == (1, None)
    refused(station_world, "ST-44", "station", "scrap", line, uid_of(1), "--reason", "again")
    refused(station_world, "BR-01", "station", "scrap", line, uid_of(2), "--reason", "x" * 201)
    refused(station_world, "BR-01", "station", "scrap", line, uid_of(2), "--reason", "")
    for uid in ("", "zz", "00" * 12, "11" * 17):
        station_world.fails(ExitCode.INPUT, "station", "scrap", line, uid, "--reason", "x")
    assert station_world.status(line)["scrapped"] == 1


def test_export(station_world: StationWorld, line: Path) -> None:
    for number in range(3):
        station_world.ok("station", "scrap", line, uid_of(number), "--reason", "x")
    out = station_world.out / "all.births"
    made = station_world.ok("station", "export", line, "-o", out, "--json").json
    assert (made["first"], made["last"]) == (1, 3)
    with out.open("rb") as stream:
        assert len(list(BirthsReader(stream).records())) == 3
    station_world.fails(ExitCode.OUTPUT, "station", "export", line, "-o", out)
    later = station_world.out / "later.births"
    station_world.ok("station", "export", line, "-o", later, "--from", "4")
    station_world.fails(ExitCode.INPUT, "station", "export", line, "-o", station_world.out / "x", "--from", "5")
    assert not (station_world.out / "x").exists()


def test_export_after_the_order_is_over(station_world: StationWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    line = station_world.make_station()
    later = datetime.now(UTC) + timedelta(days=60)
    monkeypatch.setattr("cli.station_open.now", lambda: later)
    station_world.ok("station", "scrap", line, uid_of(1), "--reason", "x")
    station_world.ok("station", "export", line, "-o", station_world.out / "a.births")
    refused(station_world, "ST-08", "station", "run", line, "--fixture", station_world.out / "none.sock")


def test_a_bundle_that_revokes_the_lots_key_ends_the_order(station_world: StationWorld) -> None:
    line = station_world.make_station()
    second = revoking_bundle(station_world, station_world.public_key(label("lot")))
    made = station_world.ok("station", "bundle", line, second, "--json").json
    assert made["newest"] == 2
    refused(station_world, "ST-09", "station", "run", line, "--fixture", station_world.out / "none.sock")
    order = station_world.make_order("again")
    bundles = [station_world.bundle, second]
    refused(station_world, "ST-09", *station_world.init_arguments(station_world.out / "again", order, bundles))
    station_world.fails(ExitCode.VERIFICATION, "station", "bundle", line, second)


def revoking_bundle(world: StationWorld, key: PublicKey) -> Path:
    """Version 2, which revokes a key."""
    text = world.product_file.read_text(encoding="utf-8")
    world.product_file.write_text(text + f'\n[[trust.revoked]]\nkey_id = "{key.key_id.hex()}"\n', encoding="utf-8")
    out = world.out / "trust-2.srb"
    world.ok("bundle", "rotate", "-p", PRODUCT, "--previous", world.bundle, "-o", out)
    return out


def test_backup_and_restore(station_world: StationWorld, line: Path) -> None:
    world = station_world
    world.ok("station", "scrap", line, uid_of(1), "--reason", "x")
    world.ok("station", "backup", line, world.out / "b1")
    world.ok("station", "scrap", line, uid_of(2), "--reason", "x")
    world.ok("station", "export", line, "-o", world.out / "since.births", "--from", "2")
    world.ok("station", "backup", line, world.out / "b2")
    shutil.rmtree(line)
    refused(world, "ST-20", "station", "restore", world.out / "b1", line)
    assert not line.exists()
    births = ("--births", world.out / "since.births")
    made = world.ok("station", "restore", world.out / "b1", line, *births, "--json").json
    assert (made["records"], made["added"]) == (2, 1)
    shutil.rmtree(line)
    world.ok("station", "restore", world.out / "b2", line)
    world.fails(ExitCode.OUTPUT, "station", "restore", world.out / "b2", line)
    world.ok("station", "scrap", line, uid_of(3), "--reason", "x")
    assert world.status(line)["scrapped"] == 3
    assert not [path for path in world.out.iterdir() if path.name.endswith(".part")]


def test_restore_with_the_tokens_lost_writes(station_world: StationWorld, line: Path) -> None:
    """As after a power cut: SoftHSM does not sync its files."""
    world, tokens = station_world, station_world.folder / "tokens"
    world.ok("station", "scrap", line, uid_of(1), "--reason", "x")
    before = world.folder / "before"
    shutil.copytree(tokens, before)
    for number in (2, 3):
        world.ok("station", "scrap", line, uid_of(number), "--reason", "x")
    shutil.rmtree(tokens)
    shutil.copytree(before, tokens)
    result = world.station_process("scrap", line, uid_of(4), "--reason", "x")
    assert (result.code, "[ST-21]" in result.err) == (ExitCode.POLICY, True)
    backup = world.out / "b"
    world.ok("station", "backup", line, backup)
    shutil.rmtree(line)
    done = world.station_process("restore", backup, line, "--evidence-from-ledger", "--json")
    assert json.loads(done.out)["evidence_renewed"] is True
    assert world.station_process("scrap", line, uid_of(4), "--reason", "x").code == 0


def test_run_without_a_fixture(station_world: StationWorld, line: Path) -> None:
    message = station_world.fails(ExitCode.LINK, "station", "run", line, "--fixture", station_world.out / "none.sock")
    assert "does not answer" in message
