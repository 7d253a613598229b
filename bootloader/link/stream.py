"""What a byte stream carries: console lines, hop packets in COBS, and noise (docs/spec/protocol.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bootloader.link.console import FIRST_LINE, FURTHER_LINE, LINE_SIZE_BYTES_MAX
from bootloader.link.hop import ENCODED_SIZE_BYTES_MAX, HopPacket, cobs_decode, parse_packet

_ZERO, _LINE_END = 0x00, 0x0A
_PACKET_HELD_MAX = ENCODED_SIZE_BYTES_MAX + 1
_LINE_BEGINS = (FIRST_LINE[0], FURTHER_LINE[0])


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """A line of console framing, without its end."""

    content: bytes


class _In(Enum):
    """Where in the stream the next byte stands."""

    NOTHING = "nothing"  # a line or a packet may begin
    NOISE = "noise"  # text of a console, up to the end of its line
    LINE = "line"
    PACKET = "packet"


class StreamSplitter:
    """Takes bytes in any portions, gives back what was complete. Holds one line, or one packet, at most."""

    def __init__(self) -> None:
        self.bad_count = 0
        self._held = bytearray()
        self._in = _In.NOTHING

    def receive(self, data: bytes) -> list[ConsoleLine | HopPacket]:
        """Take the next bytes of the stream."""
        found: list[ConsoleLine | HopPacket] = []
        position = 0
        while position < len(data):
            if self._in is _In.PACKET:
                position = self._in_packet(data, position, found)
            elif self._in is _In.LINE:
                position = self._in_line(data, position, found)
            else:
                position = self._between(data, position)
        return found

    def _between(self, data: bytes, position: int) -> int:
        byte = data[position]
        if byte == _ZERO:
            self._begin(_In.PACKET)
        elif self._in is _In.NOTHING and byte in _LINE_BEGINS:
            self._begin(_In.LINE)
            self._held.append(byte)
        else:
            self._in = _In.NOTHING if byte == _LINE_END else _In.NOISE
        return position + 1

    def _in_line(self, data: bytes, position: int, found: list[ConsoleLine | HopPacket]) -> int:
        end, has_ended = _end_of_run(data, position, LINE_SIZE_BYTES_MAX - len(self._held), _LINE_END, _ZERO)
        self._held += data[position:end]
        if has_ended and data[end] == _LINE_END:
            found.append(ConsoleLine(bytes(self._held)))
            self._begin(_In.NOTHING)
            return end + 1
        if has_ended:  # a packet begins: what was there was no line
            self.bad_count += 1
            self._begin(_In.PACKET)
            return end + 1
        if len(self._held) >= LINE_SIZE_BYTES_MAX:
            self.bad_count += 1
            self._begin(_In.NOISE)
        return end

    def _in_packet(self, data: bytes, position: int, found: list[ConsoleLine | HopPacket]) -> int:
        end, has_ended = _end_of_run(data, position, _PACKET_HELD_MAX - len(self._held), _ZERO, _LINE_END)
        self._held += data[position:end]
        if has_ended and data[end] == _ZERO:
            self._end_packet(found)
            return end + 1
        if has_ended and _is_console_line(self._held):  # the zero before it was not the beginning of a packet
            self.bad_count += 1
            found.append(ConsoleLine(bytes(self._held)))
            self._begin(_In.NOTHING)
            return end + 1
        if has_ended:
            self._held.append(_LINE_END)
            end += 1
        if len(self._held) >= _PACKET_HELD_MAX:
            self.bad_count += 1
            self._begin(_In.NOISE)
        return end

    def _end_packet(self, found: list[ConsoleLine | HopPacket]) -> None:
        if not self._held:
            return  # two zeros in a row: the end of what was lost, and the beginning of what comes
        decoded = cobs_decode(bytes(self._held))
        packet = parse_packet(decoded) if decoded is not None else None
        if packet is None:
            self.bad_count += 1
            self._begin(_In.PACKET)  # this zero may be the beginning of the next one
        else:
            found.append(packet)
            self._begin(_In.NOTHING)

    def _begin(self, where: _In) -> None:
        self._held.clear()
        self._in = where


def _end_of_run(data: bytes, position: int, size_bytes_max: int, *ends: int) -> tuple[int, bool]:
    """(end, whether one of the bytes `ends` stands there) of what comes next, within the size."""
    limit = min(len(data), position + size_bytes_max)
    found = [end for byte in ends if (end := data.find(byte, position, limit)) >= 0]
    return (min(found), True) if found else (limit, False)


def _is_console_line(held: bytearray) -> bool:
    """A packet that begins so, up to a 0A, would announce a length beyond any: so it is none."""
    mark, content = bytes(held[:2]), bytes(held[2:])
    is_text = all(byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=" for byte in content)
    return mark in (FIRST_LINE, FURTHER_LINE) and len(content) >= 2 and is_text
