"""Whatever a device says and whatever is at hand: a plan is well-formed, or one rule refuses."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rpc.objects.reading import ImageVersion
from rpc.objects.signed_status import SignedStatus
from rpc.update.bundle_facts import BundleChain
from rpc.update.package_facts import PackageFacts
from rpc.update.planner import Action, plan
from rpc.update.presence import Material, is_there
from rpc.update.rules import Refusal
from tests.unit.update.material import (
    BOOTLOADER,
    FACTORY_TEST,
    GRANTED,
    HEAD,
    PACKAGE,
    PRODUCT,
    STATUS,
    bundle,
    grant,
)

VERSIONS = st.sampled_from([ImageVersion(major, 0, 0, 0) for major in (0, 1, 3, 4, 5)])
STATUSES = st.builds(
    replace,
    st.just(STATUS),
    runs=st.sampled_from([1, 2]),
    lifecycle=st.sampled_from([0, 0x3C, 0xA5, 0x66, 0x99, 0x11]),
    is_service_pending=st.sampled_from([False, False, False, True]),
    running_copy=st.sampled_from([0, 1]),
    copies=st.integers(0, 15),
    bootloader_version_a=VERSIONS,
    bootloader_version_b=VERSIONS,
    installed_type=st.sampled_from([0, 1, 3]),
    application_state=st.sampled_from([0, 1, 2]),
    application_version=VERSIONS,
    application_head_hash=st.sampled_from([HEAD, b"o" * 32]),
    floors=st.tuples(*[st.sampled_from([0, 4, 10, 11])] * 3),
    trust_bundle_version=st.integers(0, 5),
    grant_head_hash=st.sampled_from([HEAD, bytes(32)]),
    update_mode_code=st.sampled_from([0, 311, 501, 701, 702, 704, 705, 706, 707, 831]),
)
BUNDLES = st.sets(st.integers(1, 5)).map(lambda found: BundleChain.of([bundle(number) for number in found], PRODUCT))
MATERIALS = st.builds(
    Material,
    BUNDLES,
    grant=st.sampled_from([None, grant(), grant(head_hash=b"x" * 32)]),
    linked_for=st.sampled_from([None, 0, 1]),
    sent=st.booleans(),
    reinstall=st.booleans(),
)
PACKAGES = st.sampled_from([PACKAGE, BOOTLOADER, FACTORY_TEST, GRANTED])
IN_UPDATE_MODE = {Action.SEND_TRUST_BUNDLE, Action.SEND_GRANT, Action.UPLOAD}


@given(STATUSES, PACKAGES, MATERIALS)
def test_plans_are_well_formed(said: SignedStatus, package: PackageFacts, material: Material) -> None:
    found = plan(replace(said, trust_bundle_digest=b"digest %d" % said.trust_bundle_version), package, material)
    if isinstance(found, Refusal):
        assert found.rule_id.startswith("UP-")
        return
    actions = [step.action for step in found]
    works = any(action in IN_UPDATE_MODE for action in actions)
    # Who runs an application is asked for update mode, first, and only where there is something to do there.
    assert (actions[:1] == [Action.ENTER_UPDATE_MODE]) is (works and said.runs == 2)
    assert actions.count(Action.ENTER_UPDATE_MODE) <= 1
    # Nobody is left in update mode, and nothing is sent behind the reset.
    assert not works or Action.RESET in actions
    if Action.RESET in actions:
        assert not IN_UPDATE_MODE & set(actions[actions.index(Action.RESET) :])
    assert actions.count(Action.UPLOAD) == (0 if is_there(said, package, material) else 1)
    versions = [step.data for step in found if step.action is Action.SEND_TRUST_BUNDLE]
    assert versions == sorted(versions)
    assert all(step.data for step in found if step.action in {Action.SEND_TRUST_BUNDLE, Action.SEND_GRANT})
    assert Action.AWAIT_CONFIRMATION not in actions[:-1]
