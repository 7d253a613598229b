"""The update tool's own reader of packages, held to the independent vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pki.errors import InputRefused
from rpc.update.package_facts import PackageType, parse_head, read_package
from rpc.update.rules import MaterialRefused
from tests.conformance.vectors import VECTORS, Entry, content, entries, name_of, named

PACKAGES = entries("packages")
BAD_HEADS = [entry for entry in PACKAGES if entry["expected"]["stage"] == "head"]
GOOD_HEADS = [entry for entry in PACKAGES if entry["expected"]["stage"] != "head"]
WHOLE = [entry for entry in PACKAGES if entry["expected"]["code"] == "OK"]
BROKEN = [
    entry
    for entry in PACKAGES
    if entry["expected"]["code"] in {"CHUNK_HASH", "PACKAGE_SIZE"} and not entry["name"].startswith("signature")
]


@pytest.mark.parametrize("entry", BAD_HEADS, ids=name_of)
def test_a_head_that_no_device_parses_is_not_sent_to_any(entry: Entry) -> None:
    with pytest.raises(MaterialRefused, match="UP-01"):
        parse_head(content(entry["file"])[:1024])


@pytest.mark.parametrize("entry", GOOD_HEADS, ids=name_of)
def test_what_devices_parse_is_parsed(entry: Entry) -> None:
    head = content(entry["file"])[:1024]
    facts = parse_head(head)
    assert facts.head_hash == hashlib.sha256(head).digest()
    assert facts.package_type in set(PackageType)


@pytest.mark.parametrize("entry", WHOLE, ids=name_of)
def test_fields_are_those_of_the_vector(entry: Entry) -> None:
    file = read_package(VECTORS / entry["file"])
    facts, fields = file.facts, entry["expected"]["fields"]
    numbers = (
        *("hardware_revision_min", "hardware_revision_max", "security_version", "load_address", "image_size_bytes"),
        *("trust_bundle_version_min", "target", "recipient_mode", "payload_size_bytes", "package_type"),
    )
    for name in numbers:
        assert getattr(facts, name) == fields[name], name
    for name in ("product_id", "target_uid", "first_link", "recipient_key_id"):
        assert getattr(facts, name).hex() == fields[name], name
    assert list(facts.version) == fields["image_version"]
    assert list(facts.bootloader_version_min) == fields["bootloader_version_min"]
    signers = [fields["signer_key_id_0"], fields["signer_key_id_1"]]
    assert [signer.hex() for signer in facts.signer_key_ids] == [signer for signer in signers if signer.strip("0")]
    assert (file.sha256.hex(), file.size_bytes) == (entry["sha256"], len(content(entry["file"])))
    with file.open() as stream:
        assert stream.read() == content(entry["file"])


@pytest.mark.parametrize("entry", BROKEN, ids=name_of)
def test_a_package_that_is_not_whole_is_not_sent(entry: Entry) -> None:
    with pytest.raises(MaterialRefused, match="UP-02"):
        read_package(VECTORS / entry["file"])


def test_there_are_enough_of_each_kind() -> None:
    assert (len(BAD_HEADS), len(BROKEN), len(WHOLE)) >= (70, 10, 40)


def unsigned(data: bytes) -> bytes:
    return data[:448] + bytes(128) + data[576:]


def half_signed(data: bytes) -> bytes:
    return data[:512] + bytes(64) + data[576:]


@pytest.mark.parametrize(
    ("name", "change"),
    [("app-device-mode", unsigned), ("bootloader-copy-b", unsigned), ("bootloader-copy-b", half_signed)],
)
def test_a_prepared_package_is_not_sent(name: str, change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "prepared.srp"
    path.write_bytes(change(content(named("packages", name)["file"])))
    with pytest.raises(MaterialRefused, match="UP-03"):
        read_package(path)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="cannot be read"):
        read_package(tmp_path / "nothing.srp")
    path = tmp_path / "short.srp"
    path.write_bytes(bytes(1023))
    with pytest.raises(MaterialRefused, match=r"UP-01.*short\.srp"):
        read_package(path)


def test_a_file_that_changes_between_reading_and_sending_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "package.srp"
    path.write_bytes(content(WHOLE[0]["file"]))
    file = read_package(path)
    path.write_bytes(content(WHOLE[0]["file"]) + b"\0")
    with pytest.raises(InputRefused, match="changed meanwhile"):
        file.open()
    path.unlink()
    with pytest.raises(InputRefused, match="cannot be read"):
        file.open()
