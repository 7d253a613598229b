"""Rotation and revocation turned against running devices: bricked, rolled back, forked, half followed, worn out."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from random import Random

import pytest

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, SimulatedDevice
from bootloader.simulation.sending import send_bytes
from bootloader.simulation.sim_flash import FlashSnapshot
from tests.attacks.bench_device import SMALL, BenchDevice, code_of, outside_the_journal, runs_application, same_sectors
from tests.unit.reference.builders import bootloader_release_keys, build_bundle
from tests.unit.reference.bundle_chains import Link, first_link, next_link, other_roots, signed, without
from tests.unit.reference.fake.keys import fake_key

GENESIS = first_link()
BENCH = BenchDevice.with_application(SMALL)
RELEASE, SPARE = fake_key("application release"), fake_key("application release spare")
REVOKING = next_link(GENESIS, role_keys=without(GENESIS.plan, RELEASE), revoked=[(RELEASE.key_id, 0)])
U32_MAX = 0xFFFFFFFF


def on_the_bench() -> SimulatedDevice:
    """Application 1 is confirmed; the entry pin holds the device in update mode."""
    BENCH.device.entry_pin_is_active = True
    return BENCH.put_back()


def bundle_code(device: SimulatedDevice, bundle: bytes) -> DeviceCode:
    try:
        device.receive_trust_bundle(bundle)
    except Refused as refusal:
        return refusal.code
    return DeviceCode.OK


def in_force(device: SimulatedDevice) -> bytes:
    return device.bootloader.running.bundle.raw


def random_link(previous: Link, random: Random) -> Link:
    """Anything that two quorums could sign: keys gone, everything revoked, limits that let nothing in, other roots."""
    role_keys = random.sample(list(GENESIS.plan.role_keys), random.randint(0, len(GENESIS.plan.role_keys)))
    if random.random() < 0.7:
        role_keys = [entry for entry in role_keys if entry[1] != RELEASE.public]
    revoked = {random.randbytes(8): 0 for _ in range(random.randint(0, 20))}
    if RELEASE.public not in {public for _, public in role_keys}:
        revoked[RELEASE.key_id] = 0
    bounds = [sorted((random.choice((0, 1, 2, 999, U32_MAX)), random.choice((0, 5, U32_MAX)))) for _ in range(3)]
    roots = (
        other_roots(f"{previous.plan.version} {random.random()}", random.randint(1, 5))
        if random.random() < 0.5
        else None
    )
    threshold = random.randint(1, len(roots)) if roots is not None else None
    return next_link(
        previous,
        roots=roots,
        threshold=threshold,
        role_keys=sorted(role_keys),
        revoked=sorted(revoked.items()),
        limits=[bound for pair in bounds for bound in pair],
    )


@pytest.mark.parametrize("seed", range(6))
def test_after_every_bundle_the_installed_application_still_starts_unless_its_key_is_marked_stop(seed: int) -> None:
    """Row: rotation or revocation bricks running devices. Whatever the roots sign, only *stop* stops."""
    random, device, link = Random(seed), on_the_bench(), GENESIS
    for _ in range(12):
        link = random_link(link, random)
        assert bundle_code(device, link.file) is DeviceCode.OK
        assert runs_application(device, 1), f"version {link.plan.version}: {link.plan}"
        device.power_on()  # the entry pin is active: update mode
        assert in_force(device) == link.file
    # The same with stop: it stops, and a package by a key of the next bundle brings it back.
    stopping = next_link(link, role_keys=[], revoked=[(RELEASE.key_id, 1)])
    assert bundle_code(device, stopping.file) is DeviceCode.OK
    device.entry_pin_is_active = False
    assert device.power_on() == InUpdateMode(DeviceCode.STOPPED, Copy.A)
    helping = next_link(stopping, role_keys=[(1, SPARE.public)], limits=[0, U32_MAX] * 3)
    assert bundle_code(device, helping.file) is DeviceCode.OK
    assert code_of(device, SMALL.application(1, signers=(SPARE,))) is DeviceCode.OK
    assert runs_application(device, 1)


def test_both_bootloader_copies_start_whatever_a_bundle_says_of_their_keys() -> None:
    """Row: rotation or revocation bricks running devices. The pre-bootloader's keys are built in, no bundle asked."""
    device = on_the_bench()
    gone = bootloader_release_keys()
    bare = next_link(GENESIS, role_keys=without(GENESIS.plan, *gone), revoked=sorted((key.key_id, 1) for key in gone))
    assert bundle_code(device, bare.file) is DeviceCode.OK
    assert runs_application(device, 1)
    device.flash.corrupt(device.board.bootloader_a.address + 1024, b"\0")
    device.entry_pin_is_active = False
    running = device.power_on()
    assert isinstance(running, ApplicationRuns)
    assert running.copy is Copy.B


