"""CRC, COBS, hop packets, console lines, and what a byte stream is taken apart into."""

from __future__ import annotations

from base64 import b64decode, b64encode
from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.link.console import LINE_SIZE_BYTES_MAX, ConsoleReceiver, encode_lines
from bootloader.link.crc import crc16, with_crc, without_crc
from bootloader.link.hop import (
    ENCODED_SIZE_BYTES_MAX,
    MESSAGE_SIZE_BYTES_MAX,
    HopFlags,
    HopPacket,
    cobs_decode,
    cobs_encode,
    framed,
    parse_packet,
)
from bootloader.link.stream import ConsoleLine, StreamSplitter

MESSAGES = st.binary(max_size=300) | st.binary(min_size=MESSAGE_SIZE_BYTES_MAX, max_size=MESSAGE_SIZE_BYTES_MAX)
PACKETS = st.builds(HopPacket, st.integers(0, 255), st.sampled_from([HopFlags(n) for n in range(8)]), MESSAGES)


def crc16_bit_by_bit(data: bytes) -> int:
    """CRC-16/XMODEM as its definition has it."""
    value = 0
    for byte in data:
        for place in range(7, -1, -1):
            top = (value >> 15) ^ (byte >> place & 1)
            value = (value << 1 & 0xFFFF) ^ (0x1021 if top else 0)
    return value


@given(st.binary(max_size=100))
def test_crc_is_the_published_one(data: bytes) -> None:
    assert crc16(b"123456789") == 0x31C3, "the check value of CRC-16/XMODEM"
    assert crc16(data) == crc16_bit_by_bit(data)
    assert without_crc(with_crc(data)) == data


@given(st.binary(min_size=1, max_size=60), st.integers(0))
def test_a_changed_bit_is_found(data: bytes, place: int) -> None:
    checked = bytearray(with_crc(data))
    bit = place % (8 * len(checked))
    checked[bit // 8] ^= 1 << bit % 8
    assert without_crc(bytes(checked)) is None


@pytest.mark.parametrize("data", [b"", b"\0"])
def test_what_is_too_short_for_a_crc(data: bytes) -> None:
    assert without_crc(data) is None


# Cheshire and Baker, "Consistent Overhead Byte Stuffing" (IEEE/ACM Transactions on Networking, 1999), and the examples
# that are commonly given with it.
COBS_EXAMPLES = [
    ("", "01"),
    ("00", "01 01"),
    ("00 00", "01 01 01"),
    ("00 11 00", "01 02 11 01"),
    ("11 22 00 33", "03 11 22 02 33"),
    ("11 22 33 44", "05 11 22 33 44"),
    ("11 00 00 00", "02 11 01 01 01"),
    (bytes(range(1, 255)).hex(), "ff" + bytes(range(1, 255)).hex()),
    (bytes(range(255)).hex(), "01 ff" + bytes(range(1, 255)).hex()),
    (bytes(range(1, 256)).hex(), "ff" + bytes(range(1, 255)).hex() + "02 ff"),
    ((bytes(range(2, 256)) + b"\0").hex(), "ff" + bytes(range(2, 256)).hex() + "01 01"),
    ((bytes(range(3, 256)) + b"\0\x01").hex(), "fe" + bytes(range(3, 256)).hex() + "02 01"),
]


@pytest.mark.parametrize(("plain", "encoded"), COBS_EXAMPLES)
def test_cobs_examples(plain: str, encoded: str) -> None:
    assert cobs_encode(bytes.fromhex(plain)) == bytes.fromhex(encoded)
    assert cobs_decode(bytes.fromhex(encoded)) == bytes.fromhex(plain)


@given(st.lists(st.sampled_from([b"\0", b"\x01", b"x" * 253, b"y" * 254, b"z" * 255, b"ab"]), max_size=12))
def test_cobs_has_no_zero_and_loses_nothing(parts: list[bytes]) -> None:
    data = b"".join(parts)
    encoded = cobs_encode(data)
    assert 0 not in encoded
    assert len(encoded) <= len(data) + len(data) // 254 + 1
    assert cobs_decode(encoded) == data


@pytest.mark.parametrize("encoded", ["", "00", "02", "05 11 22", "03 00 11", "ff 01"])
def test_what_is_no_cobs(encoded: str) -> None:
    assert cobs_decode(bytes.fromhex(encoded)) is None


# --- hop packets ---


@given(PACKETS)
def test_a_packet_has_the_layout_of_the_specification(packet: HopPacket) -> None:
    content = pack(">B B H", packet.address, int(packet.flags), len(packet.message)) + packet.message
    encoded = content + pack(">H", crc16_bit_by_bit(content))
    assert packet.encode() == encoded
    assert parse_packet(encoded) == packet


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (pack(">B B H", 0, 8, 0), "an unknown flag"),
        (pack(">B B H", 0, 0x80, 0), "an unknown flag"),
        (pack(">B B H", 0, 0, 1), "shorter than it says"),
        (pack(">B B H", 0, 0, 0) + b"x", "longer than it says"),
        (pack(">B B H", 0, 0, MESSAGE_SIZE_BYTES_MAX + 1) + bytes(MESSAGE_SIZE_BYTES_MAX + 1), "too long"),
        (b"\0\0\0", "no whole header"),
        (b"", "nothing"),
    ],
)
def test_a_packet_that_breaks_a_rule_is_dropped(content: bytes, why: str) -> None:
    assert parse_packet(with_crc(content)) is None
    assert why


