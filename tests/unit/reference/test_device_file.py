"""A simulated device in one file: everything survives, and nothing but such a file is read."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode
from bootloader.reference.start import Mailbox, MailboxRequest
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, PowerOn, SimulatedDevice
from bootloader.simulation.device_file import (
    DeviceFileInvalid,
    create_device_file,
    decode_device,
    encode_device,
    read_device_file,
    replace_device_file,
)
from bootloader.simulation.platform import OptionBytes
from bootloader.simulation.sim_flash import FlashModelViolation, PowerCut, Tear
from tests.scenarios.world import World

WORLD = World()
FIRST_LINE = b"Strongroom simulated device, SIMULATION ONLY, format version 2\n"


def again(device: SimulatedDevice) -> SimulatedDevice:
    return decode_device(encode_device(device))


def test_a_device_lives_on_in_its_file() -> None:
    device = WORLD.device_with(1)
    read = again(device)
    assert read.board == device.board
    assert read.uid == device.uid
    assert read.status() == device.status()
    assert isinstance(read.power_on(), ApplicationRuns)
    read.application_requests_update()
    read = again(read)
    read.entry_pin_is_active = True
    read.power_on()
    read.entry_pin_is_active = False
    read.install(WORLD.application(2))
    assert again(read).status().installed == read.status().installed


@pytest.mark.parametrize(
    "mailbox", [None, Mailbox(MailboxRequest.UPDATE), Mailbox(MailboxRequest.CONFIRM, bytes(range(32)))]
)
def test_the_mailbox_survives(mailbox: Mailbox | None) -> None:
    device = WORLD.device_with(1)
    device.mailbox = mailbox
    assert again(device).mailbox == mailbox


def test_a_request_for_update_survives_a_warm_start_of_another_process() -> None:
    device = WORLD.device_with(1)
    device.mailbox = Mailbox(MailboxRequest.UPDATE)
    read = again(device)
    assert read.power_on(PowerOn.WARM) == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.A)


def test_scars_survive_torn_units_and_unstable_bits() -> None:
    device = WORLD.device_with(1)
    device.application_requests_update()
    device.flash.cut_power_at(40, Tear.UNSTABLE)
    with pytest.raises(PowerCut):
        device.install(WORLD.application(2))
    read = again(device)
    read.flash.power_on()
    state = read.board.state_0
    reads = {read.flash.read(state.address, state.size_bytes) for _ in range(20)}
    application = read.board.application
    reads_application = {read.flash.read(application.address, 2048) for _ in range(20)}
    assert len(reads) + len(reads_application) > 2, "something reads differently each time"
    with pytest.raises(FlashModelViolation):
        read.flash.program(application.address, b"\0\0\0\0")  # not erased in this power-on
    running = read.power_on()
    assert running == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)
    read.install(WORLD.application(2))
    assert isinstance(read.running, ApplicationRuns)


def test_option_bytes_and_randomness_survive() -> None:
    device = WORLD.locked_device()
    device.set_option_bytes(OptionBytes(readout_level=1, write_protect=True, debug_closed=True))
    read, twin = again(device), again(WORLD.locked_device())
    assert read.platform.option_bytes == device.platform.option_bytes
    assert twin.platform.option_bytes == OptionBytes()
    drawn = [made.platform.random_bytes(32) for made in (read, again(read), again(twin))]
    assert len(set(drawn)) == 2, "what is read from one file draws the same, and goes on from there"
    assert again(read).platform.random_bytes(32) not in drawn


def test_option_bytes_that_no_device_has() -> None:
    data = encode_device(WORLD.locked_device())
    content = bytearray(zlib.decompress(data[len(FIRST_LINE) :]))
    at = 4 + len(WORLD.board.text.encode()) + 4 + len(WORLD.uid) + 4 + 4
    for position, value in ((0, 3), (1, 2), (2, 2), (3, 255)):
        changed = content[:]
        changed[at + position] = value
        with pytest.raises(DeviceFileInvalid, match="option bytes"):
            decode_device(FIRST_LINE + zlib.compress(changed))


def test_it_is_compact_and_says_what_it_is() -> None:
    data = encode_device(WORLD.device_with(1))
    assert data.startswith(FIRST_LINE)
    assert len(data) < 20_000


def test_the_same_device_gives_the_same_file_but_for_its_randomness() -> None:
    one, other = WORLD.device_with(1), WORLD.device_with(1)
    assert encode_device(one) == encode_device(other)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not the file of a simulated device"),
        (b"\x7fELF", "not the file of a simulated device"),
        (FIRST_LINE[:-1], "not the file of a simulated device"),
        (FIRST_LINE.replace(b"version 2", b"version 1"), "another format version"),
        (FIRST_LINE.replace(b"version 2", b"version 2 "), "another format version"),
        (FIRST_LINE, "cut short"),
        (FIRST_LINE + b"not zlib", "damaged"),
        (FIRST_LINE + zlib.compress(b""), "cut short"),
        (FIRST_LINE + zlib.compress(b"\xff\xff\xff\xff"), "larger than it can be"),
        (FIRST_LINE + zlib.compress(b"\x03\0\0\0abc"), "the board in the file"),
        (FIRST_LINE + zlib.compress(b"\x02\0\0\0\xff\xfe"), "the board in the file"),
    ],
)
def test_nothing_else_is_read(data: bytes, said: str) -> None:
    with pytest.raises(DeviceFileInvalid, match=said):
        decode_device(data)


def contents() -> bytes:
    return zlib.decompress(encode_device(WORLD.device())[len(FIRST_LINE) :])


def test_trailing_bytes_are_refused_before_and_behind_compression() -> None:
    data = encode_device(WORLD.device())
    with pytest.raises(DeviceFileInvalid, match="behind its end"):
        decode_device(data + b"\0")
    with pytest.raises(DeviceFileInvalid, match="behind its end"):
        decode_device(FIRST_LINE + zlib.compress(contents() + b"\0"))


@given(st.integers(0, 5000))
def test_cut_short_anywhere(size_bytes: int) -> None:
    data = encode_device(WORLD.device())
    with pytest.raises(DeviceFileInvalid):
        decode_device(data[: min(size_bytes, len(data) - 1)])
    with pytest.raises(DeviceFileInvalid):
        decode_device(FIRST_LINE + zlib.compress(contents()[:size_bytes]))


@given(st.data())
def test_any_byte_changed_is_a_device_or_refused(data: st.DataObject) -> None:
    """Never another error: what is read is checked before it is used."""
    refused = ""
    raw = bytearray(contents())
    position = data.draw(st.integers(0, min(len(raw) - 1, 2000)))
    raw[position] = data.draw(st.integers(0, 255))
    try:
        decode_device(FIRST_LINE + zlib.compress(bytes(raw)))
    except DeviceFileInvalid as error:
        refused = str(error)
    assert "\n" not in refused.split("not TOML")[0]


def test_a_new_file_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "device.img"
    device = WORLD.device()
    create_device_file(path, device)
    first = path.read_bytes()
    with pytest.raises(FileExistsError):
        create_device_file(path, WORLD.device_with(1))
    assert path.read_bytes() == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["device.img"], "no temporary file is left"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "it holds the device's private keys"


def test_replacing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "device.img"
    create_device_file(path, WORLD.device())
    replace_device_file(path, WORLD.device_with(1))
    assert read_device_file(path).status().installed is not None
    assert [entry.name for entry in tmp_path.iterdir()] == ["device.img"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    for write in (create_device_file, replace_device_file):
        with pytest.raises(OSError, match="No such file"):
            write(tmp_path / "missing" / "device.img", WORLD.device())


def test_a_file_that_cannot_be_linked_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="No space left"):
        create_device_file(tmp_path / "device.img", WORLD.device())
    assert list(tmp_path.iterdir()) == []
