"""Served devices as processes: killed, cut, busy, slow; what their files hold; what a host sees of their links."""

from __future__ import annotations

import os
import signal
import socket
import time
from io import BytesIO
from pathlib import Path

import pytest

from bootloader.simulation.device import ApplicationRuns
from bootloader.simulation.flash_log import decode_log, encode_group, log_header, log_path
from bootloader.simulation.sim_flash import Operation
from cli.main import run
from pki.errors import StrongroomError
from rpc.addresses import open_links
from rpc.client import DeviceClient
from rpc.errors import DeviceRefused, LinkError
from tests.links.packages import with_trailer
from tests.links.served import begin_serving, device_in, serving, write_devices
from tests.scenarios.world import World, image_of
from tests.unit.link.smp_rig import OS, READ, message

WORLD = World()
PACKAGE = with_trailer(WORLD.application(2, image=image_of("served", 30_000)))


def nothing(_done: int, _total: int) -> None:
    pass


def client_of(via: str, timeout_seconds: float | None = None, retries: int = 5) -> DeviceClient:
    (node,) = open_links(via)
    return DeviceClient(node.link, retries=retries, timeout_seconds=timeout_seconds)


def update(client: DeviceClient, package: bytes = PACKAGE) -> None:
    client.upload(BytesIO(package), len(package), nothing)
    client.reset()
    client.wait_until_up(20)


# --- files ---


def test_the_file_of_a_served_device_is_in_use_and_written_at_the_end(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [WORLD.device()])
    with serving(paths, "--on", "tcp:0") as served:
        second = begin_serving(paths)
        assert second.wait(30) == 3
        assert second.stdout is not None
        second.stdout.close()
        client = client_of(served.vias[0])
        update(client)
        client.close()
        assert log_path(paths[0]).exists()
        assert served.stop() == 0
    assert not log_path(paths[0]).exists()
    device = device_in(paths[0])
    assert isinstance(device.power_on(), ApplicationRuns)
    assert device.status().application_is_confirmed


@pytest.mark.parametrize(
    "kill_at", [0.3, *(pytest.param(share, marks=pytest.mark.campaign) for share in (0.02, 0.1, 0.5, 0.8, 0.97))]
)
def test_a_killed_device_is_as_a_power_cut_leaves_it(kill_at: float, tmp_path: Path) -> None:
    """kill -9 in the middle of an upload; what was answered is in its file, and the same package installs after it."""
    paths = write_devices(tmp_path, [WORLD.device_with(1)])
    with serving(paths, "--on", "tcp:0") as served:
        client = client_of(served.vias[0], timeout_seconds=0.3, retries=1)
        client.enter_update_mode()
        client.wait_until_up(20)

        def kill(done: int, total: int) -> None:
            if done >= total * kill_at:
                os.kill(served.pids[0], signal.SIGKILL)

        with pytest.raises(StrongroomError):
            client.upload(BytesIO(PACKAGE), len(PACKAGE), kill)
        client.close()
        assert served.stop() == 0
    device = device_in(paths[0])
    running = device.power_on()
    assert isinstance(running, ApplicationRuns) is (kill_at < 0.15), "nothing is erased before chunk 0 is authentic"
    with serving(paths, "--on", "tcp:0") as served:
        client = client_of(served.vias[0])
        if isinstance(running, ApplicationRuns):
            client.enter_update_mode()
            client.wait_until_up(20)
        update(client)
        client.close()
        assert served.stop() == 0
    device = device_in(paths[0])
    running = device.power_on()
    assert isinstance(running, ApplicationRuns)
    assert running.version.major == 2


def test_a_killed_device_is_powered_on_again_where_that_is_asked_for(tmp_path: Path) -> None:
    """--restart: the host's upload goes on by itself, from the head."""
    paths = write_devices(tmp_path, [WORLD.device()])
    with serving(paths, "--on", "udp:0", "--restart") as served:
        client = client_of(served.vias[0], timeout_seconds=0.5, retries=20)
        killed: list[int] = []

        def kill(done: int, total: int) -> None:
            if done > total // 2 and not killed:
                killed.append(served.pids[0])
                os.kill(served.pids[0], signal.SIGKILL)

        try:
            client.upload(BytesIO(PACKAGE), len(PACKAGE), kill)
        except DeviceRefused:  # no upload has begun, says the device: the host begins anew
            client.upload(BytesIO(PACKAGE), len(PACKAGE), kill)
        client.reset()
        client.wait_until_up(20)
        assert killed
        assert client.image_state()[0].confirmed
        client.close()
        assert served.stop() == 0


def test_a_power_cut_in_the_middle_of_an_installation(tmp_path: Path) -> None:
    """--cut-at-op: the operation is torn, the power comes back, the host sends the package again."""
    paths = write_devices(tmp_path, [WORLD.device()])
    with serving(paths, "--on", "udp:0", "--cut-at-op", "2000", "--tear", "unstable") as served:
        client = client_of(served.vias[0], timeout_seconds=1.0)
        with pytest.raises(DeviceRefused) as refused:
            update(client)
        assert refused.value.name == "STATE", "the device has forgotten the upload"
        update(client)
        assert client.image_state()[0].confirmed
        client.close()
        assert served.stop() == 0