def test_a_packet_with_a_wrong_crc_is_dropped() -> None:
    encoded = HopPacket(1, HopFlags(0), b"message").encode()
    assert parse_packet(encoded[:-1] + bytes([encoded[-1] ^ 1])) is None


# --- console lines ---


def message_of(lines: list[bytes], receiver: ConsoleReceiver) -> bytes | None:
    found = [receiver.receive_line(line.removesuffix(b"\n")) for line in lines]
    assert all(message is None for message in found[:-1])
    return found[-1]


@given(st.binary(max_size=2048))
def test_lines_are_those_of_the_specification(message: bytes) -> None:
    lines = encode_lines(message)
    assert all(len(line) <= LINE_SIZE_BYTES_MAX and line.endswith(b"\n") for line in lines)
    assert lines[0].startswith(b"\x06\x09")
    assert all(line.startswith(b"\x04\x14") for line in lines[1:])
    content = b64decode(b"".join(line[2:-1] for line in lines), validate=True)
    assert content == pack(">H", len(message) + 2) + message + pack(">H", crc16_bit_by_bit(message))
    assert message_of(lines, ConsoleReceiver(2048)) == message


def test_each_line_may_be_encoded_by_itself() -> None:
    """Some clients pad every line."""
    content = pack(">H", 22) + with_crc(b"twenty bytes of data")
    lines = [b"\x06\x09" + b64encode(content[:7]), b"\x04\x14" + b64encode(content[7:8]) + b"\r"]
    lines.append(b"\x04\x14" + b64encode(content[8:]))
    assert message_of(lines, ConsoleReceiver(2048)) == b"twenty bytes of data"


def test_a_message_that_is_too_long_is_given_up_and_the_next_one_taken() -> None:
    receiver = ConsoleReceiver(100)
    assert [receiver.receive_line(line[:-1]) for line in encode_lines(bytes(101))] == [None] * len(
        encode_lines(bytes(101))
    )
    assert receiver.bad_count > 0
    assert message_of(encode_lines(bytes(100)), receiver) == bytes(100)


@pytest.mark.parametrize(
    "line",
    [
        b"\x06\x09not base64!",
        b"\x06\x09AAA",
        b"\x04\x14AAAA",
        b"\x06\x08AAAA",
        b"\x06",
        b"\x06\x09" + b"A" * 128,
        b"\x06\x09" + b64encode(b"\0\x04ab\0\1"),
        b"\x06\x09" + b64encode(b"\0\x02ab and more than it says"),
    ],
)
def test_a_broken_line_is_counted_and_forgotten(line: bytes) -> None:
    receiver = ConsoleReceiver(2048)
    assert receiver.receive_line(line) is None
    assert receiver.bad_count == 1
    assert message_of(encode_lines(b"whole"), receiver) == b"whole"


