"""The primitives against published values and openssl. Wycheproof's vectors are in tests/conformance/."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.crypto import (
    P256_ORDER,
    Aes256Ctr,
    context,
    ecdh,
    key_id,
    public_point,
    sha256,
    sign_digest,
    verify_signature,
)
from tests.unit.reference.builders import aes_256_ctr
from tests.unit.reference.fake.keys import fake_key

SIGNER = fake_key("device identity")
DIGEST = hashlib.sha256(b"status").digest()
SIGNATURE = SIGNER.sign(DIGEST)

# RFC 6979, appendix A.2.5 (P-256, SHA-256): a published key.
RFC_6979_PRIVATE = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"
RFC_6979_POINT = (
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
RFC_6979_SIGNATURES = {
    "sample": (
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    ),
    "test": (
        "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
        "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083"
    ),
}


def refused_signature(public: bytes, digest: bytes, signature: bytes, because: str = ".") -> bool:
    with pytest.raises(Refused, match=because) as refusal:
        verify_signature(public, digest, signature)
    return refusal.value.code is DeviceCode.SIGNATURE_INVALID


def test_sha256_joins_its_parts() -> None:
    assert sha256(b"a", b"", b"bc") == hashlib.sha256(b"abc").digest()
    assert sha256() == hashlib.sha256(b"").digest()


def test_context_is_padded_to_16_bytes() -> None:
    assert context("SR-pkg-app-v1") == b"SR-pkg-app-v1\x00\x00\x00"
    assert context("sixteen-letters!") == b"sixteen-letters!"
    assert context("v") == b"v" + bytes(15)


@pytest.mark.parametrize("name", ["", "seventeen-letters", "kéy"])
def test_what_is_no_context(name: str) -> None:
    with pytest.raises(ValueError, match=r"context|ascii"):
        context(name)


@pytest.mark.parametrize("message", RFC_6979_SIGNATURES)
def test_sign_digest_gives_the_signatures_of_rfc_6979(message: str) -> None:
    digest = hashlib.sha256(message.encode()).digest()
    assert sign_digest(bytes.fromhex(RFC_6979_PRIVATE), digest).hex() == RFC_6979_SIGNATURES[message]


def test_public_point_of_rfc_6979() -> None:
    assert public_point(bytes.fromhex(RFC_6979_PRIVATE)).hex() == RFC_6979_POINT


def test_key_id_is_over_the_subject_public_key_info() -> None:
    for name in ("one", "two", "three"):
        key = ec.derive_private_key(int.from_bytes(fake_key(name).private, "big"), ec.SECP256R1()).public_key()
        info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        assert key_id(point[1:]) == hashlib.sha256(info).digest()[:8]


def test_a_valid_signature_and_its_mirror_image() -> None:
    """Both values of s are good: docs/spec/package.md, section 3."""
    verify_signature(SIGNER.public, DIGEST, SIGNATURE)
    mirrored = P256_ORDER - int.from_bytes(SIGNATURE[32:], "big")
    verify_signature(SIGNER.public, DIGEST, SIGNATURE[:32] + mirrored.to_bytes(32, "big"))


def test_every_flipped_bit_of_signature_digest_and_key() -> None:
    for bit in range(512):
        assert refused_signature(SIGNER.public, DIGEST, flipped(SIGNATURE, bit))
        assert refused_signature(flipped(SIGNER.public, bit), DIGEST, SIGNATURE)
    for bit in range(256):
        assert refused_signature(SIGNER.public, flipped(DIGEST, bit), SIGNATURE)


@pytest.mark.parametrize("value", [0, P256_ORDER, P256_ORDER + 1, 2**256 - 1])
def test_r_and_s_out_of_range(value: int) -> None:
    """Refused by our own check, before the library (whose opinion is the same) is asked."""
    wrong = value.to_bytes(32, "big")
    for signature in (wrong + SIGNATURE[32:], SIGNATURE[:32] + wrong, wrong + wrong):
        assert refused_signature(SIGNER.public, DIGEST, signature, because="not between 1 and n-1")


@pytest.mark.parametrize("value", [1, P256_ORDER - 1])
def test_r_and_s_at_the_edge_of_their_range(value: int) -> None:
    edge = value.to_bytes(32, "big")
    for signature in (edge + SIGNATURE[32:], SIGNATURE[:32] + edge):
        assert refused_signature(SIGNER.public, DIGEST, signature, because="does not verify")


def test_s_plus_the_order_is_another_form_of_the_same_number() -> None:
    """A key made for the purpose: with a chosen nonce k and s = 5, d = (k·s − e) · r⁻¹ (Wycheproof does it for r)."""
    public, r = key_that_signed_with_s(5)
    verify_signature(public, DIGEST, r + (5).to_bytes(32, "big"))
    assert refused_signature(public, DIGEST, r + (5 + P256_ORDER).to_bytes(32, "big"))


def test_s_in_fewer_or_more_bytes() -> None:
    public, r = key_that_signed_with_s(5)
    for size in (1, 31, 33, 64):
        assert refused_signature(public, DIGEST, r + (5).to_bytes(size, "big"))


def key_that_signed_with_s(s: int) -> tuple[bytes, bytes]:
    """(public key, r) of a signature over DIGEST that has this s."""
    nonce = fake_key("nonce")
    e, k = int.from_bytes(DIGEST, "big"), int.from_bytes(nonce.private, "big")
    r = nonce.public[:32]
    private = (k * s - e) * pow(int.from_bytes(r, "big"), -1, P256_ORDER) % P256_ORDER
    return public_point(private.to_bytes(32, "big")), r


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_signatures_of_another_size(size: int) -> None:
    assert refused_signature(SIGNER.public, DIGEST, (SIGNATURE * 2)[:size])


@pytest.mark.parametrize("size", [0, 20, 31, 33, 64])
def test_digests_of_another_size(size: int) -> None:
    """A truncated digest must not be verified (CVE-2026-5194)."""
    digest = (DIGEST * 2)[:size]
    assert refused_signature(SIGNER.public, digest, SIGNATURE)


OFF_THE_CURVE = [bytes(64), bytes(63), bytes(65), b"\xff" * 64, SIGNER.public[:63], SIGNER.public + b"\0"]


@pytest.mark.parametrize("point", OFF_THE_CURVE, ids=range(len(OFF_THE_CURVE)))
def test_points_off_the_curve(point: bytes) -> None:
    assert refused_signature(point, DIGEST, SIGNATURE)
    with pytest.raises(Refused) as refusal:
        ecdh(SIGNER.private, point)
    assert refusal.value.code is DeviceCode.EPHEMERAL_KEY


@pytest.mark.parametrize(
    "private", [bytes(32), P256_ORDER.to_bytes(32, "big"), b"\xff" * 32, SIGNER.private[:31], SIGNER.private + b"\0"]
)
def test_what_is_no_private_key_is_a_defect(private: bytes) -> None:
    for operation in (public_point, lambda key: sign_digest(key, DIGEST), lambda key: ecdh(key, SIGNER.public)):
        with pytest.raises(ValueError, match=r"private|scalar|key|range"):
            operation(private)


def test_ecdh_is_the_same_from_both_sides() -> None:
    one, other = fake_key("one"), fake_key("other")
    assert ecdh(one.private, other.public) == ecdh(other.private, one.public)


def test_ecdh_with_the_generator_is_the_public_key() -> None:
    generator = public_point((1).to_bytes(32, "big"))
    assert generator.hex().startswith("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")
    assert ecdh(SIGNER.private, generator) == SIGNER.public[:32]


@given(data=st.binary(max_size=200), sizes=st.lists(st.integers(0, 40), max_size=8))
def test_counter_mode_continues_over_any_pieces(data: bytes, sizes: list[int]) -> None:
    cipher = Aes256Ctr(DIGEST)
    plaintext, rest = b"", data
    for size in sizes:
        plaintext, rest = plaintext + cipher.decrypt(rest[:size]), rest[size:]
    assert plaintext + cipher.decrypt(rest) == aes_256_ctr(DIGEST, data)


def test_counter_mode_against_openssl_past_two_carries(tmp_path: Path) -> None:
    """65,536 blocks and more: the counter carries into its third byte."""
    plain, cipher = tmp_path / "plain", tmp_path / "cipher"
    plain.write_bytes(hashlib.shake_256(b"plaintext").digest(16 * 65_600 + 5))
    key = DIGEST.hex()  # a test's key, so an argument may show it
    options = ["-K", key, "-iv", "00" * 16, "-in", str(plain), "-out", str(cipher)]
    subprocess.run(["openssl", "enc", "-aes-256-ctr", *options], check=True)
    assert Aes256Ctr(DIGEST).decrypt(cipher.read_bytes()) == plain.read_bytes()


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_keys_of_another_size(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Aes256Ctr(bytes(size))


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)
