"""A host drives a device over every link, whole and faulty; the device is a simulator that shares no code with it."""

from __future__ import annotations

import io
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pki.errors import InputRefused
from rpc.addresses import open_links
from rpc.client import DeviceClient
from rpc.errors import DeviceRefused, LinkClosed, LinkError, LinkTimeout, MessageMalformed
from rpc.links.tcp_stream import TcpStream
from tests.unit.rpc.fake_device import OUR_GROUP, FakeDevice
from tests.unit.rpc.fake_lines import (
    BareMachine,
    BusMachine,
    ChainMachine,
    Faults,
    serve_pty,
    serve_tcp,
    serve_udp,
)

PACKAGE = random.Random(4).randbytes(200_003)
QUICK_SECONDS = 0.1

Serve = Callable[[FakeDevice, Faults], AbstractContextManager[str]]


@contextmanager
def chain_in_the_middle(device: FakeDevice, faults: Faults) -> Iterator[str]:
    with serve_pty(ChainMachine([FakeDevice(), FakeDevice(), device, FakeDevice()], faults)) as port:
        yield f"chain:{port}#2"


@contextmanager
def bus_of_three(device: FakeDevice, faults: Faults) -> Iterator[str]:
    with serve_tcp(BusMachine({3: FakeDevice(), 8: device, 127: FakeDevice()}, faults)) as port:
        yield f"bus:{port}#8"


LINKS: dict[str, Serve] = {
    "udp": serve_udp,
    "tcp": lambda device, faults: serve_tcp(BareMachine(device, faults)),
    "serial": lambda device, faults: serve_pty(ChainMachine([device], faults)),
    "chain": chain_in_the_middle,
    "bus": bus_of_three,
}


@contextmanager
def client_of(via: str, retries: int = 5, timeout_seconds: float | None = 2.0) -> Iterator[DeviceClient]:
    (node,) = open_links(via)
    client = DeviceClient(node.link, retries, timeout_seconds)
    try:
        yield client
    finally:
        client.close()


def upload(client: DeviceClient, package: bytes = PACKAGE) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    client.upload(io.BytesIO(package), len(package), lambda done, total: seen.append((done, total)))
    return seen


@pytest.fixture(params=LINKS)
def serve(request: pytest.FixtureRequest) -> Serve:
    return LINKS[request.param]


# Every command, on every link


def test_every_command_is_answered(serve: Serve) -> None:
    device = FakeDevice()
    with serve(device, Faults()) as via, client_of(via) as client:
        assert client.echo("grüezi") == "grüezi"
        assert client.parameters().buf_size == 2048
        assert client.image_state() == ()
        nonce, point = bytes(range(32)), bytes(range(64))
        assert client.signed_status(nonce) == nonce.ljust(576, b"\x11")
        assert client.challenge(point) == point.ljust(512, b"\x22")
        assert client.send_activation(bytes(1504)) == bytes(320)
        assert client.send_service_order(b"s" * 256) == bytes(320)
        client.send_trust_bundle(b"t" * 2304)
        client.send_grant(b"g" * 1312)
        assert {command: len(data) for command, data in device.objects.items()} == {2: 2304, 3: 1312, 5: 1504, 6: 256}
        assert client.link_statistics().received == len(device.requests)
        client.enter_update_mode()
        client.reset()
        client.reset(boot_mode=1)
        assert device.resets == [{"update mode": True}, {}, {"boot_mode": 1}]
        client.wait_until_up(2)
        counters = client.link.counters
        assert (counters.retries, counters.bad_frames, counters.skipped_replies) == (0, 0, 0)


def test_a_package_arrives_whole_and_is_told_of(serve: Serve) -> None:
    device = FakeDevice()
    with serve(device, Faults()) as via, client_of(via) as client:
        seen = upload(client)
        assert device.uploads == [PACKAGE]
        assert seen[-1] == (len(PACKAGE), len(PACKAGE))
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert device.erases == -(-len(PACKAGE) // device.sector_size_bytes) + device.further_sectors
        assert len(client.image_state()) == 1


def test_servers_of_the_field_are_understood() -> None:
    """Some reply with maps of indefinite length, and say `rc` 0 beside what was asked for."""
    device = FakeDevice(like_others=True)
    with serve_udp(device) as via, client_of(via) as client:
        assert client.echo("x") == "x"
        upload(client)
        assert device.uploads == [PACKAGE]
        assert len(client.image_state()) == 1


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_at_most_5_percent_are_sent_beyond_the_package(kind: str) -> None:
    """The sectors of an STM32F405: 128 kB each; a small package, whose region has more of them than it fills."""
    device = FakeDevice(sector_size_bytes=131_072, further_sectors=5)
    with LINKS[kind](device, Faults()) as via, client_of(via) as client:
        upload(client)
        assert client.bytes_sent / len(PACKAGE) <= 1.05


# Faults


FAULTS: dict[str, dict[str, Any]] = {
    "lost": {"lose": 0.05},
    "doubled": {"double": 0.2},
    "delayed": {"delay": 0.05, "delay_seconds": 2 * QUICK_SECONDS},
    "all of it": {"lose": 0.02, "double": 0.05, "delay": 0.02, "delay_seconds": 2 * QUICK_SECONDS},
}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [*(("udp", fault) for fault in FAULTS), *((kind, "all of it") for kind in LINKS if kind != "udp")],
)
def test_a_package_arrives_whole_over_a_faulty_line(kind: str, fault: str) -> None:
    device, faults = FakeDevice(), Faults(**FAULTS[fault])
    package = PACKAGE[:40_000]
    with LINKS[kind](device, faults) as via, client_of(via, retries=12, timeout_seconds=QUICK_SECONDS) as client:
        client.send_trust_bundle(b"t" * 2304)
        upload(client, package)
        assert device.uploads[0] == package
        assert device.objects[2] == b"t" * 2304
    assert faults.happened