# --- the log of flash operations ---

OPERATIONS = [Operation(0x0800_0000, None), Operation(0x0800_0010, b"\x01\x02\x03\x04"), Operation(0x0801_0000, None)]


def test_a_log_gives_back_what_was_put_on_record() -> None:
    log = log_header(b"file") + encode_group(OPERATIONS[:2]) + encode_group(OPERATIONS[2:])
    assert decode_log(log, b"file") == OPERATIONS


def test_a_log_of_another_file_says_nothing() -> None:
    log = log_header(b"file") + encode_group(OPERATIONS)
    assert decode_log(log, b"another") == []
    assert decode_log(b"", b"file") == []


def test_a_group_that_is_cut_short_or_changed_is_none() -> None:
    header, first, second = log_header(b"file"), encode_group(OPERATIONS[:2]), encode_group(OPERATIONS[2:])
    for length in range(len(second)):
        assert decode_log(header + first + second[:length], b"file") == OPERATIONS[:2]
    for place in range(len(second)):
        changed = bytearray(second)
        changed[place] ^= 1
        assert decode_log(header + first + bytes(changed), b"file") == OPERATIONS[:2]


# --- behaviour on the link ---


def test_an_application_is_busy_until_it_is_in_its_safe_state(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [WORLD.device_with(1)])
    with serving(paths, "--on", "udp:0", "--unsafe-for", "1.5") as served:
        client = client_of(served.vias[0])
        for ask in (client.enter_update_mode, client.reset):
            with pytest.raises(DeviceRefused) as refused:
                ask()
            assert refused.value.name == "BUSY"
        assert client.echo("still here") == "still here"
        time.sleep(1.6)
        client.enter_update_mode()
        client.wait_until_up(20)
        client.close()


def test_erases_take_their_time_and_every_request_is_answered_within_3_seconds(tmp_path: Path) -> None:
    """The busy rule: one sector erase at most before an answer, whatever the package."""
    paths = write_devices(tmp_path, [WORLD.device()])
    slowest = 0.0
    with serving(paths, "--on", "tcp:0", "--erase-ms", "300") as served:
        client = client_of(served.vias[0])
        begun = last = time.monotonic()

        def measure(_done: int, _total: int) -> None:
            nonlocal slowest, last
            slowest, last = max(slowest, time.monotonic() - last), time.monotonic()

        client.upload(BytesIO(PACKAGE), len(PACKAGE), measure)
        took = time.monotonic() - begun
        client.close()
        assert served.stop() == 0
    assert took >= 6 * 0.3, "six sectors were erased"
    assert slowest < 1.5, "and no answer waited for two of them"


@pytest.mark.campaign
def test_the_slowest_sectors_at_the_end_of_a_chain_of_8_time_nobody_out(tmp_path: Path) -> None:
    """2 s for each sector, 8 nodes, the host's own time-outs, and not one request sent twice."""
    worlds = [World(uid=bytes([number + 1]) * 12) for number in range(8)]
    paths = write_devices(tmp_path, [world.device() for world in worlds])
    with serving(paths, "--topology", "chain", "--on", "serial", "--erase-ms", "2000") as served:
        nodes = open_links(served.vias[0])
        client = DeviceClient(nodes[7].link, retries=0)
        update(client, with_trailer(worlds[7].application(1)))
        assert client.image_state()[0].confirmed
        client.close()
        assert served.stop() == 0


def test_a_tcp_connection_that_sends_no_message_is_closed_and_others_are_served(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [WORLD.device()])
    with serving(paths, "--on", "tcp:0") as served:
        host, _, port = served.vias[0].removeprefix("tcp://").partition(":")

        def connect() -> socket.socket:
            connection = socket.create_connection((host, int(port)), timeout=10)
            connection.settimeout(10)
            return connection

        good, silent, bad = connect(), connect(), connect()
        bad.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert bad.recv(100) == b""
        for request in (message(1, OS, 0, {}), message(READ, OS, 0, b"x" * 3000)):
            another = connect()
            another.sendall(request)
            assert another.recv(100) == b"", "a reply, and what is larger than any request"
            another.close()
        request = message(READ, OS, 6, {})
        good.sendall(request[:5])
        time.sleep(0.05)
        good.sendall(request[5:] + request)
        assert len(good.recv(4096)) >= len(request)
        for connection in (good, silent, bad):
            connection.close()


def test_at_most_8_connections(tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [WORLD.device()])
    with serving(paths, "--on", "tcp:0") as served:
        host, _, port = served.vias[0].removeprefix("tcp://").partition(":")
        connections = [socket.create_connection((host, int(port)), timeout=10) for _ in range(9)]
        request = message(READ, OS, 6, {})
        answered = []
        for connection in connections:
            try:
                connection.sendall(request)
                answered.append(bool(connection.recv(4096)))
            except OSError:
                answered.append(False)
            time.sleep(0.02)
        assert answered.count(True) == 8
        for connection in connections:
            connection.close()


