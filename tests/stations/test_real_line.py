"""A real station against a real fixture: processes, serial lines, SoftHSM, the reference bootloader on each board."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from rpc.addresses import open_links
from rpc.client import DeviceClient
from rpc.errors import DeviceRefused
from tests.cli.test_station_commands import revoking_bundle
from tests.cli.world import label
from tests.stations.campaign import require_no_key_in_clear, require_promises
from tests.stations.station_world import Fixture, Station, StationWorld, padded, uid_of

KILL_SAMPLE = (25, 28)
"""Between ledger and token; behind both, before the activation. Every moment is the campaign's."""
CUT_SAMPLE = (3, 14)


def one_board(fixture: Fixture, station: Station, uid: str, **keys: object) -> dict[str, object]:
    """In, verdict, out."""
    fixture.insert(0, uid, **keys)
    verdict = station.verdict()
    fixture.remove(0)
    return verdict


def test_three_boards_become_devices_and_the_fourth_is_refused(station_world: StationWorld) -> None:
    folder = station_world.make_station()
    with station_world.fixture(links=2) as fixture, station_world.station(folder, fixture) as station:
        for number in range(4):
            nest = number % 2
            fixture.insert(nest, uid_of(number), flash="blank" if number == 1 else "factory")
            verdict = station.verdict()
            assert verdict["nest"] == nest
            assert verdict["passed"] is (number < 3), str(verdict)
            assert bytes.fromhex(verdict["uid"]) == padded(uid_of(number))
            fixture.remove(nest)
        assert verdict["rule"] == "ST-25"
        looks = [fixture.look(uid_of(number)) for number in range(4)]
        assert station.stop() == 0
    records = station_world.records(folder)
    assert [record.event.value for record in records] == ["begun", "activated"] * 3
    for look, record in zip(looks, records[::2], strict=False):
        assert record.identity_public_key is not None
        assert look["identity_public_key"] == record.identity_public_key.hex()
        assert look["lifecycle"] == 0xA5
    assert looks[3]["lifecycle"] == 0x3C
    status = station_world.status(folder)
    assert (status["begun"], status["activated"], status["left"]) == (3, 3, 0)


def test_thefts_on_a_real_line(station_world: StationWorld) -> None:
    """A cloned flash on another UID, a board that was activated elsewhere, one that is not wanted any more."""
    folder, elsewhere = station_world.make_station("line", 5), station_world.make_station("elsewhere", 5)
    made, readable, protected, foreign = (uid_of(number) for number in range(1, 5))
    with station_world.fixture() as fixture:
        with station_world.station(elsewhere, fixture) as other:
            assert one_board(fixture, other, foreign)["passed"]
            other.stop()
        with station_world.station(folder, fixture) as station:
            assert one_board(fixture, station, made, flash="blank")["passed"]
            assert one_board(fixture, station, readable, clone_of=made)["sequence"] == 2
            assert one_board(fixture, station, foreign)["rule"] == "ST-42"
            assert one_board(fixture, station, made)["passed"]
            station.stop()
        keys = {fixture.look(uid)["identity_public_key"] for uid in (made, readable)}
        assert len(keys) == 2, "what was cloned where it could be read was erased, and made keys of its own"
        fixture.insert(0, protected, clone_of=made)
        fixture.hands.ask("set-option-bytes", nest=0, readout_level=1, write_protect=True, brown_out=True)
        with station_world.station(folder, fixture) as station:
            assert station.verdict()["rule"] == "ST-40"
            fixture.remove(0)
            station.stop()
        station_world.ok("station", "scrap", folder, made, "--reason", "cracked")
        with station_world.station(folder, fixture) as station:
            assert one_board(fixture, station, made)["rule"] == "ST-44"
    assert station_world.status(folder)["begun"] == 2


def test_the_registry_takes_what_a_station_exports(station_world: StationWorld) -> None:
    """From the board to the reconciliation report: two made, one scrapped, nothing unaccounted."""
    folder, world = station_world.make_station("line", 3), station_world
    with world.fixture(2) as fixture, world.station(folder, fixture, "--boards", "2") as station:
        for nest in range(2):
            fixture.insert(nest, uid_of(nest), flash="blank")
        assert all(station.verdict()["passed"] for _ in range(2))
        station.process.wait(60)
    world.ok("station", "scrap", folder, uid_of(0), "--reason", "cracked housing")
    births = world.out / "line.births"
    world.ok("station", "export", folder, "-o", births)
    registry = ("--registry", f"sqlite:///{world.out}/registry.sqlite")
    world.ok("registry", "init", *registry)
    certificates = [world.out / f"{name}.pem" for name in ("lot-ca", "production-ca", "root-ca")]
    chain = [part for path in certificates for part in ("--ca-certificates", path)]
    world.ok("registry", "import", *registry, births, "--bundle", world.bundle, *chain)
    world.ok("registry", "import", *registry, births, "--bundle", world.bundle, *chain)
    order = world.records(folder)[0].order_id.hex()
    report = world.ok("registry", "reconcile", *registry, order, "--json").json
    text = json.dumps(report)
    assert report, text
    life = world.ok("registry", "show", *registry, uid_of(0)).out
    for word in ("activated", "scrapped"):
        assert word in life.lower()


