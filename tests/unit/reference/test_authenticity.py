"""Checks 16 and 17: who signed a head, and may they (docs/spec/package.md, sections 1 and 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.reference.authenticity import verify_bootloader_head, verify_head_signatures
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.crypto import P256_ORDER
from bootloader.reference.head import parse_head
from bootloader.reference.trust_bundle import TrustBundle, parse_trust_bundle
from tests.unit.reference.builders import (
    APPLICATION_RELEASE,
    BOOTLOADER_RELEASE,
    DEVICE_UID,
    GRANT_REQUIRED,
    MODE_GRANT,
    ONE_UID,
    ZERO_UID,
    BundlePlan,
    PackagePlan,
    bootloader_plan,
    bootloader_release_keys,
    build_bundle,
    build_head,
    default_role_keys,
    factory_test_plan,
    padded,
    root_keys,
    sha256,
    sign_head,
    with_fields,
)
from tests.unit.reference.fake.keys import FakeKey, fake_key

BUNDLE = parse_trust_bundle(build_bundle(BundlePlan()))
BUILT_IN = [key.public for key in bootloader_release_keys()]
OTHER_UID = bytes(range(1, 13)) + bytes(4)

APPLICATION_HEAD = build_head(PackagePlan())
BOOTLOADER_HEAD = build_head(bootloader_plan())
BOUND_BOOTLOADER_HEAD = build_head(bootloader_plan(target=ONE_UID))
FACTORY_TEST_HEAD = build_head(factory_test_plan())
GROUP_PLAN = replace(bootloader_plan(), package_type=1, signers=PackagePlan().signers)
GROUP_HEAD = build_head(GROUP_PLAN)
GRANT_HEAD = build_head(PackagePlan(target=GRANT_REQUIRED, recipient_mode=MODE_GRANT))


def judge(
    data: bytes, uid: bytes = DEVICE_UID, bundle: TrustBundle = BUNDLE, built_in: Sequence[bytes] = BUILT_IN
) -> DeviceCode:
    """What the bootloader says to a head: a refusal by check 1 to 17, or OK."""
    try:
        verify_head_signatures(parse_head(data), uid, bundle, built_in)
    except Refused as refusal:
        return refusal.code
    return DeviceCode.OK


def judge_at_start(data: bytes, uid: bytes = DEVICE_UID, built_in: Sequence[bytes] = BUILT_IN) -> DeviceCode:
    """What the pre-bootloader says to a head."""
    try:
        verify_bootloader_head(parse_head(data), uid, built_in)
    except Refused as refusal:
        return refusal.code
    return DeviceCode.OK


def bundle_with(
    *, without: Sequence[FakeKey] = (), revoked: Sequence[FakeKey] = (), added: Sequence[tuple[int, FakeKey]] = ()
) -> TrustBundle:
    """The bundle with keys taken out of their roles, revoked (which takes them out too), or given a role."""
    gone = {key.public for key in (*without, *revoked)}
    role_keys = [entry for entry in default_role_keys() if entry[1] not in gone]
    role_keys += [(role, key.public) for role, key in added]
    plan = BundlePlan(role_keys=sorted(role_keys), revoked=sorted((key.key_id, 0) for key in revoked))
    return parse_trust_bundle(build_bundle(plan))


# --- who may sign -----------------------------------------------------------------------------------------------------


def test_each_type_is_signed_by_its_role() -> None:
    signers = {
        APPLICATION_HEAD: PackagePlan().signers,
        GROUP_HEAD: PackagePlan().signers,
        GRANT_HEAD: PackagePlan().signers,
        FACTORY_TEST_HEAD: factory_test_plan().signers,
        BOOTLOADER_HEAD: bootloader_plan().signers,
        BOUND_BOOTLOADER_HEAD: bootloader_plan().signers,
    }
    for data, keys in signers.items():
        verified = verify_head_signatures(parse_head(data), DEVICE_UID, BUNDLE, BUILT_IN)
        assert verified == tuple(key.public for key in keys)


def test_any_current_key_of_the_role() -> None:
    spare = PackagePlan(signers=[fake_key("application release spare")])
    assert judge(build_head(spare)) is DeviceCode.OK


ROLE_KEYS = [
    fake_key(name)
    for name in ("application release", "production", "grant", "service", "bootloader release 0", "root 0")
]


@pytest.mark.parametrize("signer", ROLE_KEYS, ids=lambda key: key.name)
def test_no_other_role_signs(signer: FakeKey) -> None:
    application = build_head(PackagePlan(signers=[signer]))
    factory_test = build_head(factory_test_plan(signers=[signer]))
    by_role = {"application release": application, "production": factory_test}
    for data in (application, factory_test):
        expected = DeviceCode.OK if by_role.get(signer.name) == data else DeviceCode.SIGNER_UNKNOWN
        assert judge(data) is expected


def test_a_stranger() -> None:
    assert judge(build_head(PackagePlan(signers=[fake_key("stranger")]))) is DeviceCode.SIGNER_UNKNOWN


def test_a_key_that_is_no_longer_current() -> None:
    release = fake_key("application release")
    assert judge(APPLICATION_HEAD, bundle=bundle_with(without=[release])) is DeviceCode.SIGNER_UNKNOWN
    assert judge(APPLICATION_HEAD, bundle=bundle_with(revoked=[release])) is DeviceCode.SIGNER_REVOKED
    assert judge(FACTORY_TEST_HEAD, bundle=bundle_with(revoked=[release])) is DeviceCode.OK


def test_no_role_keys_at_all() -> None:
    empty = parse_trust_bundle(build_bundle(BundlePlan(role_keys=[])))
    for data in (APPLICATION_HEAD, BOOTLOADER_HEAD, FACTORY_TEST_HEAD):
        assert judge(data, bundle=empty) is DeviceCode.SIGNER_UNKNOWN


# --- bootloaders: two keys, of three built in -------------------------------------------------------------------------


@pytest.mark.parametrize("pair", list(permutations(range(3), 2)))
def test_two_of_the_three_in_the_order_of_their_ids(pair: tuple[int, int]) -> None:
    keys = bootloader_release_keys()
    data = build_head(bootloader_plan(signers=[keys[pair[0]], keys[pair[1]]]))
    expected = DeviceCode.OK if pair[0] < pair[1] else DeviceCode.SIGNER_IDS
    assert judge(data) is expected
    assert judge_at_start(data) is expected


def test_one_signature_or_two_by_one_key() -> None:
    """A single stolen bootloader-release key makes nothing that either stage takes."""
    one, other = bootloader_release_keys()[:2]
    plan = bootloader_plan()
    honest = build_head(plan)
    cases = {
        "only the first": (with_fields(honest, {"signature_1": bytes(64)}), DeviceCode.SIGNATURE_INVALID),
        "only the second": (with_fields(honest, {"signature_0": bytes(64)}), DeviceCode.SIGNATURE_INVALID),
        "one key named once": (build_head(replace(plan, signers=[one])), DeviceCode.SIGNER_IDS),
        "one key named twice": (build_head(replace(plan, signers=[one, one])), DeviceCode.SIGNER_IDS),
        "one key in both names": (sign_head(honest, [one, one], ZERO_UID), DeviceCode.SIGNATURE_INVALID),
        "the other in both names": (sign_head(honest, [other, other], ZERO_UID), DeviceCode.SIGNATURE_INVALID),
        "signatures swapped": (sign_head(honest, [other, one], ZERO_UID), DeviceCode.SIGNATURE_INVALID),
    }
    for name, (data, code) in cases.items():
        assert judge(data) is code, name
        assert judge_at_start(data) is code, name


def test_a_key_that_is_current_but_not_built_in() -> None:
    """Roots cannot make a bootloader key that the pre-bootloader does not know."""
    new = fake_key("bootloader release, new")
    signers = sorted([bootloader_release_keys()[0], new], key=lambda key: key.key_id)
    data = build_head(bootloader_plan(signers=signers))
    assert judge(data, bundle=bundle_with(added=[(BOOTLOADER_RELEASE, new)])) is DeviceCode.SIGNER_UNKNOWN
    assert judge_at_start(data) is DeviceCode.SIGNER_UNKNOWN


def test_a_key_that_is_built_in_but_not_current() -> None:
    """Revocation is the bootloader's to enforce, when it installs; the pre-bootloader has no trust bundle."""
    for key in bootloader_plan().signers:
        assert judge(BOOTLOADER_HEAD, bundle=bundle_with(without=[key])) is DeviceCode.SIGNER_UNKNOWN
        assert judge(BOOTLOADER_HEAD, bundle=bundle_with(revoked=[key])) is DeviceCode.SIGNER_REVOKED
    assert judge_at_start(BOOTLOADER_HEAD) is DeviceCode.OK


