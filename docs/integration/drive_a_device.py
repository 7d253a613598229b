"""Drives a device over UDP with nothing but Python's standard library: echo, upload, reset.

    python3 drive_a_device.py HOST PORT PACKAGE.srp

It is an example to translate, not a tool: `strongroom update` also follows trust bundles, hands over grants, checks
what a device would refuse, and verifies what it says afterwards. The device decides everything by itself, so that
nothing that this program does wrong can harm it.
"""

import socket
import struct
import sys
from pathlib import Path

HEADER = struct.Struct(">BBHHBB")  # version and op, flags, length, group, sequence, command
READ, WRITE = 0, 2
OS, IMAGE = 0, 1
ECHO, RESET, UPLOAD = 0, 5, 1
TIMEOUT_SECONDS = 4  # a device may erase a sector before it answers
ATTEMPTS = 6
BLOCK_SIZE = 1472 - HEADER.size - 23  # a datagram, less the header and the map around the first block

Value = int | str | bytes | bool | None | dict[str, "Value"] | list["Value"]


def encode_head(major: int, argument: int) -> bytes:
    """The first bytes of a CBOR item (RFC 8949, section 3)."""
    if argument < 24:
        return bytes([major << 5 | argument])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            return bytes([major << 5 | code]) + argument.to_bytes(size, "big")
    raise ValueError("too large")


def encode_map(fields: dict[str, int | str | bytes]) -> bytes:
    """A map of texts to numbers, texts and byte strings."""
    encoded = encode_head(5, len(fields))
    for key, value in fields.items():
        encoded += encode_head(3, len(key)) + key.encode()
        if isinstance(value, int):
            encoded += encode_head(0, value)
        else:
            content = value.encode() if isinstance(value, str) else value
            encoded += encode_head(3 if isinstance(value, str) else 2, len(content)) + content
    return encoded


def decode(data: bytes, at: int = 0) -> tuple[Value, int]:
    """The item at an offset, and where the next one begins. Only what devices answer."""
    major, code = divmod(data[at], 32)
    at += 1
    if major == 7:
        return {20: False, 21: True, 22: None}[code], at
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(code, 0)
    argument = int.from_bytes(data[at : at + size], "big") if size else code
    at += size
    if major in (0, 1):
        return (argument if major == 0 else -1 - argument), at
    if major in (2, 3):
        content = data[at : at + argument]
        return (content if major == 2 else content.decode()), at + argument
    items: list[Value] = []
    for _ in range(argument * (2 if major == 5 else 1)):
        item, at = decode(data, at)
        items.append(item)
    if major == 4:
        return items, at
    return {str(key): value for key, value in zip(items[::2], items[1::2], strict=True)}, at


class Device:
    """One device; a connected UDP socket hears nobody else."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((host, port))
        self.socket.settimeout(TIMEOUT_SECONDS)
        self.sequence = 0

    def ask(self, op: int, group: int, command: int, fields: dict[str, int | str | bytes]) -> dict[str, Value]:
        """Ask, and ask again; every request may be repeated."""
        self.sequence = (self.sequence + 1) % 256
        body = encode_map(fields)
        request = HEADER.pack(1 << 3 | op, 0, len(body), group, self.sequence, command) + body
        awaited = (1 << 3 | op + 1, group, self.sequence, command)
        for _ in range(ATTEMPTS):
            self.socket.send(request)
            try:
                while True:
                    reply = self.socket.recv(65536)
                    first, _, _, *rest = HEADER.unpack_from(reply)
                    if (first, *rest) == awaited:
                        return answer_of(reply[HEADER.size :])
            except TimeoutError:
                continue
        raise SystemExit("no answer")


def answer_of(body: bytes) -> dict[str, Value]:
    """The fields of an answer, unless it is an error: {"rc": n} or {"err": {"group": g, "rc": n}}."""
    answer, _ = decode(body)
    if not isinstance(answer, dict):
        raise SystemExit("the answer is no map")
    if answer.get("err") or answer.get("rc"):
        raise SystemExit(f"the device refused: {answer}")
    return answer


def upload(device: Device, package: bytes) -> None:
    """Send what the device asks for: it says which byte comes next, and repeats itself while it erases."""
    offset = 0
    while offset < len(package):
        fields: dict[str, int | str | bytes] = {"off": offset, "data": package[offset : offset + BLOCK_SIZE]}
        if offset == 0:
            fields["len"] = len(package)
        answer = device.ask(WRITE, IMAGE, UPLOAD, fields)
        if not isinstance(answer["off"], int):
            raise SystemExit("the device names no offset")
        offset = answer["off"]


def main() -> None:
    """The command."""
    host, port, path = sys.argv[1:]
    device = Device(host, int(port))
    device.ask(WRITE, OS, ECHO, {"d": "hello"})
    upload(device, Path(path).read_bytes())
    device.ask(WRITE, OS, RESET, {})
    sys.stdout.write("the device has the package, and resets\n")


if __name__ == "__main__":
    main()