def test_a_large_datagram_is_answered(tmp_path: Path) -> None:
    """Whatever its size: EINVAL, and not silence; 1,472 bytes are always taken."""
    paths = write_devices(tmp_path, [WORLD.device()])
    with serving(paths, "--on", "udp:0") as served:
        host, _, port = served.vias[0].removeprefix("udp://").partition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.settimeout(10)
            sender.connect((host, int(port)))
            echo = message(READ, OS, 0, {"d": "x", "pad": b"p" * (1472 - 8 - 13)})
            for request, expected in (
                (echo, b"\xa1ara"),
                (message(READ, OS, 0, {"d": "x", "pad": bytes(5000)}), b"\xa1brc\x03"),
            ):
                sender.send(request)
                assert expected[1:3] in sender.recv(4096)


# --- chains and buses ---


@pytest.fixture
def chain_of_three(tmp_path: Path) -> list[Path]:
    return write_devices(tmp_path, [World(uid=bytes([number]) * 12).device() for number in (1, 2, 3)])


def test_a_chain_whose_middle_is_gone_ends_there(chain_of_three: list[Path]) -> None:
    with serving(chain_of_three, "--topology", "chain", "--on", "serial") as served:
        first, _, third = (DeviceClient(node.link, 1, 0.3) for node in open_links(served.vias[0]))
        assert third.echo("hello") == "hello"
        os.kill(served.pids[1], signal.SIGKILL)
        time.sleep(0.2)
        assert first.echo("hello") == "hello"
        with pytest.raises(LinkError):
            third.echo("hello")
        first.close()
        third.close()
        assert served.stop() == 0


def test_a_slave_that_is_gone_does_not_acknowledge(chain_of_three: list[Path]) -> None:
    with serving(chain_of_three, "--topology", "bus", "--on", "tcp:0") as served:
        first, second, third = (DeviceClient(node.link, 1, 1.0) for node in open_links(served.vias[0]))
        os.kill(served.pids[1], signal.SIGKILL)
        time.sleep(0.3)
        with pytest.raises(LinkError) as refused:
            second.echo("hello")
        assert "no" in str(refused.value)
        assert (first.echo("1"), third.echo("3")) == ("1", "3")
        first.close()
        third.close()
        assert served.stop() == 0


def test_a_node_erases_and_the_others_answer(chain_of_three: list[Path]) -> None:
    """Erasing takes a node's own time; behind it the chain waits, before it nothing does."""
    package = with_trailer(World(uid=bytes([2]) * 12).application(1))
    with serving(chain_of_three, "--topology", "chain", "--on", "serial", "--erase-ms", "100") as served:
        nodes = open_links(served.vias[0])
        clients = [DeviceClient(node.link) for node in nodes]
        update(clients[1], package)
        assert clients[1].image_state()[0].confirmed
        statistics = [client.link_statistics() for client in clients]
        assert statistics[0].forwarded > 10
        assert statistics[2].received == 2, "where it ends was asked, and its statistics"
        clients[0].close()
        assert served.stop() == 0


@pytest.mark.parametrize("count", [8, pytest.param(32, marks=pytest.mark.campaign)])
def test_many_devices_come_up_quickly(count: int, tmp_path: Path) -> None:
    """A star, each device with a process of its own."""
    devices = [World(uid=bytes([number + 1]) * 12).device() for number in range(count)]
    paths = write_devices(tmp_path, devices)
    begun = time.monotonic()
    with serving(paths, "--topology", "star", "--on", "udp:0") as served:
        took = time.monotonic() - begun
        assert len(set(served.pids)) == count
        nodes = open_links(served.vias[0])
        assert [DeviceClient(node.link).echo("hello") for node in nodes] == ["hello"] * count
        for node in nodes:
            node.link.close()
        assert served.stop() == 0
    assert took < 30, "32 take about 2 seconds on a machine that does nothing else"


def test_what_cannot_be_served_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_devices(tmp_path, [WORLD.device()])
    for options, code in (
        (["--on", "usb"], 3),
        (["--on", "udp:99999"], 3),
        (["--topology", "chain", "--on", "udp:0"], 3),
        (["--topology", "bus", "--on", "serial", "--on", "tcp:0"], 3),
        (["--lose", "many"], 3),
        (["--lose", "101%"], 3),
        ([str(paths[0])], 3),
    ):
        assert run(["device", "serve", str(paths[0]), *options]) == code, options
        printed = capsys.readouterr()
        assert (printed.out, printed.err.count("\n")) == ("", 1), printed.err


def test_devices_end_with_the_command_that_began_them(tmp_path: Path) -> None:
    """Even if that is killed: nobody is left behind, and their files are written."""
    paths = write_devices(tmp_path, [WORLD.device()])
    with serving(paths, "--on", "tcp:0") as served:
        served.process.kill()
        served.process.wait(10)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{served.pids[0]}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not Path(f"/proc/{served.pids[0]}").exists()
    assert not log_path(paths[0]).exists()
    with serving(paths, "--on", "tcp:0") as served:
        assert served.stop() == 0