def test_a_leaked_lot_key_after_its_revocation(station_world: StationWorld) -> None:
    """The thief has the lot's key and a LOCKED board; the board has had the bundle, and refuses."""
    thief = station_world.make_station("thief", 5)
    second = revoking_bundle(station_world, station_world.public_key(label("lot")))
    with station_world.fixture() as fixture, station_world.station(thief, fixture) as station:
        uid = uid_of(1)
        fixture.insert(0, uid)
        assert station.verdict()["passed"], "as long as no bundle revokes it"
        fixture.remove(0)
        station.stop()
        stolen = uid_of(2)
        fixture.insert(0, stolen)
        fixture.hands.ask("set-option-bytes", nest=0, readout_level=1, write_protect=True, brown_out=True)
        fixture.hands.ask("power-cycle", nest=0)
        client = DeviceClient(open_links(fixture.hands.links()[0])[0].link)
        client.send_trust_bundle(second.read_bytes())
        order = (thief / "order.srw").read_bytes()
        client.challenge(_point())
        activation = station_world.records(thief)[0].activation
        assert activation is not None
        with pytest.raises(DeviceRefused, match="SIGNER_REVOKED"):
            client.send_activation(order + activation)
        client.close()
        assert fixture.look(stolen)["lifecycle"] == 0x3C


def _point() -> bytes:
    from rpc.objects.challenge import new_host_ephemeral

    return new_host_ephemeral()[1]


def kill_and_finish(world: StationWorld, folder: Path, fixture: Fixture, moment: int, uid: str) -> bool:
    """A station killed at a moment, then another that finishes the board; whether the first was killed."""
    fixture.insert(0, uid, flash="blank")
    with world.killed_station(moment, folder, fixture, "--boards", "1") as station:
        killed = station.process.wait(120) == -signal.SIGKILL
    with world.station(folder, fixture, "--boards", "1") as station:
        verdict = station.verdict()
    assert verdict["passed"], f"moment {moment}: {verdict}"
    fixture.remove(0)
    return killed


def test_a_station_killed_on_a_real_line_finishes_its_board(station_world: StationWorld) -> None:
    folder = station_world.make_station("line", len(KILL_SAMPLE))
    uids = [uid_of(moment) for moment in KILL_SAMPLE]
    with station_world.fixture() as fixture:
        for moment, uid in zip(KILL_SAMPLE, uids, strict=True):
            assert kill_and_finish(station_world, folder, fixture, moment, uid)
        require_promises(folder, fixture, uids)
        places = [folder, station_world.folder / "tokens"]
        require_no_key_in_clear(fixture, uids, places)


@pytest.mark.campaign
def test_campaign_a_station_killed_at_every_moment(station_world: StationWorld, record_property: object) -> None:
    folder = station_world.make_station("line", 200)
    uids: list[str] = []
    with station_world.fixture() as fixture:
        for moment in range(200):
            uids.append(uid_of(moment))
            if not kill_and_finish(station_world, folder, fixture, moment, uids[-1]):
                break
        require_promises(folder, fixture, uids)
        require_no_key_in_clear(fixture, uids, [folder, station_world.folder / "tokens"])
    assert len(uids) > 30
    record_property("campaign", ("stations killed on a real line", len(uids)))  # type: ignore[operator]


def test_power_cuts_on_the_board(station_world: StationWorld) -> None:
    """The supply fails during a flash operation of the device, and comes back at once: it ends activated."""
    _cut_power(station_world, CUT_SAMPLE)


@pytest.mark.campaign
def test_campaign_power_cuts_at_every_flash_operation(station_world: StationWorld, record_property: object) -> None:
    operations = range(120)
    _cut_power(station_world, operations)
    record_property("campaign", ("power cuts during activation on a real line", len(operations)))  # type: ignore[operator]


def _cut_power(world: StationWorld, operations: object) -> None:
    folder = world.make_station("line", 500)
    uids: list[str] = []
    with world.fixture() as fixture, world.station(folder, fixture) as station:
        for operation in operations:  # type: ignore[attr-defined]
            uid = uid_of(1000 + operation)
            uids.append(uid)
            fixture.insert(0, uid, flash="blank")
            fixture.hands.ask("cut-power", nest=0, operation=operation, tear="torn", seed=operation)
            verdict = station.verdict()
            assert verdict["passed"], f"operation {operation}: {verdict}"
            fixture.remove(0)
        station.stop()
        require_promises(folder, fixture, uids)


