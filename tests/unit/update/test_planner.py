"""The plan, by tables: what is done for each kind of status, and each rule's refusal beside what it lets pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rpc.objects import lifecycle
from rpc.objects.reading import ImageVersion
from rpc.update.package_facts import PackageFacts, Target
from rpc.update.planner import Action, Step, plan
from rpc.update.presence import Material
from rpc.update.rules import Refusal
from tests.unit.update.material import (
    BOOTLOADER,
    FACTORY_TEST,
    GRANTED,
    GROUP,
    HEAD,
    PACKAGE,
    SIGNER,
    bundle,
    grant,
    in_update_mode,
    material,
    status,
)

ENTER, BUNDLE, GRANT, UPLOAD, RESET, AWAIT = (
    Action.ENTER_UPDATE_MODE,
    Action.SEND_TRUST_BUNDLE,
    Action.SEND_GRANT,
    Action.UPLOAD,
    Action.RESET,
    Action.AWAIT_CONFIRMATION,
)
V3, V4 = ImageVersion(3, 0, 0, 0), ImageVersion(4, 0, 0, 0)
TRIED_B: dict[str, Any] = {
    "running_copy": 1,
    "bootloader_version_b": V4,
}  # copy B runs; `copies` says that A is the confirmed one
THERE: dict[str, Any] = {"application_head_hash": HEAD, "application_version": PACKAGE.version}


def actions(found: tuple[Step, ...] | Refusal) -> list[Action]:
    assert isinstance(found, tuple), found
    return [step.action for step in found]


PLANS: list[tuple[str, Any, PackageFacts, Material, list[Action]]] = [
    # an application
    ("an older application runs", status(), PACKAGE, material(), [ENTER, UPLOAD, RESET, AWAIT]),
    ("it listens already", in_update_mode(), PACKAGE, material(), [UPLOAD, RESET, AWAIT]),
    ("it has none", in_update_mode(701, installed_type=0), PACKAGE, material(), [UPLOAD, RESET, AWAIT]),
    ("it is there", status(**THERE), PACKAGE, material(), []),
    ("it is there, on trial", status(**THERE, application_state=1), PACKAGE, material(), [AWAIT]),
    ("it is there, and listens", in_update_mode(**THERE), PACKAGE, material(), [RESET]),
    ("it was just installed", in_update_mode(701, **THERE, application_state=1), PACKAGE, material(), [RESET, AWAIT]),
    ("it is there, broken", in_update_mode(704, **THERE), PACKAGE, material(), [UPLOAD, RESET, AWAIT]),
    (
        "it is there, given up",
        in_update_mode(706, **THERE, application_state=1),
        PACKAGE,
        material(),
        [UPLOAD, RESET, AWAIT],
    ),
    ("it is there, and meant anew", status(**THERE), PACKAGE, material(reinstall=True), [ENTER, UPLOAD, RESET, AWAIT]),
    ("it was sent anew, and is there", status(**THERE), PACKAGE, material(reinstall=True, sent=True), []),
    # trust bundles
    (
        "two links are missing",
        status(),
        PACKAGE,
        material(bundle(3), bundle(4)),
        [ENTER, BUNDLE, BUNDLE, UPLOAD, RESET, AWAIT],
    ),
    ("it is there, a link is missing", status(**THERE), PACKAGE, material(bundle(3)), [ENTER, BUNDLE, RESET]),
    ("older bundles at hand", status(**THERE), PACKAGE, material(bundle(1), bundle(2)), []),
    # grants
    ("a grant is missing", status(), GRANTED, material(grant=grant()), [ENTER, GRANT, UPLOAD, RESET, AWAIT]),
    ("it holds the grant", status(grant_head_hash=HEAD), GRANTED, material(), [ENTER, UPLOAD, RESET, AWAIT]),
    ("it is there, its grant used up", status(**THERE), GRANTED, material(), []),
    # bootloaders
    ("an older copy runs", status(), BOOTLOADER, material(bundle(2), linked_for=1), [ENTER, UPLOAD, RESET]),
    (
        "the new copy listens, on trial",
        in_update_mode(**TRIED_B),
        BOOTLOADER,
        material(bundle(2), linked_for=1),
        [BUNDLE, RESET],
    ),
    (
        "the new copy runs an application, on trial",
        status(**TRIED_B),
        BOOTLOADER,
        material(bundle(2), linked_for=1),
        [ENTER, BUNDLE, RESET],
    ),
    (
        "the new copy, on trial, and a link",
        in_update_mode(**TRIED_B),
        BOOTLOADER,
        material(bundle(2), bundle(3), linked_for=1),
        [BUNDLE, RESET],
    ),
    ("the new copy is confirmed", status(**TRIED_B, copies=0b1011), BOOTLOADER, material(linked_for=1), []),
    ("confirmed, and listens", in_update_mode(**TRIED_B, copies=0b1011), BOOTLOADER, material(linked_for=1), [RESET]),
    (
        "confirmed, no application to start",
        in_update_mode(701, **TRIED_B, copies=0b1011, installed_type=0),
        BOOTLOADER,
        material(linked_for=1),
        [],
    ),
    (
        "it was tried, and fell back",
        status(bootloader_version_b=V4),
        BOOTLOADER,
        material(bundle(2), linked_for=1),
        [ENTER, UPLOAD, RESET],
    ),
    (
        "the first copy is new, the second follows",
        status(**TRIED_B, copies=0b1011),
        BOOTLOADER,
        material(bundle(2), linked_for=0),
        [ENTER, UPLOAD, RESET],
    ),
    (
        "both copies are new",
        status(bootloader_version_a=V4, bootloader_version_b=V4),
        BOOTLOADER,
        material(linked_for=1),
        [],
    ),
    (
        "both copies are new, no board known",
        status(bootloader_version_a=V4, bootloader_version_b=V4),
        BOOTLOADER,
        material(),
        [],
    ),
    ("no board known, the other copy", status(), BOOTLOADER, material(bundle(2)), [ENTER, UPLOAD, RESET]),
    ("no board known, sent and running", status(**TRIED_B, copies=0b1011), BOOTLOADER, material(sent=True), []),
    # factory tests
    (
        "a LOCKED board gets its test",
        in_update_mode(701, installed_type=0, lifecycle=lifecycle.LOCKED),
        FACTORY_TEST,
        material(),
        [UPLOAD, RESET, AWAIT],
    ),
]


@pytest.mark.parametrize(("name", "found", "package", "at_hand", "expected"), PLANS, ids=[row[0] for row in PLANS])
def test_plan(name: str, found: Any, package: PackageFacts, at_hand: Material, expected: list[Action]) -> None:
    assert actions(plan(found, package, at_hand)) == expected


def test_steps_carry_what_is_sent() -> None:
    found = plan(status(), GRANTED, material(bundle(3), bundle(4), grant=grant()))
    assert isinstance(found, tuple)
    assert [step.data for step in found] == [b"", b"bundle 3", b"bundle 4", grant(), b"", b"", b""]
    assert [str(step) for step in found][1:5] == [
        "send-trust-bundle version 3",
        "send-trust-bundle version 4",
        "send-grant",
        "upload 1.1.0.0",
    ]


def test_a_new_copy_is_confirmed_by_the_bundle_in_force() -> None:
    found = plan(in_update_mode(**TRIED_B), BOOTLOADER, material(bundle(1), bundle(2), linked_for=1))
    assert isinstance(found, tuple)
    assert found[0].data == b"bundle 2"


# rule, status and package and material that it refuses, and the same that it lets pass
NEAR_MISSES: list[tuple[str, tuple[Any, PackageFacts, Material], tuple[Any, PackageFacts, Material]]] = [
    ("UP-11", (in_update_mode(501, lifecycle=0), PACKAGE, material()), (in_update_mode(), PACKAGE, material())),
    (
        "UP-12",
        (in_update_mode(831, is_service_pending=True), PACKAGE, material()),
        (in_update_mode(), PACKAGE, material()),
    ),
    (
        "UP-13",
        (status(product_id=b"q" * 16), PACKAGE, material()),
        (status(), PACKAGE, material()),
    ),
    ("UP-14", (status(hardware_revision=1), PACKAGE, material()), (status(hardware_revision=2), PACKAGE, material())),
    ("UP-14", (status(hardware_revision=6), PACKAGE, material()), (status(hardware_revision=5), PACKAGE, material())),
    (
        "UP-15",
        (status(), replace(PACKAGE, target=Target.ONE_DEVICE, target_uid=b"another device!!"), material()),
        (status(), replace(PACKAGE, target=Target.ONE_DEVICE, target_uid=status().uid), material()),
    ),
    *(
        (
            "UP-16",
            (status(lifecycle=state), package, material(bundle(2))),
            (status(lifecycle=right), package, material(bundle(2))),
        )
        for package, right, states in (
            (PACKAGE, lifecycle.OPERATIONAL, (lifecycle.LOCKED, lifecycle.RMA, lifecycle.DECOMMISSIONED, 0x11)),
            (BOOTLOADER, lifecycle.OPERATIONAL, (lifecycle.LOCKED, lifecycle.RMA, lifecycle.DECOMMISSIONED)),
            (FACTORY_TEST, lifecycle.LOCKED, (lifecycle.OPERATIONAL, lifecycle.DECOMMISSIONED)),
            (FACTORY_TEST, lifecycle.RMA, (lifecycle.OPERATIONAL,)),
        )
        for state in states
    ),
    (
        "UP-17",
        (status(application_version=PACKAGE.version), PACKAGE, material()),
        (status(application_version=PACKAGE.version), PACKAGE, material(reinstall=True)),
    ),
    (
        "UP-17",
        (status(application_version=ImageVersion(1, 1, 0, 1)), PACKAGE, material()),
        (status(application_version=ImageVersion(1, 1, 0, 1), application_state=1), PACKAGE, material()),
    ),
    (
        "UP-17",
        (in_update_mode(application_version=PACKAGE.version), PACKAGE, material()),
        (in_update_mode(704, application_version=PACKAGE.version), PACKAGE, material()),
    ),
    (
        "UP-18",
        (status(bootloader_version_a=ImageVersion(4, 0, 0, 1)), BOOTLOADER, material(bundle(2), linked_for=1)),
        (status(bootloader_version_a=V4), BOOTLOADER, material(bundle(2), linked_for=1)),
    ),
    (
        "UP-19",
        (status(), BOOTLOADER, material(bundle(2), linked_for=0)),
        (status(), BOOTLOADER, material(bundle(2), linked_for=1)),
    ),
    ("UP-20", (status(floors=(11, 0, 0)), PACKAGE, material()), (status(floors=(10, 99, 99)), PACKAGE, material())),
    (
        "UP-20",
        (status(floors=(0, 5, 0)), BOOTLOADER, material(bundle(2))),
        (status(floors=(99, 4, 99)), BOOTLOADER, material(bundle(2))),
    ),
    (
        "UP-21",
        (status(), replace(PACKAGE, bootloader_version_min=ImageVersion(3, 0, 0, 1)), material()),
        (status(running_copy=1, bootloader_version_b=V4), replace(PACKAGE, bootloader_version_min=V4), material()),
    ),
    (
        "UP-22",
        (status(), replace(PACKAGE, trust_bundle_version_min=3), material()),
        (status(), replace(PACKAGE, trust_bundle_version_min=3), material(bundle(3))),
    ),
    (
        "UP-23",
        (status(), PACKAGE, material(bundle(4))),
        (status(), PACKAGE, material(bundle(3), bundle(4))),
    ),
    (
        "UP-23",
        (status(), PACKAGE, material(bundle(3, previous_digest=b"another 2"))),
        (status(), PACKAGE, material(bundle(3))),
    ),
    (
        "UP-23",
        (status(), PACKAGE, material(bundle(2, digest=b"another 2"))),
        (status(), PACKAGE, material(bundle(2))),
    ),
    (
        "UP-24",
        (status(), PACKAGE, material(bundle(3, limits=((11, 100), (0, 0), (0, 0))))),
        (status(), PACKAGE, material(bundle(3, limits=((10, 10), (0, 0), (0, 0))))),
    ),
    (
        "UP-24",
        (status(), PACKAGE, material(bundle(2, limits=((0, 9), (0, 0), (0, 0))))),
        (status(), PACKAGE, material(bundle(2, limits=((0, 9), (0, 0), (0, 0))), bundle(3))),
    ),
    (
        "UP-25",
        (status(), PACKAGE, material(bundle(3, revoked=frozenset({SIGNER})))),
        (status(), PACKAGE, material(bundle(3, revoked=frozenset({b"signer-2"})))),
    ),
    (
        "UP-25",
        (status(), PACKAGE, material(bundle(2, role_keys=frozenset({(2, SIGNER)})))),
        (status(), PACKAGE, material(bundle(2, role_keys=frozenset({(1, SIGNER)})))),
    ),
    (
        "UP-25",
        (status(), BOOTLOADER, material(bundle(2, role_keys=frozenset({(5, SIGNER)})))),
        (status(), BOOTLOADER, material(bundle(2, role_keys=frozenset({(5, SIGNER), (5, b"signer-2")})))),
    ),
    ("UP-26", (status(group_key_id=bytes(8)), PACKAGE, material()), (status(group_key_id=GROUP), PACKAGE, material())),
    ("UP-27", (status(), GRANTED, material()), (status(), GRANTED, material(grant=grant()))),
    (
        "UP-27",
        (status(), GRANTED, material(grant=grant(head_hash=b"x" * 32))),
        (status(grant_head_hash=HEAD), GRANTED, material(grant=grant(head_hash=b"x" * 32))),
    ),
    (
        "UP-28",
        (status(), GRANTED, material(grant=grant(recipient=b"old key!"))),
        (status(), GRANTED, material(grant=grant())),
    ),
    (
        "UP-29",
        (status(), BOOTLOADER, material(linked_for=1)),
        (status(), BOOTLOADER, material(bundle(2), linked_for=1)),
    ),
    (
        "UP-29",
        (in_update_mode(**TRIED_B), BOOTLOADER, material(bundle(1), linked_for=1)),
        (in_update_mode(**TRIED_B), BOOTLOADER, material(bundle(3), linked_for=1)),
    ),
]


@pytest.mark.parametrize(
    ("rule", "refused", "passes"), NEAR_MISSES, ids=[f"{row[0]}-{n}" for n, row in enumerate(NEAR_MISSES)]
)
def test_each_rule_refuses_and_lets_pass(
    rule: str, refused: tuple[Any, PackageFacts, Material], passes: tuple[Any, PackageFacts, Material]
) -> None:
    refusal = plan(*refused)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.rule_id == rule
    assert "\n" not in refusal.reason
    assert str(refusal).startswith(f"[{rule}] ")
    assert isinstance(plan(*passes), tuple), plan(*passes)


def test_every_rule_of_the_plan_has_such_a_pair() -> None:
    assert {row[0] for row in NEAR_MISSES} == {f"UP-{number}" for number in range(11, 30)}


def test_a_device_that_is_there_is_left_alone_whatever_the_package_would_need() -> None:
    """It runs it already: floors, bundles and grants are no question any more."""
    there = status(**THERE, floors=(99, 99, 99), group_key_id=bytes(8))
    assert plan(there, replace(PACKAGE, trust_bundle_version_min=9), material()) == ()
    assert plan(status(**THERE), replace(GRANTED, security_version=0), material()) == ()


def test_a_dead_copy_counts_as_no_copy() -> None:
    found = status(bootloader_version_a=V4, bootloader_version_b=V4, copies=0b0101)
    assert actions(plan(found, BOOTLOADER, material(bundle(2), linked_for=1))) == [ENTER, UPLOAD, RESET]
    assert V3 < V4
