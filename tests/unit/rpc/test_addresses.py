"""`--via`: which devices an address means (rule LK-10). Nothing is opened but a chain that must be asked."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from pki.errors import InputRefused
from rpc.addresses import open_links
from rpc.errors import LinkError
from rpc.links.udp_link import UdpLink


@pytest.mark.parametrize(
    ("via", "names"),
    [
        ("serial:/dev/ttyACM0", ["serial:/dev/ttyACM0"]),
        ("serial:/dev/ttyS1@921600", ["serial:/dev/ttyS1@921600"]),
        ("serial:/dev/ttyS1@115200", ["serial:/dev/ttyS1"]),
        ("serial:COM7", ["serial:COM7"]),
        ("udp://device.example", ["udp://device.example:1337"]),
        ("udp://127.0.0.1:41337", ["udp://127.0.0.1:41337"]),
        ("udp://[2001:db8::1]:5", ["udp://[2001:db8::1]:5"]),
        ("tcp://[::1]", ["tcp://[::1]:1337"]),
        ("chain:serial:/dev/ttyS1#0,2-3", [f"chain:serial:/dev/ttyS1#{node}" for node in (0, 2, 3)]),
        ("bus:tcp://127.0.0.1:5000#1,5-7", [f"bus:tcp://127.0.0.1:5000#{slave}" for slave in (1, 5, 6, 7)]),
        ("star:udp://a.test,udp://b.test:7", ["udp://a.test:1337", "udp://b.test:7"]),
        (
            "star:bus:tcp://a.test#1,2,chain:serial:/dev/ttyS1#0,1,serial:/dev/ttyS2",
            [
                "bus:tcp://a.test:1337#1",
                "bus:tcp://a.test:1337#2",
                "chain:serial:/dev/ttyS1#0",
                "chain:serial:/dev/ttyS1#1",
                "serial:/dev/ttyS2",
            ],
        ),
    ],
)
def test_lk_10_an_address_means_devices(via: str, names: list[str]) -> None:
    links = open_links(via)
    assert [link.name for link in links] == names
    assert [open_links(link.name)[0].name for link in links] == names  # a name is an address
    for link in links:
        link.link.close()


@pytest.mark.parametrize(
    "via",
    [
        "",
        "/dev/ttyS1",
        "serial:",
        "serial:/dev/ttyS1@10",
        "serial:/dev/ttyS1@99999999",
        "udp:127.0.0.1:5",
        "udp://",
        "udp://:5",
        "udp://a.test:0",
        "udp://a.test:70000",
        "udp://a.test:x",
        "udp://a.test/path",
        "udp://user@a.test",
        "udp://a.test?x",
        "tcp://[::1",
        "chain:udp://a.test",
        "chain:bus:tcp://a.test#1",
        "chain:serial:/dev/ttyS1#",
        "chain:serial:/dev/ttyS1#256",
        "chain:serial:/dev/ttyS1#1,1",
        "chain:serial:/dev/ttyS1#3-2",
        "chain:serial:/dev/ttyS1#2,1",
        "chain:serial:/dev/ttyS1#-1",
        "bus:tcp://a.test",
        "bus:tcp://a.test#0",
        "bus:tcp://a.test#128",
        "bus:tcp://a.test#1-999",
        "star:",
        "star:udp://a.test,",
        "star:udp://a.test,udp://a.test:1337",
        "star:star:udp://a.test",
        "http://a.test",
        "star:" + ",".join(f"udp://a.test:{port}" for port in range(1, 1100)),
        "serial:" + "x" * 70_000,
    ],
)
def test_lk_10_anything_else_is_refused(via: str) -> None:
    with pytest.raises(InputRefused, match="LK-10") as raised:
        open_links(via)
    assert len(str(raised.value)) < 400
    assert "\n" not in str(raised.value)


def test_messages_over_udp_fit_a_datagram_that_is_not_cut() -> None:
    assert UdpLink("127.0.0.1").max_message_bytes == 1472
    assert UdpLink("::1").max_message_bytes == 1452


def test_a_name_with_addresses_of_both_kinds_means_the_one_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        "both.test": [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")],
        "six.test": [(socket.AF_INET6, "::1")],
    }

    def look_up(host: str, port: int, type: socket.SocketKind) -> list[tuple[object, ...]]:  # noqa: A002
        return [(family, type, 0, "", (address, port)) for family, address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for name, largest in [("both.test", 1472), ("six.test", 1452)]:
        link = UdpLink(name, 9)
        with suppress(LinkError):  # a machine may be without IPv6
            link.exchange(bytes.fromhex("0a00000100000000a0"), 0.01)
        assert link.max_message_bytes == largest
        link.close()
