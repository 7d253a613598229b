"""Serial console framing of SMP, sans I/O (docs/spec/protocol.md, section 5).

A message travels as length, message and CRC-16, in base64, cut into lines of at most 127 characters. Anything else on
the line is some other program's text, and is ignored.
"""

from __future__ import annotations

import binascii
from typing import Final

from rpc.crc16 import crc16_xmodem
from rpc.message import HEADER_SIZE_BYTES

LINE_SIZE_MAX_BYTES: Final = 127
_FIRST: Final = b"\x06\x09"
_FURTHER: Final = b"\x04\x14"
_LINE_END: Final = b"\n"
_BASE64_PER_LINE: Final = (LINE_SIZE_MAX_BYTES - len(_FIRST) - len(_LINE_END)) // 4 * 4
_LENGTH_SIZE_BYTES: Final = 2
_CRC_SIZE_BYTES: Final = 2
_FRAME_SIZE_MAX_BYTES: Final = 8_192
"""The longest reply that is collected; servers of the field have buffers of up to 4,096 bytes."""


def encode_lines(message: bytes) -> bytes:
    """The lines of one message, ready for the port."""
    length = (len(message) + _CRC_SIZE_BYTES).to_bytes(_LENGTH_SIZE_BYTES, "big")
    text = binascii.b2a_base64(length + message + crc16_xmodem(message), newline=False)
    lines = bytearray()
    for start in range(0, len(text), _BASE64_PER_LINE):
        lines += _FURTHER if start else _FIRST
        lines += text[start : start + _BASE64_PER_LINE] + _LINE_END
    return bytes(lines)


class ConsoleDecoder:
    """Finds messages in what a port delivers, in pieces of any size. Keeps at most one line and one frame."""

    def __init__(self) -> None:
        self.bad_frames = 0
        self._line = bytearray()
        self._line_too_long = False
        self._frame: bytearray | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; give the messages that are complete now, in order."""
        messages: list[bytes] = []
        pieces = data.split(_LINE_END)
        for number, piece in enumerate(pieces):
            self._extend_line(piece)
            if number < len(pieces) - 1:
                messages += self._end_line()
        return messages

    def _extend_line(self, piece: bytes) -> None:
        # One more than fits, for a carriage return before the line feed.
        if len(self._line) + len(piece) > LINE_SIZE_MAX_BYTES:
            self._line_too_long = True
            self._line.clear()
        if not self._line_too_long:
            self._line += piece

    def _end_line(self) -> list[bytes]:
        line, too_long = bytes(self._line).removesuffix(b"\r"), self._line_too_long
        self._line.clear()
        self._line_too_long = False
        if too_long or not line.startswith((_FIRST, _FURTHER)):
            return []
        if line.startswith(_FIRST):
            self._give_up()
            self._frame = bytearray()
        if self._frame is None:
            self.bad_frames += 1
            return []
        try:
            self._frame += binascii.a2b_base64(line[len(_FIRST) :], strict_mode=True)
        except binascii.Error:
            self._give_up()
            return []
        return self._complete(self._frame)

    def _complete(self, frame: bytearray) -> list[bytes]:
        """The message of the frame if its last line is here."""
        if len(frame) < _LENGTH_SIZE_BYTES:
            self._give_up()
            return []
        size_bytes = int.from_bytes(frame[:_LENGTH_SIZE_BYTES], "big")
        if not HEADER_SIZE_BYTES + _CRC_SIZE_BYTES <= size_bytes <= _FRAME_SIZE_MAX_BYTES:
            self._give_up()
            return []
        rest = bytes(frame[_LENGTH_SIZE_BYTES:])
        if len(rest) < size_bytes:
            return []
        message, crc = rest[:-_CRC_SIZE_BYTES], rest[-_CRC_SIZE_BYTES:]
        if len(rest) > size_bytes or crc16_xmodem(message) != crc:
            self._give_up()
            return []
        self._frame = None
        return [message]

    def _give_up(self) -> None:
        """The frame that was being collected is none."""
        if self._frame is not None:
            self.bad_frames += 1
        self._frame = None