def test_the_third_key_revoked_does_not_matter() -> None:
    third = bootloader_release_keys()[2]
    assert judge(BOOTLOADER_HEAD, bundle=bundle_with(revoked=[third])) is DeviceCode.OK


def test_a_built_in_key_in_another_role_signs_no_bootloader() -> None:
    key = bootloader_release_keys()[0]
    bundle = bundle_with(without=[key], added=[(APPLICATION_RELEASE, key)])
    assert judge(BOOTLOADER_HEAD, bundle=bundle) is DeviceCode.SIGNER_UNKNOWN


def test_the_pre_bootloader_takes_bootloaders_only() -> None:
    for data in (APPLICATION_HEAD, FACTORY_TEST_HEAD, GROUP_HEAD):
        assert judge_at_start(data) is DeviceCode.PACKAGE_TYPE
    keys = bootloader_release_keys()
    application = build_head(PackagePlan(signers=[keys[0]]))
    assert judge_at_start(application) is DeviceCode.PACKAGE_TYPE


def test_the_pre_bootloader_without_the_right_keys() -> None:
    for built_in in ([], BUILT_IN[:1], BUILT_IN[1:], [root.public for root in root_keys()]):
        assert judge_at_start(BOOTLOADER_HEAD, built_in=built_in) is DeviceCode.SIGNER_UNKNOWN


