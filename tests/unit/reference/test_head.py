"""The head's checks 1 to 15: one accepted and one refused case or more for each, and their order."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.head import parse_head
from tests.unit.reference.builders import (
    ANY_DEVICE,
    APPLICATION,
    BOOTLOADER,
    FACTORY_TEST,
    GRANT_REQUIRED,
    HEAD_FIELDS,
    MODE_DEVICE,
    MODE_GRANT,
    MODE_GROUP,
    MODE_NONE,
    ONE_UID,
    PackagePlan,
    bootloader_plan,
    bootloader_release_keys,
    build_head,
    build_package,
    factory_test_plan,
    recipient_fields,
    u8,
    u16,
    u32,
    unsigned_fields,
    with_fields,
)
from tests.unit.reference.fake.keys import fake_key

MIB = 1024 * 1024

APPLICATION_HEAD = build_head(PackagePlan())
BOOTLOADER_HEAD = build_head(bootloader_plan())
FACTORY_TEST_HEAD = build_head(factory_test_plan())
GRANT_PLAN = PackagePlan(target=GRANT_REQUIRED, recipient_mode=MODE_GRANT)


def code_of(data: bytes) -> DeviceCode:
    """What the parser says to a head: its refusal, or OK."""
    try:
        parse_head(data)
    except Refused as refusal:
        return refusal.code
    return DeviceCode.OK


def sized(image_size_bytes: int, payload_size_bytes: int) -> dict[str, bytes]:
    """The fields that state these two sizes, the MCUboot header's among them."""
    header = unsigned_fields(PackagePlan())["mcuboot_header"]
    return {
        "mcuboot_header": header[:12] + u32(payload_size_bytes) + header[16:],
        "image_size_bytes": u32(image_size_bytes),
        "payload_size_bytes": u32(payload_size_bytes),
    }


def mcuboot(offset: int, value: bytes) -> dict[str, bytes]:
    header = unsigned_fields(PackagePlan())["mcuboot_header"]
    return {"mcuboot_header": header[:offset] + value + header[offset + len(value) :]}


def last_byte(name: str) -> dict[str, bytes]:
    return {name: bytes(HEAD_FIELDS[name][1] - 1) + b"\x01"}


def zero(name: str) -> dict[str, bytes]:
    return {name: bytes(HEAD_FIELDS[name][1])}


# --- each check -------------------------------------------------------------------------------------------------------

BOOT_IDS = [key.key_id for key in bootloader_release_keys()]
SIGNATURE = fake_key("application release").sign(bytes(32))

