"""kill -9 at every step of a signing call: the same call again ends in the one right state."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from policies.request import decode_request
from signer.log.audit_log import open_audit_log
from signer.packages.terms import PackageType
from signer.service.values import SignOrder
from tests.unit.log.logs import fast_folder
from tests.unit.service.kill_rig import KilledWorld, Killer, LateLog
from tests.unit.service.world import BEN, CLEO, signed_approval

STEPS_AT_LEAST = 25
NEVER = 1_000_000


def _world(folder: Path) -> tuple[KilledWorld, SignOrder]:
    world = KilledWorld(folder)
    world.begin()
    return world, world.order(world.prepare(package_type=PackageType.BOOTLOADER), [BEN])


def _require_one_right_state(world: KilledWorld, order: SignOrder) -> None:
    digest = hashlib.sha256(order.request.statement).digest()
    package = world.shelf.released(digest).read_bytes()
    with open_audit_log(world.folder / "log", world.log_key) as log:
        entries = [entry.event for entry in log.entries(1)]
    results = [event for event in entries if event.kind.value == "sign-result"]
    assert [event.details["package_digest"] for event in results] == [hashlib.sha256(package).hexdigest()]
    intents = [event for event in entries if event.kind.value == "sign-intent"]
    assert world.signature_count <= 2 * len(intents)
    assert len(entries) == len(intents) + len(results)
    assert {path.name for path in (world.folder / "signed").iterdir()} == {
        "lock",
        f"{digest.hex()}.srp",
        f"{digest.hex()}.json",
    }


def _require_nothing_early(world: KilledWorld, order: SignOrder) -> None:
    """What a killed call left: no package without its result in the log, no signature without its intent."""
    digest = hashlib.sha256(order.request.statement).digest()
    with open_audit_log(world.folder / "log", world.log_key) as log:
        kinds = [entry.event.kind.value for entry in log.entries(1)]
    if world.shelf.released(digest).exists():
        assert "sign-result" in kinds
    if world.signature_count:
        assert "sign-intent" in kinds


def _kill_everywhere(after: Callable[[KilledWorld, SignOrder], None]) -> int:
    for step in range(1, NEVER):
        with fast_folder() as folder:
            world, order = _world(folder)
            if not world.sign_killed_at(order, step):
                return step - 1
            _require_nothing_early(world, order)
            after(world, order)
    raise AssertionError("a call does not end")


def test_killed_at_any_step_the_same_call_again_ends_in_the_one_right_state() -> None:
    def again(world: KilledWorld, order: SignOrder) -> None:
        count = world.signature_count
        had_result = world.shelf.record(hashlib.sha256(order.request.statement).digest()).exists()
        world.sign_counted(order, Killer(NEVER))
        _require_one_right_state(world, order)
        if had_result:
            assert world.signature_count == count, "the HSM was asked again for what it had signed"

    steps = _kill_everywhere(again)
    print(f"{steps} kill points")
    assert steps >= STEPS_AT_LEAST


def test_a_service_that_logs_its_results_late_is_caught() -> None:
    """The control: the rig and its conditions find a service with one defect."""
    caught = 0
    for step in range(1, NEVER):
        with fast_folder() as folder:
            world, order = _world(folder)
            world.log_type = LateLog
            if not world.sign_killed_at(order, step):
                break
            try:
                _require_nothing_early(world, order)
            except AssertionError:
                caught += 1
    assert caught


@pytest.mark.campaign
def test_killed_twice_it_still_ends_in_the_one_right_state() -> None:
    def killed_again(world: KilledWorld, order: SignOrder) -> None:
        for step in range(1, 30, 3):
            if not world.sign_killed_at(order, step):
                break
            _require_nothing_early(world, order)
        world.sign_counted(order, Killer(NEVER))
        _require_one_right_state(world, order)

    assert _kill_everywhere(killed_again) >= STEPS_AT_LEAST


def test_after_a_crash_other_approvals_are_signed_for_anew() -> None:
    """The package that was left is not released under approvals other than those of its intent."""
    for step in range(1, NEVER):
        with fast_folder() as folder:
            world, order = _world(folder)
            assert world.sign_killed_at(order, step)
            if not list((folder / "signed").glob("*.unjudged.srp")):
                continue
            left = world.signature_count
            signed = world.sign_counted(_approved_by_another(world, order), Killer(NEVER))
            assert world.signature_count == left + 2
            assert not signed.repeated
            _require_one_right_state(world, order)
            return


def _approved_by_another(world: KilledWorld, order: SignOrder) -> SignOrder:
    asked = decode_request(order.request.statement)
    return msgspec.structs.replace(order, approvals=(signed_approval(asked, CLEO),))
