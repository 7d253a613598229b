"""BR-02 to BR-09: what a station made passes; the same changed, and signed anew by its own key, does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from pki.errors import PolicyViolation
from provisioning.station.boards import Boards, Standing
from provisioning.station.record_proofs import verify_proofs
from provisioning.station.records import BirthEvent, BirthRecord, SignedRecord
from signer.signing_key import sign_verified
from tests.stations.paper_bench import Bench
from tests.stations.test_line import Deaf
from tests.unit.log.software_key import SoftwareKey


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), quota=3).init()


@pytest.fixture(scope="module")
def records(bench: Bench) -> list[BirthRecord]:
    """1 begun, 2 activated (board 1); 3 begun, 4 renewed, 5 activated (board 2); 6 scrapped (board 3)."""
    station = bench.open()
    assert bench.attempt(station, bench.chip(1)).passed
    assert bench.attempt(station, bench.chip(2), nest=Deaf(bench, "send_activation", 1, before=True)).passed
    station.scrap(bench.chip(3).uid, "fell down")
    made = [signed.record for signed in station.ledger.records()]
    kinds = ["begun", "activated", "begun", "renewed", "activated", "scrapped"]
    assert [record.event.value for record in made] == kinds
    return made


def folded(bench: Bench, records: list[BirthRecord]) -> Boards:
    order = bench.order
    boards = Boards(order.order.order_id, order.digest.value, bench.station_key.public_key.spki_sha256, bench.quota)
    for record in records:
        boards.take(record)
    return boards


def changed(record: BirthRecord, **fields: Any) -> BirthRecord:
    return msgspec.structs.replace(record, **fields)


def chained(records: list[BirthRecord]) -> list[BirthRecord]:
    """Numbered and chained anew."""
    result: list[BirthRecord] = []
    for number, record in enumerate(records, 1):
        result.append(changed(record, number=number, previous=result[-1].hash if result else bytes(32)))
    return result


def test_what_a_station_made_is_folded(bench: Bench, records: list[BirthRecord]) -> None:
    boards = folded(bench, records)
    assert (boards.begun, boards.activated, boards.scrapped, boards.open) == (2, 2, 1, 0)
    assert boards.head == records[-1].hash
    board = boards.board(bench.chip(2).uid)
    assert board is not None
    assert (board.standing, board.sequence, len(board.issued)) == (Standing.ACTIVATED, 2, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: {"number": r.number + 1},
        lambda r: {"previous": bytes(32)},
        lambda r: {"at": r.at - timedelta(seconds=1)},
    ],
)
def test_a_broken_chain_is_refused(
    bench: Bench, records: list[BirthRecord], change: Callable[[BirthRecord], dict[str, Any]]
) -> None:
    with pytest.raises(PolicyViolation, match="BR-02"):
        folded(bench, [records[0], changed(records[1], **change(records[1]))])


@pytest.mark.parametrize("name", ["order_id", "order_digest", "station"])
def test_records_of_others_are_refused(bench: Bench, records: list[BirthRecord], name: str) -> None:
    size = len(getattr(records[0], name))
    with pytest.raises(PolicyViolation, match="BR-03"):
        folded(bench, [changed(records[0], **{name: b"\x01" * size})])


def make(records: list[BirthRecord], *numbers: int, **last: Any) -> list[BirthRecord]:
    """Some of the records, the last one changed, chained anew."""
    chosen = [records[number - 1] for number in numbers]
    return chained([*chosen[:-1], changed(chosen[-1], **last)])


@pytest.mark.parametrize(
    ("rule", "numbers", "last"),
    [
        ("BR-05", (1, 1), {"sequence": 2}),
        ("BR-05", (1, 3), {"sequence": 1}),
        ("BR-05", (1, 3), {"sequence": 3}),
        ("BR-05", (1,), {"sequence": 2}),
        ("BR-05", (1, 2, 1), {"sequence": 2}),
        ("BR-06", (4,), {}),
        ("BR-06", (1, 2, 3, 4, 5, 4), {}),
        ("BR-06", (1, 3, 4), {"sequence": 1}),
        ("BR-06", (1, 3, 4), {"certificate": b"another"}),
        ("BR-06", (1, 3, 4), {"identity_public_key": b"\x01" * 64}),
        ("BR-06", (1, 3, 4), {"serial": "A1"}),
        ("BR-06", (1, 3, 4, 4), {}),
        ("BR-08", (2,), {}),
        ("BR-08", (1, 2, 2), {}),
        ("BR-08", (1, 2), {"activation_digest": b"\x01" * 32}),
        ("BR-08", (1, 2), {"sequence": 2}),
        ("BR-09", (6, 6), {}),
        ("BR-09", (6,), {"sequence": 1, "serial": "", "activation_digest": b"\x01" * 32}),
    ],
)
def test_events_that_do_not_follow_are_refused(
    bench: Bench, records: list[BirthRecord], rule: str, numbers: tuple[int, ...], last: dict[str, Any]
) -> None:
    with pytest.raises(PolicyViolation, match=rule):
        folded(bench, make(records, *numbers, **last))


def test_two_devices_share_no_identity_and_no_serial(bench: Bench, records: list[BirthRecord]) -> None:
    for same in ("identity_public_key", "serial"):
        first = changed(records[0], serial="A1")
        shared = {same: getattr(first, same)}
        with pytest.raises(PolicyViolation, match="BR-05"):
            folded(bench, chained([first, changed(records[2], **shared)]))


def test_one_more_than_the_share_is_refused(bench: Bench, records: list[BirthRecord]) -> None:
    made = [
        changed(records[0], uid=bytes([n]) * 16, identity_public_key=bytes([n]) * 64, sequence=n) for n in range(1, 5)
    ]
    assert folded(bench, chained(made[:3])).begun == 3
    with pytest.raises(PolicyViolation, match="BR-05"):
        folded(bench, chained(made))


def test_a_scrapped_or_begun_board_is_told_as_it_is(bench: Bench, records: list[BirthRecord]) -> None:
    begun = records[0]
    names = ("identity_public_key", "sequence", "serial", "activation_digest")
    said = {name: getattr(begun, name) for name in names}
    failed = changed(records[5], event=BirthEvent.FAILED, uid=begun.uid, reason="ST-51")
    assert folded(bench, chained([begun, changed(failed, **said)])).failures == 1
    with pytest.raises(PolicyViolation, match="BR-09"):
        folded(bench, chained([begun, failed]))
    scrapped = changed(records[5], uid=begun.uid)
    with pytest.raises(PolicyViolation, match="BR-09"):
        folded(bench, chained([begun, changed(scrapped, **said), changed(failed, **said)]))


# Proofs


def prove(bench: Bench, record: BirthRecord, key: Any = None) -> None:
    signature = sign_verified(key or bench.station_key, record.digest)
    verify_proofs(SignedRecord(record, signature.value), bench.order, bench.station_key.public_key)


def test_what_a_station_made_proves_itself(bench: Bench, records: list[BirthRecord]) -> None:
    for record in records:
        prove(bench, record)


def test_another_stations_signature_is_refused(bench: Bench, records: list[BirthRecord]) -> None:
    for record in records:
        with pytest.raises(PolicyViolation, match="BR-04"):
            prove(bench, record, SoftwareKey())
    with pytest.raises(PolicyViolation, match="BR-04"):
        verify_proofs(SignedRecord(records[0], b"short"), bench.order, bench.station_key.public_key)


@pytest.mark.parametrize(
    "change",
    [
        {"uid": b"\x01" * 16},
        {"sequence": 3},
        {"serial": "A1"},
        {"trust_bundle_version": 9},
        {"identity_public_key": b"\x01" * 64},
        {"made_agreement_public_key": b"\x01" * 64},
        {"agreement_public_key": b"\x01" * 64},
        {"certificate": b"another"},
        {"activation_digest": b"\x01" * 32},
        {"station": b"\x01" * 32},
        {"order_digest": b"\x01" * 32},
        {"activation": bytes(864)},
    ],
)
def test_an_activation_that_says_otherwise_is_refused(
    bench: Bench, records: list[BirthRecord], change: dict[str, Any]
) -> None:
    for record in (records[0], records[3]):
        with pytest.raises(PolicyViolation, match="BR-07"):
            prove(bench, changed(record, **change))


def test_an_activation_by_another_key_than_the_lots_is_refused(bench: Bench, records: list[BirthRecord]) -> None:
    activation = records[0].activation
    assert activation is not None
    forged = activation[:-1] + bytes([activation[-1] ^ 1])
    with pytest.raises(PolicyViolation, match="BR-07"):
        prove(bench, changed(records[0], activation=forged))


@pytest.mark.parametrize("offset", [7, 8, 24, 74, 248, 264, 575])
def test_a_changed_status_is_refused(bench: Bench, records: list[BirthRecord], offset: int) -> None:
    status = records[1].signed_status
    assert status is not None
    data = status[:offset] + bytes([status[offset] ^ 1]) + status[offset + 1 :]
    with pytest.raises(PolicyViolation, match="BR-08"):
        prove(bench, changed(records[1], signed_status=data))


def test_a_status_or_receipt_of_another_device_or_question_is_refused(bench: Bench, records: list[BirthRecord]) -> None:
    first, second = records[1], records[4]
    for change in (
        {"signed_status": second.signed_status, "status_nonce": second.status_nonce},
        {"status_nonce": b"\x01" * 32},
        {"receipt": second.receipt},
        {"activation_digest": b"\x01" * 32},
        {"uid": second.uid},
        {"identity_public_key": second.identity_public_key},
    ):
        with pytest.raises(PolicyViolation, match="BR-08"):
            prove(bench, changed(first, **change))
    prove(bench, changed(first, receipt=None))