@pytest.mark.parametrize(
    "faults",
    [
        {"duplicate": 0.2, "lose": 0.02},
        pytest.param({"lose": 0.1}, marks=pytest.mark.campaign),
        pytest.param({"corrupt": 0.1}, marks=pytest.mark.campaign),
        pytest.param({"reorder": 0.2, "duplicate": 0.2}, marks=pytest.mark.campaign),
    ],
)
def test_replies_dropped_doubled_or_changed(station_world: StationWorld, faults: dict[str, float]) -> None:
    folder = station_world.make_station("line", 50)
    uids = [uid_of(number) for number in range(3)]
    with station_world.fixture() as fixture, station_world.station(folder, fixture) as station:
        fixture.hands.ask("link-faults", nest=0, seed=7, **faults)
        for uid in uids:
            verdict = one_board(fixture, station, uid, flash="blank")
            assert verdict["passed"], verdict
        station.stop()
        require_promises(folder, fixture, uids)


@pytest.mark.campaign
def test_a_fixture_that_is_killed_and_begun_again(station_world: StationWorld) -> None:
    """The boards' flash survives it, and so does the station."""
    folder = station_world.make_station("line", 5)
    boards = station_world.out / "boards"
    boards.mkdir()
    with station_world.fixture(1, "--boards", boards) as first, station_world.station(folder, first) as station:
        assert one_board(first, station, uid_of(1), flash="blank")["passed"]
        first.process.kill()
        first.process.wait()
        with station_world.fixture(1, "--boards", boards) as second:
            assert one_board(second, station, uid_of(1))["passed"]
            assert one_board(second, station, uid_of(2), flash="blank")["passed"]
            assert station.stop() == 0
            require_promises(folder, second, [uid_of(1), uid_of(2)])
    assert station_world.status(folder)["activated"] == 2


def test_serial_numbers_are_scanned(station_world: StationWorld) -> None:
    folder = station_world.make_station("line", 5)
    with station_world.fixture() as fixture:
        fixture.insert(0, uid_of(1), flash="blank")
        options = ("--json", "--boards", "1", "--scan-serials")
        process = station_world.begin(
            "station", "run", folder, "--fixture", fixture.socket, *options, text=True, types=True
        )
        out, err = process.communicate("rubbish\x07\n]d2010401234567890121A1\n", timeout=120)
    assert '"passed": true' in out
    assert "ST-39" in err
    assert station_world.records(folder)[0].serial == "(01)04012345678901(21)A1"


@pytest.mark.campaign
def test_campaign_twenty_stations_and_a_hundred_devices_each(
    station_world: StationWorld, record_property: object
) -> None:
    """One after the other on one machine; each is killed now and then, on a line that loses and doubles frames."""
    stations, devices, links = 20, 100, 4
    for number in range(stations):
        folder = station_world.make_station(f"line-{number}", devices)
        uids = [uid_of(10_000 * number + board) for board in range(devices + 1)]
        with station_world.fixture(links, name=f"fixture-{number}") as fixture:
            for nest in range(links):
                fixture.hands.ask("link-faults", nest=nest, seed=number, lose=0.01, duplicate=0.05)
            feed_with_kills(station_world, folder, fixture, uids, links)
            require_promises(folder, fixture, uids)
            status = station_world.status(folder)
            assert (status["begun"], status["left"]) == (devices, 0)
            require_no_key_in_clear(fixture, uids[:5], [folder])
    record_property("campaign", ("devices of 20 stations with kills and faulty links", stations * devices))  # type: ignore[operator]


def feed_with_kills(world: StationWorld, folder: Path, fixture: Fixture, uids: list[str], links: int) -> None:
    """Every board until it passes, or the quota says no; the station is killed after each 25 seconds of work."""
    waiting, lying = list(uids), dict[int, str]()
    refused = 0
    while waiting or lying:
        with world.station(folder, fixture) as station:
            deadline = time.monotonic() + 25
            while (waiting or lying) and time.monotonic() < deadline:
                for nest in range(links):
                    if nest not in lying and waiting:
                        lying[nest] = waiting.pop()
                        fixture.insert(nest, lying[nest], flash="blank")
                verdict = station.verdict()
                if verdict["passed"] or verdict["rule"] == "ST-25":
                    refused += verdict["rule"] == "ST-25"
                    del lying[int(verdict["nest"])]
                    fixture.remove(int(verdict["nest"]))
                else:
                    fixture.remove(int(verdict["nest"]))
                    fixture.insert(int(verdict["nest"]), lying[int(verdict["nest"])])
            station.process.kill()
            station.process.wait()
    assert refused >= 1
