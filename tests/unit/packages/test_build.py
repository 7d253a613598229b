"""Whole packages against the second encoder of `oracle.py`, and what two of them have in common."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from bootloader.reference.head import parse_head
from pki.errors import InputRefused, PolicyViolation, SignatureInvalid
from pki.values import Digest, Signature
from signer.packages.build import build_package
from signer.packages.encryption import software_ephemeral_key
from signer.packages.terms import PackageType, RecipientMode, Target
from signer.signing_key import verify_signature
from tests.unit.packages import oracle
from tests.unit.packages.builders import (
    APP_KEY,
    BOOT_KEYS,
    COMPAT_KEY,
    DEVICE_KEY,
    GROUP_KEY,
    UID,
    build,
    left_in,
    open_binary,
    random_means,
    request,
)
from tests.unit.packages.fake.means import MemoryLedger, MemoryVault, RepeatableRandom, means_with
from tests.unit.packages.fake.software_keys import SoftwareKey, WrongKey

MIB = 1 << 20
# One byte, the edges of a chunk, and the edges of the blocks of 256 chunks in which the encoder works.
SIZES = [1, 15, 4095, 4096, 4097, 8192, MIB - 1, MIB, MIB + 1, MIB + 4096, 2 * MIB + 5000]


@pytest.mark.parametrize("size", SIZES)
def test_every_byte_is_that_of_the_second_encoder(tmp_path: Path, size: int) -> None:
    image = os.urandom(size)
    build(tmp_path, image, means=means_with(RepeatableRandom("golden")))
    package = (tmp_path / "p.srp").read_bytes()

    drawn = RepeatableRandom("golden")
    salt, content_key = drawn(32), drawn(32)
    ephemeral = software_ephemeral_key(drawn)
    expected = oracle.make_payload(image, salt, content_key)
    head = package[:1024]
    assert package[1024 : 1024 + len(expected.payload)] == expected.payload
    assert (head[112:144], head[144:176], head[184:216]) == (salt, expected.image_digest, expected.first_link)
    assert head[216:248] == hashlib.sha256(oracle.padded("SR-cek-v1") + salt + content_key).digest()
    assert head[248:312] == ephemeral.public_key.point
    assert head[344:352] == GROUP_KEY.public_key.key_id
    assert head[384:400] == APP_KEY.public_key.key_id + bytes(8)
    assert head[512:] == bytes(512)
    verify_signature(APP_KEY.public_key, Digest(oracle.signed_digest(head)), Signature(head[448:512]))
    opened = oracle.open_package(package, GROUP_KEY.private, GROUP_KEY.public_key.point)
    assert (opened.image, opened.content_key) == (image, content_key)
    assert_trailer(package, opened.trailer)


def assert_trailer(package: bytes, trailer: bytes) -> None:
    """docs/spec/package.md, section 7, byte by byte."""
    digest = hashlib.sha256(package[: len(package) - len(trailer)]).digest()
    key_hash = hashlib.sha256(COMPAT_KEY.public_key.spki).digest()
    signature = trailer[4 + 36 + 36 + 4 :]
    entries = (
        b"\x10\x00\x20\x00"
        + digest
        + b"\x01\x00\x20\x00"
        + key_hash
        + b"\x22\x00"
        + bytes([len(signature), 0])
        + signature
    )
    assert trailer == b"\x07\x69" + (4 + len(entries)).to_bytes(2, "little") + entries
    assert len(trailer) <= 512


def test_a_package_for_one_device_opens_for_that_device(tmp_path: Path) -> None:
    image = os.urandom(5000)
    asked = request(target=Target.ONE_UID, target_uid=UID, recipient_mode=RecipientMode.DEVICE)
    build(tmp_path, image, asked)
    package = (tmp_path / "p.srp").read_bytes()
    assert oracle.open_package(package, DEVICE_KEY.private, DEVICE_KEY.public_key.point).image == image
    verify_signature(APP_KEY.public_key, Digest(oracle.signed_digest(package)), Signature(package[448:512]))


def test_a_bootloader_package_has_two_signatures_in_the_order_of_the_key_ids(tmp_path: Path) -> None:
    build(tmp_path, os.urandom(5000), request(package_type=PackageType.BOOTLOADER))
    package = (tmp_path / "p.srp").read_bytes()
    digest = Digest(oracle.signed_digest(package))
    ordered = sorted((key.public_key for key in BOOT_KEYS[:2]), key=lambda key: key.key_id)
    assert package[384:400] == ordered[0].key_id + ordered[1].key_id
    verify_signature(ordered[0], digest, Signature(package[448:512]))
    verify_signature(ordered[1], digest, Signature(package[512:576]))
    assert package[576:1024] == bytes(448)


def test_an_unencrypted_factory_test_carries_the_image_itself(tmp_path: Path) -> None:
    image = os.urandom(9000)
    asked = request(package_type=PackageType.FACTORY_TEST, recipient_mode=RecipientMode.NONE)
    build(tmp_path, image, asked)
    package = (tmp_path / "p.srp").read_bytes()
    assert package[1024 : 1024 + 4096] == image[:4096]
    assert oracle.open_package(package, None).image == image


def test_a_package_by_grant_opens_with_the_key_in_the_vault(tmp_path: Path) -> None:
    image = os.urandom(9000)
    vault = MemoryVault()
    asked = request(target=Target.GRANT_REQUIRED, recipient_mode=RecipientMode.GRANT)
    build(tmp_path, image, asked, means_with(os.urandom, vault=vault))
    package = (tmp_path / "p.srp").read_bytes()
    content_key = vault.kept[package[216:248]]
    assert package[248:352] == bytes(104)
    payload = package[1024:]
    assert oracle.ctr(content_key, payload[:4096] + payload[4128:8224] + payload[8256 : 8256 + 808]) == image


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"package_type": PackageType.BOOTLOADER},
        {"target": Target.ONE_UID, "target_uid": UID, "recipient_mode": RecipientMode.DEVICE},
        {"target": Target.GRANT_REQUIRED, "recipient_mode": RecipientMode.GRANT},
        {"package_type": PackageType.FACTORY_TEST, "recipient_mode": RecipientMode.NONE},
    ],
)
def test_the_reference_bootloader_reads_the_same_fields(tmp_path: Path, changes: dict[str, object]) -> None:
    written = build(tmp_path, os.urandom(70_000), request(**changes))
    head = parse_head((tmp_path / "p.srp").read_bytes()[:1024])
    terms = written.manifest.terms
    assert int(head.package_type) == int(terms.package_type)
    assert (int(head.target), int(head.recipient_mode)) == (int(terms.target), int(terms.recipient_mode))
    assert str(head.image_version) == str(terms.image_version)
    assert head.signed_digest(terms.target_uid) == written.tbs_digest.value
    assert written.size_bytes == (tmp_path / "p.srp").stat().st_size


def test_two_packages_of_one_image_share_nothing_but_what_the_specification_lists(tmp_path: Path) -> None:
    image = bytes(3 * 4096 + 100)
    for name in ("a.srp", "b.srp"):
        build(tmp_path, image, name=name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.srp", "b.srp"))
    # Section 9: constants, type, suite, product, hardware range, versions, address, sizes, target, recipient, signers.
    shared = [(0, 112), (176, 184), (344, 352), (384, 448), (512, 1024)]
    for begin, end in shared:
        assert first[begin:end] == second[begin:end]
    # Everything else differs, even in every run of 8 bytes: salt, digests, links, commitment, wrapped key, signature.
    for begin, end in [(112, 176), (184, 344), (352, 384), (448, 512), (1024, 1024 + len(image) + 4 * 32 - 32)]:
        for offset in range(begin, end - 8, 8):
            assert first[offset : offset + 8] != second[offset : offset + 8], offset
    # Nor does the ciphertext of one appear anywhere in the other, or the image in either.
    blocks = {first[offset : offset + 16] for offset in range(1024, len(first) - 16)}
    assert not any(second[offset : offset + 16] in blocks for offset in range(1024, 1024 + 4096 * 3, 16))
    assert bytes(32) not in first[1024 : 1024 + len(image) + 3 * 32]


def test_a_repeated_content_key_leaves_no_package(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    build(tmp_path, b"image", means=means_with(RepeatableRandom("stuck"), ledger), name="a.srp")
    with pytest.raises(PolicyViolation) as refusal:
        build(tmp_path, b"other", means=means_with(RepeatableRandom("stuck"), ledger), name="b.srp")
    assert refusal.value.rule_id == "CEK-REUSE"
    assert left_in(tmp_path) == {"image.bin", "a.srp"}


def test_the_sbom_is_bound_by_a_salted_digest(tmp_path: Path) -> None:
    source, sbom = tmp_path / "image.bin", tmp_path / "sbom.json"
    source.write_bytes(b"image")
    sbom.write_bytes(b'{"components": []}' * 40_000)
    with open_binary(source) as firmware:
        build_package(request(), firmware, tmp_path / "p.srp", random_means(), [APP_KEY], COMPAT_KEY, sbom)
    head = (tmp_path / "p.srp").read_bytes()[:1024]
    expected = hashlib.sha256(oracle.padded("SR-sbom-v1") + head[112:144] + sbom.read_bytes()).digest()
    assert head[352:384] == expected


def test_without_an_sbom_the_digest_is_over_nothing(tmp_path: Path) -> None:
    build(tmp_path, b"image")
    head = (tmp_path / "p.srp").read_bytes()[:1024]
    assert head[352:384] == hashlib.sha256(oracle.padded("SR-sbom-v1") + head[112:144]).digest()


def test_a_missing_sbom_is_refused_and_no_content_key_is_spent(tmp_path: Path) -> None:
    source = tmp_path / "image.bin"
    source.write_bytes(b"image")
    ledger = MemoryLedger()
    with open_binary(source) as firmware, pytest.raises(InputRefused, match="cannot read"):
        build_package(
            request(),
            firmware,
            tmp_path / "p.srp",
            means_with(os.urandom, ledger),
            [APP_KEY],
            COMPAT_KEY,
            tmp_path / "absent.json",
        )
    assert left_in(tmp_path) == {"image.bin"}
    assert ledger.fingerprints == set()


def test_progress_rises_to_its_total(tmp_path: Path) -> None:
    source = tmp_path / "image.bin"
    source.write_bytes(os.urandom(3 * MIB + 1))
    seen: list[tuple[int, int]] = []
    with open_binary(source) as firmware:
        build_package(
            request(),
            firmware,
            tmp_path / "p.srp",
            random_means(),
            [APP_KEY],
            COMPAT_KEY,
            progress=lambda done, total: seen.append((done, total)),
        )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len({total for _, total in seen}) == 1
    assert seen[-1][0] == seen[-1][1]
    assert len(seen) >= 9


def try_build(
    folder: Path, keys: list[SoftwareKey], changes: dict[str, object] | None = None, compat: SoftwareKey = COMPAT_KEY
) -> None:
    source = folder / "image.bin"
    source.write_bytes(b"image")
    with open_binary(source) as firmware:
        build_package(request(**(changes or {})), firmware, folder / "p.srp", random_means(), keys, compat)


@pytest.mark.parametrize(
    ("keys", "changes", "says"),
    [
        ([], {}, "no signing key"),
        ([BOOT_KEYS[0]], {}, "not a signer"),
        ([APP_KEY, APP_KEY], {}, "twice"),
        ([BOOT_KEYS[0]], {"package_type": PackageType.BOOTLOADER}, "every signer"),
        ([BOOT_KEYS[0], BOOT_KEYS[2]], {"package_type": PackageType.BOOTLOADER}, "not a signer"),
    ],
)
def test_wrong_keys_are_refused_before_anything_is_done(
    tmp_path: Path, keys: list[SoftwareKey], changes: dict[str, object], says: str
) -> None:
    before = [key.signature_count for key in keys]
    with pytest.raises(InputRefused, match=says):
        try_build(tmp_path, keys, changes)
    assert left_in(tmp_path) == {"image.bin"}
    assert [key.signature_count for key in keys] == before


def test_the_compat_key_must_have_no_authority(tmp_path: Path) -> None:
    with pytest.raises(PolicyViolation) as refusal:
        try_build(tmp_path, [APP_KEY], compat=APP_KEY)
    assert refusal.value.rule_id == "PKG-01"
    assert left_in(tmp_path) == {"image.bin"}


def test_a_wrong_signature_from_a_token_is_never_released(tmp_path: Path) -> None:
    wrong = WrongKey("application-release")
    assert wrong.public_key == APP_KEY.public_key
    with pytest.raises(SignatureInvalid):
        try_build(tmp_path, [wrong])
    with pytest.raises(SignatureInvalid):
        try_build(tmp_path, [APP_KEY], compat=WrongKey("compat"))
    assert left_in(tmp_path) == {"image.bin"}
