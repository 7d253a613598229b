"""Prepared packages: frozen, refused by every device, signed later and nowhere changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from bootloader.reference.authenticity import verify_bootloader_head
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.head import parse_head
from pki.errors import FormatError, InputRefused, PolicyViolation, SignatureInvalid
from signer.packages.build import build_package
from signer.packages.prepare import prepared_digest
from signer.packages.sign import sign_package
from signer.packages.terms import PackageType, RecipientMode, Target
from tests.unit.packages import oracle
from tests.unit.packages.builders import (
    APP_KEY,
    BOOT_KEYS,
    COMPAT_KEY,
    GROUP_KEY,
    UID,
    left_in,
    open_binary,
    prepare,
    random_means,
    request,
)
from tests.unit.packages.fake.means import RepeatableRandom, means_with
from tests.unit.packages.fake.software_keys import SoftwareKey, WrongKey

MIB = 1 << 20


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    prepare(tmp_path, os.urandom(10_000), name="prepared.srp")
    return tmp_path / "prepared.srp"


def test_a_prepared_package_is_the_same_file_without_signatures_and_trailer(tmp_path: Path) -> None:
    image = os.urandom(MIB + 5)
    prepare(tmp_path, image, means=means_with(RepeatableRandom("same")), name="prepared.srp")
    with open_binary(tmp_path / "image.bin") as firmware:
        means = means_with(RepeatableRandom("same"))
        build_package(request(), firmware, tmp_path / "built.srp", means, [APP_KEY], COMPAT_KEY)
    prepared, built = (tmp_path / "prepared.srp").read_bytes(), (tmp_path / "built.srp").read_bytes()
    assert prepared == built[:448] + bytes(576) + built[1024 : len(prepared)]


@pytest.mark.parametrize("size", [1, 4096, 4097, MIB - 1, MIB, MIB + 1, 2 * MIB + 5000])
def test_signing_changes_nothing_but_signatures_and_trailer(tmp_path: Path, size: int) -> None:
    image = os.urandom(size)
    prepare(tmp_path, image, name="prepared.srp")
    written = sign_package(tmp_path / "prepared.srp", tmp_path / "signed.srp", [APP_KEY], COMPAT_KEY)
    prepared, signed = (tmp_path / "prepared.srp").read_bytes(), (tmp_path / "signed.srp").read_bytes()
    assert signed[:448] + bytes(64) + signed[512 : len(prepared)] == prepared
    assert oracle.open_package(signed, GROUP_KEY.private, GROUP_KEY.public_key.point).image == image
    assert written.complete
    assert written.size_bytes == len(signed)


def test_the_digest_shown_is_the_one_that_is_signed(prepared: Path) -> None:
    digest = prepared_digest(prepared)
    assert digest.value == oracle.signed_digest(prepared.read_bytes()[:1024])
    assert sign_package(prepared, prepared.with_name("s.srp"), [APP_KEY], COMPAT_KEY).tbs_digest == digest


def test_a_bootloader_package_is_signed_one_key_at_a_time(tmp_path: Path) -> None:
    prepare(tmp_path, os.urandom(5000), request(package_type=PackageType.BOOTLOADER), name="0.srp")
    first, second = BOOT_KEYS[1], BOOT_KEYS[0]
    half = sign_package(tmp_path / "0.srp", tmp_path / "1.srp", [first], COMPAT_KEY)
    assert not half.complete
    assert half.size_bytes == (tmp_path / "0.srp").stat().st_size
    assert prepared_digest(tmp_path / "1.srp") == prepared_digest(tmp_path / "0.srp")
    with pytest.raises(Refused) as refusal:
        verify_head(tmp_path / "1.srp")
    assert refusal.value.code is DeviceCode.SIGNATURE_INVALID
    whole = sign_package(tmp_path / "1.srp", tmp_path / "2.srp", [second], COMPAT_KEY, [first.public_key])
    assert whole.complete
    verify_head(tmp_path / "2.srp")


def verify_head(package: Path) -> None:
    verify_bootloader_head(
        parse_head(package.read_bytes()[:1024]), bytes(16), [key.public_key.point for key in BOOT_KEYS]
    )


def test_a_signature_already_there_is_verified(tmp_path: Path) -> None:
    prepare(tmp_path, b"image", request(package_type=PackageType.BOOTLOADER), name="0.srp")
    sign_package(tmp_path / "0.srp", tmp_path / "1.srp", [BOOT_KEYS[0]], COMPAT_KEY)
    with pytest.raises(InputRefused, match="give that public key"):
        sign_package(tmp_path / "1.srp", tmp_path / "2.srp", [BOOT_KEYS[1]], COMPAT_KEY)
    changed = bytearray((tmp_path / "1.srp").read_bytes())
    place = 448 if any(changed[448:512]) else 512
    changed[place + 20] ^= 1
    (tmp_path / "bad.srp").write_bytes(changed)
    with pytest.raises(SignatureInvalid, match="already there"):
        sign_package(tmp_path / "bad.srp", tmp_path / "2.srp", [BOOT_KEYS[1]], COMPAT_KEY, [BOOT_KEYS[0].public_key])
    assert left_in(tmp_path) == {"image.bin", "0.srp", "1.srp", "bad.srp"}


def test_signing_again_is_refused(prepared: Path) -> None:
    signed = prepared.with_name("signed.srp")
    sign_package(prepared, signed, [APP_KEY], COMPAT_KEY)
    with pytest.raises(FormatError, match="signed already"):
        sign_package(signed, prepared.with_name("again.srp"), [APP_KEY], COMPAT_KEY)


@pytest.mark.parametrize(
    ("keys", "says"),
    [([], "no signing key"), ([BOOT_KEYS[0]], "not a signer"), ([APP_KEY, APP_KEY], "twice")],
)
def test_only_the_named_signers_sign(prepared: Path, keys: list[SoftwareKey], says: str) -> None:
    counts = [key.signature_count for key in keys]
    with pytest.raises(InputRefused, match=says):
        sign_package(prepared, prepared.with_name("s.srp"), keys, COMPAT_KEY)
    assert [key.signature_count for key in keys] == counts
    assert left_in(prepared.parent) == {"image.bin", "prepared.srp"}


def test_the_compat_key_must_have_no_authority(prepared: Path) -> None:
    with pytest.raises(PolicyViolation, match="PKG-01"):
        sign_package(prepared, prepared.with_name("s.srp"), [APP_KEY], APP_KEY)


def test_a_wrong_signature_from_a_token_is_never_released(prepared: Path) -> None:
    with pytest.raises(SignatureInvalid):
        sign_package(prepared, prepared.with_name("s.srp"), [WrongKey("application-release")], COMPAT_KEY)
    assert left_in(prepared.parent) == {"image.bin", "prepared.srp"}


def test_every_changed_byte_of_a_prepared_payload_is_found_before_the_key_is_asked(tmp_path: Path) -> None:
    prepare(tmp_path, os.urandom(4100), name="prepared.srp")
    whole = (tmp_path / "prepared.srp").read_bytes()
    changed_path = tmp_path / "changed.srp"
    count = APP_KEY.signature_count
    for offset in [
        1024,
        1024 + 4095,
        1024 + 4096,
        1024 + 4127,
        1024 + 4128,
        1024 + 4131,
        len(whole) - 32,
        len(whole) - 1,
    ]:
        changed = bytearray(whole)
        changed[offset] ^= 1
        changed_path.write_bytes(changed)
        with pytest.raises(SignatureInvalid, match="chunk"):
            sign_package(changed_path, tmp_path / "s.srp", [APP_KEY], COMPAT_KEY)
    assert APP_KEY.signature_count == count
    assert left_in(tmp_path) == {"image.bin", "prepared.srp", "changed.srp"}


def test_a_chain_that_does_not_end_is_refused(tmp_path: Path) -> None:
    """Whoever makes a prepared file by hand can end the chain with a link that is not zero; no device would take it."""
    prepare(tmp_path, b"image", name="prepared.srp")
    whole = bytearray((tmp_path / "prepared.srp").read_bytes())
    whole[-1] = 1
    chunk = bytes(whole[1024:])
    whole[184:216] = hashlib.sha256(oracle.padded("SR-chunk-v1") + bytes(4) + chunk).digest()
    (tmp_path / "open.srp").write_bytes(whole)
    with pytest.raises(SignatureInvalid, match="end the chain"):
        sign_package(tmp_path / "open.srp", tmp_path / "s.srp", [APP_KEY], COMPAT_KEY)


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, -1])
def test_a_cut_off_prepared_package_is_refused(prepared: Path, size: int) -> None:
    cut = prepared.with_name("cut.srp")
    cut.write_bytes(prepared.read_bytes()[:size])
    with pytest.raises(FormatError):
        prepared_digest(cut)
    with pytest.raises(FormatError):
        sign_package(cut, prepared.with_name("s.srp"), [APP_KEY], COMPAT_KEY)


@pytest.mark.parametrize("offset", [513, 576, 1023])
def test_padding_that_is_not_zero_is_refused(prepared: Path, offset: int) -> None:
    changed = bytearray(prepared.read_bytes())
    changed[offset] = 1
    prepared.write_bytes(changed)
    with pytest.raises(FormatError, match="not zero"):
        prepared_digest(prepared)


def test_other_files_are_refused_with_one_line(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(os.urandom(5000))
    with pytest.raises(FormatError, match="not a Strongroom package"):
        prepared_digest(other)
    with pytest.raises(InputRefused, match="cannot read"):
        prepared_digest(tmp_path / "absent")
    with pytest.raises(InputRefused, match="cannot read"):
        prepared_digest(tmp_path)


def test_a_prepared_package_for_one_device_keeps_its_binding(tmp_path: Path) -> None:
    asked = request(target=Target.ONE_UID, target_uid=UID, recipient_mode=RecipientMode.DEVICE)
    prepare(tmp_path, b"image", asked, random_means(), name="prepared.srp")
    sign_package(tmp_path / "prepared.srp", tmp_path / "s.srp", [APP_KEY], COMPAT_KEY)
    head = parse_head((tmp_path / "s.srp").read_bytes()[:1024])
    assert head.signed_digest(UID) == prepared_digest(tmp_path / "prepared.srp").value
    assert head.signed_digest(UID[::-1]) != prepared_digest(tmp_path / "prepared.srp").value


def test_progress_rises_to_its_total(tmp_path: Path) -> None:
    prepare(tmp_path, os.urandom(3 * MIB), name="prepared.srp")
    seen: list[tuple[int, int]] = []
    sign_package(
        tmp_path / "prepared.srp",
        tmp_path / "s.srp",
        [APP_KEY],
        COMPAT_KEY,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
