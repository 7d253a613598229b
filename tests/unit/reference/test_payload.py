"""Chunk chain, content key and image digest: docs/spec/package.md, sections 4 to 6."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.crypto import P256_ORDER, Aes256Ctr
from bootloader.reference.head import Head, parse_head
from bootloader.reference.payload import (
    authenticate_chunk,
    chunk_size_on_wire,
    image_digest_matches,
    image_hasher,
    require_committed,
    unwrap_content_key,
)
from tests.unit.reference.builders import (
    ANY_DEVICE,
    DEVICE_UID,
    GRANT_REQUIRED,
    IMAGE,
    MODE_DEVICE,
    MODE_GRANT,
    MODE_GROUP,
    ONE_UID,
    ZERO_UID,
    PackagePlan,
    bootloader_plan,
    build_chunks,
    build_head,
    build_package,
    factory_test_plan,
    link_of,
    wrap_content_key,
)
from tests.unit.reference.fake.keys import fake_key

OTHER_UID = bytes(range(1, 13)) + bytes(4)
DEVICE_KEY = fake_key("device agreement")
GROUP_KEY = fake_key("group agreement")
GROUP_PLAN = PackagePlan(target=ANY_DEVICE, recipient_mode=MODE_GROUP, recipient=GROUP_KEY)
BOUND_GROUP_PLAN = PackagePlan(target=ONE_UID, recipient_mode=MODE_GROUP, recipient=GROUP_KEY)


def head_of(plan: PackagePlan, changed: dict[str, bytes] | None = None) -> Head:
    return parse_head(build_head(plan, changed))


def walk(head: Head, chunks: list[bytes]) -> bytes:
    """The payload's data, every chunk authenticated in turn."""
    data, link = b"", head.first_link
    for index, chunk in enumerate(chunks):
        piece, link = authenticate_chunk(head, index, link, chunk)
        data += piece
    return data


def refused_chunk(head: Head, index: int, link: bytes, chunk: bytes) -> bool:
    with pytest.raises(Refused) as refusal:
        authenticate_chunk(head, index, link, chunk)
    return refusal.value.code is DeviceCode.CHUNK_HASH


# --- the chain --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 31, 32, 4095, 4096, 4097, 8191, 8192, 8193])
def test_a_whole_payload(size: int) -> None:
    plan = PackagePlan(image=(IMAGE * 2)[:size])
    head, package = head_of(plan), build_package(plan)
    position, chunks = 1024, []
    for index in range(head.chunk_count):
        chunks.append(package[position : position + chunk_size_on_wire(head, index)])
        position += len(chunks[-1])
    assert position == len(package) == head.package_size_bytes_min
    content_key = unwrap_content_key(head, DEVICE_KEY.private, DEVICE_UID)
    assert Aes256Ctr(content_key).decrypt(walk(head, chunks)) == plan.image


def test_a_plaintext_payload() -> None:
    plan = factory_test_plan()
    assert walk(head_of(plan), build_chunks(plan)) == IMAGE


def test_sizes_on_the_wire() -> None:
    head = head_of(PackagePlan())  # 9,000 bytes
    assert [chunk_size_on_wire(head, index) for index in range(3)] == [4128, 4128, 9000 - 8192 + 32]


@pytest.mark.parametrize("index", [-1, 3, 2**32])
def test_a_chunk_that_does_not_exist_is_a_defect(index: int) -> None:
    head = head_of(PackagePlan())
    with pytest.raises(IndexError):
        chunk_size_on_wire(head, index)
    with pytest.raises(IndexError):
        authenticate_chunk(head, index, head.first_link, bytes(4128))


def test_every_flipped_byte_of_a_payload() -> None:
    plan = PackagePlan(image=IMAGE[:4400])
    head, chunks = head_of(plan), build_chunks(plan)
    links = [head.first_link, chunks[0][-32:]]
    for index, chunk in enumerate(chunks):
        for position in range(len(chunk)):
            changed = chunk[:position] + bytes([chunk[position] ^ (1 << position % 8)]) + chunk[position + 1 :]
            assert refused_chunk(head, index, links[index], changed)


