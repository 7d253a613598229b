"""What changes, in words."""

from __future__ import annotations

from pki.key_states import KeyState
from pki.roles import Role
from signer.trust_bundles.content import RevokedKey, RoleKey, SecurityVersionLimits
from signer.trust_bundles.difference import bundle_differences, who_must_sign
from signer.trust_bundles.succession_rules import KnownKey, SuccessionFacts
from tests.unit.packages.fake.software_keys import SoftwareKey
from tests.unit.trust_bundles.builders import ROLE_KEYS, ROOTS, content

OLD = content()
RELEASE = RoleKey(Role.APPLICATION_RELEASE, ROLE_KEYS[Role.APPLICATION_RELEASE].public_key)
SPARE = RoleKey(Role.APPLICATION_RELEASE, SoftwareKey("spare").public_key)


def words(**changes: object) -> list[str]:
    new = content(version=2, previous_digest=b"\x01" * 32, **changes)
    return [difference.text for difference in bundle_differences(OLD, new)]


def test_the_same_content_differs_in_nothing() -> None:
    assert words() == []


def test_a_key_that_goes_says_what_becomes_of_what_it_signed() -> None:
    others = tuple(entry for entry in OLD.role_keys if entry != RELEASE)
    gone = RELEASE.key.key_id
    assert words(role_keys=others) == [
        f"application-release {gone.hex()} goes: what it signed installs no more, what is installed keeps starting"
    ]
    assert words(role_keys=(*others, SPARE), revoked=(*OLD.revoked, RevokedKey(gone))) == [
        f"application-release {gone.hex()} goes, and is revoked",
        f"application-release {SPARE.key.key_id.hex()} comes",
        f"key {gone.hex()} is revoked: what it signed installs no more, what is installed keeps starting",
    ]
    (line,) = [
        line for line in words(role_keys=others, revoked=(*OLD.revoked, RevokedKey(gone, True))) if "stop" in line
    ]
    assert "STOPS at the next start" in line


def test_stop_added_and_taken_back_and_a_revocation_undone() -> None:
    plain, stopped = OLD.revoked
    assert words(revoked=(RevokedKey(plain.key_id, True), RevokedKey(stopped.key_id)))[0].startswith(
        f"key {plain.key_id.hex()}, revoked already: stop is added"
    )
    assert f"key {stopped.key_id.hex()}, revoked already: stop is taken back" in words(
        revoked=(plain, RevokedKey(stopped.key_id))
    )
    assert words(revoked=(plain,)) == [f"key {stopped.key_id.hex()} is no longer revoked"]


def test_roots_thresholds_and_limits() -> None:
    changed = words(
        roots=tuple(root.public_key for root in ROOTS[1:5]),
        root_threshold=3,
        application_limits=SecurityVersionLimits(2, 9),
    )
    assert changed == [
        f"root {ROOTS[0].public_key.key_id.hex()} goes: it has no say from now on",
        f"root {ROOTS[3].public_key.key_id.hex()} comes",
        f"root {ROOTS[4].public_key.key_id.hex()} comes",
        "roots needed: 2 of 3 becomes 3 of 4",
        f"security versions of application: 1 to {0x01020304} becomes 2 to 9",
    ]


def test_who_must_sign_names_each_root_once_and_what_its_signature_counts_for() -> None:
    new = content(version=2, previous_digest=b"\x01" * 32, roots=tuple(root.public_key for root in ROOTS[1:4]))
    key_ids = [root.public_key.key_id for root in ROOTS]
    facts = SuccessionFacts(keys={key_ids[0]: KnownKey("sr:root:x:0001", KeyState.ACTIVE)})
    lines = who_must_sign(OLD, new, facts)
    assert lines[:2] == (
        "2 of the 3 roots of version 1 must sign",
        "2 of the 3 roots of version 2 must sign",
    )
    assert set(lines[2:]) == {
        f"root {key_ids[0].hex()} (sr:root:x:0001): counts for version 1",
        f"root {key_ids[1].hex()}: counts for versions 1 and 2",
        f"root {key_ids[2].hex()}: counts for versions 1 and 2",
        f"root {key_ids[3].hex()}: counts for version 2",
    }
