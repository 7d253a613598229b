"""Trust bundles byte by byte: against the layout written by hand, and read by the reference bootloader's own parser."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.reference.codes import Refused
from bootloader.reference.trust_bundle import parse_trust_bundle
from pki.errors import FormatError, InputRefused
from pki.values import Signature
from signer.trust_bundles.content import RevokedKey, TrustBundleContent
from signer.trust_bundles.encoding import (
    BundleSignature,
    RootSet,
    assemble,
    bundle_digest,
    decode_bundle,
    unsigned_bundle,
)
from tests.unit.trust_bundles.builders import ROOTS, by_hand, content, digest_by_hand

POINTS = tuple(root.public_key for root in ROOTS)
VARIANTS: list[dict[str, object]] = [
    {},
    {"roots": POINTS, "root_threshold": 5},
    {"roots": POINTS[:1], "root_threshold": 1, "role_keys": (), "revoked": ()},
    {"version": 0x01020304, "previous_digest": bytes(range(32))},
    {"revoked": tuple(RevokedKey(bytes([number]) * 8, number % 2 == 0) for number in range(1, 25))},
]


def signature(value: int) -> Signature:
    return Signature(bytes([value]) * 64)


@pytest.mark.parametrize("changes", VARIANTS)
def test_a_bundle_byte_by_byte(changes: dict[str, object]) -> None:
    value = content(**changes)
    assert unsigned_bundle(value) == by_hand(value)
    assert len(unsigned_bundle(value)) == 2304


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_reference_bootloader_reads_what_was_meant(changes: dict[str, object]) -> None:
    value = content(**changes)
    read = parse_trust_bundle(unsigned_bundle(value))
    assert (read.version, read.product_id, read.root_threshold) == (
        value.version,
        value.product_id,
        value.root_threshold,
    )
    assert set(read.roots) == {root.point for root in value.roots}
    for entry in value.role_keys:
        assert entry.key.point in read.keys_of(entry.role_number)  # type: ignore[arg-type]
    for revoked in value.revoked:
        assert read.is_revoked(revoked.key_id)
        assert read.stops(revoked.key_id) is revoked.stops_installed_images
    assert read.digest == bundle_digest(unsigned_bundle(value)).value


def test_the_order_in_which_things_are_given_does_not_matter() -> None:
    value = content()
    shuffled = random.Random(1)
    for _ in range(10):
        changes = {}
        for name in ("roots", "role_keys", "revoked"):
            entries = list(getattr(value, name))
            shuffled.shuffle(entries)
            changes[name] = tuple(entries)
        assert unsigned_bundle(content(**changes)) == unsigned_bundle(value)


def test_the_digest_covers_all_but_the_signatures() -> None:
    bundle = unsigned_bundle(content())
    assert bundle_digest(bundle).value == digest_by_hand(bundle)
    signed = assemble(content(), [BundleSignature(RootSet.OWN, 0, signature(1))])
    assert bundle_digest(signed) == bundle_digest(bundle)
    changed = bytearray(bundle)
    changed[1598] ^= 1
    assert bundle_digest(bytes(changed)) != bundle_digest(bundle)


def test_signatures_stand_in_order_behind_what_they_sign() -> None:
    value = content(version=2, previous_digest=b"\x01" * 32)
    signatures = [
        BundleSignature(RootSet.OWN, 2, signature(3)),
        BundleSignature(RootSet.PREVIOUS, 4, signature(2)),
        BundleSignature(RootSet.OWN, 0, signature(4)),
        BundleSignature(RootSet.PREVIOUS, 0, signature(1)),
    ]
    expected = bytearray(by_hand(value))
    expected[1599] = 4
    in_order = (b"\x00\x00", 1), (b"\x00\x04", 2), (b"\x01\x00", 4), (b"\x01\x02", 3)
    for number, (place, byte) in enumerate(in_order):
        expected[1600 + 68 * number : 1668 + 68 * number] = place + b"\0\0" + bytes([byte]) * 64
    assert assemble(value, signatures) == expected


@pytest.mark.parametrize(
    ("signatures", "says"),
    [
        ([BundleSignature(RootSet.OWN, 3, signature(1))], "no root 3"),
        ([BundleSignature(RootSet.OWN, -1, signature(1))], "no root -1"),
        ([BundleSignature(RootSet.PREVIOUS, 0, signature(1))], "genesis"),
        ([BundleSignature(RootSet.OWN, 1, signature(1)), BundleSignature(RootSet.OWN, 1, signature(2))], "twice"),
        ([BundleSignature(RootSet.OWN, number, signature(1)) for number in range(11)], "at most 10"),
    ],
)
def test_impossible_signatures_are_refused(signatures: list[BundleSignature], says: str) -> None:
    with pytest.raises(InputRefused, match=says):
        assemble(content(), signatures)


@pytest.mark.parametrize("changes", VARIANTS)
def test_decoding_gives_back_what_was_encoded(changes: dict[str, object]) -> None:
    value = content(**changes)
    signatures = [BundleSignature(RootSet.OWN, 0, signature(7))]
    bundle = assemble(value, signatures)
    decoded, read = decode_bundle(bundle)
    assert assemble(decoded, read) == bundle
    assert as_sets(decoded) == as_sets(value)
    assert list(read) == signatures


def as_sets(value: TrustBundleContent) -> tuple[object, ...]:
    return (
        value.product_id, value.version, value.previous_digest, value.root_threshold, set(value.roots),
        set(value.role_keys), set(value.revoked), value.application_limits, value.bootloader_limits,
        value.factory_test_limits,
    )  # fmt: skip


def test_our_decoder_and_the_reference_parser_agree_on_every_flipped_bit_but_values() -> None:
    """Whatever the device refuses, ours refuses too; the bits of keys and digests themselves are left out."""
    bundle = assemble(content(), [BundleSignature(RootSet.OWN, 0, signature(7))])
    both_accept = ours_refuses_more = 0
    for bit in [*range(96 * 8), *range(416 * 8, 420 * 8), *range(1232 * 8, 1256 * 8), *range(1500 * 8, 1604 * 8)]:
        changed = bytearray(bundle)
        changed[bit // 8] ^= 1 << bit % 8
        ours, reference = decodes(bytes(changed)), parses(bytes(changed))
        assert reference or not ours, bit
        both_accept += ours and reference
        ours_refuses_more += reference and not ours
    assert both_accept > 100
    # A signature index beyond the roots is only a wrong signature to the device; nothing else is told apart.
    assert ours_refuses_more <= 8


def decodes(bundle: bytes) -> bool:
    try:
        decode_bundle(bundle)
    except FormatError:
        return False
    return True


def parses(bundle: bytes) -> bool:
    try:
        parse_trust_bundle(bundle)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("size", [0, 2303, 2305])
def test_a_bundle_has_one_size(size: int) -> None:
    with pytest.raises(FormatError, match="2304"):
        decode_bundle(unsigned_bundle(content()).ljust(2305, b"\0")[:size])
    with pytest.raises(FormatError, match="2304"):
        bundle_digest(bytes(size))


@given(st.binary(min_size=2300, max_size=2304))
def test_random_bytes_are_refused_as_a_format_error(bundle: bytes) -> None:
    for attempt in (bundle, b"SRB1\x01\x00\x01" + bundle[7:]):
        with pytest.raises(FormatError):
            decode_bundle(attempt)
