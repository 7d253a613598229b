"""A station with paper boards: what it makes, what comes back, and every theft of the issue refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pki.errors import PolicyViolation
from pki.x509_lint import LintContext, lint_certificate
from pki.x509_parse import certificate_public_key, parse_certificate
from pki.x509_profiles import DEVICE_IDENTITY
from provisioning.station import steps
from provisioning.station.boards import Standing
from provisioning.station.facts import FlashContent, Known, OptionBytes
from provisioning.station.fixture import FactoryImage, FixtureError
from provisioning.station.ledger_file import LEDGER_FILE
from provisioning.station.record_proofs import verify_proofs
from provisioning.station.records import BirthEvent
from provisioning.station.rules import Rule
from provisioning.station.station import Station
from rpc.errors import LinkTimeout
from signer.device_objects.common import Protection
from signer.device_objects.work_order import StationQuota
from tests.stations.paper_bench import IMAGE, NOW, OPTIONS, Bench, MemoryEvidence, PaperNest
from tests.stations.paper_device import LOCKED, OPERATIONAL, RMA, PaperDevice, key_id, new_key, point
from tests.unit.log.software_key import SoftwareKey


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).init()


@pytest.fixture
def station(bench: Bench) -> Station:
    return bench.open()


def events(station: Station) -> list[str]:
    return [signed.record.event.value for signed in station.ledger.records()]


# What it makes


def test_a_blank_board_becomes_a_device(bench: Bench, station: Station) -> None:
    chip, watched = bench.chip(1), list[steps.Step]()
    verdict = bench.attempt(station, chip, watch=watched)
    assert verdict.passed
    assert verdict.sequence == 1
    assert chip.lifecycle == OPERATIONAL
    assert chip.readout_level == 1
    assert events(station) == ["begun", "activated"]
    assert " ".join(type(step).__name__ for step in watched) == (
        "ReadOptionBytes ReadFlash Program ReadFlash WriteOptionBytes PowerCycle Challenge LookUp Begin "
        "SendActivation ReadStatus Complete"
    )


def test_a_board_that_the_manufacturer_programmed_is_read_and_not_written(bench: Bench, station: Station) -> None:
    chip, watched = bench.chip(1), list[steps.Step]()
    nest = bench.nest()
    nest.insert(chip)
    nest.program(IMAGE)
    assert bench.attempt(station, chip, nest=nest, watch=watched).passed
    assert steps.Program() not in watched


def test_a_board_that_was_powered_on_before_is_written_anew(bench: Bench, station: Station) -> None:
    """Somebody may have put keys into its state that he knows."""
    chip, watched = bench.chip(1), list[steps.Step]()
    nest = bench.nest()
    nest.insert(chip)
    nest.program(IMAGE)
    chip.identity = known = new_key()
    chip.agreement = new_key()
    assert bench.attempt(station, chip, nest=nest, watch=watched).passed
    assert steps.EraseBoard() in watched
    assert station.ledger.record(1).identity_public_key != point(known)


def test_flash_is_compared_by_regions() -> None:
    image = FactoryImage(0, b"code" + b"state" + b"\xff" * 7, [(4, 5)])
    for flash, content in (
        (b"code" + b"state" + b"\xff" * 7, FlashContent.FACTORY_IMAGE),
        (b"code" + b"other" + b"\xff" * 7, FlashContent.USED),
        (b"coda" + b"state" + b"\xff" * 7, FlashContent.OTHER),
        (b"code" + b"state" + b"\xff" * 6 + b"x", FlashContent.OTHER),
        (b"code" + b"state" + b"\xff" * 8, FlashContent.OTHER),
        (b"\xff" * 16, FlashContent.BLANK),
        (b"\xff" * 15, FlashContent.OTHER),
    ):
        assert image.compare(flash) is content


def test_what_is_recorded_proves_itself(bench: Bench, station: Station) -> None:
    assert bench.attempt(station, bench.chip(1)).passed
    for signed in station.ledger.records():
        verify_proofs(signed, bench.order, bench.station_key.public_key)
    begun = station.ledger.record(1)
    assert begun.certificate is not None
    certificate = parse_certificate(begun.certificate)
    issuer = parse_certificate(bench.ca_certificate)
    assert lint_certificate(certificate, LintContext(DEVICE_IDENTITY, issuer, NOW)) == ()
    assert certificate_public_key(certificate).point == begun.identity_public_key


def test_a_serial_number_is_in_activation_status_certificate_and_record(bench: Bench, station: Station) -> None:
    chip = bench.chip(1)
    assert bench.attempt(station, chip, serial="(01)04012345678901(21)A1", asks_serial=True).passed
    begun = station.ledger.record(1)
    assert begun.serial == "(01)04012345678901(21)A1"
    assert chip.activation[224:256].rstrip(b"\0") == b"(01)04012345678901(21)A1"
    assert begun.certificate is not None
    assert "(01)04012345678901(21)A1" in parse_certificate(begun.certificate).subject.rfc4514_string()


def test_no_two_devices_share_a_serial_number(bench: Bench, station: Station) -> None:
    assert bench.attempt(station, bench.chip(1), serial="A1", asks_serial=True).passed
    verdict = bench.attempt(station, bench.chip(2), serial="A1", asks_serial=True)
    assert verdict.rule is Rule.SERIAL_NUMBER
    assert station.ledger.boards.begun == 1


def test_the_fourth_of_three_is_refused_also_after_a_restart(bench: Bench, station: Station) -> None:
    assert all(bench.attempt(station, bench.chip(number)).passed for number in (1, 2, 3))
    fourth = bench.chip(4)
    assert bench.attempt(station, fourth).rule is Rule.QUOTA_USED_UP
    station.ledger.close()
    again = bench.open()
    assert bench.attempt(again, fourth).rule is Rule.QUOTA_USED_UP
    assert fourth.lifecycle == LOCKED
    assert again.ledger.boards.begun == 3


def test_the_activation_is_sent_after_ledger_and_evidence(bench: Bench, station: Station) -> None:
    seen: list[tuple[int, int]] = []

    class Watching(PaperNest):
        def send_activation(self, order_and_activation: bytes) -> bytes:
            number = sum(1 for _ in station.ledger.records())
            stored = bench.evidence.read(bench.order.order.order_id)[0]
            seen.append((number, int.from_bytes(stored[64:72], "little")))
            return super().send_activation(order_and_activation)

    assert bench.attempt(station, bench.chip(1), nest=Watching(bench.facts)).passed
    assert seen == [(1, 1)]


# Boards that come back


def test_a_board_that_comes_back_finished_passes_and_nothing_changes(bench: Bench, station: Station) -> None:
    chip = bench.chip(1)
    assert bench.attempt(station, chip).passed
    verdict = bench.attempt(station, chip)
    assert verdict.passed
    assert verdict.sequence == 1
    assert events(station) == ["begun", "activated"]


class Deaf(PaperNest):
    """Loses what a method answers, for the first `times`; `before`: the board never gets the question."""

    def __init__(self, bench: Bench, method: str, times: int, *, before: bool = False) -> None:
        super().__init__(bench.facts)
        self.left = times
        real = getattr(self, method)

        def lossy(*arguments: object) -> object:
            if self.left <= 0:
                return real(*arguments)
            self.left -= 1
            if not before:
                real(*arguments)
            raise LinkTimeout("lost")

        setattr(self, method, lossy)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("method", ["challenge", "send_activation", "signed_status", "wait_until_up"])
@pytest.mark.parametrize("times", [1, 3])
def test_replies_that_are_lost_are_asked_for_again(
    bench: Bench, station: Station, method: str, times: int, before: bool
) -> None:
    assert bench.attempt(station, bench.chip(1), nest=Deaf(bench, method, times, before=before)).passed
    boards = station.ledger.boards
    assert (boards.begun, boards.activated) == (1, 1)


@pytest.mark.parametrize(
    ("method", "before"), [("challenge", False), ("send_activation", True), ("signed_status", True)]
)
def test_a_dead_link_fails_and_the_board_is_finished_the_next_time(
    bench: Bench, station: Station, method: str, before: bool
) -> None:
    chip = bench.chip(1)
    verdict = bench.attempt(station, chip, nest=Deaf(bench, method, 99, before=before))
    assert verdict.rule is Rule.LINK_LOST
    assert bench.attempt(station, chip).passed
    boards = station.ledger.boards
    assert (boards.begun, boards.activated, boards.open) == (1, 1, 0)


def test_a_begun_board_gets_another_activation_with_the_same_number(bench: Bench, station: Station) -> None:
    chip = bench.chip(1)
    assert not bench.attempt(station, chip, nest=Deaf(bench, "send_activation", 99, before=True)).passed
    assert bench.attempt(station, bench.chip(2)).passed
    verdict = bench.attempt(station, chip)
    assert verdict.passed
    assert verdict.sequence == 1
    records = [signed.record for signed in station.ledger.records() if signed.record.uid == chip.uid]
    issued = [record for record in records if record.event in (BirthEvent.BEGUN, BirthEvent.RENEWED)]
    assert {record.sequence for record in issued} == {1}
    assert len({record.certificate for record in issued}) == 1
    assert len({record.activation_digest for record in issued}) == len(issued)


def test_a_receipt_that_was_lost_is_replaced_by_the_status(bench: Bench, station: Station) -> None:
    assert bench.attempt(station, bench.chip(1), nest=Deaf(bench, "send_activation", 1)).passed
    activated = [signed.record for signed in station.ledger.records()][-1]
    assert activated.event is BirthEvent.ACTIVATED
    assert activated.receipt is None
    for signed in station.ledger.records():
        verify_proofs(signed, bench.order, bench.station_key.public_key)


def test_a_protected_board_that_nobody_knows_is_erased_and_made_anew(bench: Bench, station: Station) -> None:
    """Its firmware was never seen: keys of such a board are worth nothing."""
    chip = bench.chip(1)
    chip.flash, chip.readout_level, chip.options = b"somebody's own bootloader", 1, 12
    chip.identity = stolen = new_key()
    chip.agreement = new_key()
    watched: list[steps.Step] = []
    assert bench.attempt(station, chip, watch=watched).passed
    assert steps.EraseBoard() in watched
    assert station.ledger.record(1).identity_public_key != point(stolen)
    assert chip.flash == IMAGE.content


# Thefts


def test_foreign_flash_is_refused_unless_the_operator_says_otherwise(bench: Bench, station: Station) -> None:
    chip = bench.chip(1)
    chip.flash = b"not the factory image"
    assert bench.attempt(station, chip).rule is Rule.FOREIGN_FLASH
    assert events(station) == []
    assert bench.attempt(station, chip, reprograms=True).passed


def test_flash_that_does_not_take_the_image_is_refused(bench: Bench, station: Station) -> None:
    class Worn(PaperNest):
        def program(self, image: object) -> None:
            self.powered.chip.flash = b"half of it"

    assert bench.attempt(station, bench.chip(1), nest=Worn(bench.facts)).rule is Rule.FLASH_NOT_WRITTEN


def test_option_bytes_that_do_not_read_back_are_refused_before_keys_are_made(bench: Bench, station: Station) -> None:
    nest, chip = bench.nest(), bench.chip(1)
    nest.forgets_option_bytes = True
    assert bench.attempt(station, chip, nest=nest).rule is Rule.OPTION_BYTES
    assert chip.identity is None


def test_a_board_without_keys_is_refused(bench: Bench, station: Station) -> None:
    nest = PaperNest(replace(bench.facts, protection_required=16))
    assert bench.attempt(station, bench.chip(1), nest=nest).rule is Rule.NO_KEYS


def test_protection_that_the_order_requires_is_not_left_out(bench: Bench, station: Station) -> None:
    required = Protection.READOUT | Protection.DEBUG_CLOSED
    assert bench.attempt(station, bench.chip(1), protection_required=required).rule is Rule.PROTECTION_MISSING
    assert station.ledger.boards.begun == 0


def test_a_cloned_flash_on_another_uid_is_refused(bench: Bench, station: Station) -> None:
    """Keys and protection copied, another chip: the challenge verifies, and the ledger knows the key."""
    chip = bench.chip(1)
    assert not bench.attempt(station, chip, nest=Deaf(bench, "send_activation", 99, before=True)).passed
    clone = replace(chip, uid=bench.chip(2).uid)
    verdict = bench.attempt(station, clone)
    assert verdict.rule is Rule.CLONED_IDENTITY
    assert clone.lifecycle == LOCKED
    assert station.ledger.boards.begun == 1
    failed = [signed.record for signed in station.ledger.records()][-1]
    assert (failed.event, failed.sequence, failed.reason) == (BirthEvent.FAILED, None, "ST-40")


def test_a_clone_in_another_nest_at_the_same_time_is_refused_by_the_ledger(
    bench: Bench, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both were looked up before either was counted."""
    chip = bench.chip(1)
    assert not bench.attempt(station, chip, nest=Deaf(bench, "send_activation", 99, before=True)).passed
    clone = replace(chip, uid=bench.chip(2).uid)
    nest = bench.nest()
    reads = iter([OptionBytes()])
    nest.read_option_bytes = lambda: next(reads, OPTIONS)  # type: ignore[method-assign]
    nest.compare_flash = lambda image: FlashContent.FACTORY_IMAGE  # type: ignore[method-assign]
    monkeypatch.setattr(station, "known", lambda uid, identity: Known())
    assert bench.attempt(station, clone, nest=nest).rule is Rule.CLONED_IDENTITY
    assert station.ledger.boards.begun == 1


