"""A parsed head: its layout against the document's table, what is signed, and versions."""

from __future__ import annotations

import re
import struct
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from bootloader.reference.head import Head, PackageType, RecipientMode, Target, Version, parse_head
from tests.unit.reference.builders import (
    DEVICE_UID,
    GRANT_REQUIRED,
    IMAGE,
    MODE_GRANT,
    ONE_UID,
    PackagePlan,
    bootloader_plan,
    build_head,
    factory_test_plan,
    padded,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "spec" / "package.md"

APPLICATION_HEAD = build_head(PackagePlan())
BOOTLOADER_HEAD = build_head(bootloader_plan())
FACTORY_TEST_HEAD = build_head(factory_test_plan())
GRANT_PLAN = PackagePlan(target=GRANT_REQUIRED, recipient_mode=MODE_GRANT)


# --- layout -----------------------------------------------------------------------------------------------------------


def documented_fields() -> list[tuple[int, int, str]]:
    """(offset, size, name) of section 1's table; fields without a name are called by their offset, as in Head."""
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\S+) \|", DOCUMENT.read_text(), re.MULTILINE)
    renamed = {"reserved": "reserved_{}", "padding": "padding"}
    return [(int(at), int(size), renamed.get(name, name.strip("`")).format(at)) for at, size, name in rows]


def test_the_documented_table_has_no_gap() -> None:
    position = 0
    for offset, size, _ in documented_fields():
        assert offset == position
        position += size
    assert position == 1024


def test_fields_stand_where_the_document_says() -> None:
    """By name and in order, and each parsed value is the bytes at its place."""
    assert [name for _, _, name in documented_fields()] == list(Head.__slots__)[1:]
    for data in (APPLICATION_HEAD, BOOTLOADER_HEAD, FACTORY_TEST_HEAD, build_head(GRANT_PLAN)):
        head = parse_head(data)
        for offset, size, name in documented_fields():
            assert encoded(getattr(head, name), size) == data[offset : offset + size], name


def encoded(value: Any, size: int) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, Version):
        return struct.pack("<BBHI", value.major, value.minor, value.revision, value.build)
    return int(value).to_bytes(size, "little")


def test_a_parsed_application() -> None:
    head = parse_head(APPLICATION_HEAD)
    assert (head.package_type, head.target) == (PackageType.APPLICATION, Target.ONE_UID)
    assert head.recipient_mode is RecipientMode.DEVICE
    assert (head.hardware_revision_min, head.hardware_revision_max) == (1, 3)
    assert (head.security_version, head.load_address) == (7, 0x08020400)
    assert head.image_version == Version(1, 2, 3, 4)
    assert head.bootloader_version_min == Version(0, 1, 0, 0)
    assert head.image_size_bytes == len(IMAGE) == 9000
    assert (head.chunk_count, head.payload_size_bytes, head.package_size_bytes_min) == (3, 9096, 10120)
    assert head.target_uid == DEVICE_UID
    assert head.raw == APPLICATION_HEAD
    assert head.hash == sha256(APPLICATION_HEAD).digest()


def test_the_three_enumerations_are_enumerations() -> None:
    for data in (APPLICATION_HEAD, BOOTLOADER_HEAD, FACTORY_TEST_HEAD):
        head = parse_head(data)
        assert type(head.package_type) is PackageType
        assert type(head.target) is Target
        assert type(head.recipient_mode) is RecipientMode


def test_a_mutable_buffer_is_copied() -> None:
    buffer = bytearray(APPLICATION_HEAD)
    head = parse_head(buffer)
    buffer[:] = bytes(1024)
    assert head.raw == APPLICATION_HEAD
    assert head.product_id == APPLICATION_HEAD[40:56]


# --- what is signed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "context"),
    [
        (PackagePlan(), "SR-pkg-app-v1"),
        (bootloader_plan(), "SR-pkg-boot-v1"),
        (factory_test_plan(), "SR-pkg-test-v1"),
        (factory_test_plan(target=ONE_UID), "SR-pkg-test-v1"),
        (GRANT_PLAN, "SR-pkg-app-v1"),
    ],
)
def test_signed_digest(plan: PackagePlan, context: str) -> None:
    """The device's own UID goes in where the package is bound to one, and nowhere else; never the head's."""
    data = build_head(plan)
    own_uid = bytes(range(1, 13)) + bytes(4)
    uid = own_uid if plan.target == ONE_UID else bytes(16)
    assert parse_head(data).signed_digest(own_uid) == sha256(padded(context) + uid + data[:448]).digest()


@pytest.mark.parametrize("size", [0, 12, 15, 17])
def test_a_uid_not_padded_is_a_defect(size: int) -> None:
    for data in (APPLICATION_HEAD, BOOTLOADER_HEAD):
        with pytest.raises(ValueError, match="16 bytes"):
            parse_head(data).signed_digest(bytes(size))


# --- versions ---------------------------------------------------------------------------------------------------------


def test_versions_in_ascending_order() -> None:
    """Field by field from the left, unsigned at every edge."""
    texts = ["0.0.0+0", "0.0.0+1", "0.0.0+2147483648", "0.0.0+4294967295", "0.0.1+0", "0.0.32768+0", "0.0.65535+9"]
    texts += ["0.1.0+0", "0.128.0+0", "0.255.65535+4294967295", "1.0.0+0", "127.0.0+0", "128.0.0+0", "255.0.0+0"]
    versions = [Version(*map(int, re.split(r"[.+]", text))) for text in texts]
    assert versions == sorted(versions)
    assert [str(version) for version in versions] == texts
    assert all(earlier < later for earlier, later in combinations(versions, 2))


def test_version_bytes() -> None:
    version = Version(1, 2, 0x0304, 0x05060708)
    assert version.to_bytes().hex() == "0102040308070605"
    assert Version.from_bytes(version.to_bytes()) == version
