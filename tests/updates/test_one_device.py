"""One real simulated device and every way in which an update of it goes well, or does not (docs/spec/update.md)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootloader.reference.board import Copy
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, PowerOn
from rpc.update.identity import KnownDevices
from rpc.update.report import DeviceReport, Fault, Result
from rpc.update.rules import MaterialRefused
from rpc.update.sources import Stop
from tests.unit.reference import builders
from tests.unit.reference.fake.keys import fake_key
from tests.updates.desk import HURRIED, DeskLink, Watcher, job, known, known_wrongly, run
from tests.updates.fleet import application, device, next_bundle, world

V2 = application(2, 30_000)


def runs(link: DeskLink, version: int) -> bool:
    """Whether the device runs this application, confirmed."""
    running = link.machine.device.running
    return (
        isinstance(running, ApplicationRuns)
        and running.version.major == version
        and link.machine.device.status().application_is_confirmed
    )


def flash_of(link: DeskLink) -> bytes:
    board = link.machine.device.board
    return link.machine.device.flash.read(board.flash_address, board.flash_size_bytes)


def why(report: DeviceReport) -> tuple[Result, str | None, Fault | None]:
    return report.result, report.rule, report.fault


def test_an_application_is_updated_and_told(tmp_path: Path) -> None:
    link, watcher = DeskLink(device(0)), Watcher()
    report = run(link, job(tmp_path, V2, observer=watcher))
    assert why(report) == (Result.UPDATED, None, None)
    assert runs(link, 2)
    assert report.steps == watcher.steps == ["enter-update-mode", "upload 2.0.0.0", "reset"]
    assert watcher.ends == [("udp://desk", "updated")]
    assert report.found is not None
    assert report.left is not None
    assert (report.found["application_version"], report.left["application_version"]) == ("1.0.0.0", "2.0.0.0")
    assert report.left["application_state"] == "confirmed"
    assert (report.uid, report.board) == (world(0).padded_uid.hex(), "stm32f405-core")
    assert len(V2) < report.bytes_sent < len(V2) * 1.1
    assert report.rounds <= 3
    assert report.signed_status is not None


def test_a_second_run_finds_it_there_and_sends_nothing(tmp_path: Path) -> None:
    link = DeskLink(device(0))
    work = job(tmp_path, V2)
    run(link, work)
    before, again = flash_of(link), link.counters.bytes_sent
    report = run(link, work)
    assert why(report) == (Result.CURRENT, None, None)
    assert report.steps == []
    assert flash_of(link) == before
    assert link.counters.bytes_sent - again < 200


def test_a_dry_run_shows_the_plan_and_changes_nothing(tmp_path: Path) -> None:
    link = DeskLink(device(0))
    before = flash_of(link)
    report = run(link, job(tmp_path, V2, is_dry_run=True))
    assert report.result is Result.PLANNED
    assert report.steps == ["enter-update-mode", "upload 2.0.0.0", "reset", "await-confirmation"]
    assert flash_of(link) == before
    assert runs(link, 1)
    run(link, job(tmp_path, V2))
    assert run(link, job(tmp_path, V2, is_dry_run=True)).result is Result.CURRENT


# --- whose word counts ---


def test_a_device_on_no_record_is_left_alone(tmp_path: Path) -> None:
    link = DeskLink(device(0))
    before = flash_of(link)
    report = run(link, job(tmp_path, V2, keys=known(1)))
    assert why(report) == (Result.REFUSED, "UP-10", Fault.VERIFICATION)
    assert flash_of(link) == before
    assert runs(link, 1)


def test_a_device_that_signs_with_another_key_is_left_alone(tmp_path: Path) -> None:
    link = DeskLink(device(0))
    before = flash_of(link)
    report = run(link, job(tmp_path, V2, keys=known_wrongly(0)))
    assert why(report) == (Result.FAILED, "LK-12", Fault.VERIFICATION)
    assert flash_of(link) == before


def test_a_status_that_is_played_back_is_not_believed(tmp_path: Path) -> None:
    link = DeskLink(device(0))
    true_exchange, kept = link.exchange, dict[int, bytes]()

    def replaying(message: bytes, timeout_seconds: float) -> bytes:
        answer = true_exchange(message, timeout_seconds)
        if message[4:6] == b"\x4d\x42" and message[7] == 0:  # our group, signed status
            first = kept.setdefault(0, answer)
            return first[:6] + message[6:7] + first[7:]
        return answer

    link.exchange = replaying  # type: ignore[method-assign]
    report = run(link, job(tmp_path, V2))
    assert why(report) == (Result.FAILED, "LK-13", Fault.VERIFICATION)


def test_unverified_goes_by_what_the_link_says(tmp_path: Path) -> None:
    link = DeskLink(device(0))
    assert run(link, job(tmp_path, V2, keys=None)).result is Result.UPDATED
    assert runs(link, 2)


# --- safe state, refusals ---


def test_an_application_in_use_is_waited_for(tmp_path: Path) -> None:
    link, watcher = DeskLink(device(0), unsafe_for_seconds=0.4), Watcher()
    report = run(link, job(tmp_path, V2, observer=watcher))
    assert "enter-update-mode waits for the application's safe state" in watcher.steps
    assert report.result is Result.UPDATED
    assert report.seconds >= 0.4
    assert runs(link, 2)


def test_an_application_that_stays_in_use_is_never_forced(tmp_path: Path) -> None:
    link = DeskLink(device(0), unsafe_for_seconds=3600)
    before = flash_of(link)
    report = run(link, job(tmp_path, V2, patience=replace(HURRIED, safe_seconds=0.1)))
    assert why(report) == (Result.REFUSED, "UP-41", Fault.DEVICE)
    assert flash_of(link) == before
    assert runs(link, 1)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a stranger", {"signers": (fake_key("a stranger"),)}),
        ("another region", {"load_address": 0x0802_0000}),
    ],
)
def test_a_device_that_refuses_the_head_runs_its_application_again(
    name: str, other: dict[str, Any], tmp_path: Path
) -> None:
    link = DeskLink(device(0))
    report = run(link, job(tmp_path, application(2, **other)))
    assert why(report) == (Result.FAILED, "UP-42", Fault.DEVICE)
    assert report.steps[-1] == "reset"
    assert runs(link, 1)
    assert report.left is not None
    assert report.left["runs"] == "application"


def test_what_does_not_suit_the_device_is_refused_before_it_is_touched(tmp_path: Path) -> None:
    link = DeskLink(device(0, version=3))
    before = flash_of(link)
    assert why(run(link, job(tmp_path, V2))) == (Result.REFUSED, "UP-20", Fault.POLICY)
    report = run(link, job(tmp_path, application(2, security_version=3)))
    assert why(report) == (Result.REFUSED, "UP-17", Fault.POLICY)
    assert flash_of(link) == before
    assert runs(link, 3)


def test_a_broken_file_reaches_no_device(tmp_path: Path) -> None:
    with pytest.raises(MaterialRefused, match="UP-02"):
        job(tmp_path, V2[:-1])
    with pytest.raises(MaterialRefused, match="UP-01"):
        job(tmp_path, b"\x7fELF" + V2[4:])


# --- after the installation ---


def test_an_image_that_does_not_confirm_itself_is_told(tmp_path: Path) -> None:
    link = DeskLink(device(0), confirms=False)
    report = run(link, job(tmp_path, V2, patience=replace(HURRIED, confirmed_seconds=0.1)))
    assert why(report) == (Result.REFUSED, "UP-43", Fault.DEVICE)
    assert report.left is not None
    assert report.left["application_state"] == "on trial"


def test_an_image_that_fails_its_starts_is_not_sent_twice(tmp_path: Path) -> None:
    link = DeskLink(device(0), confirms=False)

    def crash_while_on_trial(_number: int) -> str | None:
        running = link.machine.device.running
        on_trial = isinstance(running, ApplicationRuns) and running.version.major == 2
        return "power" if on_trial else None

    link.on_message = crash_while_on_trial
    report = run(link, job(tmp_path, V2))
    assert why(report) == (Result.REFUSED, "UP-44", Fault.DEVICE)
    assert sum(step.startswith("upload") for step in report.steps) == 1
    link.on_message = lambda _number: None
    link.machine._options = replace(link.machine._options, confirms=True)
    assert run(link, job(tmp_path, V2)).result is Result.UPDATED, "a second run tries it once more"
    assert runs(link, 2)


def test_an_entry_pin_that_is_stuck_is_told(tmp_path: Path) -> None:
    stuck = device(0)
    stuck.entry_pin_is_active = True
    link = DeskLink(stuck)
    report = run(link, job(tmp_path, V2))
    assert why(report) == (Result.REFUSED, "UP-46", Fault.DEVICE)


# --- trust bundles and bootloaders ---


def test_links_of_trust_bundles_are_sent_in_order(tmp_path: Path) -> None:
    second = next_bundle(world(0).genesis, 2, signers=both_sets())
    third = next_bundle(second, 3, signers=both_sets())
    link = DeskLink(device(0))
    package = application(2, trust_bundle_version_min=3)
    assert why(run(link, job(tmp_path, package)))[1] == "UP-22"
    assert why(run(link, job(tmp_path, package, third)))[1] == "UP-23"
    report = run(link, job(tmp_path, package, third, second))
    assert report.result is Result.UPDATED
    assert report.steps[1:3] == ["send-trust-bundle version 2", "send-trust-bundle version 3"]
    assert link.machine.device.status().trust_bundle_version == 3
    fourth = next_bundle(third, 4, signers=both_sets())
    report = run(link, job(tmp_path, package, fourth))
    assert report.steps == ["enter-update-mode", "send-trust-bundle version 4", "reset"]
    assert runs(link, 2)


def both_sets() -> tuple[tuple[int, int, Any], ...]:
    """The first two roots, which both versions have, sign for both."""
    return tuple((which, index, root) for which in (0, 1) for index, root in enumerate(builders.root_keys()[:2]))


def test_a_bootloader_confirms_itself_by_the_trust_bundle(tmp_path: Path) -> None:
    link, genesis = DeskLink(device(0)), world(0).genesis
    for_b, for_a = world(0).bootloader(2, Copy.B), world(0).bootloader(2, Copy.A)
    assert why(run(link, job(tmp_path, for_b)))[1] == "UP-29"
    assert why(run(link, job(tmp_path, for_a, genesis)))[1] == "UP-19"
    report = run(link, job(tmp_path, for_b, genesis))
    assert report.result is Result.UPDATED
    assert report.steps == ["enter-update-mode", "upload 2.0.0.0", "reset", "send-trust-bundle version 1", "reset"]
    status = link.machine.device.status()
    assert [copy.is_confirmed for copy in status.copies] == [False, True]
    assert runs(link, 1)
    assert run(link, job(tmp_path, for_b, genesis)).result is Result.CURRENT
    assert run(link, job(tmp_path, for_a, genesis)).result is Result.UPDATED
    status = link.machine.device.status()
    assert [copy.version is not None and copy.version.major for copy in status.copies] == [2, 2]
    assert {run(link, job(tmp_path, package, genesis)).result for package in (for_a, for_b)} == {Result.CURRENT}


# --- links that fail ---


def test_a_link_that_dies_for_good_is_told_and_a_second_run_finishes(tmp_path: Path) -> None:
    link = DeskLink(device(0))
    link.on_message = lambda number: "request" if number > 12 else None
    report = run(link, job(tmp_path, V2))
    assert (report.result, report.fault) == (Result.FAILED, Fault.LINK)
    link.on_message = lambda _number: None
    assert run(link, job(tmp_path, V2)).result is Result.UPDATED
    assert runs(link, 2)


def test_a_link_that_never_gets_anywhere_is_given_up(tmp_path: Path) -> None:
    """Echoes pass, everything else is lost: the tool does not go on for ever."""
    link = DeskLink(device(0))
    true_exchange = link.exchange

    def only_echoes(message: bytes, timeout_seconds: float) -> bytes:
        if message[4:6] == b"\0\0" and message[7] == 0:
            return true_exchange(message, timeout_seconds)
        link.on_message = lambda _number: "request"
        try:
            return true_exchange(message, timeout_seconds)
        finally:
            link.on_message = lambda _number: None

    link.exchange = only_echoes  # type: ignore[method-assign]
    report = run(link, job(tmp_path, V2))
    assert why(report) == (Result.REFUSED, "UP-40", Fault.LINK)


def test_an_upload_goes_on_where_the_link_was_lost(tmp_path: Path) -> None:
    """So many messages are lost in the middle that a round ends; the bytes before it are not sent again."""
    link, offsets = DeskLink(device(0)), list[int]()
    link.on_message = lambda number: "request" if 16 <= number < 24 else None
    report = run(link, job(tmp_path, V2, observer=Watcher(offsets.append)))
    assert report.result is Result.UPDATED
    assert (report.rounds > 3, offsets == sorted(offsets)) == (True, True)
    assert report.bytes_sent < len(V2) * 1.5


def messages_of_a_clean_update(folder: Path) -> int:
    link = DeskLink(device(0))
    assert run(link, job(folder, V2)).result is Result.UPDATED
    return link.messages


FATES = [
    pytest.param(fate, first, step, marks=[pytest.mark.campaign] if step == 1 else [])
    for first, fate in enumerate(("request", "reply", "power"))
    for step in (5, 1)
]


@pytest.mark.parametrize(("fate", "first", "step"), FATES)
def test_every_single_message_may_be_lost_and_the_power_fail_at_each(
    fate: str, first: int, step: int, tmp_path: Path
) -> None:
    """All of them in the campaign, every fifth otherwise."""
    for number in range(first, messages_of_a_clean_update(tmp_path), step):
        link = DeskLink(device(0))
        link.on_message = lambda at, number=number: fate if at == number else None  # type: ignore[misc]
        report = run(link, job(tmp_path, V2))
        assert report.result is Result.UPDATED, (number, report)
        assert runs(link, 2), number


@pytest.mark.parametrize(("fate", "first", "step"), FATES[2:])
def test_the_same_for_a_bootloader(fate: str, first: int, step: int, tmp_path: Path) -> None:
    package, genesis = world(0).bootloader(2, Copy.B), world(0).genesis
    clean = DeskLink(device(0))
    assert run(clean, job(tmp_path, package, genesis)).result is Result.UPDATED
    for number in range(first, clean.messages, step):
        link = DeskLink(device(0))
        link.on_message = lambda at, number=number: fate if at == number else None  # type: ignore[misc]
        report = run(link, job(tmp_path, package, genesis))
        assert report.result is Result.UPDATED, (number, report)
        assert link.machine.device.status().copies[1].is_confirmed, number
        assert runs(link, 1), number


def test_an_upload_that_is_stopped_goes_on_in_the_next_run(tmp_path: Path) -> None:
    stop, link = Stop(), DeskLink(device(0))

    def after_half(done_bytes: int) -> None:
        if done_bytes > len(V2) // 2:
            stop.set()

    report = run(link, job(tmp_path, V2, stop=stop, observer=Watcher(after_half)))
    assert (report.result, report.fault) == (Result.STOPPED, None)
    assert isinstance(link.machine.device.running, InUpdateMode)
    sent = link.counters.bytes_sent
    assert run(link, job(tmp_path, V2)).result is Result.UPDATED
    assert link.counters.bytes_sent - sent < len(V2) * 0.7, "half of it was there already"


def test_a_device_without_power_in_the_middle_begins_again(tmp_path: Path) -> None:
    link = DeskLink(device(0))
    stop = Stop()
    assert run(link, job(tmp_path, V2, stop=stop, observer=Watcher(lambda _: stop.set()))).result is Result.STOPPED
    link.machine.power_on(PowerOn.COLD)
    assert run(link, job(tmp_path, V2)).result is Result.UPDATED
    assert runs(link, 2)


def test_one_device_behind_two_addresses_is_updated_once(tmp_path: Path) -> None:
    link = DeskLink(device(0))
    work = job(tmp_path, V2, claim=lambda _uid, via: via == "udp://first")
    report = run(link, work)
    assert why(report) == (Result.REFUSED, "UP-45", Fault.POLICY)
    assert runs(link, 1)


def test_another_device_at_the_same_address_is_told(tmp_path: Path) -> None:
    """Nodes of a chain move up when one falls out: what was begun with one is not reported of another."""
    link, other = DeskLink(device(0)), DeskLink(device(1))

    def swap(done_bytes: int) -> None:
        if done_bytes > len(V2) // 2:
            link.machine = other.machine

    work = job(tmp_path, V2, keys=known(0, 1), observer=Watcher(swap))
    report = run(link, work)
    assert why(report) == (Result.REFUSED, "UP-47", Fault.POLICY)
    assert report.uid == world(0).padded_uid.hex()


def test_a_package_that_disappears_meanwhile_is_told(tmp_path: Path) -> None:
    link = DeskLink(device(0))
    work = job(tmp_path, V2)
    (tmp_path / "package.srp").unlink()
    report = run(link, work)
    assert (report.result, report.fault) == (Result.FAILED, Fault.MATERIAL)
    assert runs(link, 1), "it is not left in update mode"


def test_no_key_at_all_is_no_key(tmp_path: Path) -> None:
    """A device file with another UID, though with the right key, says nothing of this device."""
    other = KnownDevices({world(1).uid: next(iter(known(0)._keys.values()))})
    assert why(run(DeskLink(device(0)), job(tmp_path, V2, keys=other)))[1] == "UP-10"


def test_a_factory_test_goes_to_a_locked_board(tmp_path: Path) -> None:
    """It has no keys, so nothing it says can be verified."""
    link = DeskLink(world(0).locked_device())
    plan = builders.factory_test_plan(
        load_address=0x0802_0400, image=builders.IMAGE[:900], device_uid=world(0).padded_uid, security_version=2
    )
    package = builders.build_package(plan)
    assert why(run(link, job(tmp_path, package)))[1] == "LK-12"
    report = run(link, job(tmp_path, package, keys=None))
    assert report.result is Result.UPDATED
    assert why(run(link, job(tmp_path, V2, keys=None)))[1] == "UP-16"