# rule, plan of the signed head, fields changed before signing, expected code
CASES: list[tuple[str, PackagePlan, dict[str, bytes], DeviceCode]] = [
    ("application", PackagePlan(), {}, DeviceCode.OK),
    ("bootloader", bootloader_plan(), {}, DeviceCode.OK),
    ("factory test", factory_test_plan(), {}, DeviceCode.OK),
    ("application by grant", GRANT_PLAN, {}, DeviceCode.OK),
    # 2
    ("ih_magic", PackagePlan(), mcuboot(0, u32(0x96F3B83C)), DeviceCode.MCUBOOT_HEADER),
    ("ih_load_addr", PackagePlan(), mcuboot(4, u32(1)), DeviceCode.MCUBOOT_HEADER),
    ("ih_hdr_size", PackagePlan(), mcuboot(8, u16(1023)), DeviceCode.MCUBOOT_HEADER),
    ("ih_protect_tlv_size", PackagePlan(), mcuboot(10, u16(4)), DeviceCode.MCUBOOT_HEADER),
    ("ih_img_size", PackagePlan(), mcuboot(12, u32(9095)), DeviceCode.MCUBOOT_HEADER),
    ("ih_flags", PackagePlan(), mcuboot(16, u32(0x10)), DeviceCode.MCUBOOT_HEADER),
    ("ih_ver", PackagePlan(), mcuboot(20, b"\x02"), DeviceCode.MCUBOOT_HEADER),
    ("image_version, not ih_ver", PackagePlan(), {"image_version": bytes(8)}, DeviceCode.MCUBOOT_HEADER),
    ("payload_size, not ih_img_size", PackagePlan(), {"payload_size_bytes": u32(9095)}, DeviceCode.MCUBOOT_HEADER),
    ("_pad1", PackagePlan(), mcuboot(28, u32(1)), DeviceCode.MCUBOOT_HEADER),
    # 3 to 6
    ("magic", PackagePlan(), {"magic": b"SRM2"}, DeviceCode.MANIFEST_MAGIC),
    ("format version 0", PackagePlan(), {"format_version": u16(0)}, DeviceCode.FORMAT_VERSION),
    ("format version 2", PackagePlan(), {"format_version": u16(2)}, DeviceCode.FORMAT_VERSION),
    ("format version 0x0101", PackagePlan(), {"format_version": u16(0x0101)}, DeviceCode.FORMAT_VERSION),
    ("package type 0", PackagePlan(), {"package_type": u8(0)}, DeviceCode.PACKAGE_TYPE),
    ("package type 4", PackagePlan(), {"package_type": u8(4)}, DeviceCode.PACKAGE_TYPE),
    ("suite 0", PackagePlan(), {"suite": u8(0)}, DeviceCode.SUITE),
    ("suite 2", PackagePlan(), {"suite": u8(2)}, DeviceCode.SUITE),
    # 7
    ("reserved at 94", PackagePlan(), last_byte("reserved_94"), DeviceCode.RESERVED_NOT_ZERO),
    ("reserved at 400", PackagePlan(), last_byte("reserved_400"), DeviceCode.RESERVED_NOT_ZERO),
    ("padding", PackagePlan(), last_byte("padding"), DeviceCode.RESERVED_NOT_ZERO),
    # 8, 9
    ("product id zero", PackagePlan(), zero("product_id"), DeviceCode.PRODUCT_ID),
    ("product id not quite zero", PackagePlan(), last_byte("product_id"), DeviceCode.OK),
    ("revisions 2 to 2", PackagePlan(hardware_revision_min=2, hardware_revision_max=2), {}, DeviceCode.OK),
    ("revisions 0 to 65535", PackagePlan(hardware_revision_min=0, hardware_revision_max=65535), {}, DeviceCode.OK),
    ("revisions 2 to 1", PackagePlan(hardware_revision_min=2, hardware_revision_max=1), {}, DeviceCode.HARDWARE_RANGE),
    (
        "revisions 256 to 255",
        PackagePlan(hardware_revision_min=256, hardware_revision_max=255),
        {},
        DeviceCode.HARDWARE_RANGE,
    ),
    # 10
    ("target 3", PackagePlan(), {"target": u8(3)}, DeviceCode.TARGET),
    ("target 3, no UID", bootloader_plan(), {"target": u8(3)}, DeviceCode.TARGET),
    ("one UID, none given", PackagePlan(), zero("target_uid"), DeviceCode.TARGET),
    ("one UID, only its last byte", PackagePlan(), last_byte("target_uid"), DeviceCode.OK),
    ("any device, a UID given", bootloader_plan(), last_byte("target_uid"), DeviceCode.TARGET),
    ("grant, a UID given", GRANT_PLAN, last_byte("target_uid"), DeviceCode.TARGET),
    # 11: the legal pairs have a test of their own
    ("recipient mode 4", PackagePlan(), {"recipient_mode": u8(4)}, DeviceCode.RECIPIENT_MODE),
    ("encrypted, no commitment", PackagePlan(), zero("cek_commitment"), DeviceCode.RECIPIENT_MODE),
    ("grant, no commitment", GRANT_PLAN, zero("cek_commitment"), DeviceCode.RECIPIENT_MODE),
    ("device, no ephemeral key", PackagePlan(), zero("ephemeral_public_key"), DeviceCode.RECIPIENT_MODE),
    ("group, no ephemeral key", bootloader_plan(), zero("ephemeral_public_key"), DeviceCode.RECIPIENT_MODE),
    ("device, no recipient key id", PackagePlan(), zero("recipient_key_id"), DeviceCode.RECIPIENT_MODE),
    ("group, no recipient key id", bootloader_plan(), zero("recipient_key_id"), DeviceCode.RECIPIENT_MODE),
    ("device, wrapped key zero by chance", PackagePlan(), zero("wrapped_cek"), DeviceCode.OK),
    ("none, a commitment", factory_test_plan(), last_byte("cek_commitment"), DeviceCode.RECIPIENT_MODE),
    ("none, an ephemeral key", factory_test_plan(), last_byte("ephemeral_public_key"), DeviceCode.RECIPIENT_MODE),
    ("none, a wrapped key", factory_test_plan(), last_byte("wrapped_cek"), DeviceCode.RECIPIENT_MODE),
    ("none, a recipient key id", factory_test_plan(), last_byte("recipient_key_id"), DeviceCode.RECIPIENT_MODE),
    ("grant, an ephemeral key", GRANT_PLAN, last_byte("ephemeral_public_key"), DeviceCode.RECIPIENT_MODE),
    ("grant, a wrapped key", GRANT_PLAN, last_byte("wrapped_cek"), DeviceCode.RECIPIENT_MODE),
    ("grant, a recipient key id", GRANT_PLAN, last_byte("recipient_key_id"), DeviceCode.RECIPIENT_MODE),
    # 12
    ("image of 0 bytes", PackagePlan(), sized(0, 0), DeviceCode.IMAGE_SIZE),
    ("image of 1 byte", PackagePlan(), sized(1, 33), DeviceCode.OK),
    ("image of 64 MiB", PackagePlan(), sized(64 * MIB, 64 * MIB + 16384 * 32), DeviceCode.OK),
    ("image of 64 MiB + 1", PackagePlan(), sized(64 * MIB + 1, 64 * MIB + 1 + 16385 * 32), DeviceCode.IMAGE_SIZE),
    ("image of 2^32 - 1", PackagePlan(), sized(2**32 - 1, 2**25 - 1), DeviceCode.IMAGE_SIZE),
    # 13
    ("chunks of 0", PackagePlan(), {"chunk_size_bytes": u32(0)}, DeviceCode.CHUNK_SIZE),
    ("chunks of 4095", PackagePlan(), {"chunk_size_bytes": u32(4095)}, DeviceCode.CHUNK_SIZE),
    ("chunks of 8192", PackagePlan(), {"chunk_size_bytes": u32(8192)}, DeviceCode.CHUNK_SIZE),
    # 14
    ("payload of 4095 + 32", PackagePlan(), sized(4095, 4127), DeviceCode.OK),
    ("payload of 4096 + 32", PackagePlan(), sized(4096, 4128), DeviceCode.OK),
    ("payload of 4096 + 64", PackagePlan(), sized(4096, 4160), DeviceCode.PAYLOAD_SIZE),
    ("payload of 4097 + 64", PackagePlan(), sized(4097, 4161), DeviceCode.OK),
    ("payload of 4097 + 32", PackagePlan(), sized(4097, 4129), DeviceCode.PAYLOAD_SIZE),
    ("payload one too small", PackagePlan(), sized(9000, 9095), DeviceCode.PAYLOAD_SIZE),
    ("payload one too large", PackagePlan(), sized(9000, 9097), DeviceCode.PAYLOAD_SIZE),
    # 15
    ("no signer", PackagePlan(), zero("signer_key_id_0"), DeviceCode.SIGNER_IDS),
    ("application, a second signer", PackagePlan(), last_byte("signer_key_id_1"), DeviceCode.SIGNER_IDS),
    ("application, a second signature", PackagePlan(), {"signature_1": SIGNATURE}, DeviceCode.SIGNER_IDS),
    ("factory test, a second signer", factory_test_plan(), last_byte("signer_key_id_1"), DeviceCode.SIGNER_IDS),
    ("factory test, a second signature", factory_test_plan(), last_byte("signature_1"), DeviceCode.SIGNER_IDS),
    ("bootloader, no first signer", bootloader_plan(), zero("signer_key_id_0"), DeviceCode.SIGNER_IDS),
    ("bootloader, no second signer", bootloader_plan(), zero("signer_key_id_1"), DeviceCode.SIGNER_IDS),
    ("bootloader, one twice", bootloader_plan(), {"signer_key_id_1": BOOT_IDS[0]}, DeviceCode.SIGNER_IDS),
    (
        "bootloader, descending",
        bootloader_plan(),
        {"signer_key_id_0": BOOT_IDS[1], "signer_key_id_1": BOOT_IDS[0]},
        DeviceCode.SIGNER_IDS,
    ),
    # compared as byte strings: as little-endian numbers these would be in the other order
    (
        "bootloader, ascending as bytes",
        bootloader_plan(),
        {"signer_key_id_0": b"\x01" * 7 + b"\x02", "signer_key_id_1": b"\x02" + b"\x01" * 7},
        DeviceCode.OK,
    ),
]


