"""A simulated device of the reference, put together from the facts of `devices.json`, answers as each vector says.

What stands in its flash is written here from the specification, by the vectors' own generator, not by the reference.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import pytest

import bootloader
from bootloader.reference.board import load_board
from bootloader.reference.codes import Refused
from bootloader.reference.head import Version
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, SimulatedDevice, blank_flash
from tests.conformance.vectors import Entry, content, entries, hexes, name_of, named
from tests.vectors.generator.journal import HalfWriter
from tests.vectors.generator.journal_case import floors

BOARD = load_board((Path(bootloader.__file__).parent / "boards" / "stm32f405-full.toml").read_text())
LIFECYCLES = {"LOCKED": 0x3C, "OPERATIONAL": 0xA5, "RMA": 0x66, "DECOMMISSIONED": 0x99}
WITH_STATE = [facts for facts in entries("devices") if facts["lifecycle"] != "NONE"]
HEAD_SIZE_BYTES = 1024
PRE_BOOTLOADER_KEYS_OFFSET = 3904
COPY_NUMBERS = {"A": 0, "B": 1}


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def package_of(file: str) -> Entry:
    (entry,) = [entry for entry in entries("packages") if entry["file"] == file]
    return entry


def head_and_image(file: str) -> bytes:
    """A package as it stands in flash once installed: its head, then the plaintext image."""
    entry = package_of(file)
    image = content(entry["made_from"]["image"])[: entry["expected"]["image_size_bytes"]]
    return content(file)[:HEAD_SIZE_BYTES] + image


def records_of(facts: Entry, bundle: bytes | None = None) -> HalfWriter:
    """The first half of the device's journal; with another trust bundle, if one is given."""
    writer = HalfWriter(1)
    running = facts["running_copy"]
    revision, lifecycle = facts["hardware_revision"].to_bytes(2, "little"), LIFECYCLES[facts["lifecycle"]]
    identity = bytes.fromhex(facts["product_id"]) + revision + bytes((lifecycle, 1)) + bytes.fromhex(facts["lot"])
    writer.append("DEVICE", identity)
    writer.append("TRUST_BUNDLE", content(facts["trust_bundle"]) if bundle is None else bundle)
    running_head = content(facts[f"bootloader_{running.lower()}"])[:HEAD_SIZE_BYTES]
    writer.append("BOOT_CONFIRMED", bytes((COPY_NUMBERS[running], 0, 0, 0)) + sha256(running_head))
    if facts["identity_private_key"] is not None:
        keys = facts["identity_private_key"] + facts["agreement_private_key"]
        writer.append("DEVICE_KEYS", bytes.fromhex(keys))
    if facts["group_private_key"] is not None:
        writer.append("GROUP_KEY", bytes.fromhex(facts["group_private_key"]))
    limits = facts["floors"]
    writer.append("FLOORS", floors(limits["application"], limits["bootloader"], limits["factory_test"]))
    if facts["confirmed_application"] is not None:
        append_installed(writer, facts["confirmed_application"])
    for name, payload in facts["further_records"].items():
        writer.append(name, bytes.fromhex(payload))
    return writer


def append_installed(writer: HalfWriter, file: str) -> None:
    """INSTALLED and APP_CONFIRMED for an application."""
    package, fields = content(file), package_of(file)["expected"]["fields"]
    head = package[:HEAD_SIZE_BYTES]
    upload = package[: HEAD_SIZE_BYTES + fields["payload_size_bytes"]]
    bundle = named("trust_bundles", "genesis-2-of-3")["expected"]["content"]
    signers = hexes([key["public_key"] for key in bundle["role_keys"] if key["role"] == 1])
    signer = next(key for key in signers if key_id(key).hex() == fields["signer_key_id_0"])
    security_version = fields["security_version"].to_bytes(4, "little")
    installed = bytes((1, 0, 0, 0)) + security_version + head[20:28] + sha256(head) + sha256(upload) + signer
    writer.append("INSTALLED", installed)
    writer.append("APP_CONFIRMED", sha256(head))


def key_id(public: bytes) -> bytes:
    prefix = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04"
    return sha256(prefix + public)[:8]


@cache
def blocks_of(device_name: str) -> tuple[tuple[int, bytes], ...]:
    """All of a device's flash that is not erased."""
    facts = named("devices", device_name)
    regions = facts["regions"]
    keys = b"".join(hexes(facts["built_in_bootloader_keys"]))
    blocks = [
        (BOARD.pre_bootloader.address + PRE_BOOTLOADER_KEYS_OFFSET, keys),
        (regions["bootloader_a"]["address"], head_and_image(facts["bootloader_a"])),
        (regions["bootloader_b"]["address"], head_and_image(facts["bootloader_b"])),
    ]
    if facts["lifecycle"] != "NONE":
        blocks.append((BOARD.state_0.address, records_of(facts).content))
    if facts["confirmed_application"] is not None:
        blocks.append((regions["application"]["address"], head_and_image(facts["confirmed_application"])))
    return tuple(blocks)


