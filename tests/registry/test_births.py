"""Births are taken whole, verified, once; whatever is not so is refused by its rule. On both databases.

`station` has record 1, board 1 begun; 2, board 1 activated; 3, board 2 begun.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pki.x509_parse import parse_certificate
from provisioning.registry.registry import Registry
from provisioning.registry.trust import ProductKeys, Trust
from tests.registry.production_line import (
    LOCKED,
    NOW,
    PRODUCT,
    Authority,
    Board,
    Key,
    Line,
    Station,
    canonical,
    named,
    sha256,
)
from tests.registry.world import READING_ONLY, new_station, refuses, rows_of, take

WRAPPED = Key.new().point + b"\x18\0" + bytes(6) + b"w" * 24 + bytes(128)
"""An injected key, as an activation has it."""


@pytest.fixture(scope="module")
def begun_station(line: Line) -> Station:
    station = new_station(line)
    station.make(Board.new(1, "SN-1"))
    station.begin(Board.new(2, "SN-2"))
    return station


@pytest.fixture
def station(begun_station: Station) -> Station:
    return begun_station.copy()


def other_order(line: Line, **order: Any) -> Station:
    return new_station(line, order_id=line.entropy.randbytes(16), **order)


# Taking


def test_births_are_taken_and_found(registry: Registry, line: Line) -> None:
    station = new_station(line)
    boards = [Board.new(n, f"SN-{n}") for n in range(1, 4)]
    for board in boards:
        station.make(board)
    taken = take(registry, station.file(), line.trust)
    assert (taken.added, taken.last_number) == (6, 6)
    assert taken.events == {"begun": 3, "activated": 3}
    for board in boards:
        assert registry.identity_key(board.uid) == board.identity.public
        assert registry.identity_key(board.uid[:12], PRODUCT) == board.identity.public
    assert registry.identity_key(Board.new(9).uid) is None


def test_a_device_without_a_serial_number_is_certified_by_its_uid(registry: Registry, line: Line) -> None:
    station = new_station(line)
    station.make(Board.new(1))
    assert take(registry, station.file(), line.trust).added == 2


def test_a_lost_receipt_is_no_loss(registry: Registry, line: Line, station: Station) -> None:
    station.activate(station.boards[3], receipt=False)
    assert take(registry, station.file(), line.trust).added == 4


def test_the_same_file_again_changes_nothing(registry: Registry, url: str, line: Line, station: Station) -> None:
    take(registry, station.file(), line.trust)
    before = rows_of(url)
    assert take(registry, station.file(), line.trust).added == 0
    assert take(registry, station.file(), Trust()).added == 0, "a known order and CA need no keys"
    assert take(registry, station.file(last=2), Trust()).added == 0, "an older export"
    assert rows_of(url) == before


def test_a_longer_file_continues_and_so_does_a_continuation(
    registry: Registry, url: str, line: Line, station: Station
) -> None:
    take(registry, station.file(last=1), line.trust)
    assert take(registry, station.file(last=2), line.trust).added == 1
    station.renew(station.boards[3])
    third = take(registry, station.file(first=3), Trust())
    assert (third.first_number, third.last_number, third.added) == (3, 4, 2)
    station.fail(station.boards[3])
    assert take(registry, station.file(first=2), Trust()).added == 1, "it overlaps what is known"
    stored = [row[2] for row in sorted(rows_of(url)["birth_records"], key=lambda row: row[1])]
    assert stored == [sha256(canonical(record)).hex() for record in station.records]


def test_a_file_without_records_is_taken(registry: Registry, line: Line) -> None:
    station = new_station(line)
    assert take(registry, station.file(), line.trust).added == 0


def test_two_stations_of_one_order(registry: Registry, line: Line) -> None:
    keys = [Key.new(), Key.new()]
    order = line.order({keys[0]: 2, keys[1]: 3})
    for number, key in enumerate(keys):
        station = Station(line, key, order)
        station.make(Board.new(10 * number + 1))
        take(registry, station.file(), line.trust)
    sums = registry.reconcile(order[8:24])
    assert sorted((one.sub_quota, one.begun, one.injected) for one in sums.stations) == [(2, 1, 1), (3, 1, 1)]
    assert not sums.problems()


def test_only_what_stands_before_a_number_is_taken(registry: Registry, url: str, line: Line, station: Station) -> None:
    take(registry, station.file(), line.trust)
    clone = replace(Board.new(7), identity=station.boards[1].identity)
    other = other_order(line)
    other.make(Board.new(5))
    other.begin(clone)
    refuses(registry, url, "RG-10", other.file(), line.trust)
    assert take(registry, other.file(), line.trust, until=2).added == 2
    assert registry.identity_key(Board.new(5).uid) is not None
    refuses(registry, url, "RG-10", other.file(), line.trust)


# The file


def relined(file: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    return b"".join(change(file.splitlines(keepends=True)))


@READING_ONLY
@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file[:-1],
        lambda file: file + b"\n",
        lambda file: file + file,
        lambda file: relined(file, lambda lines: lines[:-1]),
        lambda file: relined(file, lambda lines: [*lines[:-2], lines[-1]]),
        lambda file: relined(file, lambda lines: [lines[0], *lines[2:]]),
        lambda file: relined(file, lambda lines: [*lines[:2], *lines[1:]]),
        lambda file: file.replace(b'"count":3', b'"count":2'),
        lambda file: file.replace(b'"count":3', b'"count":4'),
        lambda file: file.replace(b'"count":3', b'"count":25000001'),
        lambda file: file.replace(b'"count":3', b'"count":3.0'),
        lambda file: file.replace(b'"first_number":1', b'"first_number":0'),
        lambda file: file.replace(b"strongroom-births-1", b"strongroom-births-2"),
        lambda file: file.replace(b'{"count"', b'{ "count"'),
        lambda file: file.replace(b'"evidence_commit":4', b'"evidence_commit":5'),
        lambda file: b"{" + b"x" * 70_000,
        lambda file: b"",
    ],
)
def test_a_damaged_file_is_refused(
    registry: Registry, url: str, line: Line, station: Station, damage: Callable[[bytes], bytes]
) -> None:
    message = None
    for rule in ("BR-10", "BR-02"):
        try:
            message = refuses(registry, url, rule, damage(station.file()), line.trust)
        except AssertionError:
            continue
    assert message is not None
    take(registry, station.file(), line.trust)


@READING_ONLY
def test_the_last_line_names_the_last_record(registry: Registry, url: str, line: Line, station: Station) -> None:
    refuses(registry, url, "BR-10", station.file(head=bytes(32)), line.trust)
    refuses(registry, url, "BR-10", station.file(number=4), line.trust)
    refuses(registry, url, "BR-10", station.file(at="yesterday"), line.trust)


def test_another_key_cannot_sign_a_record_or_the_end(
    registry: Registry, url: str, line: Line, station: Station
) -> None:
    other = replace(station, key=Key.new())
    honest, forged = station.file().splitlines(keepends=True), other.file().splitlines(keepends=True)
    refuses(registry, url, "BR-04", b"".join([*honest[:2], forged[2], *honest[3:]]), line.trust)
    refuses(registry, url, "BR-10", b"".join([*honest[:-1], forged[-1]]), line.trust)


@READING_ONLY
@pytest.mark.parametrize(
    "fields",
    [
        {"uid": bytes(16)},
        {"uid": bytes(15)},
        {"sequence": 0},
        {"sequence": None},
        {"certificate": None},
        {"reason": "because"},
        {"event": "born"},
        {"at": "2026-11-26 12:00:00"},
        {"serial": "S\u00e9rie"},
        {"serial": "x" * 33},
        {"serial": "a\nb"},
        {"protection": 32},
        {"lot": "x" * 17},
        {"extra": 1},
        {"identity_public_key": "ab" * 63 + "AB"},
    ],
)
def test_a_record_of_another_form_is_refused(
    registry: Registry, url: str, line: Line, station: Station, fields: dict[str, Any]
) -> None:
    station.change(3, **fields)
    refuses(registry, url, "BR-01", station.file(), line.trust)


@READING_ONLY
@pytest.mark.parametrize("fields", [{"number": 4}, {"number": 2}, {"previous": bytes(32)}])
def test_gaps_repetitions_and_foreign_predecessors_are_refused(
    registry: Registry, url: str, line: Line, station: Station, fields: dict[str, Any]
) -> None:
    station.records[2].update(fields)
    refuses(registry, url, "BR-02", station.file(), line.trust)


@READING_ONLY
def test_a_first_record_has_no_predecessor(registry: Registry, url: str, line: Line, station: Station) -> None:
    station.records[0]["previous"] = sha256(b"before")
    station.change(2)
    refuses(registry, url, "BR-02", station.file(), line.trust)


def test_records_do_not_go_back_in_time(registry: Registry, url: str, line: Line, station: Station) -> None:
    take(registry, station.file(last=2), line.trust)
    station.at -= timedelta(seconds=1)
    station.fail(Board.new(6))
    refuses(registry, url, "BR-02", station.file(), line.trust)
    take(registry, station.file(last=3), line.trust)
    refuses(registry, url, "BR-02", station.file(first=4), line.trust)


def test_a_file_that_leaves_some_out_is_refused(registry: Registry, url: str, line: Line, station: Station) -> None:
    refuses(registry, url, "BR-02", station.file(first=2), line.trust)
    take(registry, station.file(last=1), line.trust)
    refuses(registry, url, "BR-02", station.file(first=3), line.trust)
    assert take(registry, station.file(first=2), line.trust).added == 2


@READING_ONLY
@pytest.mark.parametrize("name", ["order_id", "order_digest", "station"])
def test_records_of_another_ledger_are_refused(
    registry: Registry, url: str, line: Line, station: Station, name: str
) -> None:
    station.change(2, **{name: line.entropy.randbytes(len(station.records[1][name]))})
    refuses(registry, url, "BR-03", station.file(), line.trust)


def test_a_fork_is_found(registry: Registry, url: str, line: Line, station: Station) -> None:
    """A station whose database was put back, or a copy of it: other records under the same numbers."""
    take(registry, station.file(), line.trust)
    restored = Station(line, station.key, station.order, begun=1, records=station.records[:2])
    restored.begin(Board.new(3, "SN-3"))
    restored.activate(Board.new(3, "SN-3"), signed_status=bytes(576), status_nonce=bytes(32))
    refuses(registry, url, "BR-12", restored.file(), line.trust)
    refuses(registry, url, "BR-12", restored.file(first=3), line.trust)
    refuses(registry, url, "BR-12", restored.file(first=3, last=3), line.trust)


def test_a_forked_continuation_is_found_by_its_predecessor(
    registry: Registry, url: str, line: Line, station: Station
) -> None:
    take(registry, station.file(last=2), line.trust)
    restored = Station(line, station.key, station.order, begun=0)
    restored.fail(Board.new(8))
    restored.fail(Board.new(9))
    restored.begin(Board.new(3))
    refuses(registry, url, "BR-12", restored.file(first=3), line.trust)


# The order


def test_an_order_must_be_signed_by_the_products_production_key(
    registry: Registry, url: str, line: Line, station: Station
) -> None:
    keys = line.trust.of(PRODUCT)
    other_product = bytes(15) + b"\x01"
    for trust in (
        Trust(ca_certificates=line.authority.chain),
        Trust({other_product: keys}, line.authority.chain),
        Trust({PRODUCT: ProductKeys(service=keys.production, grant=keys.production)}, line.authority.chain),
    ):
        refuses(registry, url, "BR-11", station.file(), trust)
    forged = replace(station, order=station.order[:576] + Key.new().sign_digest(station.order_digest))
    refuses(registry, url, "BR-11", forged.file(), line.trust)


def test_a_station_that_the_order_does_not_name_is_refused(registry: Registry, url: str, line: Line) -> None:
    stranger = Station(line, Key.new(), line.order({Key.new(): 5}))
    stranger.make(Board.new(1))
    refuses(registry, url, "BR-11", stranger.file(), line.trust)


@pytest.mark.parametrize("revoked", ["signer", "lot"])
def test_a_new_order_of_a_revoked_key_is_refused(
    registry: Registry, url: str, line: Line, station: Station, revoked: str
) -> None:
    key = line.production if revoked == "signer" else line.lot
    keys = replace_keys(line, frozenset({key.public.key_id}))
    refuses(registry, url, "RG-03", station.file(), keys)
    take(registry, station.file(last=1), line.trust)
    assert take(registry, station.file(), keys).added == 2, "what was ordered before goes on"


def replace_keys(line: Line, revoked: frozenset[bytes]) -> Trust:
    return Trust({PRODUCT: replace(line.trust.of(PRODUCT), revoked_key_ids=revoked)}, line.authority.chain)


def test_one_order_has_one_id(registry: Registry, url: str, line: Line, station: Station) -> None:
    take(registry, station.file(), line.trust)
    other = new_station(line, quota=99)
    other.make(Board.new(50))
    refuses(registry, url, "RG-09", other.file(), line.trust)


# Devices in a ledger


def test_a_device_is_counted_once(registry: Registry, url: str, line: Line, station: Station) -> None:
    again = replace(station.boards[3], serial="SN-4")
    station.begin(again)
    refuses(registry, url, "BR-05", station.file(), line.trust)


def test_a_serial_number_is_given_once(registry: Registry, url: str, line: Line, station: Station) -> None:
    station.begin(Board.new(3, "SN-2"))
    refuses(registry, url, "BR-05", station.file(), line.trust)


def test_a_serial_number_is_given_once_across_files(registry: Registry, url: str, line: Line, station: Station) -> None:
    take(registry, station.file(), line.trust)
    station.begin(Board.new(3, "SN-1"))
    refuses(registry, url, "BR-05", station.file(), line.trust)


def test_sequences_leave_nothing_out(registry: Registry, url: str, line: Line, station: Station) -> None:
    station.begun = 3
    station.begin(Board.new(3))
    refuses(registry, url, "BR-05", station.file(), line.trust)


def test_the_quota_is_exact(registry: Registry, url: str, line: Line) -> None:
    station = new_station(line, quota=2)
    station.make(Board.new(1))
    station.make(Board.new(2))
    assert take(registry, station.file(), line.trust).added == 4
    station.begin(Board.new(3))
    refuses(registry, url, "BR-05", station.file(), line.trust)
    assert registry.reconcile(station.order[8:24]).stations[0].left == 0


@READING_ONLY
@pytest.mark.parametrize(
    "fields",
    [{"sequence": 1}, {"serial": "SN-9"}, {"identity_public_key": Key.new().point}],
)
def test_a_renewal_is_for_what_was_begun(
    registry: Registry, url: str, line: Line, station: Station, fields: dict[str, Any]
) -> None:
    station.renew(station.boards[3], **fields)
    refuses(registry, url, "BR-07", station.file(), line.trust)


def test_a_renewal_has_the_same_certificate(registry: Registry, url: str, line: Line, station: Station) -> None:
    board = station.boards[3]
    station.latest[board.uid]["certificate"] = line.certificate(board, station.at)
    station.renew(board)
    refuses(registry, url, "BR-06", station.file(), line.trust)


def test_only_who_waits_is_renewed(registry: Registry, url: str, line: Line, station: Station) -> None:
    station.renew(station.boards[1])
    refuses(registry, url, "BR-06", station.file(), line.trust)
    station.records.pop()
    station.scrap(station.boards[3])
    station.renew(station.boards[3])
    refuses(registry, url, "BR-06", station.file(), line.trust)


def test_an_activation_is_recorded_once(registry: Registry, url: str, line: Line, station: Station) -> None:
    station.activate(station.boards[1])
    refuses(registry, url, "BR-08", station.file(), line.trust)


def test_only_who_was_begun_is_activated(registry: Registry, url: str, line: Line, station: Station) -> None:
    other = other_order(line)
    board = Board.new(5)
    other.begin(board)
    station.latest[board.uid] = other.latest[board.uid]
    station.activate(board)
    refuses(registry, url, "BR-08", station.file(), line.trust)


def test_an_older_activation_of_the_same_device_may_be_the_one_in_force(
    registry: Registry, line: Line, station: Station
) -> None:
    board = station.boards[3]
    first = station.latest[board.uid]
    station.renew(board)
    station.latest[board.uid] = first
    station.activate(board)
    assert take(registry, station.file(), line.trust).added == 5


@READING_ONLY
@pytest.mark.parametrize(
    "status",
    [
        {"lifecycle": LOCKED},
        {"uid": Board.new(77).uid},
        {"activation_digest": sha256(b"another")},
        {"order_id": bytes(15) + b"\x01"},
        {"product_id": bytes(15) + b"\x01"},
        {"certificate_digest": sha256(b"another")},
        {"trust_bundle_version": 2},
        {"protection": 0},
    ],
)
def test_the_device_itself_says_that_it_is_operational(
    registry: Registry, url: str, line: Line, station: Station, status: dict[str, Any]
) -> None:
    station.activate(station.boards[3], status=status)
    refuses(registry, url, "BR-08", station.file(), line.trust)


@READING_ONLY
def test_a_status_or_receipt_of_another_device_or_question_is_refused(
    registry: Registry, url: str, line: Line, station: Station
) -> None:
    board = station.boards[3]
    impostor = replace(board, identity=Key.new())
    honest = station.activate(board)
    for fields in (
        {"status_nonce": bytes(32)},
        {"signed_status": impostor.status(honest["status_nonce"])},
        {"signed_status": honest["signed_status"][:-64] + bytes(64)},
        {"receipt": impostor.receipt(honest["activation_digest"], bytes(32))},
        {"receipt": board.receipt(sha256(b"another"), bytes(32))},
        {"receipt": board.receipt(honest["activation_digest"], bytes(32), LOCKED)},
        {"receipt": board.receipt(honest["activation_digest"], bytes(32), agreement=Key.new().point)},
    ):
        kept = {name: honest[name] for name in fields}
        station.change(4, **fields)
        refuses(registry, url, "BR-08", station.file(), line.trust)
        station.change(4, **kept)
    assert take(registry, station.file(), line.trust).added == 4


@pytest.mark.parametrize(
    "fields",
    [
        {"sequence": 9},
        {"sequence": None},
        {"activation_digest": None},
        {"serial": "SN-9"},
        {"identity_public_key": None},
    ],
)
def test_who_ends_is_who_was_begun(
    registry: Registry, url: str, line: Line, station: Station, fields: dict[str, Any]
) -> None:
    for write in (station.fail, station.scrap):
        write(station.boards[3], **fields)
        refuses(registry, url, "BR-09", station.file(), line.trust)
        station.records.pop()
        write(Board.new(6), sequence=5)
        refuses(registry, url, "BR-09", station.file(), line.trust)
        station.records.pop()


def test_nothing_follows_scrapped(registry: Registry, url: str, line: Line, station: Station) -> None:
    refused_board = Board.new(6)
    station.fail(refused_board)
    station.scrap(refused_board)
    station.scrap(station.boards[3])
    take(registry, station.file(), line.trust)
    for board in (refused_board, station.boards[3]):
        for write in (station.fail, station.scrap):
            write(board)
            refuses(registry, url, "BR-09", station.file(), line.trust)
            station.records.pop()
    station.begin(refused_board)
    refuses(registry, url, "BR-05", station.file(), line.trust)


def test_a_board_that_was_refused_may_be_counted_later(registry: Registry, line: Line, station: Station) -> None:
    board = Board.new(6)
    station.fail(board)
    station.make(board)
    assert take(registry, station.file(), line.trust).added == 6


# Activations


@READING_ONLY
@pytest.mark.parametrize(
    "activation",
    [
        {"injected": 1},
        {
            "agreement_key": Key.new().point + Key.new().point + b"\x18\0" + bytes(6) + b"w" * 24 + bytes(128),
            "injected": 2,
        },
    ],
)
def test_an_activation_injects_what_was_ordered(
    registry: Registry, url: str, line: Line, station: Station, activation: dict[str, Any]
) -> None:
    station.begin(Board.new(3), keys=activation)
    refuses(registry, url, "BR-07", station.file(), line.trust)


@READING_ONLY
@pytest.mark.parametrize(
    ("offset", "rule"),
    [(8, "BR-07"), (56, "BR-07"), (88, "BR-07"), (120, "BR-07"), (128, "BR-07"), (160, "BR-07"), (192, "BR-07"),
     (224, "BR-07"), (124, "BR-07")],
)  # fmt: skip
def test_an_activation_says_what_the_record_says(
    registry: Registry, url: str, line: Line, station: Station, offset: int, rule: str
) -> None:
    """Signed by the lot's key all the same: the station's own word is not enough."""
    unsigned = bytearray(station.records[2]["activation"][:800])
    unsigned[offset] ^= 1
    signed = line.lot.sign_object("SR-activate-v1", bytes(unsigned))
    digest = sha256(named("SR-activate-v1"), bytes(unsigned))
    station.change(3, activation=signed, activation_digest=digest)
    refuses(registry, url, rule, station.file(), line.trust)


@READING_ONLY
def test_an_activation_is_signed_by_the_lots_key(registry: Registry, url: str, line: Line, station: Station) -> None:
    record = station.records[2]
    forged = Key.new().sign_object("SR-activate-v1", record["activation"][:800])
    station.change(3, activation=forged)
    refuses(registry, url, "BR-07", station.file(), line.trust)
    station.change(3, activation=line.lot.sign_object("SR-activate-v1", forged[:800]), activation_digest=bytes(32))
    refuses(registry, url, "BR-07", station.file(), line.trust)


def test_injected_keys_are_recorded(registry: Registry, url: str, line: Line) -> None:
    group, injected = Key.new(), Key.new()
    station = other_order(line, inject=3, group_public_key=group.point)
    keys = {"injected": 3, "group_key": WRAPPED, "agreement_key": injected.point + WRAPPED}
    board = Board.new(1)
    station.begin(board, keys=keys)
    station.activate(board)
    take(registry, station.file(), line.trust)
    found = {(row[1], row[2]): row[5] for row in rows_of(url)["device_keys"]}
    assert found.keys() == {
        ("identity", board.identity.point.hex()),
        ("agreement", board.agreement.point.hex()),
        ("agreement", injected.point.hex()),
        ("group", group.point.hex()),
    }
    assert found["agreement", board.agreement.point.hex()] is not None, "the one that it made ended"
    assert found["agreement", injected.point.hex()] is None


# Certificates and what was ordered


def test_the_issuing_ca_leads_to_a_given_root(registry: Registry, url: str, line: Line, station: Station) -> None:
    products = line.trust.products
    other = Authority.new(line.entropy, NOW - timedelta(days=30))
    for chain in (
        (),
        line.authority.chain[:1],
        line.authority.chain[:2],
        other.chain,
        (*other.chain[1:], line.authority.chain[0]),
    ):
        refuses(registry, url, "RG-04", station.file(), Trust(products, chain))


@READING_ONLY
def test_a_certificate_is_by_the_orders_ca(registry: Registry, url: str, line: Line) -> None:
    other = replace(line, authority=Authority.new(line.entropy, NOW - timedelta(days=30)))
    station = new_station(other, issuing_ca=line.authority.lot.public.spki_sha256)
    station.begin(Board.new(1))
    refuses(registry, url, "RG-05", station.file(), line.trust)


@READING_ONLY
def test_a_certificate_is_for_the_devices_key_and_name(registry: Registry, url: str, line: Line) -> None:
    board = Board.new(1)
    for certified in (replace(board, identity=Key.new()), replace(board, uid=Board.new(2).uid)):
        station = new_station(line)
        certificate = line.certificate(certified, station.at)
        signed = station.activation(board, 1, certificate, 1)
        digest = sha256(named("SR-activate-v1"), signed[:800])
        station.begin(board, certificate=certificate, activation=signed, activation_digest=digest)
        refuses(registry, url, "RG-05", station.file(), line.trust)


@READING_ONLY
@pytest.mark.parametrize(
    "fields",
    [
        {"product_id": bytes(15) + b"\x01"},
        {"lot": "another"},
        {"hardware_revision": 6},
        {"hardware_revision": 0},
        {"protection": 0x05},
    ],
)
def test_a_device_is_one_that_was_ordered(
    registry: Registry, url: str, line: Line, station: Station, fields: dict[str, Any]
) -> None:
    station.change(3, **fields)
    refuses(registry, url, "RG-06", station.file(), line.trust)


@READING_ONLY
def test_a_trust_bundle_older_than_ordered_is_refused(registry: Registry, url: str, line: Line) -> None:
    station = new_station(line, trust_bundle_version_min=2)
    station.begin(Board.new(1), bundle=1)
    refuses(registry, url, "RG-06", station.file(), line.trust)


@READING_ONLY
@pytest.mark.parametrize(("not_before", "not_after"), [(-1, 9), (-20, -5)])
def test_an_order_has_its_time(registry: Registry, url: str, line: Line, not_before: int, not_after: int) -> None:
    seconds = int(NOW.timestamp())
    station = new_station(line, not_before=seconds + not_before * 3600, not_after=seconds + not_after * 3600)
    station.at = NOW - timedelta(hours=2)
    station.begin(Board.new(1))
    refuses(registry, url, "RG-07", station.file(), line.trust)


def test_a_record_is_not_yet_to_come(registry: Registry, url: str, line: Line) -> None:
    station = new_station(line)
    station.at = NOW + timedelta(minutes=50)
    station.fail(Board.new(1))
    take(registry, station.file(), line.trust)
    station.at = NOW + timedelta(minutes=70)
    station.fail(Board.new(1))
    refuses(registry, url, "RG-08", station.file(), line.trust)


# Other ledgers


def test_a_clone_is_found(registry: Registry, url: str, line: Line, station: Station) -> None:
    """Its flash was copied to another microcontroller: the same identity, or agreement key, under another UID."""
    take(registry, station.file(), line.trust)
    original = station.boards[1]
    for clone in (
        replace(Board.new(9), identity=original.identity),
        replace(Board.new(9), agreement=original.agreement),
    ):
        other = other_order(line)
        other.begin(clone)
        refuses(registry, url, "RG-10", other.file(), line.trust)
    honest = other_order(line)
    honest.make(Board.new(9))
    assert take(registry, honest.file(), line.trust).added == 2


def test_a_clone_within_one_file_is_found(registry: Registry, url: str, line: Line, station: Station) -> None:
    station.begin(replace(Board.new(9), identity=station.boards[1].identity))
    refuses(registry, url, "RG-10", station.file(), line.trust)


def test_a_device_has_one_life(registry: Registry, url: str, line: Line, station: Station) -> None:
    take(registry, station.file(), line.trust)
    other = other_order(line)
    other.begin(station.boards[1])
    refuses(registry, url, "RG-11", other.file(), line.trust)


def test_another_station_may_try_a_board_that_failed(
    registry: Registry, url: str, line: Line, station: Station
) -> None:
    board = station.boards[3]
    station.fail(board)
    take(registry, station.file(), line.trust)
    other = other_order(line)
    other.make(board)
    take(registry, other.file(), line.trust)
    station.activate(board)
    refuses(registry, url, "RG-11", station.file(), line.trust)


def test_a_device_does_not_change_its_identity(registry: Registry, url: str, line: Line, station: Station) -> None:
    take(registry, station.file(), line.trust)
    other = other_order(line)
    other.begin(replace(station.boards[3], identity=Key.new(), agreement=Key.new()))
    refuses(registry, url, "RG-12", other.file(), line.trust)


def test_a_scrapped_device_stays_so(registry: Registry, url: str, line: Line, station: Station) -> None:
    station.scrap(station.boards[3])
    take(registry, station.file(), line.trust)
    other = other_order(line)
    other.begin(station.boards[3])
    refuses(registry, url, "RG-13", other.file(), line.trust)


def test_a_certificates_number_is_used_once(registry: Registry, url: str, line: Line, station: Station) -> None:
    take(registry, station.file(), line.trust)
    entropy, line.entropy = line.entropy, _Repeating(station.records[2]["certificate"])
    other = other_order(line)
    try:
        other.begin(Board.new(3))
    finally:
        line.entropy = entropy
    refuses(registry, url, "RG-14", other.file(), line.trust)


class _Repeating(random.Random):
    """Entropy that repeats a certificate's serial number."""

    def __init__(self, certificate: bytes) -> None:
        super().__init__(7)
        self._number = parse_certificate(certificate).serial_number

    def randbytes(self, n: int) -> bytes:
        return self._number.to_bytes(20, "big") if n == 20 else super().randbytes(n)


# All or nothing


def test_a_bad_last_record_takes_nothing(registry: Registry, url: str, line: Line) -> None:
    station = new_station(line, quota=5)
    for number in range(1, 4):
        station.make(Board.new(number))
    station.activate(Board.new(3))
    refuses(registry, url, "BR-08", station.file(), line.trust)
    assert not any(rows_of(url).values())


def test_many_blocks_are_one_transaction(
    registry: Registry, url: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provisioning.registry.births_taking.BLOCK_RECORDS", 2)
    station = new_station(line)
    for number in range(1, 6):
        station.make(Board.new(number))
    station.activate(Board.new(5))
    refuses(registry, url, "BR-08", station.file(), line.trust)
    station.records.pop()
    assert take(registry, station.file(), line.trust).added == 10
    assert take(registry, station.file(), line.trust).added == 0
    assert json.loads(rows_of(url)["birth_records"][0][7])
