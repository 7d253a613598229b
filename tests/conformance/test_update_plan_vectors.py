"""The update tool against the package vectors: it refuses what the device refuses, and nothing that the device takes.

Each vector's device says its signed status, as to any host; from it and the head the plan is made. The plan may leave a
refusal to the device where only the device can know; the table says where.
"""

from __future__ import annotations

from functools import cache

import pytest

from cli.update_material import copy_finder
from rpc.objects.signed_status import SignedStatus
from rpc.update.bundle_facts import BundleChain, parse_bundle
from rpc.update.package_facts import PackageFacts, PackageType, parse_head
from rpc.update.planner import Action, plan
from rpc.update.presence import Material
from rpc.update.rules import Refusal
from tests.conformance.test_device_vectors import device_in_update_mode
from tests.conformance.vectors import Entry, content, entries, name_of, named

# What the device answers, and the rules by which the host may have refused it before. None: it is left to the device.
RULES: dict[str, set[str | None]] = {
    "OK": {None},
    "SIGNER_UNKNOWN": {"UP-25"},
    "SIGNER_REVOKED": {"UP-25"},
    "SIGNATURE_INVALID": {None, "UP-15"},  # a package for another device fails its signature
    "WRONG_PRODUCT": {"UP-13"},
    "WRONG_HARDWARE_REVISION": {"UP-14"},
    "LIFECYCLE": {"UP-16"},
    "WRONG_LOAD_ADDRESS": {None, "UP-19"},
    "IMAGE_TOO_LARGE": {None},
    "PACKAGE_SIZE": {None},
    "BOOTLOADER_TOO_OLD": {"UP-21"},
    "TRUST_BUNDLE_TOO_OLD": {"UP-22"},
    "BELOW_FLOOR": {"UP-20"},
    "BELOW_MINIMUM": {"UP-24"},
    "ABOVE_MAXIMUM": {"UP-24"},
    "VERSION_NOT_NEWER": {"UP-17", "UP-18"},
    "RECIPIENT_UNKNOWN": {"UP-26"},
    "GRANT_REQUIRED": {"UP-27"},
    "EPHEMERAL_KEY": {None},
    "CEK_COMMITMENT": {None},
    "CHUNK_HASH": {None},
    "IMAGE_DIGEST": {None},
}
LEFT_TO_THE_DEVICE = {code for code, rules in RULES.items() if None in rules and code != "OK"}
EXCEPTIONS: dict[str, set[str | None]] = {
    # The head names another device than it is bound to. A device never looks; a host believes what stands there for it.
    "app-target-uid-not-compared": {"UP-15"},
    # Which keys are built into a pre-bootloader, no status says.
    "signer-not-built-in": {None},
}
PARSED = [entry for entry in entries("packages") if entry["expected"]["stage"] != "head"]


@cache
def status_of(device: str) -> SignedStatus:
    return SignedStatus.parse(device_in_update_mode(device).signed_status(bytes(32)))


def rule_of(entry: Entry) -> str | None:
    """The rule by which the host refuses; None if it would send the package."""
    status, facts = status_of(entry["device"]), parse_head(content(entry["file"])[:1024])
    bundle = parse_bundle(content(named("devices", entry["device"])["trust_bundle"]))
    linked_for = copy_finder([])(status.board, facts.load_address) if is_bootloader(facts) else None
    chain = BundleChain.of([bundle], bundle.product_id)
    # Bootloaders here have the version of both copies: what is there already would be left alone.
    found = plan(status, facts, Material(chain, linked_for=linked_for, reinstall=is_bootloader(facts)))
    if isinstance(found, Refusal):
        return found.rule_id
    assert any(step.action is Action.UPLOAD for step in found)
    return None


def is_bootloader(facts: PackageFacts) -> bool:
    return facts.package_type is PackageType.BOOTLOADER


@pytest.mark.parametrize("entry", PARSED, ids=name_of)
def test_the_host_refuses_what_the_device_refuses_and_nothing_that_it_takes(entry: Entry) -> None:
    found, code = rule_of(entry), entry["expected"]["code"]
    if entry["name"].startswith("rule-order-") and code in LEFT_TO_THE_DEVICE:
        assert found is not None, "it breaks a second rule, which the host knows"
    else:
        assert found in EXCEPTIONS.get(entry["name"], RULES[code])


def test_most_refusals_are_foreseen() -> None:
    """By the host, before a device is brought to update mode for them."""
    foreseen = {
        entry["expected"]["code"]
        for entry in PARSED
        if entry["expected"]["code"] != "OK" and rule_of(entry) is not None
    }
    assert len(foreseen) >= 14
