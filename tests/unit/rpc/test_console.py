"""Console framing: what is a line of ours, and what is some other program's text."""

from __future__ import annotations

import base64

import pytest

from rpc.console import ConsoleDecoder, encode_lines
from rpc.crc16 import crc16_xmodem

MESSAGE = bytes.fromhex("0b000006000042 00a161726268 69")
# By hand: length 16 (message 14, CRC 2), message, CRC; CRC by the check of the next test.
LINES = b"\x06\x09" + base64.b64encode(bytes([0, 16]) + MESSAGE + crc16_xmodem(MESSAGE)) + b"\n"


def test_crc_is_that_of_the_catalogues() -> None:
    """CRC-16/XMODEM has the check value 0x31C3 over the digits 1 to 9."""
    assert crc16_xmodem(b"123456789") == bytes.fromhex("31c3")


def test_a_short_message_is_one_line_as_by_hand() -> None:
    assert encode_lines(MESSAGE) == LINES
    assert ConsoleDecoder().feed(LINES) == [MESSAGE]


def test_other_text_on_the_line_is_ignored() -> None:
    decoder = ConsoleDecoder()
    noise = b"*** Booting ***\r\n\n" + b"x" * 500 + b"\n" + bytes(200) + b"\n"
    assert decoder.feed(noise + LINES + noise + LINES.replace(b"\n", b"\r\n")) == [MESSAGE, MESSAGE]
    assert decoder.bad_frames == 0


def test_a_message_may_be_interrupted_by_text_and_by_another_message() -> None:
    long = bytes(300)
    first, second, third, fourth, _ = encode_lines(long).split(b"\n")
    decoder = ConsoleDecoder()
    with_text = b"\n".join([first, b"[inf] hello", second, third, fourth, b""])
    assert decoder.feed(with_text) == [long]
    assert decoder.feed(first + b"\n" + second + b"\n" + LINES) == [MESSAGE]
    assert decoder.bad_frames == 1


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(LINES[:-3] + b"A=\n", id="wrong CRC"),
        pytest.param(b"\x04\x14" + LINES[2:], id="no first line"),
        pytest.param(b"\x06\x09!!!!\n", id="no base64"),
        pytest.param(b"\x06\x09AA\n", id="base64 cut short"),
        pytest.param(b"\x06\x09\n", id="nothing"),
        pytest.param(b"\x06\x09" + base64.b64encode(bytes([0, 9]) + bytes(9)) + b"\n", id="shorter than a header"),
        pytest.param(b"\x06\x09" + base64.b64encode(bytes([0xFF, 0xFF])) + b"\n", id="longer than any reply"),
        pytest.param(
            b"\x06\x09" + base64.b64encode(bytes([0, 16]) + MESSAGE + crc16_xmodem(MESSAGE) + b"\0") + b"\n",
            id="longer than it says",
        ),
    ],
)
def test_what_is_no_frame_is_counted_and_the_next_one_found(lines: bytes) -> None:
    decoder = ConsoleDecoder()
    assert decoder.feed(lines + LINES) == [MESSAGE]
    assert decoder.bad_frames == 1