@pytest.mark.parametrize(("plan", "changed", "code"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_rule(plan: PackagePlan, changed: dict[str, bytes], code: DeviceCode) -> None:
    assert code_of(build_head(plan, changed)) is code


def test_every_code_of_the_parser_is_among_the_cases() -> None:
    assert {case[3] for case in CASES} == {code for code in DeviceCode if 102 <= code <= 115} | {DeviceCode.OK}


@pytest.mark.parametrize("name", ["reserved_94", "reserved_400", "padding"])
def test_a_reserved_byte_is_refused_by_the_offset_of_its_field(name: str) -> None:
    with pytest.raises(Refused, match=f"from offset {HEAD_FIELDS[name][0]} "):
        parse_head(build_head(PackagePlan(), last_byte(name)))


@pytest.mark.parametrize("size", [0, 1, 32, 448, 1023])
def test_a_truncated_head(size: int) -> None:
    assert code_of(APPLICATION_HEAD[:size]) is DeviceCode.HEAD_TRUNCATED


def test_more_than_a_head_is_a_defect_of_the_caller() -> None:
    with pytest.raises(ValueError, match="exactly 1,024"):
        parse_head(build_package(PackagePlan()))


def is_legal(package_type: int, target: int, mode: int) -> bool:
    """The sentence "Legal pairs" of section 1, clause by clause."""
    return (
        (mode != MODE_NONE or package_type == FACTORY_TEST)
        and (package_type != FACTORY_TEST or mode in (MODE_NONE, MODE_DEVICE))
        and (mode != MODE_DEVICE or target == ONE_UID)
        and (mode != MODE_GROUP or target in (ANY_DEVICE, ONE_UID))
        and (mode == MODE_GRANT) == (target == GRANT_REQUIRED)
    )


@pytest.mark.parametrize(("package_type", "target", "mode"), list(product((1, 2, 3), (0, 1, 2), (0, 1, 2, 3))))
def test_recipient_mode_with_type_and_target(package_type: int, target: int, mode: int) -> None:
    """All 36 combinations, each with the fields that its mode demands."""
    signers = {APPLICATION: PackagePlan().signers, BOOTLOADER: bootloader_release_keys()[:2]}
    plan = PackagePlan(
        package_type=package_type,
        target=target,
        recipient_mode=mode,
        signers=signers.get(package_type, (fake_key("production"),)),
    )
    expected = DeviceCode.OK if is_legal(package_type, target, mode) else DeviceCode.RECIPIENT_MODE
    assert code_of(build_head(plan)) is expected


# --- order of the checks ----------------------------------------------------------------------------------------------

# One failure of each check 2 to 15, in their order.
FAILURES: list[tuple[DeviceCode, int, bytes]] = [
    (DeviceCode.MCUBOOT_HEADER, 0, b"\x00"),
    (DeviceCode.MANIFEST_MAGIC, 32, b"\x00"),
    (DeviceCode.FORMAT_VERSION, 36, u16(2)),
    (DeviceCode.PACKAGE_TYPE, 38, u8(9)),
    (DeviceCode.SUITE, 39, u8(9)),
    (DeviceCode.RESERVED_NOT_ZERO, 1023, b"\x01"),
    (DeviceCode.PRODUCT_ID, 40, bytes(16)),
    (DeviceCode.HARDWARE_RANGE, 56, u16(9)),
    (DeviceCode.TARGET, 92, u8(9)),
    (DeviceCode.RECIPIENT_MODE, 93, u8(9)),
    (DeviceCode.IMAGE_SIZE, 76, u32(0)),
    (DeviceCode.CHUNK_SIZE, 176, u32(1)),
    (DeviceCode.PAYLOAD_SIZE, 180, u32(1)),
    (DeviceCode.SIGNER_IDS, 384, bytes(8)),
]


def failing(*failures: tuple[DeviceCode, int, bytes]) -> bytes:
    """An application's head with these failures; where `payload_size_bytes` is changed, `ih_img_size` follows it."""
    head = bytearray(APPLICATION_HEAD)
    for _, offset, value in failures:
        head[offset : offset + len(value)] = value
    head[12:16] = head[180:184]
    return bytes(head)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure[0].name)
def test_one_failure(failure: tuple[DeviceCode, int, bytes]) -> None:
    assert code_of(failing(failure)) is failure[0]


@pytest.mark.parametrize(("first", "second"), list(combinations(FAILURES, 2)), ids=lambda failure: failure[0].name)
def test_of_two_failures_the_first_in_order_is_reported(
    first: tuple[DeviceCode, int, bytes], second: tuple[DeviceCode, int, bytes]
) -> None:
    assert code_of(failing(first, second)) is first[0]


def test_of_all_failures_the_first_remaining_is_reported() -> None:
    for position, (code, _, _) in enumerate(FAILURES):
        assert code_of(failing(*FAILURES[position:])) is code


# --- anything at all --------------------------------------------------------------------------------------------------


@given(st.binary(max_size=1024))
def test_random_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    assert code_of(data) is not DeviceCode.OK


@given(
    st.sampled_from([APPLICATION_HEAD, BOOTLOADER_HEAD, FACTORY_TEST_HEAD, build_head(GRANT_PLAN)]),
    st.dictionaries(st.sampled_from(sorted(HEAD_FIELDS)), st.randoms(use_true_random=False), max_size=4),
)
def test_random_fields_never_raise_anything_but_refused(base: bytes, fields: dict[str, Any]) -> None:
    changed = {name: random.randbytes(HEAD_FIELDS[name][1]) for name, random in fields.items()}
    data = with_fields(base, changed)
    if code_of(data) is DeviceCode.OK:
        assert parse_head(data).raw == data


def test_commitment_alone_is_what_a_grant_has() -> None:
    """Guards the cases above: the builder's grant head differs from a device head in just these fields."""
    assert set(recipient_fields(GRANT_PLAN)) == {"cek_commitment"}
    assert set(recipient_fields(replace(GRANT_PLAN, recipient_mode=MODE_DEVICE))) == {
        "cek_commitment",
        "ephemeral_public_key",
        "wrapped_cek",
        "recipient_key_id",
    }
