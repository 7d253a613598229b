"""docs/integration: every byte that stands there is what our host sends and takes; the example drives devices."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bootloader.simulation.device import ApplicationRuns
from rpc.client import DeviceClient
from rpc.console import ConsoleDecoder, encode_lines
from rpc.errors import DeviceRefused
from rpc.hop_packet import HopFlags, HopPacket
from rpc.link import LinkCounters
from rpc.message import Op
from rpc.requester import Body, Requester
from rpc.values import Parameters
from tests.links.served import device_in, serving, write_devices
from tests.scenarios.world import World
from tests.unit.rpc.fake_device import FakeDevice
from tests.unit.rpc.fake_lines import Faults, serve_udp

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "integration"
LINE = re.compile(r"^    ([a-z][a-zA-Z ]*?)  +((?:[0-9a-f]{2} )*[0-9a-f]{2})( …)?$", re.MULTILINE)
EXAMPLES = {name: (bytes.fromhex(text), bool(more)) for name, text, more in LINE.findall(
    (FOLDER / "driving-a-device.md").read_text(encoding="utf-8")
)}  # fmt: skip
ECHO = EXAMPLES["echo request"][0]
GONE_ON = {"first block", "trust bundle", "activation"}


class Stopped(Exception):
    """The document shows no further exchange."""


class DocumentedLink:
    """Answers the way the document says; the rest of a reply that is cut short there is zero."""

    name, hops, max_message_bytes = "udp://document.example", 0, 1472

    def __init__(self, *replies: bytes) -> None:
        self.counters = LinkCounters()
        self.requests: list[bytes] = []
        self._replies = list(replies)

    def exchange(self, message: bytes, timeout_seconds: float) -> bytes:
        self.requests.append(message)
        if not self._replies:
            raise Stopped
        return self._replies.pop(0)

    def close(self) -> None:
        """Nothing is open."""


def reply_of(name: str) -> bytes:
    shown, _ = EXAMPLES[f"{name} reply"]
    return shown.ljust(8 + int.from_bytes(shown[2:4], "big"), b"\0")


def drive(ask: Callable[[DeviceClient], object], *replies: bytes, buf_size: int = 2048) -> tuple[list[bytes], object]:
    """The requests of one call, each under sequence 1, and what the call gave."""
    link = DocumentedLink(*replies)
    client = DeviceClient(link, retries=0)
    client._parameters = Parameters(buf_size, 1)
    encode = Requester.encode

    def encode_as_first(requester: Requester, op: Op, group: int, command: int, fields: Body) -> bytes:
        requester._sequence = 0
        return encode(requester, op, group, command, fields)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Requester, "encode", encode_as_first)
        try:
            return link.requests, ask(client)
        except Stopped:
            return link.requests, None


CALLS: dict[str, Callable[[DeviceClient], object]] = {
    "echo": lambda client: client.echo("hi"),
    "parameters": lambda client: client.parameters(),
    "reset": lambda client: client.reset(boot_mode=1),
    "image state": lambda client: client.image_state(),
    "status": lambda client: client.signed_status(bytes(range(32))),
    "update mode": lambda client: client.enter_update_mode(),
    "trust bundle": lambda client: client.send_trust_bundle(b"SRB1".ljust(2304, b"\0")),
    "grant": lambda client: client.send_grant(b"SRG1".ljust(416, b"\0")),
    "challenge": lambda client: client.challenge(bytes(64)),
    "activation": lambda client: client.send_activation(b"SRW1".ljust(1504, b"\0")),
    "service order": lambda client: client.send_service_order(b"SRV1".ljust(256, b"\0")),
    "statistics": lambda client: client.link_statistics(),
}


@pytest.mark.parametrize("name", CALLS)
def test_each_request_of_the_page_is_what_our_host_sends_and_its_reply_is_taken(name: str) -> None:
    replies = [reply_of(name)] if f"{name} reply" in EXAMPLES else []
    requests, _ = drive(CALLS[name], *replies)
    shown, is_cut = EXAMPLES[f"{name} request"]
    assert requests[0][: len(shown)] == shown
    assert is_cut or requests[0] == shown
    assert len(requests) == (2 if replies and name in GONE_ON else 1)


def test_the_upload_of_the_page_is_what_our_host_sends() -> None:
    package = io.BytesIO(b"SRP1\1\2\3\4")
    requests, _ = drive(
        lambda client: client.upload(package, 8, lambda done, total: None),
        reply_of("first block"),
        reply_of("further block"),
        buf_size=8 + 23 + 4,
    )
    assert requests == [EXAMPLES["first block request"][0], EXAMPLES["further block request"][0]]


def test_the_errors_of_the_page_are_raised_by_their_names() -> None:
    with pytest.raises(DeviceRefused, match="NOT_SUPPORTED"):
        drive(lambda client: client.parameters(), EXAMPLES["not supported reply"][0])
    with pytest.raises(DeviceRefused, match="REFUSED"):
        drive(
            lambda client: client.upload(io.BytesIO(b"SRP1"), 4, lambda done, total: None),
            EXAMPLES["refused reply"][0],
        )


def test_the_framings_of_the_page_are_ours() -> None:
    assert encode_lines(ECHO) == EXAMPLES["serial line"][0]
    assert ConsoleDecoder().feed(EXAMPLES["serial line"][0]) == [ECHO]
    packet = HopPacket(2, HopFlags.NONE, ECHO)
    assert packet.encode() == EXAMPLES["hop packet"][0]
    assert packet.encode_delimited() == EXAMPLES["in COBS"][0]


def run_example(via: str, package: Path) -> subprocess.CompletedProcess[str]:
    host, _, port = via.removeprefix("udp://").partition(":")
    return subprocess.run(
        [sys.executable, "-I", FOLDER / "drive_a_device.py", host, port, package],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_example_drives_a_device_over_a_line_that_doubles(tmp_path: Path) -> None:
    package = tmp_path / "app.srp"
    package.write_bytes(bytes(range(256)) * 200)
    device = FakeDevice()
    with serve_udp(device, Faults(double=0.3)) as via:
        done = run_example(via, package)
    assert (done.returncode, done.stderr) == (0, "")
    assert device.uploads[0] == package.read_bytes()
    assert device.resets


def test_the_example_installs_on_the_real_device(tmp_path: Path) -> None:
    world = World(application_size_bytes=9_000)
    package = tmp_path / "app.srp"
    package.write_bytes(world.application(1))
    (path,) = write_devices(tmp_path, [world.device()])
    with serving([path], "--on", "udp:0") as served:
        done = run_example(served.vias[0], package)
        assert (done.returncode, done.stderr) == (0, "")
        refused = run_example(served.vias[0], path)  # no package at all
        assert refused.returncode == 1
        assert "refused" in refused.stderr
        assert served.stop() == 0
    assert isinstance(device_in(path).power_on(), ApplicationRuns)
