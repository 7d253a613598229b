"""`--via`: which devices are meant, and how they are reached.

serial:PATH[@BAUD]      a device at a serial port; 115,200 baud if none is given
udp://HOST[:PORT]       a device in a network; port 1337
tcp://HOST[:PORT]       the same over TCP
chain:PORT[#LIST]       the nodes of a daisy chain behind a serial or TCP port: those of LIST (0,2,5-9), or all
bus:PORT#LIST           the slaves with these addresses on a bus, behind an adapter at a serial or TCP port
star:ADDRESS,ADDRESS,…  all of these together
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pki.errors import InputRefused, StrongroomError
from rpc.errors import ChainBroken, LinkClosed, LinkError, LinkTimeout
from rpc.link import Link
from rpc.links.bus_link import BUS_ADDRESS_MAX, BusSlaveLink
from rpc.links.byte_stream import ByteStream
from rpc.links.chain_link import CHAIN_ADDRESS_MAX, ChainEnded, ChainNodeLink
from rpc.links.hop_stream import HopStream
from rpc.links.serial_stream import DEFAULT_BAUD, SerialStream
from rpc.links.stream_link import BareFraming, ConsoleFraming, StreamLink
from rpc.links.tcp_stream import TcpStream
from rpc.links.udp_link import DEFAULT_PORT, UdpLink
from rpc.message import Group, Op, encode_request

LINKS_MAX: Final = 1_024
_ADDRESS_SIZE_MAX: Final = 65_536
_BAUD: Final = range(300, 12_000_001)
_NEXT_OF_STAR: Final = re.compile(r",(?=(?:serial|udp|tcp|chain|bus):)")
_SERIAL_WITH_BAUD: Final = re.compile(r"(.+)@([0-9]{1,8})")
_NETWORK_ADDRESS: Final = re.compile(r"(?:udp|tcp)://(?:[A-Za-z0-9._-]+|\[[0-9A-Za-z:.%]+\])(?::[0-9]{1,5})?")
_ITEM_OF_LIST: Final = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")
_ASK_TIMEOUT_SECONDS: Final = 1.0
"""An echo erases nothing; where a node is erasing for somebody else it is asked again."""
_ASK_PER_HOP_SECONDS: Final = 0.1
_ASK_ATTEMPTS: Final = 12
_ASK_EACH_ATTEMPTS: Final = 3
_REOPEN_PAUSE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class NodeLink:
    """A device that can be asked: `name` is the address that means it alone."""

    name: str
    link: Link


def open_links(via: str) -> list[NodeLink]:
    """A link for each device that `via` means, in its order.

    Ports open when they are first used; only a chain without a list is asked, here, where it ends.
    Raises InputRefused for what is no address; LinkError for a chain that does not answer.
    """
    links: list[Link] = []
    try:
        for part in parts_of(via):
            links += _links_of(part)
    except StrongroomError:
        for link in links:
            link.close()
        raise
    names = [link.name for link in links]
    if len(links) > LINKS_MAX or len(set(names)) != len(names):
        raise _refused(via[:64], f"a device is named twice, or more than {LINKS_MAX} are")
    return [NodeLink(link.name, link) for link in links]


def parts_of(via: str) -> list[str]:
    """The addresses of a star, one by one; of anything else, itself. Raises InputRefused."""
    if len(via) > _ADDRESS_SIZE_MAX:
        raise _refused(via[:64] + "…", "longer than any address")
    parts = _NEXT_OF_STAR.split(via.removeprefix("star:")) if via.startswith("star:") else [via]
    if len(parts) > LINKS_MAX:
        raise _refused(via[:64] + "…", f"more than {LINKS_MAX} links")
    return parts


def _links_of(address: str) -> list[Link]:
    scheme, _, rest = address.partition(":")
    if scheme == "serial":
        return [StreamLink(_serial(rest), ConsoleFraming)]
    if scheme == "udp":
        return [UdpLink(*_host_and_port(address))]
    if scheme == "tcp":
        return [StreamLink(TcpStream(*_host_and_port(address)), BareFraming)]
    if scheme == "chain":
        return _chain(address, rest)
    if scheme == "bus":
        return _bus(address, rest)
    raise _refused(address, "begin with serial:, udp://, tcp://, chain:, bus: or star:")


def _chain(address: str, rest: str) -> list[Link]:
    port_text, hash_mark, numbers = rest.partition("#")
    port = HopStream(_byte_stream(address, port_text))
    listed = _number_list(address, numbers, 0, CHAIN_ADDRESS_MAX) if hash_mark else None
    try:
        return [ChainNodeLink(port, number) for number in listed or range(_last_node_of(port) + 1)]
    except LinkError:
        port.close()
        raise


def _bus(address: str, rest: str) -> list[Link]:
    port_text, hash_mark, numbers = rest.partition("#")
    if not hash_mark:
        raise _refused(address, "say which slaves: bus:PORT#1,2,5-9")
    port = HopStream(_byte_stream(address, port_text))
    return [BusSlaveLink(port, number) for number in _number_list(address, numbers, 1, BUS_ADDRESS_MAX)]


def _byte_stream(address: str, port_text: str) -> ByteStream:
    scheme, _, rest = port_text.partition(":")
    if scheme == "serial":
        return _serial(rest)
    if scheme == "tcp":
        return TcpStream(*_host_and_port(port_text))
    raise _refused(address, "hop packets travel over serial: and tcp:// ports")


def _serial(rest: str) -> SerialStream:
    with_baud = _SERIAL_WITH_BAUD.fullmatch(rest)
    path, baud = (with_baud[1], int(with_baud[2])) if with_baud else (rest, DEFAULT_BAUD)
    if not path or baud not in _BAUD:
        raise _refused(f"serial:{rest}", "write serial:PATH or serial:PATH@BAUD, with 300 to 12,000,000 baud")
    return SerialStream(path, baud)


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or not _NETWORK_ADDRESS.fullmatch(address):
        raise _refused(address, "write udp://HOST:PORT or tcp://HOST:PORT, IPv6 addresses in [brackets]")
    return host, DEFAULT_PORT if port is None else port


def _number_list(address: str, text: str, low: int, high: int) -> list[int]:
    """`1,2,5-9`: ascending, none twice."""
    numbers: list[int] = []
    for item in text.split(","):
        found = _ITEM_OF_LIST.fullmatch(item)
        if found is None:
            raise _refused(address, f"a list is written {low},2,5-9")
        numbers += range(int(found[1]), int(found[2] or found[1]) + 1)
    if not numbers or numbers != sorted(set(numbers)) or numbers[0] < low or numbers[-1] > high:
        raise _refused(address, f"a list ascends from {low} to {high} at most, and names none twice")
    return numbers


def _last_node_of(port: HopStream) -> int:
    """Where a chain ends: a request that goes further than any node is answered by the last one."""
    furthest = ChainNodeLink(port, CHAIN_ADDRESS_MAX)
    closed: LinkClosed | None = None
    for attempt in range(_ASK_ATTEMPTS):
        try:
            furthest.exchange(_echo(attempt), _ASK_TIMEOUT_SECONDS)
        except ChainEnded as ended:
            return ended.last_address
        except LinkTimeout:
            closed = None
        except LinkClosed as error:
            closed = error
            time.sleep(_REOPEN_PAUSE_SECONDS)
        else:
            return CHAIN_ADDRESS_MAX
    if closed is not None:
        raise closed
    raise _where_it_breaks(port, furthest.name.partition("#")[0])


def _where_it_breaks(port: HopStream, name: str) -> ChainBroken:
    for address in range(CHAIN_ADDRESS_MAX):
        if not _answers(ChainNodeLink(port, address)):
            before = "nobody answers" if address == 0 else f"nodes 0 to {address - 1} answer"
            return ChainBroken(f"{name}: {before}; node {address} is silent", address)
    return ChainBroken(f"{name}: no node says that the chain ends with it", CHAIN_ADDRESS_MAX)


def _answers(node: ChainNodeLink) -> bool:
    for attempt in range(_ASK_EACH_ATTEMPTS):
        try:
            node.exchange(_echo(attempt), _ASK_TIMEOUT_SECONDS + node.hops * _ASK_PER_HOP_SECONDS)
        except LinkTimeout:
            continue
        return True
    return False


def _echo(sequence: int) -> bytes:
    return encode_request(Op.WRITE, Group.OS, sequence & 0xFF, 0, {"d": "?"})


def _refused(address: str, what_to_do: str) -> InputRefused:
    return InputRefused(f"[LK-10] not an address of devices: {address!r}: {what_to_do}")