@pytest.mark.parametrize("kind", ["serial", "chain", "bus"])
def test_changed_bytes_are_found_by_the_checksum(kind: str) -> None:
    device, faults = FakeDevice(), Faults(corrupt=0.05)
    package = PACKAGE[:40_000]
    with LINKS[kind](device, faults) as via, client_of(via, retries=12, timeout_seconds=QUICK_SECONDS) as client:
        upload(client, package)
        assert device.uploads[0] == package
    assert faults.happened


def test_an_upload_goes_on_where_the_link_left_it() -> None:
    device, faults = FakeDevice(), Faults()
    with serve_udp(device, faults) as via, client_of(via, retries=1, timeout_seconds=0.5) as client:

        def dies_half_way(done: int, total: int) -> None:
            if done > total // 2:
                faults.lose = 1.0

        with pytest.raises(LinkTimeout):
            client.upload(io.BytesIO(PACKAGE), len(PACKAGE), dies_half_way)
        faults.lose = 0.0
        sent_before = client.bytes_sent
        seen = upload(client)
        assert device.uploads == [PACKAGE]
        assert seen[0][0] > len(PACKAGE) // 2
        assert client.bytes_sent - sent_before < 0.65 * len(PACKAGE)


def test_late_answers_of_earlier_requests_are_skipped() -> None:
    """The answer to an echo that was given up comes while the next one is waited for."""
    faults = Faults(delay=1.0, delay_seconds=0.3)
    with serve_udp(FakeDevice(), faults) as via, client_of(via, retries=0, timeout_seconds=0.2) as client:
        with pytest.raises(LinkTimeout, match=r"LK-08.*within 0.2 s"):
            client.echo("first")
        faults.delay = 0.0
        time.sleep(0.15)
        client._requester.timeout_seconds = 5.0
        assert client.echo("second") == "second"
        assert client.link.counters.skipped_replies == 1


def test_only_the_peer_is_listened_to() -> None:
    """A datagram from another address, with the right sequence number, is not taken for the answer."""
    device = FakeDevice()
    with serve_udp(device, Faults(lose=1.0)) as via, client_of(via, retries=0, timeout_seconds=0.3) as client:
        with pytest.raises(LinkTimeout):
            client.echo("opens the socket")
        port = client.link._socket.getsockname()[1]  # type: ignore[attr-defined]

        def shout() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                for sequence in range(256):
                    other.sendto(
                        bytes.fromhex("0b0000060000") + bytes([sequence, 0]) + b"\xa1arbno", ("127.0.0.1", port)
                    )

        thread = threading.Timer(0.05, shout)
        thread.start()
        with pytest.raises(LinkTimeout):
            client.echo("yes")
        thread.join()
        assert client.bytes_received == 0


# Answers that are none


@pytest.mark.parametrize("body", [{"r": 5}, {}, {"r": "x", "more": 1}, {"r": "x" * 1025}, {"r": b"x"}])
def test_lk_03_a_malformed_answer_is_asked_for_again_and_then_an_error(body: dict[str, object]) -> None:
    device = FakeDevice(canned={(0, 0): body})
    with serve_udp(device) as via, client_of(via, retries=2) as client:
        with pytest.raises(MessageMalformed, match="LK-03"):
            client.echo("x")
        assert len(device.requests) == 3
        assert (client.link.counters.bad_frames, client.link.counters.retries) == (3, 2)


@pytest.mark.parametrize("offset", [-1, 200_004, "0", None])
def test_lk_03_an_offset_beyond_the_package_is_refused(offset: object) -> None:
    device = FakeDevice(canned={(1, 1): {"off": offset}})
    with serve_udp(device) as via, client_of(via, retries=1) as client, pytest.raises(MessageMalformed, match="LK-03"):
        upload(client)


def test_lk_05_a_device_that_never_moves_is_given_up() -> None:
    device = FakeDevice(canned={(1, 1): {"off": 0}})
    with serve_udp(device) as via, client_of(via) as client, pytest.raises(LinkError, match="LK-05"):
        upload(client)


