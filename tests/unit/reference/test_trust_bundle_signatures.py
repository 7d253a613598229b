"""Who signed a trust bundle: the genesis, and a bundle by its own threshold (docs/spec/trust-bundle.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import pytest

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.crypto import P256_ORDER
from bootloader.reference.trust_bundle import TrustBundle, parse_trust_bundle, verify_genesis, verify_own_threshold
from tests.unit.reference.builders import (
    BundlePlan,
    build_bundle,
    padded,
    root_keys,
    sha256,
)
from tests.unit.reference.fake.keys import FakeKey, fake_key

ROOTS = root_keys(3)
OWN = [(1, i, root) for i, root in enumerate(ROOTS)]
GENESIS = build_bundle(BundlePlan())
SIGNATURE_OFFSET = 1600 + 4


def judge(verify: Callable[[TrustBundle], None], data: bytes) -> DeviceCode:
    """What is said to a bundle, parsing included: a refusal, or OK."""
    try:
        verify(parse_trust_bundle(data))
    except Refused as refusal:
        return refusal.code
    return DeviceCode.OK


def genesis_signed_by(*signers: tuple[int, int, FakeKey], threshold: int = 2) -> DeviceCode:
    return judge(verify_genesis, build_bundle(BundlePlan(threshold=threshold, signers=signers)))


def with_second_signature(signature: bytes) -> bytes:
    """The genesis bundle with another second signature."""
    start = SIGNATURE_OFFSET + 68
    return GENESIS[:start] + signature + GENESIS[start + 64 :]


# --- genesis ----------------------------------------------------------------------------------------------------------


def test_any_two_of_three_roots() -> None:
    for signers in combinations(OWN, 2):
        assert genesis_signed_by(*signers) is DeviceCode.OK
    assert genesis_signed_by(*OWN) is DeviceCode.OK


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 3), (3, 3), (5, 5)])
def test_other_thresholds(threshold: int, count: int) -> None:
    roots = root_keys(count)
    for signed in range(count + 1):
        signers = [(1, i, root) for i, root in enumerate(roots[:signed])]
        plan = BundlePlan(threshold=threshold, roots=[root.public for root in roots], signers=signers)
        expected = DeviceCode.OK if signed >= threshold else DeviceCode.BUNDLE_SIGNATURES
        assert judge(verify_genesis, build_bundle(plan)) is expected


def test_too_few_roots() -> None:
    assert genesis_signed_by() is DeviceCode.BUNDLE_SIGNATURES
    for signer in OWN:
        assert genesis_signed_by(signer) is DeviceCode.BUNDLE_SIGNATURES


def test_a_root_signing_twice_is_not_two_roots() -> None:
    assert genesis_signed_by(OWN[0], OWN[0]) is DeviceCode.BUNDLE_ORDER
    assert genesis_signed_by(OWN[0], (1, 1, ROOTS[0])) is DeviceCode.BUNDLE_SIGNATURES


STRANGER = fake_key("stranger")


@pytest.mark.parametrize(
    "extra",
    [(1, 2, STRANGER), (1, 2, ROOTS[0]), (1, 3, ROOTS[0]), (1, 3, STRANGER), (1, 255, STRANGER)],
    ids=["stranger", "another root", "index 3", "index 3, stranger", "index 255"],
)
def test_every_signature_present_must_be_good(extra: tuple[int, int, FakeKey]) -> None:
    """Two good signatures are enough, but not beside a bad one."""
    assert genesis_signed_by(OWN[0], OWN[1], extra) is DeviceCode.BUNDLE_SIGNATURES


def test_a_genesis_has_no_previous_roots() -> None:
    for previous in (ROOTS[0], STRANGER):
        assert genesis_signed_by((0, 0, previous), OWN[0], OWN[1]) is DeviceCode.BUNDLE_SIGNATURES


def test_a_later_version_is_no_genesis() -> None:
    plan = BundlePlan(version=2, previous_digest=b"\x07" * 32)
    assert judge(verify_genesis, build_bundle(plan)) is DeviceCode.BUNDLE_GENESIS
    assert judge(verify_own_threshold, build_bundle(plan)) is DeviceCode.OK


def test_what_the_roots_sign() -> None:
    """Only SHA-256( SR-bundle-v1 ‖ bundle[0:1599] ), whatever else a root could be made to sign."""
    root, content = ROOTS[1], GENESIS[:1599]
    right = sha256(padded("SR-bundle-v1"), content)
    assert with_second_signature(root.sign(right)) == GENESIS
    for digest in (
        sha256(content),
        sha256(b"SR-bundle-v1", content),
        sha256(padded("SR-bundle-v2"), content),
        sha256(padded("SR-pkg-app-v1"), content),
        sha256(padded("SR-bundle-v1"), GENESIS[:1600]),
        sha256(padded("SR-bundle-v1"), GENESIS),
        sha256(right),
    ):
        assert judge(verify_genesis, with_second_signature(root.sign(digest))) is DeviceCode.BUNDLE_SIGNATURES


@pytest.mark.parametrize("value", [0, P256_ORDER, 2**256 - 1])
def test_r_and_s_out_of_range(value: int) -> None:
    wrong = value.to_bytes(32, "big")
    second = GENESIS[SIGNATURE_OFFSET + 68 :][:64]
    for signature in (wrong + second[32:], second[:32] + wrong):
        assert judge(verify_genesis, with_second_signature(signature)) is DeviceCode.BUNDLE_SIGNATURES


def test_another_signature_of_the_same_root_makes_the_same_bundle() -> None:
    """The other value of s: other bytes, the same digest."""
    second = GENESIS[SIGNATURE_OFFSET + 68 :][:64]
    mirrored = (P256_ORDER - int.from_bytes(second[32:], "big")).to_bytes(32, "big")
    other = with_second_signature(second[:32] + mirrored)
    assert judge(verify_genesis, other) is DeviceCode.OK
    assert parse_trust_bundle(other).digest == parse_trust_bundle(GENESIS).digest


def test_every_flipped_bit_of_a_genesis() -> None:
    for bit in range(len(GENESIS) * 8):
        changed = bytearray(GENESIS)
        changed[bit // 8] ^= 1 << bit % 8
        assert judge(verify_genesis, bytes(changed)) is not DeviceCode.OK, f"bit {bit}"


def test_the_digest_covers_all_but_the_signatures() -> None:
    bundle = parse_trust_bundle(GENESIS)
    for position in range(len(GENESIS)):
        changed = bytearray(GENESIS)
        changed[position] ^= 0x40
        assert (replace(bundle, raw=bytes(changed)).digest == bundle.digest) == (position >= 1599)


# --- own threshold ----------------------------------------------------------------------------------------------------


def later(signers: Sequence[tuple[int, int, FakeKey]]) -> DeviceCode:
    plan = replace(BundlePlan(signers=signers), version=9, previous_digest=b"\x07" * 32)
    return judge(verify_own_threshold, build_bundle(plan))


def test_own_threshold_of_a_later_version() -> None:
    assert later(OWN[:2]) is DeviceCode.OK
    assert later(OWN) is DeviceCode.OK
    assert later(OWN[:1]) is DeviceCode.BUNDLE_SIGNATURES
    assert later([*OWN[:2], (1, 2, STRANGER)]) is DeviceCode.BUNDLE_SIGNATURES


def test_previous_roots_neither_count_nor_hinder() -> None:
    """A device no longer has them; that they signed was checked when it took the bundle."""
    previous = [(0, 0, STRANGER), (0, 1, STRANGER)]
    assert later([*previous, *OWN[:2]]) is DeviceCode.OK
    assert later([*previous, *OWN[:1]]) is DeviceCode.BUNDLE_SIGNATURES
    assert later([(0, 0, ROOTS[0]), (0, 1, ROOTS[1])]) is DeviceCode.BUNDLE_SIGNATURES
