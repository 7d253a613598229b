"""A real station against a real fixture: processes, serial lines, SoftHSM, the reference bootloader on each board."""

from __future__ import annotations

from tests.stations.station_world import StationWorld, padded, uid_of


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
