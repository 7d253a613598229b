"""Hop packets and COBS: published examples, packets by hand, and every rule that refuses one (LK-04)."""

from __future__ import annotations

import pytest

from rpc.cobs import cobs_decode, cobs_encode
from rpc.crc16 import crc16_xmodem
from rpc.errors import MessageMalformed
from rpc.hop_packet import HOP_MESSAGE_SIZE_MAX_BYTES, HopDecoder, HopFlags, HopPacket

RUN_254 = bytes(range(1, 255))

# The examples of the paper (Cheshire and Baker, 1999), as later texts number them, without the delimiter.
COBS_EXAMPLES = [
    (b"", "01"),
    (b"\0", "0101"),
    (b"\0\0", "010101"),
    (b"\0\x11\0", "01021101"),
    (b"\x11\x22\0\x33", "0311220233"),
    (b"\x11\x22\x33\x44", "0511223344"),
    (b"\x11\0\0\0", "0211010101"),
    (RUN_254, "ff" + RUN_254.hex()),
    (b"\0" + RUN_254, "01ff" + RUN_254.hex()),
    (RUN_254 + b"\xff", "ff" + RUN_254.hex() + "02ff"),
    (RUN_254[1:] + b"\xff\0", "ff" + RUN_254[1:].hex() + "ff0101"),
    (RUN_254[2:] + b"\xff\0\x01", "fe" + RUN_254[2:].hex() + "ff0201"),
]


@pytest.mark.parametrize(("data", "encoded"), COBS_EXAMPLES)
def test_cobs_agrees_with_the_published_examples(data: bytes, encoded: str) -> None:
    assert cobs_encode(data).hex() == encoded
    assert cobs_decode(bytes.fromhex(encoded)) == data


@pytest.mark.parametrize("encoded", ["00", "0211", "02", "0500112233", "031100", "ff01"])
def test_what_is_not_encoded_by_cobs_is_refused(encoded: str) -> None:
    if encoded == "0211":
        assert cobs_decode(bytes.fromhex(encoded)) == b"\x11"
        return
    with pytest.raises(ValueError, match="not encoded"):
        cobs_decode(bytes.fromhex(encoded))


def with_crc(body_hex: str) -> bytes:
    body = bytes.fromhex(body_hex)
    return body + crc16_xmodem(body)


def test_a_packet_is_encoded_as_by_hand() -> None:
    packet = HopPacket(3, HopFlags.NONE, b"\x0a\x0b")
    assert packet.encode() == with_crc("03 00 0002 0a0b")
    assert HopPacket.parse(with_crc("07 05 0000")) == HopPacket(7, HopFlags.REPLY | HopFlags.BUSY, b"")
    delimited = packet.encode_delimited()
    assert (delimited[0], delimited[-1]) == (0, 0)
    assert 0 not in delimited[1:-1]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(with_crc("0000"), id="no length"),
        pytest.param(with_crc("00 08 0000"), id="unknown flag"),
        pytest.param(with_crc("00 00 0002 0a"), id="shorter than it says"),
        pytest.param(with_crc("00 00 0000 0a"), id="longer than it says"),
        pytest.param(with_crc("00 00 0000")[:-1] + b"\x55", id="wrong CRC"),
        pytest.param(with_crc("00 00 0801" + "11" * 2049), id="longer than any message"),
    ],
)
def test_lk_04_a_packet_that_breaks_a_rule_is_refused(data: bytes) -> None:
    with pytest.raises(MessageMalformed, match="LK-04"):
        HopPacket.parse(data)
    decoder = HopDecoder()
    good = HopPacket(1, HopFlags.REPLY, b"12345678")
    assert decoder.feed(b"\0" + cobs_encode(data) + b"\0" + good.encode_delimited()) == [good]
    assert decoder.bad_frames == 1


def test_lk_04_the_longest_packet_is_taken_and_noise_keeps_nothing() -> None:
    longest = HopPacket(255, HopFlags.REPLY, b"\x01" * HOP_MESSAGE_SIZE_MAX_BYTES)
    decoder = HopDecoder()
    assert decoder.feed(longest.encode_delimited()) == [longest]
    for _ in range(100):
        assert decoder.feed(b"\x55" * 10_000) == []
    assert decoder.feed(b"\0" + longest.encode_delimited()) == [longest]
    assert decoder.bad_frames == 1