def test_an_id_that_names_two_keys_names_none() -> None:
    assert judge_at_start(BOOTLOADER_HEAD, built_in=[BUILT_IN[0], *BUILT_IN]) is DeviceCode.SIGNER_UNKNOWN


# --- order of the checks ----------------------------------------------------------------------------------------------


def test_every_signer_is_looked_up_before_a_signature_is_verified() -> None:
    unsigned = with_fields(BOOTLOADER_HEAD, {"signature_0": bytes(64), "signature_1": bytes(64)})
    first, second = bootloader_plan().signers
    assert judge(unsigned) is DeviceCode.SIGNATURE_INVALID
    assert judge(unsigned, bundle=bundle_with(without=[second])) is DeviceCode.SIGNER_UNKNOWN
    assert judge(unsigned, bundle=bundle_with(revoked=[second])) is DeviceCode.SIGNER_REVOKED
    assert judge(unsigned, bundle=bundle_with(revoked=[first], without=[second])) is DeviceCode.SIGNER_REVOKED
    assert judge(unsigned, bundle=bundle_with(revoked=[second], without=[first])) is DeviceCode.SIGNER_UNKNOWN


# --- the signature ----------------------------------------------------------------------------------------------------


def test_a_package_for_another_device_fails_its_signature() -> None:
    """The device hashes its own UID: there is no comparison to glitch, and the head's field is no help."""
    for uid in (OTHER_UID, ZERO_UID):
        assert judge(APPLICATION_HEAD, uid=uid) is DeviceCode.SIGNATURE_INVALID
        assert judge(BOUND_BOOTLOADER_HEAD, uid=uid) is DeviceCode.SIGNATURE_INVALID
        assert judge_at_start(BOUND_BOOTLOADER_HEAD, uid=uid) is DeviceCode.SIGNATURE_INVALID
    renamed = with_fields(APPLICATION_HEAD, {"target_uid": OTHER_UID})
    assert judge(renamed, uid=OTHER_UID) is DeviceCode.SIGNATURE_INVALID
    assert judge(renamed, uid=DEVICE_UID) is DeviceCode.SIGNATURE_INVALID


def test_a_package_for_any_device_goes_anywhere() -> None:
    for uid in (DEVICE_UID, OTHER_UID, ZERO_UID):
        for data in (GROUP_HEAD, BOOTLOADER_HEAD, FACTORY_TEST_HEAD, GRANT_HEAD):
            assert judge(data, uid=uid) is DeviceCode.OK


def test_a_bound_head_cannot_be_made_unbound() -> None:
    """Freed of its UID, the same head is not what was signed."""
    bound = build_head(bootloader_plan(target=ONE_UID))
    freed = with_fields(bound, {"target": b"\0", "target_uid": bytes(16)})
    assert judge(freed) is DeviceCode.SIGNATURE_INVALID
    assert judge_at_start(freed) is DeviceCode.SIGNATURE_INVALID


