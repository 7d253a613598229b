"""SMP's console framing on a serial line (docs/spec/protocol.md, section 5): lines of base64, and what else is there.

A line is `06 09` (the first of a message) or `04 14` (a further one), base64, `0A`. Other lines are ignored.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from bootloader.link.crc import with_crc, without_crc

FIRST_LINE = b"\x06\x09"
FURTHER_LINE = b"\x04\x14"
LINE_END = b"\n"
LINE_SIZE_BYTES_MAX = 127

_LENGTH_SIZE_BYTES = 2
_LINE_CONTENT_SIZE_BYTES = (LINE_SIZE_BYTES_MAX - len(FIRST_LINE) - len(LINE_END)) // 4 * 4


def encode_lines(message: bytes) -> list[bytes]:
    """The lines that carry a message of at most 65,533 bytes."""
    checked = with_crc(message)
    content = b2a_base64(len(checked).to_bytes(_LENGTH_SIZE_BYTES, "big") + checked, newline=False)
    parts = [content[at : at + _LINE_CONTENT_SIZE_BYTES] for at in range(0, len(content), _LINE_CONTENT_SIZE_BYTES)]
    marks = [FIRST_LINE] + [FURTHER_LINE] * (len(parts) - 1)
    return [mark + part + LINE_END for mark, part in zip(marks, parts, strict=True)]


class ConsoleReceiver:
    """Puts messages together again, line by line. Holds one message at most."""

    def __init__(self, message_size_bytes_max: int) -> None:
        self.bad_count = 0
        self._packet_size_bytes_max = message_size_bytes_max + _LENGTH_SIZE_BYTES + 2
        self._packet: bytearray | None = None  # what there is of a message, from its length on; None: none has begun

    def receive_line(self, line: bytes) -> bytes | None:
        """Take a line without its end; the message, if this line completes one whose CRC is right."""
        if len(line) >= LINE_SIZE_BYTES_MAX or line[:2] not in (FIRST_LINE, FURTHER_LINE):
            return self._give_up()
        if line.startswith(FIRST_LINE):
            if self._packet is not None:
                self.bad_count += 1
            self._packet = bytearray()
        if self._packet is None:
            return self._give_up()
        try:
            self._packet += a2b_base64(line[2:].rstrip(b"\r"), strict_mode=True)
        except Base64Error:
            return self._give_up()
        return self._completed(self._packet)

    def _completed(self, packet: bytearray) -> bytes | None:
        if len(packet) < _LENGTH_SIZE_BYTES:
            return None
        size_bytes = _LENGTH_SIZE_BYTES + int.from_bytes(packet[:_LENGTH_SIZE_BYTES], "big")
        if size_bytes > self._packet_size_bytes_max or len(packet) > size_bytes:
            return self._give_up()
        if len(packet) < size_bytes:
            return None
        message = without_crc(bytes(packet[_LENGTH_SIZE_BYTES:]))
        self._packet = None
        if message is None:
            self.bad_count += 1
        return message

    def _give_up(self) -> bytes | None:
        self.bad_count += 1
        self._packet = None
        return None