def test_no_older_or_other_bundle_takes_a_revocation_back() -> None:
    """Row: a trust bundle replayed, forked or skipped. What a stolen key's owner would send, in any order."""
    device = on_the_bench()
    third = next_link(REVOKING)
    fork = next_link(GENESIS, limits=(0, 1, 0, 1, 0, 1))
    for link in (REVOKING, third):
        assert bundle_code(device, link.file) is DeviceCode.OK
    for link in (GENESIS, REVOKING, fork, next_link(fork), next_link(next_link(third))):
        assert bundle_code(device, link.file) is DeviceCode.BUNDLE_SUCCESSION
    assert in_force(device) == third.file
    assert code_of(device, SMALL.application(2)) is DeviceCode.SIGNER_REVOKED
    assert bundle_code(device, next_link(third).file) is DeviceCode.OK


@pytest.mark.parametrize("thieves", [1, 2])
def test_fewer_roots_than_the_threshold_change_nothing(thieves: int) -> None:
    """Row: a root is stolen. One old root with any new roots is refused; two are a quorum (the control)."""
    mine = other_roots("a thief's root")
    device = on_the_bench()
    for stolen in combinations(enumerate(GENESIS.roots), thieves):
        entries = tuple((0, index, key) for index, key in stolen) + signed(1, mine, 3)
        forged = next_link(GENESIS, roots=mine, signers=entries)
        code = bundle_code(device, forged.file)
        assert code is (DeviceCode.BUNDLE_SIGNATURES if thieves == 1 else DeviceCode.OK)
        device = on_the_bench()
    # Nor do role keys in the roots' places, however many.
    by_roles = tuple((0, index, key) for index, key in enumerate((RELEASE, SPARE)))
    forged = next_link(GENESIS, signers=by_roles + signed(1, GENESIS.roots, 2))
    assert bundle_code(device, forged.file) is DeviceCode.BUNDLE_SIGNATURES


def test_a_package_admitted_before_a_revocation_is_not_finished_after_it() -> None:
    """Row: time of check, time of use: head and chunk 0 under the old bundle, the rest under the new one."""
    device = on_the_bench()
    package = SMALL.application(2, image=bytes(range(256)) * 40)
    device.bootloader.begin_upload(len(package))
    send_bytes(device.bootloader, package[:6000])
    assert bundle_code(device, REVOKING.file) is DeviceCode.OK
    with pytest.raises(Refused) as refused:
        device.bootloader.write(6000, package[6000:])
    assert refused.value.code is DeviceCode.UPLOAD_STATE
    assert code_of(device, package) is DeviceCode.SIGNER_REVOKED
    assert code_of(device, SMALL.application(2, signers=(SPARE,))) is DeviceCode.OK


def test_every_changed_byte_of_a_successor_is_refused_and_erases_nothing() -> None:
    """Row: unsigned or flexible fields, for trust bundles: one bit of each byte, everything the same but that."""
    device = on_the_bench()
    before, halves = outside_the_journal(device), erased_units(device.flash.snapshot())
    random = Random("bits")
    for position in range(2304):
        changed = bytearray(REVOKING.file)
        changed[position] ^= 1 << random.randrange(8)
        assert bundle_code(device, bytes(changed)) is not DeviceCode.OK, f"byte {position}"
    assert same_sectors(before, outside_the_journal(device))
    assert erased_units(device.flash.snapshot()) <= halves, "events are appended, nothing is erased"
    assert in_force(device) == GENESIS.file
    assert bundle_code(device, REVOKING.file) is DeviceCode.OK


def erased_units(snapshot: FlashSnapshot) -> int:
    return sum(bytes(sector.content).count(0xFF) for sector in snapshot.sectors)


def test_bundles_sent_over_and_over_wear_nothing_out() -> None:
    """Row: a valid head and chunk, then silence, over and over: the same with bundles, in one power-on and in many."""
    device = on_the_bench()
    assert bundle_code(device, REVOKING.file) is DeviceCode.OK
    other = build_bundle(replace(REVOKING.plan, signers=signed(1, REVOKING.roots, 3)))
    for bundle in (GENESIS.file, next_link(next_link(REVOKING)).file):
        bundle_code(device, bundle)  # one event for the code of all of them
    for _ in range(10):
        device.flash.log = []
        for bundle in (REVOKING.file, other, GENESIS.file, REVOKING.file[:-1] + b"\1"):
            bundle_code(device, bundle)
        operations = [entry for entry in device.flash.log if entry.data is None]
        device.flash.log = None
        assert operations == [], "nothing is erased"
        assert isinstance(device.power_on(), InUpdateMode)
