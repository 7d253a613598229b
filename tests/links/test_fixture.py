"""The simulated fixture (docs/spec/fixture.md): its control socket, its nests, and what outlives a board's removal."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from bootloader.reference.records import Lifecycle
from pki.errors import StrongroomError
from rpc.addresses import open_links
from rpc.client import DeviceClient
from rpc.errors import LinkError
from tests.links.fixture_rig import Fixture, fixture
from tests.scenarios.life import BOTH_INJECTED, HOST, PROTECTED, WORLD
from tests.unit.reference.life_builders import build_activation

UID, OTHER, THIRD = ("01" * 12, "02" * 12, "03" * 12)
SET = {
    "readout_level": PROTECTED.readout_level,
    "write_protect": PROTECTED.write_protect,
    "brown_out": PROTECTED.brown_out,
    "debug_closed": False,
}
FLASH_BYTES = 1024 * 1024


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixture]:
    """One fixture for many tests: each uses UIDs of its own, and leaves the nests empty."""
    folder = tmp_path_factory.mktemp("fixture")
    with fixture(folder, WORLD, "--frames", str(folder / "frames"), links=2) as running:
        yield running


@pytest.fixture
def rig(bench: Fixture) -> Iterator[Fixture]:
    yield bench
    for nest in (0, 1):
        bench.ask("remove", nest=nest)
    for uid in bench.done("list")["uids"]:
        bench.done("forget", uid=uid)


def client_at(rig: Fixture, nest: int = 0, timeout_seconds: float | None = None) -> DeviceClient:
    (node,) = open_links(rig.vias[nest])
    return DeviceClient(node.link, retries=1, timeout_seconds=timeout_seconds)


def protect(rig: Fixture, nest: int = 0) -> None:
    rig.done("set-option-bytes", nest=nest, **SET)
    rig.done("power-cycle", nest=nest)


def activate(client: DeviceClient) -> bytes:
    return client.send_activation(build_activation(BOTH_INJECTED, client.challenge(HOST.public)))


def test_a_fixture_says_what_it_is(rig: Fixture) -> None:
    told = rig.done("describe")
    assert told["version"] == 1
    assert told["links"] == [{"nest": number, "via": via} for number, via in enumerate(rig.vias)]
    assert 'name = "stm32f405-core"' in told["board"]


# --- the operator's hands ---


def test_a_board_comes_goes_and_comes_back_as_it_was(rig: Fixture) -> None:
    assert rig.done("insert", nest=0, uid=UID) == {"known": False}
    assert rig.done("read-uid", nest=0) == {"uid": UID}
    protect(rig)
    client = client_at(rig)
    challenge = client.challenge(HOST.public)
    client.close()
    rig.done("remove", nest=0)
    assert rig.done("insert", nest=1, uid=UID) == {"known": True}
    client = client_at(rig, nest=1)
    again = client.challenge(HOST.public)
    client.close()
    assert again[160:288] == challenge[160:288], "the same keys"
    assert again[64:96] != challenge[64:96], "another nonce"
    assert rig.done("read-option-bytes", nest=1) == SET


def test_one_board_a_nest_and_one_nest_a_board(rig: Fixture) -> None:
    rig.done("insert", nest=0, uid=UID)
    assert "has a board in it" in rig.refused("insert", nest=0, uid=OTHER)
    assert "in a nest already" in rig.refused("insert", nest=1, uid=UID)
    assert "in a nest" in rig.refused("forget", uid=UID)
    assert "no board" in rig.refused("remove", nest=1)


def test_whoever_waits_is_told_when_a_board_comes(rig: Fixture) -> None:
    assert rig.done("wait", nest=0, board=True, seconds=0.05) == {"reached": False}
    assert rig.done("wait", nest=0, board=False, seconds=0) == {"reached": True}
    with socket.socket(socket.AF_UNIX) as operator:
        operator.connect(str(rig.path))
        insert = b'{"do": "insert", "nest": 0, "uid": "%s"}\n' % UID.encode()
        timer = Timer(0.2, operator.sendall, [insert])
        timer.start()
        begun = time.monotonic()
        assert rig.done("wait", nest=0, board=True, seconds=20) == {"reached": True}
        assert 0.1 < time.monotonic() - begun < 10
        timer.join()


def test_a_cloned_flash_is_on_another_uid(rig: Fixture) -> None:
    rig.done("insert", nest=0, uid=UID)
    protect(rig)
    client = client_at(rig)
    first = client.challenge(HOST.public)
    client.close()
    assert rig.done("insert", nest=1, uid=OTHER, clone_of=UID) == {"known": False}
    client = client_at(rig, nest=1)
    clone = client.challenge(HOST.public)
    client.close()
    assert clone[8:20] == bytes.fromhex(OTHER)
    assert clone[160:288] == first[160:288], "keys are in the flash"


# --- the probe ---


def test_blank_boards_are_programmed(rig: Fixture) -> None:
    rig.done("insert", nest=0, uid=UID, flash="blank")
    blank = rig.done("read-flash", nest=0, hash=True)
    assert blank == {"address": 0x0800_0000, "sha256": hashlib.sha256(b"\xff" * FLASH_BYTES).hexdigest()}
    client = client_at(rig, timeout_seconds=0.2)
    with pytest.raises(LinkError):
        client.echo("anybody?")
    rig.done("program", nest=0)
    assert "not blank" in rig.refused("program", nest=0)
    flash = base64.b64decode(rig.done("read-flash", nest=0)["data"])
    assert len(flash) == FLASH_BYTES
    for address, content in WORLD.factory_blocks:
        assert flash[address - 0x0800_0000 :].startswith(content)
    rig.done("power-cycle", nest=0)
    assert client.echo("now somebody") == "now somebody"
    client.close()


def test_blocks_of_its_own_and_blocks_that_do_not_fit(rig: Fixture) -> None:
    rig.done("insert", nest=0, uid=UID, flash="blank")
    for address, data in ((0x0800_0002, b"abcd"), (0x0900_0000, b"abcd"), (0x080F_FFFC, b"abcdefgh")):
        block = {"address": address, "data": base64.b64encode(data).decode()}
        assert "whole write units" in rig.refused("program", nest=0, blocks=[block])
    assert "base64" in rig.refused("program", nest=0, blocks=[{"address": 0x0800_0000, "data": "?"}])
    assert rig.done("read-flash", nest=0, hash=True)["sha256"] == hashlib.sha256(b"\xff" * FLASH_BYTES).hexdigest()
    block = {"address": 0x0800_0100, "data": base64.b64encode(b"abcd").decode()}
    rig.done("program", nest=0, blocks=[block])
    assert base64.b64decode(rig.done("read-flash", nest=0)["data"])[0x100:0x104] == b"abcd"


def test_option_bytes_count_from_the_next_power_on(rig: Fixture) -> None:
    rig.done("insert", nest=0, uid=UID)
    rig.done("set-option-bytes", nest=0, write_protect=True)
    rig.done("set-option-bytes", nest=0, brown_out=True)
    rig.done("set-option-bytes", nest=0, readout_level=1)
    assert rig.done("read-option-bytes", nest=0) == SET
    client = client_at(rig, timeout_seconds=0.3)
    with pytest.raises(LinkError):
        client.echo("it stands still")
    rig.done("power-cycle", nest=0)
    assert client.challenge(HOST.public)[58:60] == b"\x0d\0"
    client.close()


def test_readout_protection_closes_the_flash_and_lifting_it_erases(rig: Fixture) -> None:
    rig.done("insert", nest=0, uid=UID)
    protect(rig)
    for do in ("read-flash", "program"):
        assert "readout protection" in rig.refused(do, nest=0)
    rig.done("set-option-bytes", nest=0, readout_level=0)
    assert rig.done("read-flash", nest=0, hash=True)["sha256"] == hashlib.sha256(b"\xff" * FLASH_BYTES).hexdigest()
    rig.done("program", nest=0)
    protect(rig)
    rig.done("erase", nest=0)
    assert rig.done("read-option-bytes", nest=0)["readout_level"] == 0
    rig.done("program", nest=0)
    rig.done("erase", nest=0)
    rig.done("set-option-bytes", nest=0, readout_level=2)
    for do, keys in (("read-flash", {}), ("erase", {}), ("program", {}), ("set-option-bytes", {"readout_level": 0})):
        assert "debug port is closed" in rig.refused(do, nest=0, **keys)
    assert rig.done("read-uid", nest=0) == {"uid": UID}


# --- supply and wire ---


def test_a_board_without_power_says_nothing(rig: Fixture) -> None:
    rig.done("insert", nest=0, uid=UID)
    client = client_at(rig, timeout_seconds=0.2)
    rig.done("power-off", nest=0)
    with pytest.raises(LinkError):
        client.echo("hello")
    rig.done("power-on", nest=0)
    assert client.echo("hello") == "hello"
    client.close()


@pytest.mark.parametrize("stays_off", [False, True])
def test_the_power_fails_in_the_middle_of_an_activation(stays_off: bool, rig: Fixture) -> None:
    rig.done("insert", nest=0, uid=UID)
    protect(rig)
    client = client_at(rig, timeout_seconds=0.3)
    both = build_activation(BOTH_INJECTED, client.challenge(HOST.public))
    rig.done("cut-power", nest=0, operation=20, tear="unstable", seed=5, stays_off=stays_off)
    with pytest.raises(StrongroomError):  # no answer, or the device that came back has no such challenge
        client.send_activation(both)
    assert rig.done("look", uid=UID)["lifecycle"] == Lifecycle.LOCKED
    if stays_off:
        with pytest.raises(LinkError):
            client.echo("hello")
        rig.done("power-cycle", nest=0)
    assert len(activate(client)) == 320
    inside = rig.done("look", uid=UID)
    assert inside["lifecycle"] == Lifecycle.OPERATIONAL
    assert inside["order_id"] is not None
    assert inside["activation_digest"] is not None
    client.close()


def test_faults_of_a_link_come_and_go(rig: Fixture) -> None:
    rig.done("insert", nest=0, uid=UID)
    client = client_at(rig, timeout_seconds=0.2)
    rig.done("link-faults", nest=0, lose=1)
    with pytest.raises(LinkError):
        client.echo("hello")
    rig.done("link-faults", nest=0)
    assert client.echo("hello") == "hello"
    client.close()


# --- the judge ---


def test_the_judge_sees_keys_and_frames_do_not_carry_them(rig: Fixture, bench: Fixture) -> None:
    rig.done("insert", nest=0, uid=UID)
    protect(rig)
    client = client_at(rig)
    receipt = activate(client)
    client.close()
    inside = rig.done("look", uid=UID, secrets=True)
    assert "identity_private" not in rig.done("look", uid=UID)
    assert bytes.fromhex(inside["identity_public_key"]) in receipt
    frames = (bench.path.parent / "frames").read_bytes()
    assert b"\x06\x09" in frames or b"\0" in frames
    for name in ("identity_private", "agreement_private"):
        secret = bytes.fromhex(inside[name])
        assert len(secret) == 32
        assert secret[:16] not in frames
        assert base64.b64encode(secret[:15]) not in frames


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"insert"',
        b"{}",
        b'{"do": 1}',
        b'{"do": "unknown"}',
        b'{"do": "insert"}',
        b'{"do": "insert", "nest": 2, "uid": "' + UID.encode() + b'"}',
        b'{"do": "insert", "nest": -1, "uid": "' + UID.encode() + b'"}',
        b'{"do": "insert", "nest": true, "uid": "' + UID.encode() + b'"}',
        b'{"do": "insert", "nest": 0, "uid": "0102"}',
        b'{"do": "insert", "nest": 0, "uid": "no hex"}',
        b'{"do": "insert", "nest": 0, "uid": "' + UID.encode() + b'", "flash": "other"}',
        b'{"do": "insert", "nest": 0, "uid": "' + UID.encode() + b'", "extra": 1}',
        b'{"do": "insert", "nest": 0, "uid": "' + UID.encode() + b'", "clone_of": "' + THIRD.encode() + b'"}',
        b'{"do": "describe", "extra": 1}',
        b'{"do": "wait", "nest": 0, "board": 1, "seconds": 1}',
        b'{"do": "wait", "nest": 0, "board": true, "seconds": 1e9}',
        b'{"do": "look", "uid": "' + OTHER.encode() + b'"}',
        b'{"do": "read-flash", "nest": 0}',
        b'{"do": "set-option-bytes", "nest": 0, "readout_level": 3}',
        b'{"do": "cut-power", "nest": 0, "operation": 1, "tear": "gently"}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_cannot_be_done_is_refused_and_the_connection_goes_on(rig: Fixture, request_: bytes) -> None:
    rig.connection.sendall(request_ + b"\n")
    answer = rig.answer()
    assert answer["ok"] is False
    assert "\n" not in answer["error"]
    assert rig.done("list") == {"uids": []}


def test_what_is_too_long_is_hung_up_on(rig: Fixture) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(rig.path))
        with pytest.raises(OSError):  # noqa: PT011 (broken pipe or reset, as it comes)
            other.sendall(b" " * 100_000_000)
    assert rig.done("list") == {"uids": []}


# --- kept in files ---


def test_boards_in_a_folder_outlive_a_killed_fixture(tmp_path: Path) -> None:
    boards = tmp_path / "boards"
    boards.mkdir()
    with fixture(tmp_path, WORLD, "--boards", str(boards)) as first:
        first.done("insert", nest=0, uid=UID)
        protect(first)
        client = client_at(first)
        receipt = activate(client)
        client.close()
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait(10)
    with fixture(tmp_path, WORLD, "--boards", str(boards)) as second:
        assert second.done("list") == {"uids": [UID]}
        assert second.done("insert", nest=0, uid=UID) == {"known": True}
        inside: dict[str, Any] = second.done("look", uid=UID)
        assert inside["lifecycle"] == Lifecycle.OPERATIONAL
        assert bytes.fromhex(inside["identity_public_key"]) in receipt
        assert second.done("read-option-bytes", nest=0) == SET
        second.done("remove", nest=0)
        second.done("forget", uid=UID)
    assert list(boards.iterdir()) == []