# --- what a stream carries ---


@given(st.lists(PACKETS | st.binary(max_size=200), max_size=5), st.lists(st.integers(1, 400), max_size=40))
def test_portions_do_not_matter(items: list[HopPacket | bytes], sizes: list[int]) -> None:
    """Packets and console messages, one after the other, in whatever portions they arrive."""
    stream = b"".join(framed(item) if isinstance(item, HopPacket) else b"".join(encode_lines(item)) for item in items)
    splitter, receiver, position = StreamSplitter(), ConsoleReceiver(2048), 0
    found: list[HopPacket | bytes] = []
    for size in [*sizes, len(stream)]:
        for item in splitter.receive(stream[position : position + size]):
            if isinstance(item, HopPacket):
                found.append(item)
            elif (message := receiver.receive_line(item.content)) is not None:
                found.append(message)
        position += size
    assert found == items


def test_a_console_may_share_the_line() -> None:
    """Its text is no frame, whatever it says, and counts for nothing."""
    splitter = StreamSplitter()
    packet = HopPacket(3, HopFlags.REPLY, b"x" * 20)
    stream = b"boot: v1.2\r\n" + framed(packet) + b"\n> \x06 is not at the beginning\n" + encode_lines(b"hi")[0]
    found = splitter.receive(stream)
    assert found == [packet, ConsoleLine(encode_lines(b"hi")[0][:-1])]
    assert splitter.bad_count == 0


def test_a_lost_zero_costs_one_packet() -> None:
    packets = [HopPacket(number, HopFlags(0), bytes([number] * 30)) for number in range(4)]
    for lost in (0, 1):  # the zero before, or behind, the first packet
        splitter = StreamSplitter()
        first = framed(packets[0])
        stream = (first[1:] if lost == 0 else first[:-1]) + b"".join(map(framed, packets[1:]))
        found = splitter.receive(stream)
        assert found[-3 + lost :] == packets[1 + lost :] or found[-3:] == packets[1:]


def test_a_stray_zero_does_not_swallow_console_lines() -> None:
    """Nobody on the line sends packets: after noise with a zero in it, the next message arrives all the same."""
    splitter, receiver = StreamSplitter(), ConsoleReceiver(2048)
    splitter.receive(b"\0")
    message = b"m" * 300
    found = [
        receiver.receive_line(item.content)
        for item in splitter.receive(b"".join(encode_lines(message)))
        if isinstance(item, ConsoleLine)
    ]
    assert found[-1] == message


@pytest.mark.parametrize("begin", [b"\0", b"\x06", b"\x04", b"text "])
def test_what_never_ends_is_given_up(begin: bytes) -> None:
    """Bounded whatever comes, and good again afterwards."""
    splitter = StreamSplitter()
    for _ in range(100):
        assert splitter.receive(begin + b"\x55" * 100) == []
        assert len(splitter._held) <= ENCODED_SIZE_BYTES_MAX + 1
    packet = HopPacket(0, HopFlags(0), b"message")
    assert splitter.receive(b"\n\0\0" + framed(packet) + framed(packet))[-1] == packet


def test_the_largest_packet_fits() -> None:
    for content in (bytes(MESSAGE_SIZE_BYTES_MAX), b"\x01" * MESSAGE_SIZE_BYTES_MAX):
        packet = HopPacket(255, HopFlags.REPLY, content)
        assert StreamSplitter().receive(framed(packet)) == [packet]


@given(st.lists(st.binary(max_size=300) | PACKETS.map(framed), max_size=12))
def test_any_bytes_do_no_harm(parts: list[bytes]) -> None:
    splitter = StreamSplitter()
    for part in parts:
        for item in splitter.receive(part):
            assert isinstance(item, ConsoleLine | HopPacket)
        assert len(splitter._held) <= ENCODED_SIZE_BYTES_MAX + 1
    assert all(later >= earlier for earlier, later in pairwise([0, splitter.bad_count]))