def device_in_update_mode(device_name: str) -> SimulatedDevice:
    facts = named("devices", device_name)
    flash = blank_flash(BOARD)
    for address, data in blocks_of(device_name):
        flash.load(address, data)
    device = SimulatedDevice(BOARD, bytes.fromhex(facts["uid"])[: BOARD.uid_size_bytes], flash)
    device.entry_pin_is_active = True
    running = device.power_on()
    assert isinstance(running, InUpdateMode)
    assert running.copy.name == facts["running_copy"]
    return device


def test_the_board_is_the_one_that_the_vectors_are_for() -> None:
    for facts in entries("devices"):
        for name, place in facts["regions"].items():
            region = getattr(BOARD, name)
            assert (region.address, region.size_bytes) == (place["address"], place["size_bytes"])


@pytest.mark.parametrize("facts", WITH_STATE, ids=name_of)
def test_a_device_is_what_its_facts_say(facts: Entry) -> None:
    status = device_in_update_mode(facts["name"]).status()
    running = status.copies[COPY_NUMBERS[facts["running_copy"]]]
    assert running.version == Version(*facts["running_bootloader_version"])
    assert running.is_confirmed
    assert all(copy.version is not None for copy in status.copies)
    limits = facts["floors"]
    assert (status.floors.application, status.floors.bootloader) == (limits["application"], limits["bootloader"])
    assert status.application_is_confirmed is (facts["confirmed_application"] is not None)


@pytest.mark.parametrize(
    "entry", [entry for entry in entries("packages") if entry["expected"]["code"] != "OK"], ids=name_of
)
def test_device_refuses(entry: Entry) -> None:
    device = device_in_update_mode(entry["device"])
    with pytest.raises(Refused) as refusal:
        device.install(content(entry["file"]))
    assert refusal.value.code.name == entry["expected"]["code"]


@pytest.mark.parametrize(
    "entry", [entry for entry in entries("packages") if entry["expected"]["code"] == "OK"], ids=name_of
)
def test_device_installs(entry: Entry) -> None:
    device = device_in_update_mode(entry["device"])
    package = content(entry["file"])
    fields, expected = entry["expected"]["fields"], entry["expected"]
    device.entry_pin_is_active = False
    running = device.install(package, block_size_bytes=700)
    regions, other = named("devices", entry["device"])["regions"], {"A": "b", "B": "a"}
    is_bootloader = fields["package_type"] == 2
    name = f"bootloader_{other[named('devices', entry['device'])['running_copy']]}" if is_bootloader else "application"
    address, size_bytes = regions[name]["address"], expected["image_size_bytes"]
    assert device.flash.read(address, HEAD_SIZE_BYTES) == package[:HEAD_SIZE_BYTES]
    image = device.flash.read(address + HEAD_SIZE_BYTES, size_bytes)
    assert sha256(image).hex() == expected["image_sha256"]
    if is_bootloader:
        assert isinstance(running, InUpdateMode)
        assert running.copy.name.lower() == name.removeprefix("bootloader_")
    else:
        assert isinstance(running, ApplicationRuns)
        assert running.head.raw == package[:HEAD_SIZE_BYTES]


@pytest.mark.parametrize(
    "entry", [entry for entry in entries("trust_bundles") if entry["offered_as"] == "genesis"], ids=name_of
)
def test_device_takes_no_genesis_but_its_own(entry: Entry) -> None:
    """Successors: test_bundle_succession.py. A well-formed genesis that is not the device's own does not follow it."""
    device = device_in_update_mode("operational")
    bundle, own = content(entry["file"]), named("devices", "operational")["trust_bundle"]
    code = entry["expected"]["code"]
    if code == "BUNDLE_PRODUCT" or entry["expected"]["stage"] == "parse":
        expected = code
    elif bundle[:1599] != content(own)[:1599]:
        # This one even follows the device's own, but no previous root signed it.
        expected = "BUNDLE_SIGNATURES" if entry["name"] == "genesis-version-2" else "BUNDLE_SUCCESSION"
    elif entry["name"].startswith("genesis-signatures-"):
        expected = GENESIS_OFFERED_AGAIN.get(entry["name"].removeprefix("genesis-signatures-"), "BUNDLE_SIGNATURES")
    else:
        expected = code
    if expected == "OK":
        device.receive_trust_bundle(bundle)
        return
    with pytest.raises(Refused) as refusal:
        device.receive_trust_bundle(bundle)
    assert refusal.value.code.name == expected


# A device that has the bundle already does not look at signatures of set 0, which a genesis must not have.
GENESIS_OFFERED_AGAIN = {"set-0": "OK"}
