"""Gathering signatures root by root, for a genesis and for a successor."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.trust_bundle import parse_trust_bundle, verify_genesis
from pki.errors import FormatError, InputRefused, SignatureInvalid
from pki.values import Digest, Signature
from signer.signing_key import signature_der, verify_signature
from signer.trust_bundles.encoding import (
    BundleSignature,
    RootSet,
    assemble,
    bundle_digest,
    decode_bundle,
    unsigned_bundle,
)
from signer.trust_bundles.signing import add_signature, signature_status
from tests.unit.packages.fake.software_keys import SoftwareKey, WrongKey
from tests.unit.trust_bundles.builders import BOOT_KEYS, ROOTS, content, digest_by_hand

UNSIGNED = unsigned_bundle(content())
GENESIS = add_signature(add_signature(UNSIGNED, ROOTS[2]), ROOTS[0])
# Root 0 leaves, roots 1 and 2 stay, root 3 comes.
SUCCESSOR = unsigned_bundle(
    content(
        version=2,
        previous_digest=bundle_digest(GENESIS).value,
        roots=tuple(root.public_key for root in ROOTS[1:4]),
    )
)


def test_a_genesis_is_complete_at_its_threshold_and_not_before() -> None:
    status = signature_status(UNSIGNED)
    assert (status.own_signers, status.own_threshold, status.complete) == ((), 2, False)
    once = add_signature(UNSIGNED, ROOTS[1])
    status = signature_status(once)
    assert (status.own_signers, status.complete) == ((ROOTS[1].public_key,), False)
    with pytest.raises(Refused) as refusal:
        verify_genesis(parse_trust_bundle(once))
    assert refusal.value.code is DeviceCode.BUNDLE_SIGNATURES
    twice = add_signature(once, ROOTS[0])
    assert signature_status(twice).complete
    assert set(signature_status(twice).own_signers) == {ROOTS[0].public_key, ROOTS[1].public_key}
    verify_genesis(parse_trust_bundle(twice))


def test_more_signatures_than_needed_are_fine() -> None:
    bundle = UNSIGNED
    for root in ROOTS[:3]:
        bundle = add_signature(bundle, root)
    assert len(signature_status(bundle).own_signers) == 3
    verify_genesis(parse_trust_bundle(bundle))


def test_the_order_of_signing_does_not_change_what_is_signed() -> None:
    other = add_signature(add_signature(UNSIGNED, ROOTS[0]), ROOTS[2])
    assert bundle_digest(other) == bundle_digest(GENESIS) == Digest(digest_by_hand(UNSIGNED))
    places = [(entry.root_set, entry.root_index) for entry in decode_bundle(other)[1]]
    assert places == [(entry.root_set, entry.root_index) for entry in decode_bundle(GENESIS)[1]]
    assert places == sorted(places)


def test_each_signature_verifies_with_openssl(tmp_path: Path) -> None:
    (tmp_path / "tbs").write_bytes(b"SR-bundle-v1\0\0\0\0" + GENESIS[:1599])
    ordered = sorted(ROOTS[:3], key=lambda root: root.public_key.point)
    for number in range(GENESIS[1599]):
        entry = GENESIS[1600 + 68 * number : 1668 + 68 * number]
        (tmp_path / "key.pem").write_bytes(ordered[entry[1]].public_pem)
        (tmp_path / "sig.der").write_bytes(signature_der(Signature(entry[4:])))
        command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sig.der", "tbs"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == "Verified OK"


@pytest.mark.parametrize("stranger", [ROOTS[3], BOOT_KEYS[0], SoftwareKey("stranger")])
def test_only_roots_sign(stranger: SoftwareKey) -> None:
    count = stranger.signature_count
    with pytest.raises(InputRefused, match="not a root"):
        add_signature(UNSIGNED, stranger)
    assert stranger.signature_count == count


def test_a_root_signs_once() -> None:
    with pytest.raises(InputRefused, match="signed this trust bundle already"):
        add_signature(GENESIS, ROOTS[0])


def test_a_wrong_signature_from_a_token_is_never_released() -> None:
    with pytest.raises(SignatureInvalid):
        add_signature(UNSIGNED, WrongKey("root 0"))


@pytest.mark.parametrize("offset", [12, 70, 100, 1233, 1604, 1667])
def test_a_bundle_that_was_changed_gets_no_further_signature(offset: int) -> None:
    changed = bytearray(GENESIS)
    changed[offset] ^= 1
    count = ROOTS[1].signature_count
    with pytest.raises((SignatureInvalid, FormatError)):
        add_signature(bytes(changed), ROOTS[1])
    with pytest.raises((SignatureInvalid, FormatError)):
        signature_status(bytes(changed))
    assert ROOTS[1].signature_count == count


def test_a_successor_needs_both_thresholds() -> None:
    assert signature_status(SUCCESSOR, GENESIS).previous_threshold == 2
    bundle = add_signature(SUCCESSOR, ROOTS[0], GENESIS)
    status = signature_status(bundle, GENESIS)
    assert (status.previous_signers, status.own_signers) == ((ROOTS[0].public_key,), ())
    bundle = add_signature(bundle, ROOTS[3], GENESIS)
    status = signature_status(bundle, GENESIS)
    assert (len(status.previous_signers), len(status.own_signers), status.complete) == (1, 1, False)
    bundle = add_signature(bundle, ROOTS[1], GENESIS)
    status = signature_status(bundle, GENESIS)
    assert set(status.previous_signers) == {ROOTS[0].public_key, ROOTS[1].public_key}
    assert set(status.own_signers) == {ROOTS[1].public_key, ROOTS[3].public_key}
    assert status.complete
    verify_by_hand(bundle)


def verify_by_hand(bundle: bytes) -> None:
    """docs/spec/trust-bundle.md: each entry names a root by its place among the sorted keys of its set."""
    sets = [sorted(root.public_key.point for root in roots) for roots in (ROOTS[:3], ROOTS[1:4])]
    by_point = {root.public_key.point: root.public_key for root in ROOTS}
    counts = [0, 0]
    for number in range(bundle[1599]):
        entry = bundle[1600 + 68 * number : 1668 + 68 * number]
        key = by_point[sets[entry[0]][entry[1]]]
        verify_signature(key, Digest(digest_by_hand(bundle)), Signature(entry[4:]))
        counts[entry[0]] += 1
    assert counts == [2, 2]


def test_a_root_of_both_versions_signs_once_and_counts_twice() -> None:
    count = ROOTS[1].signature_count
    bundle = add_signature(SUCCESSOR, ROOTS[1], GENESIS)
    assert ROOTS[1].signature_count == count + 1
    assert bundle[1599] == 2
    assert bundle[1604:1668] == bundle[1672:1736]
    with pytest.raises(InputRefused, match="already"):
        add_signature(bundle, ROOTS[1], GENESIS)


def test_a_successor_is_signed_only_beside_the_bundle_it_follows() -> None:
    with pytest.raises(InputRefused, match="version 1 too"):
        add_signature(SUCCESSOR, ROOTS[1])
    with pytest.raises(InputRefused, match="no previous one"):
        add_signature(UNSIGNED, ROOTS[1], GENESIS)
    others = [
        unsigned_bundle(content(root_threshold=3)),
        unsigned_bundle(content(version=2, previous_digest=b"\x01" * 32)),
        unsigned_bundle(content(product_id=b"\x01" * 16)),
    ]
    for other in others:
        with pytest.raises(InputRefused, match="not the one that this one follows"):
            add_signature(SUCCESSOR, ROOTS[1], other)


def test_a_signature_that_names_no_root_is_refused() -> None:
    value, _ = decode_bundle(SUCCESSOR)
    bundle = assemble(value, [BundleSignature(RootSet.PREVIOUS, 4, Signature(b"\x01" * 64))])
    with pytest.raises(SignatureInvalid, match="root 4"):
        signature_status(bundle, GENESIS)
