"""Every rule TB-…, by what it lets through and what it does not; and the successor that changes make."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pki.errors import InputRefused, PolicyViolation
from pki.key_states import KeyState
from pki.roles import Role
from signer.trust_bundles.content import RevokedKey, RoleKey, SecurityVersionLimits, TrustBundleContent
from signer.trust_bundles.encoding import bundle_digest, decode_bundle, unsigned_bundle
from signer.trust_bundles.signing import add_signature, own_signers, signature_status
from signer.trust_bundles.succession import (
    BundleChanges,
    BundleTerms,
    planned_successor,
    require_acceptable,
    succession_findings,
    successor_content,
)
from signer.trust_bundles.succession_rules import SUCCESSION_RULES, FindingKind, KnownKey, SuccessionFacts
from tests.unit.packages.fake.software_keys import SoftwareKey
from tests.unit.trust_bundles.builders import BOOT_KEYS, ROLE_KEYS, ROOTS, content

SPEC = Path(__file__).resolve().parents[3] / "docs" / "spec" / "trust-bundle.md"
RELEASE = ROLE_KEYS[Role.APPLICATION_RELEASE].public_key
SPARE = SoftwareKey("application-release spare").public_key
SPARE_KEY = RoleKey(Role.APPLICATION_RELEASE, SPARE)
OLD_STOPPED = RevokedKey(b"\x11" * 8, stops_installed_images=True)


def signed(value: TrustBundleContent, *roots: SoftwareKey) -> bytes:
    bundle = unsigned_bundle(value)
    for root in roots or ROOTS[:2]:
        bundle = add_signature(bundle, root)
    return bundle


GENESIS = signed(content())


def known(key: Any, state: KeyState, label: str = "sr:x") -> SuccessionFacts:
    return SuccessionFacts(keys={key.key_id: KnownKey(label, state)})


@dataclass(frozen=True)
class Case:
    """`refused` breaks the rule; `accepted` is next to it, and does not."""

    rule: str
    refused: BundleChanges
    accepted: BundleChanges
    refused_facts: SuccessionFacts = field(default_factory=SuccessionFacts)
    accepted_facts: SuccessionFacts = field(default_factory=SuccessionFacts)
    previous: bytes = GENESIS


SWAP = BundleChanges(added=(SPARE_KEY,), removed=(RELEASE.key_id,))
REVOKE = replace(SWAP, revoked=(RevokedKey(RELEASE.key_id),))
STOP = replace(SWAP, revoked=(RevokedKey(RELEASE.key_id, stops_installed_images=True),))
ROOTS_4 = tuple(root.public_key for root in ROOTS[:4])
BOOT_IDS = tuple(key.public_key.key_id for key in BOOT_KEYS)
MINIMUM_0 = SecurityVersionLimits(0, 0x01020304)
MANY = tuple(RevokedKey(bytes([number]) * 8) for number in range(0x20, 0x37))


def limits(minimum: int, maximum: int) -> BundleChanges:
    return BundleChanges(application_limits=SecurityVersionLimits(minimum, maximum))


CASES = (
    Case("TB-01", SWAP, SWAP, known(SPARE, KeyState.SUSPENDED), known(SPARE, KeyState.PRE_ACTIVATION)),
    Case("TB-01", SWAP, SWAP, known(BOOT_KEYS[0].public_key, KeyState.COMPROMISED), known(SPARE, KeyState.ACTIVE)),
    Case(
        "TB-01",
        SWAP,
        SWAP,
        known(BOOT_KEYS[0].public_key, KeyState.DEACTIVATED),
        known(BOOT_KEYS[0].public_key, KeyState.SUSPENDED),  # it was current: a pause is no end
    ),
    Case("TB-02", replace(REVOKE, removed=()), REVOKE),
    Case("TB-04", BundleChanges(removed=(RELEASE.key_id,)), SWAP),
    Case("TB-05", BundleChanges(removed=BOOT_IDS[:2]), BundleChanges(removed=BOOT_IDS[:1])),
    Case(
        "TB-06",
        BundleChanges(added=(RoleKey(Role.BOOTLOADER_RELEASE, SPARE),)),
        BundleChanges(added=(RoleKey(Role.BOOTLOADER_RELEASE, SPARE),)),
        SuccessionFacts(built_in=frozenset(BOOT_IDS)),
        SuccessionFacts(built_in=frozenset((*BOOT_IDS, SPARE.key_id))),
    ),
    Case("TB-06", BundleChanges(added=(RoleKey(Role.BOOTLOADER_RELEASE, SPARE),)), SWAP),
    Case("TB-07", limits(0, 0x01020304), limits(1, 0x01020305)),
    Case(
        "TB-08",
        limits(1, 41),
        limits(1, 42),
        SuccessionFacts(released={"application": 42}),
        SuccessionFacts(released={"application": 42, "bootloader": 2}),
    ),
    Case(
        "TB-09",
        limits(43, 100),
        limits(42, 100),
        SuccessionFacts(released={"application": 42}),
        SuccessionFacts(released={"application": 42}),
    ),
    Case(
        "TB-10",
        replace(SWAP, revoked=MANY),
        replace(SWAP, revoked=MANY[:22]),
        accepted_facts=SuccessionFacts(keys={entry.key_id: KnownKey("sr:x", KeyState.DESTROYED) for entry in MANY}),
    ),
    Case("TB-10", BundleChanges(roots=(*ROOTS_4, ROOTS[4].public_key, SPARE)), BundleChanges(roots=ROOTS_4)),
    Case("TB-11", BundleChanges(root_threshold=4), BundleChanges(roots=ROOTS_4, root_threshold=3)),
    Case(
        "TB-11",
        BundleChanges(roots=tuple(root.public_key for root in ROOTS[2:])),
        BundleChanges(roots=tuple(root.public_key for root in ROOTS[2:])),
        SuccessionFacts(keys={root.public_key.key_id: KnownKey("sr:r", KeyState.COMPROMISED) for root in ROOTS[:2]}),
        SuccessionFacts(keys={ROOTS[0].public_key.key_id: KnownKey("sr:r", KeyState.COMPROMISED)}),
    ),
    Case("TB-12", BundleChanges(root_threshold=1), BundleChanges(roots=ROOTS_4, root_threshold=3)),
    Case(
        "TB-13",
        replace(SWAP, added=(SPARE_KEY, RoleKey(Role.SERVICE, RELEASE))),
        SWAP,
    ),
    Case("TB-14", STOP, REVOKE),
    Case(
        "TB-15",
        replace(SWAP, revoked=(RevokedKey(OLD_STOPPED.key_id),)),
        replace(SWAP, revoked=(OLD_STOPPED,)),
    ),
    Case(
        "TB-16",
        replace(SWAP, revoked=(RevokedKey(b"\x22" * 8),)),
        replace(SWAP, revoked=(RevokedKey(b"\x22" * 8),)),
        accepted_facts=SuccessionFacts(keys={b"\x22" * 8: KnownKey("sr:x", KeyState.DESTROYED)}),
    ),
    Case("TB-17", BundleChanges(), SWAP),
    Case("TB-18", SWAP, SWAP, previous=signed(content(), ROOTS[0])),
    Case(
        "TB-20",
        SWAP,
        SWAP,
        SuccessionFacts(published={2: frozenset([b"\x01" * 32])}),
        SuccessionFacts(published={1: frozenset([bundle_digest(GENESIS).value]), 3: frozenset([b"\x01" * 32])}),
    ),
    Case("TB-20", SWAP, SWAP, SuccessionFacts(published={1: frozenset([b"\x01" * 32, bundle_digest(GENESIS).value])})),
    Case("TB-19", BundleChanges(root_threshold=3), BundleChanges(roots=ROOTS_4, root_threshold=3)),
)


def rules_of_the_specification() -> dict[str, str]:
    rows = [line.strip("| ").split(" | ") for line in SPEC.read_text(encoding="utf-8").splitlines()]
    return {row[0]: row[1] for row in rows if row[0].startswith("TB-")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_a_rule_refuses_what_it_is_for_and_nothing_next_to_it(case: Case) -> None:
    with pytest.raises(PolicyViolation) as refused:
        successor_content(case.previous, case.refused, case.refused_facts)
    assert refused.value.rule_id == case.rule
    assert "\n" not in str(refused.value)
    successor_content(GENESIS, case.accepted, case.accepted_facts)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_a_danger_is_signed_if_accepted_by_its_own_name_and_an_error_never(case: Case) -> None:
    others = set(rules_of_the_specification()) - {case.rule}
    with pytest.raises(PolicyViolation) as refused:
        successor_content(case.previous, case.refused, case.refused_facts, others)
    assert refused.value.rule_id == case.rule
    if rules_of_the_specification()[case.rule] == "danger":
        assert f"--accept-danger {case.rule}" in str(refused.value)
        assert successor_content(case.previous, case.refused, case.refused_facts, {case.rule}).version == 2
    else:
        with pytest.raises(PolicyViolation):
            successor_content(case.previous, case.refused, case.refused_facts, {*others, case.rule})


def test_every_rule_of_the_specification_is_one_of_the_code_and_has_a_case() -> None:
    documented = rules_of_the_specification()
    assert {case.rule for case in CASES} | {"TB-03"} == set(documented)
    for rule_id, (kind, _) in SUCCESSION_RULES.items():
        assert documented[rule_id] == kind.value, rule_id
    assert set(documented) - set(SUCCESSION_RULES) == {"TB-02", "TB-10", "TB-18"}


def terms(value: TrustBundleContent, **changes: Any) -> BundleTerms:
    names = ("root_threshold", "roots", "role_keys", "revoked", "application_limits", "bootloader_limits")
    said = {name: getattr(value, name) for name in (*names, "factory_test_limits")}
    return BundleTerms(**(said | changes))


def test_a_revocation_is_for_ever() -> None:
    """TB-03: changes cannot say it; a product's file can."""
    planned = planned_successor(GENESIS, terms(content(), revoked=(OLD_STOPPED,)))
    findings = succession_findings(GENESIS, planned)
    assert [finding.rule_id for finding in findings] == ["TB-03"]
    with pytest.raises(PolicyViolation, match="TB-03"):
        require_acceptable(findings, {"TB-03"})
    revoked = (*content().revoked, RevokedKey(RELEASE.key_id))
    kept = planned_successor(GENESIS, terms(content(), revoked=revoked, role_keys=(SPARE_KEY,)))
    assert "TB-03" not in {finding.rule_id for finding in succession_findings(GENESIS, kept)}