def test_a_clone_of_a_finished_device_is_refused_too(bench: Bench, station: Station) -> None:
    chip = bench.chip(1)
    assert bench.attempt(station, chip).passed
    clone = replace(chip, uid=bench.chip(2).uid)
    assert bench.attempt(station, clone).rule is Rule.CLONED_IDENTITY


def test_a_known_uid_with_other_keys_is_refused(bench: Bench, station: Station) -> None:
    chip = bench.chip(1)
    assert bench.attempt(station, chip).passed
    impostor = replace(chip, identity=new_key(), agreement=new_key(), lifecycle=LOCKED, activation=b"", order=b"")
    assert bench.attempt(station, impostor).rule is Rule.OTHER_IDENTITY


def test_a_device_that_somebody_else_activated_is_refused(bench: Bench, station: Station, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other", production=bench.production).init()
    chip = bench.chip(1)
    assert other.attempt(other.open(), chip).passed
    assert bench.attempt(station, chip).rule is Rule.FOREIGN_ACTIVATION
    assert station.ledger.boards.activated == 0


def test_a_begun_board_that_somebody_else_activated_is_refused(bench: Bench, station: Station, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other", production=bench.production)
    chip = bench.chip(1)
    assert not bench.attempt(station, chip, nest=Deaf(bench, "send_activation", 99, before=True)).passed
    device = PaperDevice(chip, bench.facts)
    data = _activation_by(other, device)
    device.send_activation(data)
    assert bench.attempt(station, chip).rule is Rule.FOREIGN_ACTIVATION
    assert station.ledger.boards.activated == 0


def test_a_stolen_board_takes_only_what_its_order_permits(bench: Bench, station: Station, tmp_path: Path) -> None:
    """A LOCKED board outside: a forged order, another lot's, a replayed activation, one of another chip."""
    chip = bench.chip(1)
    assert bench.attempt(station, chip).passed
    replayed = bench.order.raw + chip.activation
    thief = SoftwareKey()
    (tmp_path / "thief").mkdir()
    forged = Bench(tmp_path / "thief", production=thief)
    other_lot = Bench(tmp_path / "thief", production=bench.production)
    other_lot.order = other_lot.make_order(lot="LOT-8")
    stolen = bench.chip(2)
    stolen.flash, stolen.readout_level = IMAGE.content, 1
    device = PaperDevice(stolen, bench.facts)
    for data, name in (
        (_activation_by(forged, device), "SIGNER_UNKNOWN"),
        (_activation_by(other_lot, device), "WRONG_LOT"),
        (replayed, "WRONG_DEVICE"),
    ):
        device.challenge(point(new_key()))
        with pytest.raises(Exception, match=name):
            device.send_activation(data)
    assert stolen.lifecycle == LOCKED


def test_boards_of_another_lot_product_or_revision_are_refused(bench: Bench, station: Station) -> None:
    for number, changed in enumerate(
        ({"lot": b"LOT-8"}, {"product_id": bytes(range(2, 18))}, {"hardware_revision": 6}, {"hardware_revision": 2})
    ):
        nest = PaperNest(replace(bench.facts, **changed))  # type: ignore[arg-type]
        assert bench.attempt(station, bench.chip(number + 1), nest=nest).rule is Rule.WRONG_BOARD
    assert station.ledger.boards.begun == 0


def test_simulation_is_refused_in_production(bench: Bench, station: Station) -> None:
    verdict = bench.attempt(station, bench.chip(1), allows_simulation_only=False)
    assert verdict.rule is Rule.SIMULATION_ONLY


def test_a_scrapped_board_stays_out(bench: Bench, station: Station) -> None:
    chip = bench.chip(1)
    assert bench.attempt(station, chip).passed
    station.scrap(chip.uid, "cracked housing")
    assert bench.attempt(station, chip).rule is Rule.SCRAPPED
    with pytest.raises(PolicyViolation, match="ST-44"):
        station.scrap(chip.uid, "again")
    station.scrap(bench.chip(9).uid, "fell on the floor")
    assert station.ledger.boards.scrapped == 2
    assert station.ledger.boards.begun == 1


def test_a_device_in_repair_or_locked_again_needs_another_order(bench: Bench, station: Station) -> None:
    chip = bench.chip(1)
    assert bench.attempt(station, chip).passed
    chip.lifecycle = RMA
    assert bench.attempt(station, chip).rule is Rule.STATE_OF_LIFE
    chip.lifecycle = LOCKED
    assert bench.attempt(station, chip).rule is Rule.LOCKED_AGAIN
    assert station.ledger.boards.board(chip.uid).standing is Standing.ACTIVATED  # type: ignore[union-attr]


def test_a_board_that_was_changed_in_the_nest_is_refused(bench: Bench, station: Station) -> None:
    class Swapped(Deaf):
        def power_cycle(self) -> None:
            super().power_cycle()
            if self.left <= 0:
                self.insert(other)

    other = bench.chip(2)
    nest = Swapped(bench, "send_activation", 1, before=True)
    PaperDevice(other, bench.facts)
    other.flash, other.readout_level, other.options = IMAGE.content, 1, 12
    assert bench.attempt(station, bench.chip(1), nest=nest).rule is Rule.UID_DIFFERS
    assert station.ledger.boards.begun == 1


def test_the_chip_that_was_read_by_the_probe_is_the_one_that_answers(bench: Bench, station: Station) -> None:
    nest, chip = bench.nest(), bench.chip(1)
    nest.reads_uid = True
    assert bench.attempt(station, chip, nest=nest).passed
    liar = Bench.nest(bench)
    liar.read_uid = lambda: bench.chip(7).uid  # type: ignore[method-assign]
    assert bench.attempt(station, bench.chip(2), nest=liar).rule is Rule.UID_DIFFERS


@pytest.mark.parametrize("method", ["read_uid", "read_option_bytes", "compare_flash", "program", "power_cycle"])
def test_a_fixture_that_fails_ends_the_attempt(bench: Bench, station: Station, method: str) -> None:
    def broken(*_: object) -> None:
        raise FixtureError("no contact")

    nest = bench.nest()
    setattr(nest, method, broken)
    assert bench.attempt(station, bench.chip(1), nest=nest).rule is Rule.FIXTURE_FAILED
    assert station.ledger.boards.number == 0


@pytest.mark.parametrize("size", [511, 513])
def test_a_challenge_that_is_none_is_refused(bench: Bench, station: Station, size: int) -> None:
    nest = bench.nest()
    nest.challenge = lambda host_ephemeral: bytes(size)  # type: ignore[method-assign]
    assert bench.attempt(station, bench.chip(1), nest=nest).rule is Rule.CHALLENGE_INVALID


def test_an_old_challenge_is_refused(bench: Bench, station: Station) -> None:
    nest = bench.nest()
    recorded = PaperDevice(bench.chip(5), replace(bench.facts))
    recorded.chip.flash, recorded.chip.readout_level = b"x", 1
    old = recorded.challenge(point(new_key()))
    nest.challenge = lambda host_ephemeral: old  # type: ignore[method-assign]
    assert bench.attempt(station, bench.chip(1), nest=nest).rule is Rule.CHALLENGE_INVALID


@pytest.mark.parametrize("offset", [8, 60, 100, 200, 250, 300])
def test_a_changed_challenge_is_refused(bench: Bench, station: Station, offset: int) -> None:
    class Changed(PaperNest):
        def challenge(self, host_ephemeral: bytes) -> bytes:
            data = bytearray(super().challenge(host_ephemeral))
            data[offset] ^= 1
            return bytes(data)

    assert bench.attempt(station, bench.chip(1), nest=Changed(bench.facts)).rule is Rule.CHALLENGE_INVALID
    assert station.ledger.boards.begun == 0


@pytest.mark.parametrize("offset", [7, 10, 30, 60, 160, 216, 300])
def test_a_changed_receipt_is_refused_and_the_status_decides_later(bench: Bench, station: Station, offset: int) -> None:
    class Changed(PaperNest):
        def send_activation(self, order_and_activation: bytes) -> bytes:
            data = bytearray(super().send_activation(order_and_activation))
            data[offset] ^= 1
            return bytes(data)

    chip = bench.chip(1)
    assert bench.attempt(station, chip, nest=Changed(bench.facts)).rule is Rule.RECEIPT_INVALID
    assert bench.attempt(station, chip).passed


@pytest.mark.parametrize("offset", [8, 24, 74, 248, 264, 296, 520])
def test_a_changed_status_is_refused(bench: Bench, station: Station, offset: int) -> None:
    class Changed(PaperNest):
        def signed_status(self, nonce: bytes) -> bytes:
            data = bytearray(super().signed_status(nonce))
            data[offset] ^= 1
            return bytes(data)

    assert bench.attempt(station, bench.chip(1), nest=Changed(bench.facts)).rule is Rule.STATUS_INVALID
    assert station.ledger.boards.activated == 0


# Orders


def test_an_order_of_another_station_is_refused(bench: Bench) -> None:
    bench.order = bench.make_order(stations=(StationQuota(SoftwareKey().public_key.spki_sha256, 3),))
    with pytest.raises(PolicyViolation, match="ST-04"):
        bench.open()


def test_an_order_of_another_lot_key_is_refused(bench: Bench) -> None:
    bench.lot = SoftwareKey()
    with pytest.raises(PolicyViolation, match="ST-05"):
        bench.open()


@pytest.mark.parametrize(("days", "rule"), [(-2, "ST-07"), (31, "ST-08")])
def test_an_order_out_of_its_dates_is_refused(bench: Bench, days: int, rule: str) -> None:
    bench.now = NOW + timedelta(days=days)
    with pytest.raises(PolicyViolation, match=rule):
        bench.open()


def test_an_order_that_ends_while_the_station_runs_counts_nothing_more(bench: Bench, station: Station) -> None:
    bench.now = NOW + timedelta(days=31)
    assert bench.attempt(station, bench.chip(1)).rule is Rule.TOO_LATE
    assert station.ledger.boards.begun == 0


def test_two_stations_on_one_order_make_no_more_than_their_shares(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = Bench(tmp_path / "second", production=bench.production, lot=bench.lot, lot_ca=bench.lot_ca)
    shares = sorted((b.station_key.public_key.spki_sha256, n) for b, n in ((bench, 2), (second, 1)))
    order = bench.make_order(quota=3, stations=tuple(StationQuota(*share) for share in shares))
    second.ca_certificate = bench.ca_certificate
    made = 0
    for place, first_chip in ((bench, 10), (second, 20)):
        place.order, place.evidence = order, MemoryEvidence()
        shutil.rmtree(place.folder / LEDGER_FILE, ignore_errors=True)
        place.ledger_path.unlink(missing_ok=True)
        working = place.init().open()
        made += sum(place.attempt(working, place.chip(first_chip + index)).passed for index in range(3))
    assert made == 3


# Trust bundles


def test_links_are_sent_before_the_activation_so_that_a_leaked_lot_key_is_dead(bench: Bench, station: Station) -> None:
    """The thief has the lot's key; a bundle revokes it; the station sends bundles first, and the board refuses."""
    bench.bundles = {2: (2).to_bytes(4, "little") + key_id(bench.lot.public_key.point)}
    bench.newest_bundle = 2
    chip, watched = bench.chip(1), list[steps.Step]()
    verdict = bench.attempt(station, chip, watch=watched)
    assert verdict.rule is Rule.ACTIVATION_REFUSED
    assert "SIGNER_REVOKED" in verdict.text
    assert chip.bundle_version == 2
    assert chip.lifecycle == LOCKED
    named = [type(step).__name__ for step in watched]
    assert named.index("SendBundles") < named.index("SendActivation")


def test_a_board_that_was_reset_before_its_activation_gets_another(bench: Bench, station: Station) -> None:
    """Its nonce is gone: the first activation is refused."""

    class Reset(PaperNest):
        resets = 1

        def send_activation(self, order_and_activation: bytes) -> bytes:
            if self.resets > 0:
                self.resets -= 1
                self.power_cycle()
            return super().send_activation(order_and_activation)

    assert bench.attempt(station, bench.chip(1), nest=Reset(bench.facts)).passed
    assert events(station) == ["begun", "renewed", "activated"]


def test_a_board_with_a_newer_bundle_waits_for_the_station_to_get_it(bench: Bench, station: Station) -> None:
    chip = bench.chip(1)
    nest = bench.nest()
    nest.insert(chip)
    nest.program(IMAGE)
    chip.bundle_version = 2
    assert bench.attempt(station, chip, nest=nest).rule is Rule.BUNDLE_NEWER


def test_a_bundle_that_the_board_refuses_ends_the_attempt(bench: Bench, station: Station) -> None:
    bench.bundles, bench.newest_bundle = {2: (9).to_bytes(4, "little")}, 2
    assert bench.attempt(station, bench.chip(1)).rule is Rule.BUNDLE_REFUSED


def _activation_by(bench: Bench, device: PaperDevice) -> bytes:
    """What a station of `bench` would send this device, whatever its ledger says."""
    from provisioning.station.composing import Composer
    from provisioning.station.injecting import Injected
    from provisioning.station.ledger import Place
    from provisioning.station.runner import challenge_facts
    from rpc.objects.challenge import Challenge

    facts = challenge_facts(Challenge.parse(device.challenge(point(new_key()))))

    composer = Composer(bench.order, bench.station_key.public_key.spki_sha256, bench.lot)
    place = Place(1, bytes(32), NOW, 1)
    record = composer.issued(BirthEvent.BEGUN, facts, place, 1, "", b"certificate", Injected())
    assert record.activation is not None
    return bench.order.raw + record.activation
