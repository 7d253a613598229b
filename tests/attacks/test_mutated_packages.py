"""Packages that somebody changed on their way: every bit of a head and byte of a payload, every length and order."""

from __future__ import annotations

from itertools import permutations

import pytest

from bootloader.reference import install
from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.crypto import Aes256Ctr
from bootloader.reference.events import REFUSALS_MAX, EventLog
from bootloader.simulation.device import SimulatedDevice
from bootloader.simulation.sending import send_bytes
from tests.attacks.bench_device import (
    SMALL,
    SMALL_IMAGE_SIZE_BYTES,
    BenchDevice,
    code_of,
    outside_the_journal,
    runs_application,
    same_sectors,
)
from tests.scenarios.world import World, image_of
from tests.unit.reference import builders

HEAD_SIZE_BYTES = 1024
CHUNK_ON_WIRE_SIZE_BYTES = 4096 + 32


def packages() -> dict[str, tuple[World, bytes]]:
    return {"application": (SMALL, SMALL.application(2)), "bootloader": (SMALL, SMALL.bootloader(2, Copy.B))}


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def refusal_of_head(device: SimulatedDevice, head: bytes, package_size_bytes: int) -> Refused:
    device.bootloader.begin_upload(package_size_bytes)
    with pytest.raises(Refused) as refusal:
        device.bootloader.write(0, head)
    return refusal.value


