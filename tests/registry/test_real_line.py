"""The whole chain: a real station with its token, a real fixture, and its births taken by `strongroom registry`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.stations.station_world import StationWorld, padded, uid_of


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.campaign)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.sqlite'}"
    server = request.getfixturevalue("postgres_server")
    return str(server.url(server.new_database()))


def test_what_a_station_did_reaches_the_registry(station_world: StationWorld, address: str) -> None:
    world, registry = station_world, ("--registry", address)
    folder, births = world.make_station(sub_quota=3), world.out / "line.births"
    with world.fixture(links=1) as fixture, world.station(folder, fixture) as station:
        for number in range(2):
            fixture.insert(0, uid_of(number))
            assert station.verdict()["passed"]
            fixture.remove(0)
        assert station.stop() == 0
    world.ok("station", "export", folder, "-o", births)
    world.ok("registry", "init", *registry)
    chain = [argument for path in world.out.glob("*ca*.pem") for argument in ("--ca-certificates", path)]
    believed = ("--bundle", world.bundle, *chain)
    (taken,) = world.ok("registry", "import", births, *registry, *believed, "--json").json
    assert (taken["added"], taken["events"]) == (4, {"activated": 2, "begun": 2})
    assert world.ok("registry", "import", births, *registry, "--json").json[0]["new"] is False
    rows = world.ok("registry", "list", *registry, "--json").json
    assert [bytes.fromhex(row["uid"]) for row in rows] == [padded(uid_of(number)) for number in range(2)]
    assert {row["lifecycle"] for row in rows} == {"operational"}
    sums = world.ok("registry", "reconcile", taken["order_id"], *registry, "--json").json
    assert (sums["total"]["injected"], sums["total"]["left"], sums["problems"]) == (2, 1, [])
    life = world.ok("registry", "show", uid_of(0), *registry).out
    assert "activated at station" in life
    exported = world.ok("registry", "export", "--grants", *registry).out
    assert [row["uid"] for row in csv.DictReader(io.StringIO(exported))] == [row["uid"] for row in rows]
    assert "bundle 1" in world.run("registry", "freezes", "--bundle", "2", *registry).out
    assert world.run("registry", "freezes", "--bundle", "2", *registry).code == ExitCode.FINDINGS