def test_every_flipped_bit_of_the_expected_link() -> None:
    plan = PackagePlan(image=IMAGE[:100])
    head, chunk = head_of(plan), build_chunks(plan)[0]
    for bit in range(256):
        link = bytearray(head.first_link)
        link[bit // 8] ^= 1 << bit % 8
        assert refused_chunk(head, 0, bytes(link), chunk)


def test_reordered_repeated_and_omitted_chunks() -> None:
    head, chunks = head_of(PackagePlan()), build_chunks(PackagePlan())
    links = [head.first_link, chunks[0][-32:], chunks[1][-32:]]
    for index in range(3):
        for other in range(3):
            if other != index:
                assert refused_chunk(head, index, links[index], chunks[other])


def test_equal_data_at_another_place() -> None:
    """The index is part of the link: equal chunks cannot change places, even where everything else is equal."""
    plan = factory_test_plan(image=bytes(3 * 4096))
    head = head_of(plan)
    chunk = bytes(4096) + bytes(32)
    assert refused_chunk(head, 1, link_of(2, chunk), chunk)
    assert authenticate_chunk(head, 2, link_of(2, chunk), chunk) == (bytes(4096), bytes(32))


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("change", [-4128, -33, -32, -1, 1, 32])
def test_chunks_of_another_size(index: int, change: int) -> None:
    """Refused for the size alone: the link that is demanded is the one of the wrong chunk."""
    head, chunk = head_of(PackagePlan()), build_chunks(PackagePlan())[index]
    wrong = chunk + bytes(change) if change > 0 else chunk[: max(0, len(chunk) + change)]
    assert refused_chunk(head, index, link_of(index, wrong), wrong)


@pytest.mark.parametrize("image", [IMAGE[:100], IMAGE], ids=["one chunk", "three chunks"])
def test_the_last_chunk_must_end_the_chain(image: bytes) -> None:
    """A signed chain that goes on past its last chunk is refused at that chunk, though every link is right."""
    plan = PackagePlan(image=image, last_link=b"\x01" + bytes(31))
    head, chunks = head_of(plan), build_chunks(plan)
    walk(head, chunks[:-1])
    link = chunks[-2][-32:] if len(chunks) > 1 else head.first_link
    assert refused_chunk(head, len(chunks) - 1, link, chunks[-1])


def test_a_zero_link_before_the_last_chunk_leads_nowhere() -> None:
    plan = PackagePlan(image=IMAGE[:8192])
    chunk = build_chunks(plan)[0][:4096] + bytes(32)
    head = head_of(plan, {"first_link": link_of(0, chunk)})
    _, link = authenticate_chunk(head, 0, head.first_link, chunk)
    assert link == bytes(32)
    assert refused_chunk(head, 1, link, build_chunks(plan)[1])


@given(st.binary(max_size=4200), st.integers(0, 2))
def test_random_chunks_are_refused_and_nothing_else(chunk: bytes, index: int) -> None:
    head = head_of(PackagePlan())
    assert refused_chunk(head, index, head.first_link, chunk)


# --- the content key --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "recipient"),
    [
        (PackagePlan(), DEVICE_KEY),
        (GROUP_PLAN, GROUP_KEY),
        (BOUND_GROUP_PLAN, GROUP_KEY),
        (bootloader_plan(), GROUP_KEY),
        (factory_test_plan(target=ONE_UID, recipient_mode=MODE_DEVICE, recipient=DEVICE_KEY), DEVICE_KEY),
    ],
    ids=["device", "group", "group, one UID", "bootloader", "factory test"],
)
def test_the_recipient_unwraps(plan: PackagePlan, recipient: object) -> None:
    assert recipient is plan.recipient
    assert unwrap_content_key(head_of(plan), plan.recipient.private, DEVICE_UID) == plan.content_key


def unwrap_code(head: Head, private: bytes = DEVICE_KEY.private, uid: bytes = DEVICE_UID) -> DeviceCode:
    with pytest.raises(Refused) as refusal:
        unwrap_content_key(head, private, uid)
    return refusal.value.code


def test_another_recipient() -> None:
    for name in ("another device", "group agreement"):
        assert unwrap_code(head_of(PackagePlan()), fake_key(name).private) is DeviceCode.CEK_COMMITMENT


@pytest.mark.parametrize("plan", [PackagePlan(), BOUND_GROUP_PLAN], ids=["device", "group"])
def test_another_uid(plan: PackagePlan) -> None:
    for uid in (OTHER_UID, ZERO_UID):
        assert unwrap_code(head_of(plan), plan.recipient.private, uid) is DeviceCode.CEK_COMMITMENT


def test_the_uid_does_not_matter_where_the_package_is_for_any_device() -> None:
    for uid in (DEVICE_UID, OTHER_UID):
        assert unwrap_content_key(head_of(GROUP_PLAN), GROUP_KEY.private, uid) == GROUP_PLAN.content_key


