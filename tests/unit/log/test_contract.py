"""What an AuditLog promises, on the log in memory and on the real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pki.errors import AuditError, Rollback
from signer.log.audit_log import open_audit_log
from signer.log.checkpoint import parse_checkpoint, verify_log_signature
from signer.log.entry import decode_entry, leaf_hash
from signer.log.merkle import root_from_inclusion
from signer.log.recovery import begin_log
from signer.log.values import AuditLog, Event, EventKind
from tests.unit.log.logs import BEGUN, LABEL, event, fast_folder, later
from tests.unit.log.memory_log import MemoryLog
from tests.unit.log.software_key import SoftwareKey


@dataclass
class Rig:
    log: AuditLog
    key: SoftwareKey


@pytest.fixture(params=["memory", "tiles"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A log with one entry, log-begun."""
    key = SoftwareKey()
    with ExitStack() as stack:
        if request.param == "memory":
            log = MemoryLog(key)
            log.append([Event(kind=EventKind.LOG_BEGUN, actor="ada", details={"origin": log.origin})], BEGUN)
            log.checkpoint()
            yield Rig(log, key)
        else:
            folder = stack.enter_context(fast_folder()) / "log"
            begin_log(folder, key, "ada", BEGUN)
            yield Rig(stack.enter_context(open_audit_log(folder, key)), key)


def test_entries_stand_in_order_with_their_hashes(rig: Rig) -> None:
    first = rig.log.append([event(1), event(2)], later(1))
    second = rig.log.append([event(3)], later(1))
    assert [entry.index for entry in (*first, *second)] == [1, 2, 3]
    assert [entry.event.details["number"] for entry in (*first, *second)] == [1, 2, 3]
    assert {entry.at for entry in (*first, *second)} == {later(1)}
    rig.log.checkpoint()
    for entry in (*first, *second):
        proof = rig.log.prove(entry.index)
        assert leaf_hash(proof.entry) == entry.leaf_hash
        assert decode_entry(entry.index, proof.entry) == entry


def test_times_are_whole_seconds_of_utc(rig: Rig) -> None:
    there = timezone(timedelta(hours=2))
    (entry,) = rig.log.append([event()], (BEGUN + timedelta(microseconds=999_999)).astimezone(there))
    assert entry.at == BEGUN
    assert entry.at.utcoffset() == timedelta(0)
    assert rig.log.newest_time() == BEGUN


@pytest.mark.parametrize("seconds_earlier", [1, 60, 86_400 * 365])
def test_al_01_refuses_a_clock_earlier_than_the_newest_entry(rig: Rig, seconds_earlier: int) -> None:
    rig.log.append([event()], later(100))
    with pytest.raises(Rollback, match="AL-01"):
        rig.log.append([event()], later(100 - seconds_earlier))
    assert rig.log.newest_time() == later(100)
    rig.log.append([event()], later(100))


def test_al_01_lets_callers_of_the_same_second_through(rig: Rig) -> None:
    rig.log.append([event()], later(100))
    (entry,) = rig.log.append([event()], later(99.5))
    assert entry.at == later(100)


@pytest.mark.parametrize(
    "details",
    [
        {"rate": 0.5},
        {"number": 1 << 53},
        {"text": "x" * 17_000},
        {"nested": {"list": [1.5]}},
        {"lone surrogate": "\ud800"},
    ],
)
def test_an_event_that_cannot_be_an_entry_is_refused_and_with_it_its_whole_append(
    rig: Rig, details: dict[str, Any]
) -> None:
    bad = Event(kind=EventKind.RELEASED, actor="ada", details=details)
    with pytest.raises(AuditError, match="nothing was released"):
        rig.log.append([event(1), bad], later(1))
    (entry,) = rig.log.append([event(2)], later(1))
    assert entry.index == 1


@pytest.mark.parametrize("actor", ["", "x" * 201, "a\nb", "é"])
def test_an_actor_is_printable_ascii(actor: str) -> None:
    with pytest.raises(ValueError, match="actor"):
        Event(kind=EventKind.RELEASED, actor=actor, details={})


def test_find_knows_the_indexed_names_and_no_others(rig: Rig) -> None:
    rig.log.append([event(1, request_digest="aa", product="pump-x2"), event(2, request_digest="bb")], later(1))
    rig.log.append([event(3, request_digest="aa")], later(2))
    assert [entry.index for entry in rig.log.find("request_digest", "aa")] == [1, 3]
    assert [entry.index for entry in rig.log.find("product", "pump-x2")] == [1]
    assert [entry.index for entry in rig.log.find("key_label", LABEL)] == [1, 2, 3]
    assert rig.log.find("head_digest", "aa") == ()
    assert rig.log.find("request_digest", "a") == ()


def test_a_checkpoint_covers_every_entry_and_is_signed_once(rig: Rig) -> None:
    calls = rig.key.calls
    rig.log.append([event(number) for number in range(1, 40)], later(1))
    note = rig.log.checkpoint()
    assert rig.log.checkpoint() == note
    assert rig.key.calls == calls + 1
    checkpoint = parse_checkpoint(note)
    assert checkpoint.head.size == 40
    verify_log_signature(checkpoint, rig.key.public_key)


def test_every_entry_is_proved_against_the_newest_checkpoint(rig: Rig) -> None:
    rig.log.append([event(number) for number in range(1, 21)], later(1))
    head = parse_checkpoint(rig.log.checkpoint()).head
    for number in range(head.size):
        proof = rig.log.prove(number)
        assert parse_checkpoint(proof.checkpoint).head == head
        assert root_from_inclusion(number, head.size, leaf_hash(proof.entry), proof.hashes) == head.root


@pytest.mark.parametrize("number", [-1, 2, 3])
def test_what_no_checkpoint_covers_is_not_proved(rig: Rig, number: int) -> None:
    rig.log.append([event(1)], later(1))
    rig.log.checkpoint()
    rig.log.append([event(2)], later(1))
    with pytest.raises(AuditError, match="no checkpoint covers"):
        rig.log.prove(number)


def test_a_key_that_fails_signs_no_checkpoint_and_the_entries_stay(rig: Rig) -> None:
    before = rig.log.prove(0).checkpoint
    rig.log.append([event(1)], later(1))
    rig.key.fails_with = RuntimeError("token lost")
    with pytest.raises(RuntimeError, match="token lost"):
        rig.log.checkpoint()
    assert rig.log.prove(0).checkpoint == before
    rig.key.fails_with = None
    assert parse_checkpoint(rig.log.checkpoint()).head.size == 2


def test_the_newest_time_is_the_clock_of_whoever_asks(rig: Rig) -> None:
    moment: datetime = later(7)
    rig.log.append([event(1)], moment)
    assert rig.log.newest_time() == moment