def test_errors_come_before_dangers() -> None:
    facts = SuccessionFacts(built_in=frozenset())
    planned = planned_successor(GENESIS, terms(content(), root_threshold=1))
    findings = succession_findings(GENESIS, planned, facts)
    kinds = [finding.kind for finding in findings]
    assert kinds == sorted(kinds, key=lambda kind: kind is not FindingKind.ERROR)
    assert set(kinds) == set(FindingKind)


def test_what_is_not_named_stays() -> None:
    value = successor_content(GENESIS, REVOKE)
    old = content()
    assert (value.version, value.previous_digest) == (2, bundle_digest(GENESIS).value)
    assert set(value.role_keys) == {*old.role_keys, SPARE_KEY} - {RoleKey(Role.APPLICATION_RELEASE, RELEASE)}
    assert set(value.revoked) == {*old.revoked, RevokedKey(RELEASE.key_id)}
    assert (set(value.roots), value.root_threshold) == (set(old.roots), old.root_threshold)
    assert (value.application_limits, value.bootloader_limits) == (old.application_limits, old.bootloader_limits)


def test_only_what_is_current_is_removed() -> None:
    with pytest.raises(InputRefused, match="no role key of version 1"):
        successor_content(GENESIS, BundleChanges(removed=(SPARE.key_id,)))
    with pytest.raises(InputRefused, match="no role key"):
        successor_content(GENESIS, BundleChanges(removed=(ROOTS[0].public_key.key_id,)))


