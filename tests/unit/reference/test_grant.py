"""What a device says to a grant, and what it then installs (docs/spec/grant.md, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.grant import parse_grant, require_own_leaf
from bootloader.reference.journal import Journal
from bootloader.reference.records import EventKind, Lifecycle, PendingGrant
from bootloader.simulation.device import ApplicationRuns, SimulatedDevice
from tests.scenarios.world import World, state_on_record
from tests.unit.reference import builders, grants_by_hand
from tests.unit.reference.builders import sha256, u8, u32
from tests.unit.reference.bundle_chains import first_link, next_link
from tests.unit.reference.fake.keys import fake_key
from tests.unit.reference.grants_by_hand import GrantPlan, grant_of, recipients_with

WORLD = World()
OWN_KEY = fake_key("device agreement")
COUNT, INDEX = 13, 8
GRANTED = {"target": builders.GRANT_REQUIRED, "recipient_mode": builders.MODE_GRANT}
PACKAGE_PLAN = WORLD.application_plan(2, **GRANTED)
PACKAGE = builders.build_package(PACKAGE_PLAN)


def plan_for(package: bytes = PACKAGE, package_plan: builders.PackagePlan = PACKAGE_PLAN, **other: Any) -> GrantPlan:
    plan = GrantPlan(
        recipients=recipients_with(WORLD.padded_uid, OWN_KEY, COUNT, INDEX),
        head_hash=sha256(package[:1024]),
        content_key=package_plan.content_key,
        image_salt=package_plan.image_salt,
    )
    return replace(plan, **other)


PLAN = plan_for()
GRANT = grant_of(PLAN, INDEX)


def listening() -> SimulatedDevice:
    device = WORLD.device_with(1)
    device.power_on()
    device.application_requests_update()
    return device


def waiting() -> SimulatedDevice:
    """OPERATIONAL, in update mode for want of an application."""
    device = WORLD.device()
    device.power_on()
    return device


def pending(device: SimulatedDevice) -> PendingGrant | None:
    return state_on_record(device).pending_grant


def refused(device: SimulatedDevice, grant: bytes) -> DeviceCode:
    """The code of a refusal, which keeps the grant before it and writes nothing but the event of the refusal."""
    before = state_on_record(device)
    with pytest.raises(Refused) as caught:
        device.receive_grant(grant)
    after = state_on_record(device)
    assert replace(after, events=()) == replace(before, events=())
    assert (after.events[-1].kind, after.events[-1].code) == (EventKind.REFUSAL, caught.value.code)
    return caught.value.code


def install(device: SimulatedDevice, package: bytes) -> int:
    running = device.install(package)
    assert isinstance(running, ApplicationRuns)
    return running.version.major


def install_refused(device: SimulatedDevice, package: bytes) -> DeviceCode:
    with pytest.raises(Refused) as caught:
        device.install(package)
    return caught.value.code


# --- a device's way with grants ---


def test_without_a_grant_the_package_is_refused() -> None:
    device = listening()
    assert install_refused(device, PACKAGE) is DeviceCode.GRANT_REQUIRED
    assert isinstance(device.power_on(), ApplicationRuns)


def test_a_grant_is_kept_and_its_package_installed_and_installing_ends_it() -> None:
    device = listening()
    device.receive_grant(GRANT)
    assert pending(device) == PendingGrant(
        PLAN.batch_id, PLAN.head_hash, PLAN.ephemeral.public, grants_by_hand.leaf_of(PLAN, PLAN.recipients[INDEX])[24:]
    )
    assert (state_on_record(device).events[-1].kind, state_on_record(device).events[-1].code) == (EventKind.GRANT, 0)
    assert install(device, PACKAGE) == 2
    assert pending(device) is None


def test_a_grant_outlives_resets_and_a_refused_package() -> None:
    device = listening()
    device.receive_grant(GRANT)
    damaged = bytearray(PACKAGE)
    damaged[1024] ^= 1
    assert install_refused(device, bytes(damaged)) is DeviceCode.CHUNK_HASH
    device.power_on()
    device.power_on()
    device.application_requests_update()
    assert pending(device) is not None
    assert install(device, PACKAGE) == 2


def test_the_same_grant_again_writes_nothing() -> None:
    device = listening()
    device.receive_grant(GRANT)
    device.flash.log = []
    for _ in range(5):
        device.receive_grant(GRANT)
    assert device.flash.log == []


def test_a_later_batch_for_the_same_package_needs_no_new_package_and_replaces_the_earlier_one() -> None:
    device = listening()
    device.receive_grant(GRANT)
    later = plan_for(batch_id=b"fake later batch"[:16], ephemeral=fake_key("later ephemeral"))
    device.receive_grant(grant_of(later, INDEX))
    found = pending(device)
    assert found is not None
    assert found.batch_id == later.batch_id
    assert install(device, PACKAGE) == 2


def test_the_grant_of_another_package_does_not_open_this_one() -> None:
    device = listening()
    other_plan = WORLD.application_plan(3, **GRANTED)
    other = builders.build_package(other_plan)
    device.receive_grant(grant_of(plan_for(other, other_plan), INDEX))
    assert install_refused(device, PACKAGE) is DeviceCode.GRANT_REQUIRED
    assert install(device, other) == 3


def test_a_grant_with_another_content_key_is_refused_before_anything_is_erased() -> None:
    device = listening()
    device.receive_grant(grant_of(plan_for(content_key=bytes(32)), INDEX))
    assert install_refused(device, PACKAGE) is DeviceCode.CEK_COMMITMENT
    assert isinstance(device.power_on(), ApplicationRuns)


def test_a_bootloader_comes_by_grant_too() -> None:
    device = listening()
    package_plan = WORLD.bootloader_plan(2, Copy.B, **GRANTED)
    package = builders.build_package(package_plan)
    assert install_refused(device, package) is DeviceCode.GRANT_REQUIRED
    device.receive_grant(grant_of(plan_for(package, package_plan), INDEX))
    running = device.install(package)
    assert getattr(running, "copy", None) is Copy.B


def test_it_ends_no_upload() -> None:
    device = listening()
    bootloader = device.bootloader
    bootloader.begin_upload(len(PACKAGE))
    bootloader.write(0, PACKAGE[:100])
    device.receive_grant(GRANT)
    assert bootloader.upload is not None
    assert bootloader.upload.offset_bytes == 100


def test_verifying_a_grant_confirms_a_copy_on_trial() -> None:
    device = listening()
    device.install(WORLD.bootloader(2, Copy.B))
    assert not device.bootloader.running.is_confirmed
    wrong_product = grant_of(replace(PLAN, product_id=b"another product!"), INDEX)
    assert refused_code(device, wrong_product) is DeviceCode.WRONG_PRODUCT
    assert device.bootloader.running.is_confirmed


def refused_code(device: SimulatedDevice, grant: bytes) -> DeviceCode:
    with pytest.raises(Refused) as caught:
        device.receive_grant(grant)
    return caught.value.code


def test_it_is_taken_in_update_mode_only() -> None:
    device = WORLD.device_with(1)
    device.power_on()
    assert refused_code(device, GRANT) is DeviceCode.NOT_IN_UPDATE_MODE


# --- each check, in the order of the text ---

_ONE_OVER = builders.u32((1 << 31) + 1)

REFUSALS: tuple[tuple[str, Mapping[str, bytes], DeviceCode], ...] = (
    ("magic", {"magic": b"SRG2"}, DeviceCode.OBJECT_MAGIC),
    ("format version", {"format_version": b"\2\0"}, DeviceCode.OBJECT_FORMAT),
    ("suite", {"suite": b"\2"}, DeviceCode.OBJECT_FORMAT),
    ("reserved 7", {"reserved_7": b"\1"}, DeviceCode.OBJECT_RESERVED),
    ("reserved 180", {"reserved_180": bytes(11) + b"\1"}, DeviceCode.OBJECT_RESERVED),
    ("reserved 317", {"reserved_317": b"\0\0\1"}, DeviceCode.OBJECT_RESERVED),
    ("batch id zero", {"batch_id": bytes(16)}, DeviceCode.OBJECT_FIELD),
    ("batch id erased", {"batch_id": b"\xff" * 16}, DeviceCode.OBJECT_FIELD),
    ("product id zero", {"product_id": bytes(16)}, DeviceCode.OBJECT_FIELD),
    ("empty tree", {"tree_size": u32(0)}, DeviceCode.OBJECT_FIELD),
    ("tree too large", {"tree_size": _ONE_OVER}, DeviceCode.OBJECT_FIELD),
    ("signer id zero", {"signer_key_id": bytes(8)}, DeviceCode.OBJECT_FIELD),
    ("index outside", {"index": u32(COUNT)}, DeviceCode.OBJECT_FIELD),
    ("index that has another proof", {"index": u32(12)}, DeviceCode.OBJECT_FIELD),
    ("tree size that has another proof", {"tree_size": u32(COUNT + 4)}, DeviceCode.OBJECT_FIELD),
    ("proof count", {"proof_count": u8(5)}, DeviceCode.OBJECT_SIZE),
    ("signer unknown", {"signer_key_id": b"\1" * 8}, DeviceCode.SIGNER_UNKNOWN),
    ("signature", {"signature": b"\1" * 64}, DeviceCode.SIGNATURE_INVALID),
    ("not signed yet", {"signature": bytes(64)}, DeviceCode.SIGNATURE_INVALID),
    ("root", {"root": bytes(32)}, DeviceCode.GRANT_PROOF),
    ("another index", {"index": u32(INDEX - 1)}, DeviceCode.GRANT_PROOF),
    ("recipient key id", {"recipient_key_id": bytes(8)}, DeviceCode.GRANT_PROOF),
    ("wrapped key", {"wrapped_cek": bytes(32)}, DeviceCode.GRANT_PROOF),
)


@pytest.mark.parametrize(("changed", "code"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_each_check_refuses_what_it_is_for(changed: Mapping[str, bytes], code: DeviceCode) -> None:
    assert refused(waiting(), grant_of(PLAN, INDEX, changed)) is code


@pytest.mark.parametrize("size_bytes", [0, 1, 255, 256, 319, 320, len(GRANT) - 1, len(GRANT) + 1, 1312, 1313])
def test_other_sizes_are_refused(size_bytes: int) -> None:
    device = waiting()
    assert refused(device, GRANT[:size_bytes].ljust(size_bytes, b"\0")) is DeviceCode.OBJECT_SIZE


def test_a_proof_of_more_than_31_hashes_is_refused_by_its_size() -> None:
    grant = grants_by_hand.with_grant_fields(GRANT, {"proof_count": u8(32)})[:320] + bytes(32 * 32)
    assert refused(waiting(), grant) is DeviceCode.OBJECT_SIZE


def test_the_ephemeral_key_is_checked_last() -> None:
    off_curve = grant_of(PLAN, INDEX, {"ephemeral_public_key": bytes(63) + b"\1"})
    assert refused(waiting(), off_curve) is DeviceCode.EPHEMERAL_KEY


def test_another_product_is_refused_after_the_proof() -> None:
    assert refused(waiting(), grant_of(replace(PLAN, product_id=b"another product!"), INDEX)) is (
        DeviceCode.WRONG_PRODUCT
    )


def test_the_wrong_role_signs_no_grants() -> None:
    for role in ("application release", "production", "service"):
        grant = grant_of(replace(PLAN, signer=fake_key(role)), INDEX)
        assert refused(waiting(), grant) is DeviceCode.SIGNER_UNKNOWN


def test_a_revoked_grant_key_grants_nothing_new_and_what_was_granted_stays() -> None:
    genesis = first_link()
    gone = fake_key("grant")
    role_keys = [entry for entry in genesis.plan.role_keys if entry[1] != gone.public]
    second = next_link(genesis, role_keys=role_keys, revoked=[(gone.key_id, 0)])
    device = listening()
    device.receive_grant(GRANT)
    device.receive_trust_bundle(second.file)
    other = plan_for(batch_id=b"fake later batch"[:16])
    assert refused(device, grant_of(other, INDEX)) is DeviceCode.SIGNER_REVOKED
    assert install(device, PACKAGE) == 2


def test_a_locked_device_takes_no_grant() -> None:
    device = WORLD.device()
    device.flash.power_on()
    journal = Journal(device.flash, device.board)
    assert journal.state.device is not None
    journal.settle()
    journal.append(replace(journal.state.device, lifecycle=Lifecycle.LOCKED))
    device.power_on()
    assert refused(device, GRANT) is DeviceCode.LIFECYCLE


# --- other devices ---


def other_device() -> SimulatedDevice:
    """A clone: another UID, and the very same keys."""
    device = replace(WORLD, uid=bytes.fromhex("0011223344556677 8899aabc")).device()
    device.power_on()
    return device


def test_another_devices_grant_fails_its_proof_even_on_a_clone_with_the_same_keys() -> None:
    assert refused(other_device(), GRANT) is DeviceCode.GRANT_PROOF


def test_writing_the_own_uid_into_a_foreign_leaf_helps_nobody() -> None:
    uid = bytes.fromhex("0011223344556677 8899aabc").ljust(16, b"\0")
    assert refused(other_device(), grant_of(PLAN, INDEX, {"leaf_uid": uid})) is DeviceCode.GRANT_PROOF


def test_a_grant_for_this_uid_and_another_key_is_refused() -> None:
    recipients = recipients_with(WORLD.padded_uid, fake_key("someone else's key"), COUNT, INDEX)
    assert refused(waiting(), grant_of(replace(PLAN, recipients=recipients), INDEX)) is DeviceCode.RECIPIENT_UNKNOWN


def test_the_proof_of_another_batch_is_refused() -> None:
    other = grant_of(replace(PLAN, content_key=bytes(32)), INDEX)
    assert refused(waiting(), GRANT[:312] + other[312:]) is DeviceCode.GRANT_PROOF
    assert refused(waiting(), GRANT[:256] + other[256:]) is DeviceCode.GRANT_PROOF


def test_the_masks_of_two_devices_differ_though_one_ephemeral_key_serves_both() -> None:
    """With equal agreement keys too: the UID is part of the mask."""
    twins = [replace(PLAN.recipients[0], agreement=OWN_KEY), replace(PLAN.recipients[1], agreement=OWN_KEY)]
    wrapped = {grants_by_hand.leaf_of(PLAN, twin)[24:] for twin in twins}
    assert len(wrapped) == 2


# --- every bit ---


def test_a_flipped_bit_anywhere_is_refused_but_in_the_uid_that_nobody_asks() -> None:
    device = waiting()
    verdict_of = _codes_by_byte(device)
    unused = range(256, 272)
    assert {offset for offset, code in verdict_of.items() if code is None} == set(unused)
    assert pending(device) == parse_grant(GRANT).pending


def _codes_by_byte(device: SimulatedDevice) -> dict[int, DeviceCode | None]:
    found: dict[int, DeviceCode | None] = {}
    for offset in range(len(GRANT)):
        flipped = bytearray(GRANT)
        flipped[offset] ^= 1 << (offset % 8)
        try:
            device.bootloader.receive_grant(bytes(flipped))
            found[offset] = None
        except Refused as refusal:
            found[offset] = refusal.code
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_every_place_of_a_small_tree(count: int) -> None:
    for index in range(count):
        device = waiting()
        recipients = recipients_with(WORLD.padded_uid, OWN_KEY, count, index)
        device.receive_grant(grant_of(replace(PLAN, recipients=recipients), index))
        assert pending(device) is not None


def test_every_index_of_trees_of_up_to_70_leaves() -> None:
    """Against the recursive definition of RFC 9162: the right proof leads to the root, every other index does not."""
    for count in range(1, 71):
        leaves = [sha256(b"fake leaf %d" % index) + bytes(24) for index in range(count)]
        root = grants_by_hand.tree_hash(leaves)
        for index in range(count):
            proof = grants_by_hand.path(index, leaves)
            behind = leaves[index] + u32(index) + u8(len(proof)) + bytes(3) + b"".join(proof)
            fields = {"tree_size": u32(count), "root": root}
            grant = parse_grant(grants_by_hand.with_grant_fields(GRANT[:256], fields) + behind)
            require_own_leaf(grant, leaves[index][:16])
            with pytest.raises(Refused) as caught:
                require_own_leaf(grant, sha256(leaves[index])[:16])
            assert caught.value.code is DeviceCode.GRANT_PROOF