@pytest.mark.parametrize("kind", packages())
def test_every_flipped_bit_of_a_head_is_refused_before_any_flash_operation(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row: unsigned or flexible fields (CVE-2024-32883). All 8,192 bits, one at a time; the head as it was is taken."""
    world, package = packages()[kind]
    bench = BenchDevice.with_application(world)
    device, head = bench.put_back(), package[:HEAD_SIZE_BYTES]
    operations_at_refusal: list[int] = []
    record_refusal = EventLog.record_refusal

    def seen(self: EventLog, code: DeviceCode) -> None:
        operations_at_refusal.append(device.flash.operation_count)
        record_refusal(self, code)

    monkeypatch.setattr(EventLog, "record_refusal", seen)
    before = outside_the_journal(device)
    written_for_events = 0
    for bit in range(8 * HEAD_SIZE_BYTES):
        begin = device.flash.operation_count
        refusal = refusal_of_head(device, flipped(head, bit), len(package))
        assert 100 < refusal.code < 300, f"bit {bit}: {refusal}"
        assert operations_at_refusal.pop() == begin, f"bit {bit}: flash was written before the refusal"
        written_for_events += device.flash.operation_count > begin
    assert written_for_events <= REFUSALS_MAX
    assert same_sectors(before, outside_the_journal(device))
    assert code_of(bench.put_back(), package) is DeviceCode.OK


def test_every_changed_byte_of_a_payload_is_refused_before_it_is_decrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row: decrypt before verify, CTR malleability. That chunk is refused before decryption, and nothing is erased."""
    package = SMALL.application(2)
    bench = BenchDevice.with_application(SMALL)
    device = bench.put_back()
    decrypted: list[bytes] = []

    class Spy(Aes256Ctr):
        def decrypt(self, data: bytes) -> bytes:
            decrypted.append(data)
            return super().decrypt(data)

    monkeypatch.setattr(install, "Aes256Ctr", Spy)
    before = outside_the_journal(device)
    for at in range(HEAD_SIZE_BYTES, len(package)):
        changed = flipped(package, 8 * at + at % 8)
        assert code_of(device, changed) is DeviceCode.CHUNK_HASH, f"byte {at}"
    assert decrypted == []
    assert same_sectors(before, outside_the_journal(device))
    assert runs_application(device, 1)
    assert code_of(bench.put_back(), package) is DeviceCode.OK
    assert len(decrypted) == 1


def test_a_changed_byte_of_a_later_chunk_is_not_written_and_the_package_is_taken_again() -> None:
    """Row: decrypt before verify, CTR malleability; the second chunk, when the first is in flash already."""
    plan = SMALL.application_plan(2, image=image_of("two chunks", 4096 + 40))
    package = builders.build_package(plan)
    bench = BenchDevice.with_application(SMALL)
    second_chunk = HEAD_SIZE_BYTES + CHUNK_ON_WIRE_SIZE_BYTES
    device = bench.put_back()
    for at in range(second_chunk, len(package), 5):
        assert code_of(device, flipped(package, 8 * at)) is DeviceCode.CHUNK_HASH, f"byte {at}"
        behind = device.board.application.address + HEAD_SIZE_BYTES + 4096
        assert device.flash.read(behind, 40) == b"\xff" * 40
        assert device.flash.read(device.board.application.address, 1024) == b"\xff" * 1024
    assert not runs_application(device, 1)
    device.power_on()
    assert code_of(device, package) is DeviceCode.OK
    assert runs_application(device, 2)


def test_every_announced_truncation_is_refused_and_changes_nothing() -> None:
    """Row: a truncated package. Every length up to the whole one, announced as it is; a trailer too long as well."""
    package = SMALL.application(2)
    bench = BenchDevice.with_application(SMALL)
    device = bench.put_back()
    before = outside_the_journal(device)
    for length in range(len(package)):
        expected = DeviceCode.HEAD_TRUNCATED if length < HEAD_SIZE_BYTES else DeviceCode.PACKAGE_SIZE
        assert code_of(device, package[:length]) is expected, f"{length} bytes"
    assert code_of(device, package + bytes(513)) is DeviceCode.PACKAGE_SIZE
    assert same_sectors(before, outside_the_journal(device))
    assert code_of(bench.put_back(), package + bytes(512)) is DeviceCode.OK


def test_a_package_that_stops_at_any_length_is_old_new_or_sent_again() -> None:
    """Row: a truncated package. Announced whole, stopped after every length: never a third state."""
    trailer = bytes(range(100))
    package = SMALL.application(2) + trailer
    bench = BenchDevice.with_application(SMALL)
    complete = len(package) - len(trailer)
    for length in range(0, len(package) + 1, 3):
        device = bench.put_back()
        device.bootloader.begin_upload(len(package))
        send_bytes(device.bootloader, package[:length])
        if length < complete:
            assert runs_application(device, 1), f"{length} bytes"
        else:
            assert runs_application(device, 2), f"{length} bytes"


def test_chunks_in_any_other_order_are_refused() -> None:
    """Row: reordered, repeated, left out and foreign chunks: CHUNK_HASH, no image, and the right order is taken."""
    plans = [SMALL.application_plan(2, image=image_of(text, 2 * 4096 + 77)) for text in ("three chunks", "others")]
    head, chunks, foreign = builders.build_head(plans[0]), *(builders.build_chunks(plan) for plan in plans)
    bench = BenchDevice.with_application(SMALL)
    orders = [[chunks[i] for i in order] for order in permutations(range(3)) if order != (0, 1, 2)]
    orders += [[chunks[0], chunks[0], chunks[2]], [chunks[0], chunks[1], chunks[1]], [chunks[1], chunks[1], chunks[2]]]
    orders += [[*chunks[:i], foreign[i], *chunks[i + 1 :]] for i in range(3)]
    size_bytes = len(head) + sum(len(chunk) for chunk in chunks)
    for order in orders:
        device = bench.put_back()
        package = (head + b"".join(order)).ljust(size_bytes, b"\0")[:size_bytes]
        assert code_of(device, package) is DeviceCode.CHUNK_HASH
        assert device.flash.read(device.board.application.address, 1024) != head
        assert not runs_application(device, 2)
    assert code_of(bench.put_back(), head + b"".join(chunks)) is DeviceCode.OK


def test_every_block_size_installs_the_same_bytes() -> None:
    """Row: block size and alignment (CVE-2021-3625, MCUboot #2623). Sizes 1 to 1500, and far beyond the package."""
    package = SMALL.application(2) + bytes(144)
    bench = BenchDevice.with_application(SMALL)
    image = image_of("application 2", SMALL_IMAGE_SIZE_BYTES)
    expected = package[:HEAD_SIZE_BYTES] + image + b"\xff" * 700
    for block_size_bytes in (*range(1, 1501), 2**16, 2**31):
        device = bench.put_back()
        device.bootloader.begin_upload(len(package))
        at = 0
        while at < len(package):
            erased = device.flash.operation_count
            expected_next = device.bootloader.write(at, package[at : at + block_size_bytes])
            whole = expected_next == min(at + block_size_bytes, len(package))
            assert whole or (at <= expected_next and device.flash.operation_count > erased), "or it had to wait"
            at = expected_next
        assert device.flash.read(device.board.application.address, len(expected)) == expected


def test_bytes_for_another_offset_are_not_taken() -> None:
    """Row: block size and alignment; offsets 1 to 1500, repeats, overlaps, gaps, extremes."""
    package = SMALL.application(2)
    bench = BenchDevice.with_application(SMALL)
    device = bench.put_back()
    device.bootloader.begin_upload(len(package))
    assert device.bootloader.write(0, package[:700]) == 700
    begin = device.flash.operation_count
    for offset in (*range(700), *range(701, 1501), -1, len(package), 2**31, 2**32 - 1, 2**64):
        assert device.bootloader.write(offset, package[:50]) == 700
    assert device.flash.operation_count == begin
    assert device.bootloader.write(700, b"") == 700
    assert send_bytes(device.bootloader, package, 700) == len(package)
    assert runs_application(device, 2)


def test_bytes_beyond_the_announced_end_are_refused() -> None:
    """Row: block size and alignment; a block that reaches past the end, and bytes after the end."""
    package = SMALL.application(2)
    bench = BenchDevice.with_application(SMALL)
    for taken in (0, 1, HEAD_SIZE_BYTES, len(package) - 1, len(package)):
        device = bench.put_back()
        device.bootloader.begin_upload(len(package))
        send_bytes(device.bootloader, package[:taken])
        with pytest.raises(Refused) as refusal:
            device.bootloader.write(taken, package[taken:] + b"\0")
        assert refusal.value.code is DeviceCode.UPLOAD_STATE
        assert runs_application(device, 2 if taken == len(package) else 1)
    device = bench.put_back()
    with pytest.raises(Refused) as refusal:
        device.bootloader.write(0, package)
    assert refusal.value.code is DeviceCode.UPLOAD_STATE