def test_a_chain_goes_on_and_all_roots_are_replaced_in_one_step() -> None:
    new_roots = (ROOTS[3], ROOTS[4], SoftwareKey("root 6"))
    changes = BundleChanges(roots=tuple(root.public_key for root in new_roots))
    second = unsigned_bundle(successor_content(GENESIS, changes))
    for root in (ROOTS[0], ROOTS[2], *new_roots[:2]):
        assert not signature_status(second, GENESIS).complete
        second = add_signature(second, root, GENESIS)
    assert signature_status(second, GENESIS).complete
    assert set(own_signers(second)) == {root.public_key for root in new_roots[:2]}
    third = unsigned_bundle(successor_content(second, SWAP))
    assert decode_bundle(third)[0].version == 3
    with pytest.raises(InputRefused, match="not a root"):
        add_signature(third, ROOTS[0], second)


def test_the_version_before_must_be_whole_and_unchanged() -> None:
    """TB-18: a successor of something that devices do not have leads nowhere."""
    changed = bytearray(GENESIS)
    changed[70] ^= 1
    with pytest.raises(PolicyViolation, match="TB-18"):
        successor_content(bytes(changed), SWAP)
    greatest = content(version=0xFFFFFFFF, previous_digest=b"\x01" * 32)
    bundle = unsigned_bundle(greatest)
    with pytest.raises((PolicyViolation, InputRefused)):
        successor_content(bundle, SWAP)