@pytest.mark.parametrize("context", ["SR-pkg-boot-v1", "SR-pkg-test-v1", "SR-bundle-v1", "SR-pkg-app-v2", ""])
def test_a_signature_with_another_context(context: str) -> None:
    """What a key signed for one purpose does not serve for another."""
    signature = PackagePlan().signers[0].sign(sha256(padded(context), DEVICE_UID, APPLICATION_HEAD[:448]))
    assert judge(with_fields(APPLICATION_HEAD, {"signature_0": signature})) is DeviceCode.SIGNATURE_INVALID


def test_a_signature_over_other_parts() -> None:
    signer, head = PackagePlan().signers[0], APPLICATION_HEAD
    context = padded("SR-pkg-app-v1")
    right = sha256(context, DEVICE_UID, head[:448])
    assert with_fields(head, {"signature_0": signer.sign(right)}) == head
    for digest in (
        sha256(head[:448]),
        sha256(context, head[:448]),
        sha256(context, DEVICE_UID[:12], head[:448]),
        sha256(context, DEVICE_UID, head[:447]),
        sha256(context, DEVICE_UID, head),
        sha256(right),
    ):
        assert judge(with_fields(head, {"signature_0": signer.sign(digest)})) is DeviceCode.SIGNATURE_INVALID


def test_a_prepared_package_is_refused() -> None:
    for data in (APPLICATION_HEAD, BOOTLOADER_HEAD, FACTORY_TEST_HEAD):
        prepared = with_fields(data, {"signature_0": bytes(64), "signature_1": bytes(64)})
        assert judge(prepared) is DeviceCode.SIGNATURE_INVALID


@pytest.mark.parametrize("value", [0, P256_ORDER, P256_ORDER + 1, 2**256 - 1])
@pytest.mark.parametrize("name", ["signature_0", "signature_1"])
def test_r_and_s_out_of_range(name: str, value: int) -> None:
    good = BOOTLOADER_HEAD[448:512] if name == "signature_0" else BOOTLOADER_HEAD[512:576]
    wrong = value.to_bytes(32, "big")
    for signature in (wrong + good[32:], good[:32] + wrong, wrong + wrong):
        data = with_fields(BOOTLOADER_HEAD, {name: signature})
        assert judge(data) is DeviceCode.SIGNATURE_INVALID
        assert judge_at_start(data) is DeviceCode.SIGNATURE_INVALID


def test_both_values_of_s_are_accepted() -> None:
    s = int.from_bytes(APPLICATION_HEAD[480:512], "big")
    mirrored = APPLICATION_HEAD[448:480] + (P256_ORDER - s).to_bytes(32, "big")
    assert judge(with_fields(APPLICATION_HEAD, {"signature_0": mirrored})) is DeviceCode.OK


# --- every bit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [APPLICATION_HEAD, GROUP_HEAD, FACTORY_TEST_HEAD, BOOTLOADER_HEAD],
    ids=["application for one device", "application for a group", "factory test", "bootloader"],
)
def test_every_flipped_bit_of_a_head(data: bytes) -> None:
    """CVE-2024-32883 was a field that no signature covered: here all 8,192 bits of a head are checked or signed."""
    assert judge(data) is DeviceCode.OK
    for bit in range(8192):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert judge(bytes(changed)) is not DeviceCode.OK, f"bit {bit}"


def test_every_flipped_bit_of_a_head_at_start() -> None:
    assert judge_at_start(BOOTLOADER_HEAD) is DeviceCode.OK
    for bit in range(8192):
        changed = bytearray(BOOTLOADER_HEAD)
        changed[bit // 8] ^= 1 << bit % 8
        assert judge_at_start(bytes(changed)) is not DeviceCode.OK, f"bit {bit}"


@given(
    st.sampled_from([APPLICATION_HEAD, BOOTLOADER_HEAD, FACTORY_TEST_HEAD]),
    st.integers(0, 1023),
    st.binary(min_size=1, max_size=64),
)
def test_any_change_is_refused(data: bytes, offset: int, patch: bytes) -> None:
    changed = (data[:offset] + patch + data[offset + len(patch) :])[:1024]
    expected_ok = changed == data
    assert (judge(changed) is DeviceCode.OK) == expected_ok
