"""What devices say of themselves, what service orders end; freezes and reconciliation. On both databases."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pki.errors import FormatError, PolicyViolation
from provisioning.registry.errors import DeviceUnknown, NotAuthentic
from provisioning.registry.queries import DeviceQuery
from provisioning.registry.registry import Registry
from provisioning.registry.trust import ProductKeys, Trust
from tests.registry.production_line import (
    DECOMMISSIONED,
    LOCKED,
    NOW,
    OPERATIONAL,
    ORDER,
    PRODUCT,
    RMA,
    Board,
    Key,
    Line,
    Station,
    named,
    sha256,
)
from tests.registry.world import WHO, new_station, refuses, rows_of, sizes_of, take

NONCE = sha256(b"nonce")
LATER = NOW + timedelta(hours=1)


@pytest.fixture(scope="module")
def made(line: Line) -> Station:
    """Boards 1 and 2 activated, 3 begun."""
    station = new_station(line)
    station.make(Board.new(1, "SN-1"))
    station.make(Board.new(2, "SN-2"))
    station.begin(Board.new(3, "SN-3"))
    return station


@pytest.fixture
def station(made: Station, registry: Registry, line: Line) -> Station:
    """As `made`, and the registry has it."""
    station = made.copy()
    take(registry, station.file(), line.trust)
    return station


def service_order(line: Line, board: Board, action: int, **fields: Any) -> bytes:
    """docs/spec/service-order.md."""
    values: dict[str, Any] = {"lot": b"", "hardware_revision": 0, "product_id": PRODUCT, "nonce": NONCE} | fields
    unsigned = struct.pack(
        "<4sHBB16s32s16s16sH2xIII8s80x", b"SRV1", 1, 1, action, board.uid, values["nonce"], values["product_id"],
        values["lot"], values["hardware_revision"], 0, 0, 0, line.service.public.key_id,
    )  # fmt: skip
    return line.service.sign_object("SR-service-v1", unsigned)


def service_digest(order: bytes) -> bytes:
    return sha256(named("SR-service-v1"), order[:192])


def hear(registry: Registry, board: Board, at: Any = LATER, nonce: bytes = NONCE, **fields: Any) -> Any:
    return registry.take_status(board.status(nonce, **fields), nonce, at, who=WHO)


# Signed statuses


def test_a_status_says_what_runs(registry: Registry, station: Station) -> None:
    board = station.boards[1]
    heads = [sha256(b"first"), sha256(b"second")]
    for hour, (version, head) in enumerate(
        [((1, 2, 0, 4), heads[0]), ((1, 2, 0, 4), heads[0]), ((1, 3, 0, 0), heads[1])]
    ):
        nonce = sha256(bytes([hour]))
        taken = hear(registry, board, LATER + timedelta(hours=hour), nonce, application=(version, 7, head))
        assert (taken.uid, taken.is_new, taken.findings) == (board.uid, True, ())
    (row,) = registry.devices(DeviceQuery(uid=board.uid))
    assert (row["application_version"], row["application_head_hash"]) == ("1.3.0.0", heads[1].hex())
    life = registry.life_of(board.uid)
    firmware = [event.text for event in life.events if event.kind == "firmware"]
    assert firmware[-2:] == ["application 1.2.0.4, security version 7", "application 1.3.0.0, security version 7"]
    assert sum("application" in text for text in firmware) == 2
    assert life.statuses == 4, "the one of its birth, too"


def test_a_status_is_taken_once(registry: Registry, url: str, station: Station) -> None:
    data = station.boards[1].status(NONCE, trust_bundle_version=2)
    assert registry.take_status(data, NONCE, LATER, who=WHO).is_new
    before = rows_of(url)
    assert not registry.take_status(data, NONCE, LATER + timedelta(hours=1), who=WHO).is_new
    assert rows_of(url) == before


def test_a_status_is_believed_under_the_registered_key_and_nonce(
    registry: Registry, url: str, station: Station
) -> None:
    board = station.boards[1]
    before = sizes_of(url)
    impostor = replace(board, identity=Key.new())
    unsigned = board.status(NONCE)[:-64] + bytes(64)
    for data, nonce in ((impostor.status(NONCE), NONCE), (board.status(NONCE), bytes(32)), (unsigned, NONCE)):
        with pytest.raises(NotAuthentic, match="RG-24"):
            registry.take_status(data, nonce, LATER, who=WHO)
    with pytest.raises(FormatError):
        registry.take_status(board.status(NONCE)[:-1], NONCE, LATER, who=WHO)
    with pytest.raises(DeviceUnknown, match="RG-23"):
        hear(registry, Board.new(9))
    assert sizes_of(url) == before


def test_an_older_word_does_not_change_what_a_device_is(registry: Registry, station: Station) -> None:
    board = station.boards[1]
    hear(registry, board, LATER + timedelta(hours=2), trust_bundle_version=3)
    nonce = sha256(b"other")
    taken = hear(registry, board, LATER, nonce, trust_bundle_version=3, application=((9, 9, 9, 9), 1, sha256(b"old")))
    assert taken.is_new
    (row,) = registry.devices(DeviceQuery(uid=board.uid))
    assert row["application_version"] is None


def test_what_should_not_be_is_found(registry: Registry, line: Line, station: Station) -> None:
    board = station.boards[1]
    hear(registry, board, trust_bundle_version=3)
    taken = hear(registry, board, LATER, sha256(b"2"), trust_bundle_version=2, order_id=bytes(15) + b"\x01")
    assert [finding.rule_id for finding in taken.findings] == ["RG-41", "RG-42"]
    assert hear(registry, board, LATER, sha256(b"3"), trust_bundle_version=2).findings == ()
    station.scrap(board)
    take(registry, station.file(), line.trust)
    taken = hear(registry, board, LATER, sha256(b"4"), trust_bundle_version=2)
    assert [finding.rule_id for finding in taken.findings] == ["RG-40"]
    (row,) = registry.devices(DeviceQuery(uid=board.uid))
    assert row["lifecycle"] == "scrapped"


# Freezes


def test_who_has_not_moved_is_found_and_since_when(registry: Registry, station: Station) -> None:
    first, second = station.boards[1], station.boards[3]
    hear(registry, first, trust_bundle_version=2, trust_bundle_digest=sha256(b"bundle 2"))
    assert registry.bundle_counts() == [(1, 1), (2, 1)]
    (frozen,) = registry.frozen(2)
    assert (frozen.uid, frozen.trust_bundle_version) == (second.uid.hex(), 1)
    assert frozen.since == frozen.heard_at
    hear(registry, second, LATER, sha256(b"again"))
    (frozen,) = registry.frozen(2, DeviceQuery(product_id=PRODUCT))
    assert frozen.since < frozen.heard_at == "2026-11-27T13:00:00.000000Z"
    assert [device.uid for device in registry.frozen(3)] == sorted([first.uid.hex(), second.uid.hex()])
    hear(registry, second, LATER, sha256(b"moved"), trust_bundle_version=2)
    assert [*registry.frozen(2)] == []
    assert [*registry.frozen(9, DeviceQuery(product_id=bytes(15) + b"\x01"))] == []


# Service


def test_a_device_returns_and_lives_again(registry: Registry, url: str, line: Line, station: Station) -> None:
    board = station.boards[1]
    order = service_order(line, board, 1)
    receipt = board.receipt(service_digest(order), NONCE, RMA)
    assert registry.take_service(order, receipt, LATER, who=WHO, trust=line.trust)
    before = rows_of(url)
    assert not registry.take_service(order, receipt, LATER, who=WHO, trust=Trust())
    assert rows_of(url) == before
    assert registry.identity_key(board.uid) is None, "its keys are destroyed"
    with pytest.raises(DeviceUnknown, match="RG-23"):
        hear(registry, board)
    again = replace(board, identity=Key.new(), agreement=Key.new())
    lot = service_order(line, board, 3, lot=b"REWORK-1", hardware_revision=4, nonce=sha256(b"n2"))
    assert registry.take_service(lot, None, LATER, who=WHO, trust=line.trust)
    (row,) = registry.devices(DeviceQuery(uid=board.uid))
    assert (row["lifecycle"], row["lot"], row["hardware_revision"]) == ("locked", "REWORK-1", 4)
    rework = new_station(line, order_id=bytes(15) + b"\x02", lot="REWORK-1")
    rework.make(again)
    take(registry, rework.file(), line.trust)
    assert registry.identity_key(board.uid) == again.identity.public
    kinds = [(event.kind, event.text.split(" at ")[0]) for event in registry.life_of(board.uid).events]
    assert [text for kind, text in kinds if kind in ("birth", "service")] == [
        "begun",
        "activated",
        "begun",
        "activated",
        "service order return-for-repair, with its receipt",
        "service order re-provision, without a receipt",
    ]
    keys = registry.life_of(board.uid).keys
    assert sorted((key["role"], key["until"] is None) for key in keys) == [
        ("agreement", False), ("agreement", True), ("identity", False), ("identity", True)
    ]  # fmt: skip


def test_a_destroyed_key_does_not_come_back(registry: Registry, url: str, line: Line, station: Station) -> None:
    board = station.boards[1]
    order = service_order(line, board, 1)
    registry.take_service(order, board.receipt(service_digest(order), NONCE, RMA), LATER, who=WHO, trust=line.trust)
    rework = new_station(line, order_id=bytes(15) + b"\x02")
    rework.begin(board)
    refuses(registry, url, "RG-12", rework.file(), line.trust)
    other = new_station(line, order_id=bytes(15) + b"\x02")
    other.begin(replace(Board.new(8), identity=board.identity))
    refuses(registry, url, "RG-10", other.file(), line.trust)


def test_a_decommissioned_device_is_so_for_ever(registry: Registry, url: str, line: Line, station: Station) -> None:
    board = station.boards[1]
    order = service_order(line, board, 2)
    receipt = board.receipt(service_digest(order), NONCE, DECOMMISSIONED)
    registry.take_service(order, receipt, LATER, who=WHO, trust=line.trust)
    with pytest.raises(PolicyViolation, match="RG-22"):
        registry.take_service(service_order(line, board, 1), None, LATER, who=WHO, trust=line.trust)
    again = new_station(line, order_id=bytes(15) + b"\x02")
    again.begin(replace(board, identity=Key.new(), agreement=Key.new()))
    refuses(registry, url, "RG-13", again.file(), line.trust)


def test_a_returned_device_without_keys_is_decommissioned_by_the_order(
    registry: Registry, line: Line, station: Station
) -> None:
    board = station.boards[1]
    first = service_order(line, board, 1)
    registry.take_service(first, board.receipt(service_digest(first), NONCE, RMA), LATER, who=WHO, trust=line.trust)
    order = service_order(line, board, 2, nonce=sha256(b"n2"))
    unsigned = board.receipt(service_digest(order), sha256(b"n2"), DECOMMISSIONED)[:-64] + bytes(64)
    stale = board.receipt(service_digest(first), NONCE, DECOMMISSIONED)[:-64] + bytes(64)
    with pytest.raises(NotAuthentic, match="RG-21"):
        registry.take_service(order, stale, LATER, who=WHO, trust=line.trust)
    assert registry.take_service(order, unsigned, LATER, who=WHO, trust=line.trust)
    assert registry.life_of(board.uid).device["lifecycle"] == "decommissioned"


def test_permission_to_reinstall_ends_no_life(registry: Registry, line: Line, station: Station) -> None:
    board = station.boards[1]
    order = service_order(line, board, 4)
    receipt = board.receipt(service_digest(order), NONCE, OPERATIONAL)
    assert registry.take_service(order, receipt, LATER, who=WHO, trust=line.trust)
    assert registry.identity_key(board.uid) == board.identity.public


def test_a_service_order_is_signed_and_its_receipt_the_devices(
    registry: Registry, url: str, line: Line, station: Station
) -> None:
    board = station.boards[1]
    order = service_order(line, board, 1)
    digest = service_digest(order)
    good = board.receipt(digest, NONCE, RMA)
    service = line.trust.of(PRODUCT).service
    before = sizes_of(url)
    revoked = ProductKeys(service=service, revoked_key_ids=frozenset({service[0].key_id}))
    for trust in (Trust(), Trust({PRODUCT: ProductKeys(production=service)}), Trust({PRODUCT: revoked})):
        with pytest.raises(NotAuthentic, match="RG-20"):
            registry.take_service(order, good, LATER, who=WHO, trust=trust)
    impostor = replace(board, identity=Key.new())
    for receipt in (
        board.receipt(digest, bytes(32), RMA),
        board.receipt(sha256(b"another order"), NONCE, RMA),
        impostor.receipt(digest, NONCE, RMA),
        good[:-64] + bytes(64),
    ):
        with pytest.raises(NotAuthentic, match="RG-21"):
            registry.take_service(order, receipt, LATER, who=WHO, trust=line.trust)
    for other in (None, board.receipt(digest, NONCE, LOCKED), station.boards[3].receipt(digest, NONCE, RMA)):
        with pytest.raises(PolicyViolation, match="RG-21"):
            registry.take_service(order, other, LATER, who=WHO, trust=line.trust)
    unknown = service_order(line, Board.new(99), 3, lot=b"L")
    with pytest.raises(DeviceUnknown, match="RG-23"):
        registry.take_service(unknown, None, LATER, who=WHO, trust=line.trust)
    assert sizes_of(url) == before


# Reconciliation


def test_every_device_of_an_order_is_accounted_for(registry: Registry, line: Line) -> None:
    keys = [Key.new(), Key.new()]
    order = line.order({keys[0]: 8, keys[1]: 3}, quota=20)
    first, second = (Station(line, key, order) for key in keys)
    assert registry.take_order(order, NOW, who=WHO, trust=line.trust)
    assert not registry.take_order(order, NOW, who=WHO, trust=Trust())
    empty = registry.reconcile(ORDER)
    assert (empty.ordered, empty.total("sub_quota"), empty.unassigned, empty.total("left")) == (20, 11, 9, 11)
    for number in range(1, 4):
        first.make(Board.new(number))
    failed, again, scrapped, waiting = (Board.new(number) for number in range(4, 8))
    for board in (failed, again, scrapped, waiting):
        first.begin(board)
    first.fail(failed)
    first.fail(again)
    first.renew(again)
    first.activate(again)
    first.fail(scrapped)
    first.scrap(scrapped)
    first.fail(Board.new(50), "ST-30")
    second.make(Board.new(60))
    for station in (first, second):
        take(registry, station.file(), line.trust)
    found = registry.reconcile(ORDER)
    assert not found.problems()
    mine = next(one for one in found.stations if one.station == first.key.public.spki_sha256.hex())
    assert (mine.begun, mine.injected, mine.failed, mine.scrapped, mine.unaccounted) == (7, 4, 1, 1, 1)
    assert (mine.left, mine.refused, mine.records) == (1, 1, len(first.records))
    assert found.total("injected") == 5
    with pytest.raises(DeviceUnknown, match="RG-30"):
        registry.reconcile(bytes(15) + b"\x09")


def test_sums_that_do_not_hold_are_named(registry: Registry, station: Station) -> None:
    import msgspec

    found = registry.reconcile(ORDER)
    (sums,) = found.stations
    wrong = msgspec.structs.replace(sums, injected=sums.injected + 1)
    assert len(wrong.problems()) == 1
    assert len(msgspec.structs.replace(found, stations=(wrong,)).problems()) == 2
    assert len(msgspec.structs.replace(found, ordered=found.ordered + 1).problems()) == 1
    assert len(msgspec.structs.replace(sums, left=sums.left + 1).problems()) == 1


# Life and lists


def test_a_life_is_told_in_order(registry: Registry, station: Station) -> None:
    life = registry.life_of(station.boards[1].uid[:12])
    assert [event.kind for event in life.events] == ["birth", "birth", "bundle", "firmware", "firmware"]
    assert [event.at for event in life.events] == sorted(event.at for event in life.events)
    assert life.device["serial"] == "SN-1"
    assert len(life.certificates) == 1
    with pytest.raises(DeviceUnknown, match="RG-23"):
        registry.life_of(Board.new(99).uid)


def test_one_uid_in_two_products_needs_the_product(registry: Registry, line: Line, station: Station) -> None:
    other = bytes(15) + b"\x07"
    keys = line.trust.of(PRODUCT)
    second = new_station(line, order_id=bytes(15) + b"\x03", product_id=other)
    twin = Board.new(1, "SN-1")
    second.make(twin)
    take(registry, second.file(), Trust({other: keys}, line.authority.chain))
    with pytest.raises(DeviceUnknown, match="RG-31"):
        registry.identity_key(twin.uid)
    assert registry.identity_key(twin.uid, other) == twin.identity.public
    assert registry.identity_key(twin.uid, PRODUCT) == station.boards[1].identity.public


def test_lists_are_filtered_by_parameters(registry: Registry, station: Station) -> None:
    def uids(**fields: Any) -> list[str]:
        return [row["uid"] for row in registry.devices(DeviceQuery(**fields))]

    first, second, third = (Board.new(number).uid.hex() for number in (1, 2, 3))
    assert uids() == [first, second, third]
    assert uids(lifecycle="operational") == [first, second]
    assert uids(lifecycle="locked", lot="2026-48", product_id=PRODUCT, order_id=ORDER, hardware_revision=3) == [third]
    assert uids(serial="SN-2") == [second]
    assert uids(serial="' OR 1=1 --") == []
    assert uids(bundle_below=2) == [first, second, third]
    assert uids(bundle_below=1) == []
    assert uids(silent_since=NOW) == [first, second, third]
    hear(registry, station.boards[1], application=((1, 0, 0, 1), 1, sha256(b"head")))
    assert uids(application_version="1.0.0.1") == uids(application_head_hash=sha256(b"head")) == [first]
    assert uids(silent_since=NOW) == [second, third]


def test_agreement_keys_are_those_of_operational_devices(registry: Registry, station: Station) -> None:
    found = dict(registry.agreement_keys(DeviceQuery(product_id=PRODUCT)))
    assert found == {station.boards[number].uid: station.boards[number].agreement.public for number in (1, 3)}


# Old words, and reports of update runs


def test_an_old_status_is_found_by_its_events(registry: Registry, station: Station) -> None:
    board = station.boards[1]
    hear(registry, board, event_count=9, trust_bundle_version=2)
    taken = hear(registry, board, LATER + timedelta(hours=1), sha256(b"old"), event_count=3)
    assert [finding.rule_id for finding in taken.findings] == ["RG-41", "RG-43"]
    (row,) = registry.devices(DeviceQuery(uid=board.uid))
    assert row["trust_bundle_version"] == 2
    assert hear(registry, board, LATER, sha256(b"new"), event_count=9, trust_bundle_version=2).findings == ()


def report(*statuses: bytes | None, **fields: Any) -> bytes:
    """As `strongroom update --report` writes it (docs/spec/update.md, section 4)."""
    devices = [{"uid": None, "signed_status": None if data is None else data.hex()} for data in statuses]
    found = {
        "format": "strongroom-update-report-1",
        "ended_at": LATER.isoformat(),
        "verified": True,
        "devices": devices,
    }
    return json.dumps(found | fields, indent=2).encode()


def test_a_report_brings_each_devices_last_word(registry: Registry, url: str, station: Station) -> None:
    first, second = station.boards[1], station.boards[3]
    data = report(first.status(NONCE, trust_bundle_version=2), None, second.status(NONCE), Board.new(99).status(NONCE))
    taken = registry.take_report(data, LATER + timedelta(hours=5), who=WHO)
    assert (taken.added, taken.known, taken.unknown, taken.findings) == (2, 0, 1, ())
    assert registry.bundle_counts() == [(1, 1), (2, 1)]
    (row,) = registry.devices(DeviceQuery(uid=first.uid))
    assert row["heard_at"] == "2026-11-27T13:00:00.000000Z"
    before = rows_of(url)
    assert registry.take_report(data, LATER + timedelta(hours=6), who=WHO).known == 2
    assert rows_of(url) == before


def test_a_report_is_verified_whole(registry: Registry, url: str, station: Station) -> None:
    board = station.boards[1]
    good, forged = board.status(NONCE, trust_bundle_version=2), replace(board, identity=Key.new()).status(NONCE)
    before = sizes_of(url)
    with pytest.raises(NotAuthentic, match="RG-24"):
        registry.take_report(report(good, forged), LATER, who=WHO)
    with pytest.raises(PolicyViolation, match="RG-25"):
        registry.take_report(report(good, verified=False), LATER, who=WHO)
    for bad in (
        b"{}",
        b"[",
        report(good)[:-5],
        report(good, devices=7),
        report(good, ended_at="soon"),
        report(good[:-1]),
    ):
        with pytest.raises(FormatError):
            registry.take_report(bad, LATER, who=WHO)
    assert sizes_of(url) == before
