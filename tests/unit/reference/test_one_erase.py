"""At most one sector erase between a request and its answer (docs/spec/device-state.md, section 10)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.records import Event, EventKind
from bootloader.simulation.device import ApplicationRuns, SimulatedDevice
from bootloader.simulation.sending import send_bytes
from bootloader.simulation.sim_flash import Operation
from tests.scenarios.world import World, image_of

WORLD = World()
TWO_SECTORS = WORLD.application(2, image=image_of("more than a sector", 131072 + 5000)) + bytes(100)
SMALL = WORLD.application(2) + bytes(100)
HEAD_SIZE_BYTES = 1024
CHUNK_SIZE_BYTES = 4128


def listening() -> SimulatedDevice:
    device = WORLD.device_with(1)
    device.power_on()
    device.application_requests_update()
    return device


def requests(device: SimulatedDevice, package: bytes, block_size_bytes: int) -> Iterator[tuple[int, int, int]]:
    """(offset sent, offset answered, sectors erased in between) of each request, until all is taken."""
    device.bootloader.begin_upload(len(package))
    offset = 0
    while offset < len(package):
        log: list[Operation] = []
        device.flash.log = log
        answered = device.bootloader.write(offset, package[offset : offset + block_size_bytes])
        yield offset, answered, sum(operation.data is None for operation in log)
        offset = answered


@pytest.mark.parametrize(
    ("package", "block_size_bytes"),
    [(SMALL, 1), (SMALL, 700), (SMALL, 10**6), (TWO_SECTORS, 1400), (TWO_SECTORS, 4129), (TWO_SECTORS, 10**6)],
)
def test_no_request_erases_more_than_one_sector(package: bytes, block_size_bytes: int) -> None:
    device = listening()
    seen = list(requests(device, package, block_size_bytes))
    assert max(erased for _, _, erased in seen) == 1
    assert sum(erased for _, _, erased in seen) == len(device.board.application.sectors)
    assert isinstance(device.reset_after_install(), ApplicationRuns)


def test_a_chunk_that_needs_an_erase_is_not_taken() -> None:
    """A host that sends head and chunks, one by one, is told the offset of a chunk again where a sector begins."""
    device = listening()
    device.bootloader.begin_upload(len(TWO_SECTORS))
    assert device.bootloader.write(0, TWO_SECTORS[:HEAD_SIZE_BYTES]) == HEAD_SIZE_BYTES
    again = []
    offset = HEAD_SIZE_BYTES
    while offset < HEAD_SIZE_BYTES + 33 * CHUNK_SIZE_BYTES:
        answered = device.bootloader.write(offset, TWO_SECTORS[offset : offset + CHUNK_SIZE_BYTES])
        if answered == offset:
            again.append((offset - HEAD_SIZE_BYTES) // CHUNK_SIZE_BYTES)
        offset = answered
    # Behind the head of 1,024 bytes the chunk with number 31 reaches into the second sector of 128 kB.
    assert again == [0, 31]


def test_the_last_byte_of_the_payload_waits_for_the_last_erase() -> None:
    """Every request that erases behind the image is answered with the offset of that byte, and that byte is enough."""
    device = listening()
    last_byte = len(SMALL) - 100 - 1
    seen = list(requests(device, SMALL, 700))
    waits = [(offset, erased) for offset, answered, erased in seen if answered == last_byte]
    sectors = len(device.board.application.sectors)
    assert sum(erased for _, erased in waits) == sectors - 1, "the first one was erased for the image itself"
    assert [offset for offset, _ in waits][1:] == [last_byte] * (sectors - 2)


def test_another_last_byte_is_refused_though_the_image_is_programmed() -> None:
    """The chunk is judged anew each time: what was authentic once is no promise for what comes in its place."""
    device = listening()
    last_byte = len(SMALL) - 100 - 1
    device.bootloader.begin_upload(len(SMALL))
    offset = 0
    while offset < last_byte:
        offset = device.bootloader.write(offset, SMALL[offset : last_byte + 1])
    with pytest.raises(Refused) as refused:
        device.bootloader.write(last_byte, bytes([SMALL[last_byte] ^ 1]))
    assert refused.value.code is DeviceCode.CHUNK_HASH
    assert device.bootloader.upload is None
    device.install(SMALL)
    assert isinstance(device.running, ApplicationRuns)


def test_another_chunk_in_place_of_the_one_that_waits_is_refused() -> None:
    device = listening()
    package = WORLD.application(2, image=image_of("two chunks", 5000))
    device.bootloader.begin_upload(len(package))
    assert device.bootloader.write(0, package[:1024]) == 1024
    assert device.bootloader.write(1024, package[1024:5152]) == 1024, "the sector was erased instead"
    changed = bytearray(package[1024:5152])
    changed[7] ^= 0x10
    with pytest.raises(Refused) as refused:
        device.bootloader.write(1024, bytes(changed))
    assert refused.value.code is DeviceCode.CHUNK_HASH


def test_a_compaction_counts_as_the_erase() -> None:
    """Compacted, then INSTALL_STARTED with the first sector, then the chunk: three requests, two of them wait."""
    device = listening()
    journal = device.bootloader.running.journal
    while not journal.is_compaction_due:
        count = journal.state.events[-1].count + 1
        journal.append(Event(DeviceCode.SIGNATURE_INVALID, EventKind.REFUSAL, count))
    package = WORLD.application(2, image=image_of("two chunks", 5000))
    device.bootloader.begin_upload(len(package))
    device.bootloader.write(0, package[:1024])
    sequence = device.bootloader.running.journal.half_sequence
    chunk = package[1024:5152]
    begun = []
    for expected in (1024, 1024, 5152):
        assert device.bootloader.write(1024, chunk) == expected
        begun.append(len(device.bootloader.running.state.installs_started))
        assert device.bootloader.running.journal.half_sequence == sequence + 1
    assert begun == [0, 1, 1]
    assert send_bytes(device.bootloader, package, 5152) == len(package)


def test_the_order_of_flash_operations_does_not_depend_on_the_blocks() -> None:
    """Whatever the requests, the same operations in the same order: power cuts leave the same states."""

    def operations(block_size_bytes: int) -> list[tuple[int, bytes | None]]:
        device = listening()
        log: list[Operation] = []
        device.flash.log = log
        device.install(TWO_SECTORS, block_size_bytes)
        return [(operation.address, operation.data) for operation in log]

    expected = operations(10**6)
    for block_size_bytes in (400, 1500, 4128):
        assert operations(block_size_bytes) == expected


def test_a_chunk_that_is_not_authentic_erases_nothing() -> None:
    device = listening()
    package = bytearray(SMALL)
    package[HEAD_SIZE_BYTES + 5] ^= 1
    device.bootloader.begin_upload(len(package))
    device.bootloader.write(0, bytes(package[:1024]))
    log: list[Operation] = []
    device.flash.log = log
    with pytest.raises(Refused):
        device.bootloader.write(1024, bytes(package[1024:]))
    assert not [operation for operation in log if operation.data is None]
