"""The 448 signed bytes against a layout written out by hand, and the strict way back."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pki.errors import FormatError, InputRefused
from signer.packages.manifest import Manifest, WrappedContentKey, decode_manifest, encode_manifest, tbs_digest
from signer.packages.terms import PackageType, RecipientMode, Target
from tests.unit.packages import oracle
from tests.unit.packages.builders import LOAD_ADDRESS, PRODUCT_ID, UID, terms

SALT, IMAGE_DIGEST, FIRST_LINK, SBOM_DIGEST = (bytes([value]) * 32 for value in (0xA1, 0xA2, 0xA3, 0xA4))
COMMITMENT, WRAPPED, EPHEMERAL, RECIPIENT = b"\xb1" * 32, b"\xb2" * 32, b"\xb3" * 64, b"\xb4" * 8
SIGNERS = (b"\xc1" * 8, b"\xc2" * 8)
WRAPPED_KEY = WrappedContentKey(COMMITMENT, EPHEMERAL, WRAPPED, RECIPIENT)


def manifest_of(**changes: object) -> Manifest:
    values: dict[str, object] = {
        "terms": terms(),
        "load_address": LOAD_ADDRESS,
        "image_size_bytes": 0x2345,
        "image_salt": SALT,
        "image_digest": IMAGE_DIGEST,
        "first_link": FIRST_LINK,
        "sbom_digest": SBOM_DIGEST,
        "content_key": WRAPPED_KEY,
        "signer_key_ids": SIGNERS[:1],
    }
    return Manifest(**(values | changes))  # type: ignore[arg-type]


def golden(**by_hand: bytes) -> bytes:
    """Every field of the table in docs/spec/package.md, section 1 and 2, by offset; `by_hand` as `at_<offset>`."""
    payload = struct.pack("<I", 0x2345 + 3 * 32)
    fields = {
        0: bytes.fromhex("3d b8 f3 96"),
        4: bytes(4),
        8: bytes.fromhex("00 04"),
        10: bytes(2),
        12: payload,
        16: bytes(4),
        20: bytes.fromhex("01 02 04 03 08 07 06 05"),
        28: bytes(4),
        32: b"SRM1",
        36: b"\x01\x00",
        38: b"\x01",
        39: b"\x01",
        40: PRODUCT_ID,
        56: b"\x02\x00",
        58: b"\x04\x03",
        60: bytes.fromhex("01 02 04 03 08 07 06 05"),
        68: bytes.fromhex("14 13 12 11"),
        72: bytes.fromhex("00 04 02 08"),
        76: bytes.fromhex("45 23 00 00"),
        80: bytes.fromhex("02 01 00 00 07 00 00 00"),
        88: bytes.fromhex("24 23 22 21"),
        92: b"\x00",
        93: b"\x02",
        94: bytes(2),
        96: bytes(16),
        112: SALT,
        144: IMAGE_DIGEST,
        176: bytes.fromhex("00 10 00 00"),
        180: payload,
        184: FIRST_LINK,
        216: COMMITMENT,
        248: EPHEMERAL,
        312: WRAPPED,
        344: RECIPIENT,
        352: SBOM_DIGEST,
        384: SIGNERS[0],
        392: bytes(8),
        400: bytes(48),
    }
    fields |= {int(name.removeprefix("at_")): value for name, value in by_hand.items()}
    return oracle.make_signed_bytes(fields)


def test_an_application_manifest_byte_by_byte() -> None:
    assert encode_manifest(manifest_of()) == golden()


def test_a_bootloader_manifest_byte_by_byte() -> None:
    manifest = manifest_of(terms=terms(package_type=PackageType.BOOTLOADER), signer_key_ids=SIGNERS)
    assert encode_manifest(manifest) == golden(at_38=b"\x02", at_392=SIGNERS[1])


def test_a_manifest_for_one_device_byte_by_byte() -> None:
    asked = terms(target=Target.ONE_UID, target_uid=UID, recipient_mode=RecipientMode.DEVICE)
    assert encode_manifest(manifest_of(terms=asked)) == golden(at_92=b"\x01", at_93=b"\x01", at_96=UID)


def test_a_factory_test_manifest_byte_by_byte() -> None:
    asked = terms(package_type=PackageType.FACTORY_TEST, recipient_mode=RecipientMode.NONE)
    assert encode_manifest(manifest_of(terms=asked, content_key=WrappedContentKey())) == golden(
        at_38=b"\x03", at_93=b"\x00", at_216=bytes(32), at_248=bytes(64), at_312=bytes(32), at_344=bytes(8)
    )


def test_a_manifest_by_grant_byte_by_byte() -> None:
    asked = terms(target=Target.GRANT_REQUIRED, recipient_mode=RecipientMode.GRANT)
    assert encode_manifest(manifest_of(terms=asked, content_key=WrappedContentKey(COMMITMENT))) == golden(
        at_92=b"\x02", at_93=b"\x03", at_248=bytes(64), at_312=bytes(32), at_344=bytes(8)
    )


@pytest.mark.parametrize(("size", "chunks"), [(1, 1), (4095, 1), (4096, 1), (4097, 2), (8192, 2), (64 << 20, 16_384)])
def test_the_payload_size_follows_from_the_image_size(size: int, chunks: int) -> None:
    signed = encode_manifest(manifest_of(image_size_bytes=size))
    assert struct.unpack_from("<I", signed, 180)[0] == size + 32 * chunks
    assert signed[12:16] == signed[180:184]


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size_bytes": 0},
        {"image_size_bytes": (64 << 20) + 1},
        {"load_address": 1 << 32},
        {"signer_key_ids": ()},
        {"signer_key_ids": (bytes(8),)},
        {"signer_key_ids": SIGNERS},
        {"terms": terms(package_type=PackageType.BOOTLOADER), "signer_key_ids": SIGNERS[::-1]},
        {"terms": terms(package_type=PackageType.BOOTLOADER), "signer_key_ids": (SIGNERS[0], SIGNERS[0])},
        {"terms": terms(package_type=PackageType.BOOTLOADER), "signer_key_ids": SIGNERS[:1]},
        {"content_key": WrappedContentKey()},
        {"content_key": replace(WRAPPED_KEY, cek_commitment=bytes(32))},
        {"content_key": replace(WRAPPED_KEY, ephemeral_public_key=bytes(64))},
        {"content_key": replace(WRAPPED_KEY, recipient_key_id=bytes(8))},
        {
            "terms": terms(target=Target.GRANT_REQUIRED, recipient_mode=RecipientMode.GRANT),
            "content_key": WrappedContentKey(COMMITMENT, wrapped_cek=WRAPPED),
        },
        {"terms": terms(package_type=PackageType.FACTORY_TEST, recipient_mode=RecipientMode.NONE)},
    ],
)
def test_a_manifest_that_no_device_would_take_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputRefused):
        manifest_of(**changes)


def test_decoding_gives_back_what_was_encoded() -> None:
    one_device = terms(target=Target.ONE_UID, target_uid=UID, recipient_mode=RecipientMode.DEVICE)
    bootloader = terms(package_type=PackageType.BOOTLOADER)
    for manifest in (
        manifest_of(),
        manifest_of(terms=one_device),
        manifest_of(terms=bootloader, signer_key_ids=SIGNERS),
    ):
        assert decode_manifest(encode_manifest(manifest)) == manifest


@given(st.integers(0, 448 * 8 - 1))
def test_a_flipped_bit_is_refused_or_another_manifest(bit: int) -> None:
    signed = bytearray(encode_manifest(manifest_of()))
    signed[bit // 8] ^= 1 << bit % 8
    try:
        changed = decode_manifest(bytes(signed))
    except FormatError:
        return
    assert changed != manifest_of()
    assert encode_manifest(changed) == signed


def test_constants_and_reserved_bytes_are_refused_when_changed() -> None:
    fixed = [*range(12), *range(16, 20), *range(28, 38), 39, 94, 95, *range(176, 180), *range(392, 448)]
    for offset in fixed:
        signed = bytearray(encode_manifest(manifest_of()))
        signed[offset] ^= 0x40
        with pytest.raises(FormatError):
            decode_manifest(bytes(signed))


@pytest.mark.parametrize("size", [0, 447, 449])
def test_the_signed_bytes_have_one_size(size: int) -> None:
    with pytest.raises(FormatError):
        decode_manifest(encode_manifest(manifest_of()).ljust(449, b"\0")[:size])


@given(st.binary(min_size=448, max_size=448))
def test_random_bytes_are_refused_as_a_format_error(signed: bytes) -> None:
    with pytest.raises(FormatError):
        decode_manifest(signed)


@pytest.mark.parametrize(
    ("kind", "context", "signers"),
    [
        (PackageType.APPLICATION, b"SR-pkg-app-v1\0\0\0", SIGNERS[:1]),
        (PackageType.BOOTLOADER, b"SR-pkg-boot-v1\0\0", SIGNERS),
    ],
)
def test_the_digest_to_sign_has_the_context_of_its_type(
    kind: PackageType, context: bytes, signers: tuple[bytes, ...]
) -> None:
    signed = encode_manifest(manifest_of(terms=terms(package_type=kind), signer_key_ids=signers))
    expected = hashlib.sha256(context + bytes(16) + signed).digest()
    assert tbs_digest(signed).value == expected
    assert tbs_digest(signed.ljust(1024, b"\x55")).value == expected


def test_the_digest_to_sign_names_the_device_it_is_bound_to() -> None:
    asked = terms(
        package_type=PackageType.FACTORY_TEST, target=Target.ONE_UID, target_uid=UID, recipient_mode=RecipientMode.NONE
    )
    signed = encode_manifest(manifest_of(terms=asked, content_key=WrappedContentKey()))
    assert tbs_digest(signed).value == hashlib.sha256(b"SR-pkg-test-v1\0\0" + UID + signed).digest()