@pytest.mark.parametrize(
    "changed",
    [
        {"product_id": OTHER_UID},
        {"image_salt": bytes(32)},
        {"wrapped_cek": bytes(32)},
        {"cek_commitment": b"\x01" * 32},
        {"ephemeral_public_key": fake_key("another ephemeral").public},
        {"recipient_mode": bytes([MODE_GROUP])},
    ],
    ids=lambda changed: str(*changed),
)
def test_what_the_wrap_is_bound_to(changed: dict[str, bytes]) -> None:
    """A wrapped key taken into another package, or changed on the way, is not the key committed to."""
    assert unwrap_code(head_of(PackagePlan(), changed)) is DeviceCode.CEK_COMMITMENT


def test_the_recipient_key_is_part_of_the_wrap() -> None:
    """The private key n − d has the point (X, −Y), and so the same shared X coordinate; yet it does not unwrap."""
    mirrored = P256_ORDER - int.from_bytes(DEVICE_KEY.private, "big")
    assert unwrap_code(head_of(PackagePlan()), mirrored.to_bytes(32, "big")) is DeviceCode.CEK_COMMITMENT


def test_a_wrap_of_a_wrong_key_is_refused() -> None:
    """Well formed and signed, but the key inside is not the one the head commits to: nothing would be erased."""
    wrapped = wrap_content_key(PackagePlan(content_key=bytes(32)))
    assert unwrap_code(head_of(PackagePlan(), {"wrapped_cek": wrapped})) is DeviceCode.CEK_COMMITMENT


@pytest.mark.parametrize("point", [b"\x01" * 64, b"\xff" * 64, bytes(63) + b"\x01"])
def test_an_ephemeral_key_off_the_curve(point: bytes) -> None:
    assert unwrap_code(head_of(PackagePlan(), {"ephemeral_public_key": point})) is DeviceCode.EPHEMERAL_KEY


def test_the_negative_ephemeral_key_is_another_key() -> None:
    """(X, −Y) gives the same shared X coordinate; the point itself is in `info`, so the pad differs."""
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    ephemeral = PackagePlan().ephemeral.public
    mirrored = ephemeral[:32] + (prime - int.from_bytes(ephemeral[32:], "big")).to_bytes(32, "big")
    assert unwrap_code(head_of(PackagePlan(), {"ephemeral_public_key": mirrored})) is DeviceCode.CEK_COMMITMENT


def test_a_head_without_a_wrapped_key_is_a_defect_of_the_caller() -> None:
    for plan in (factory_test_plan(), PackagePlan(target=GRANT_REQUIRED, recipient_mode=MODE_GRANT)):
        with pytest.raises(ValueError, match="no wrapped content key"):
            unwrap_content_key(head_of(plan), DEVICE_KEY.private, DEVICE_UID)


def test_commitment() -> None:
    head = head_of(PackagePlan(target=GRANT_REQUIRED, recipient_mode=MODE_GRANT))
    require_committed(head, PackagePlan().content_key)
    with pytest.raises(Refused) as refusal:
        require_committed(head, bytes(32))
    assert refusal.value.code is DeviceCode.CEK_COMMITMENT


def test_no_refusal_shows_a_key() -> None:
    plan = PackagePlan()
    with pytest.raises(Refused) as refusal:
        unwrap_content_key(head_of(plan, {"cek_commitment": b"\x01" * 32}), DEVICE_KEY.private, DEVICE_UID)
    for secret in (plan.content_key, DEVICE_KEY.private):
        assert secret.hex() not in repr(refusal.value)
        assert repr(secret) not in repr(refusal.value)


# --- the image digest -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 9000), max_size=5))
def test_image_digest_in_any_pieces(cuts: list[int]) -> None:
    head = head_of(PackagePlan())
    hasher = image_hasher(head)
    edges = [0, *sorted(cuts), len(IMAGE)]
    for start, end in pairwise(edges):
        hasher.update(IMAGE[start:end])
    assert image_digest_matches(head, hasher)


@pytest.mark.parametrize(
    "image", [b"", IMAGE[:-1], IMAGE + b"\xff", b"\0" + IMAGE[1:], IMAGE[:-1] + b"\0"], ids=range(5)
)
def test_another_image(image: bytes) -> None:
    head = head_of(PackagePlan())
    hasher = image_hasher(head)
    hasher.update(image)
    assert not image_digest_matches(head, hasher)


def test_the_salt_is_part_of_the_digest() -> None:
    """The same image in two packages has two digests."""
    one, other = head_of(PackagePlan()), head_of(PackagePlan(image_salt=b"\x01" * 32))
    assert one.image_digest != other.image_digest
    hasher = image_hasher(one)
    hasher.update(IMAGE)
    assert not image_digest_matches(other, hasher)