def test_a_refusal_is_raised_at_once_and_by_its_name() -> None:
    device = FakeDevice(canned={(1, 1): {"err": {"group": OUR_GROUP, "rc": 1}}})
    with serve_udp(device) as via, client_of(via) as client:
        with pytest.raises(DeviceRefused, match="refused the package: REFUSED") as raised:
            upload(client)
        assert (raised.value.group, raised.value.rc, raised.value.name) == (OUR_GROUP, 1, "REFUSED")
        assert device.requests.count((2, 1, 1)) == 1


def test_a_server_without_parameters_gets_small_blocks() -> None:
    device = FakeDevice(canned={(0, 6): {"rc": 8}}, buf_size=384)
    with serve_udp(device) as via, client_of(via) as client:
        upload(client, PACKAGE[:5_000])
        assert device.uploads == [PACKAGE[:5_000]]


def test_an_upload_that_a_reset_ended_begins_anew() -> None:
    """The device says 0 where it knows of no upload, and gets the package from its beginning."""
    device = FakeDevice()
    with serve_udp(device) as via, client_of(via) as client:
        forgotten: list[int] = []

        def power_fails_once(done: int, total: int) -> None:
            if done > total // 2 and not forgotten:
                forgotten.append(done)
                device.forget_upload()

        client.upload(io.BytesIO(PACKAGE), len(PACKAGE), power_fails_once)
        assert forgotten
        assert device.uploads == [PACKAGE]


# Links that are not there


def test_lk_09_a_port_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with client_of(f"serial:{tmp_path}/none", retries=0) as client, pytest.raises(LinkClosed, match=r"LK-09.*none"):
        client.echo("x")


def test_lk_09_a_connection_that_nobody_takes_is_an_error_that_names_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        via = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with client_of(via, retries=0) as client, pytest.raises(LinkClosed, match=f"LK-09.*{via}"):
            client.echo("x")


def test_lk_08_a_device_that_is_silent_is_given_up_in_time() -> None:
    with serve_udp(FakeDevice(), Faults(lose=1.0)) as via, client_of(via, retries=2, timeout_seconds=0.1) as client:
        began = time.monotonic()
        with pytest.raises(LinkTimeout, match="LK-08"):
            client.echo("x")
        assert 0.3 <= time.monotonic() - began < 5
        assert client.link.counters.retries == 2
        with pytest.raises(LinkTimeout):
            client.wait_until_up(0.3)


def test_a_connection_that_ended_is_opened_again() -> None:
    device = FakeDevice()
    with serve_tcp(BareMachine(device, Faults())) as via, client_of(via) as client:
        assert client.echo("1") == "1"
        client.link._stream._socket.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        assert client.echo("2") == "2"
        assert client.link.counters.retries == 1


def test_lk_09_a_connection_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpc.links.tcp_stream._SEND_TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = TcpStream("127.0.0.1", server.getsockname()[1])
        with pytest.raises(LinkClosed, match=r"LK-09.*takes no more bytes"):
            stream.send(bytes(64 * 1024 * 1024))
        assert stream._socket is None


def test_tcp_is_given_up_where_what_comes_is_no_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_nonsense() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\xff" * 64)
                connection.recv(4096)

        thread = threading.Thread(target=answer_nonsense)
        thread.start()
        with client_of(f"tcp://127.0.0.1:{server.getsockname()[1]}", retries=0) as client:
            with pytest.raises(LinkClosed, match="LK-09"):
                client.echo("x")
            assert client.link.counters.bad_frames == 1
        thread.join(timeout=5)


# What is asked of the caller


@pytest.mark.parametrize(("kind", "largest"), [("udp", 1472), ("chain", 2048), ("bus", 2048), ("serial", 8190)])
def test_lk_06_a_message_that_the_link_does_not_carry_is_not_sent(kind: str, largest: int) -> None:
    device = FakeDevice()
    with LINKS[kind](device, Faults()) as via, client_of(via) as client:
        with pytest.raises(LinkError, match=f"LK-06.*at most {largest}"):
            client.link.exchange(bytes(largest + 1), 1.0)
        assert client.bytes_sent == 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.echo("x" * 1025),
        lambda client: client.signed_status(bytes(31)),
        lambda client: client.challenge(bytes(65)),
        lambda client: client.send_grant(b""),
        lambda client: client.send_trust_bundle(bytes(2305)),
        lambda client: client.upload(io.BytesIO(b""), 0, print),
        lambda client: client.upload(io.BytesIO(b"12345"), 6, print),
    ],
)
def test_what_no_device_would_take_is_not_sent(ask: Callable[[DeviceClient], object]) -> None:
    device = FakeDevice()
    with serve_udp(device) as via, client_of(via) as client, pytest.raises(InputRefused):
        ask(client)
    assert device.requests in ([], [(0, 0, 6)])
