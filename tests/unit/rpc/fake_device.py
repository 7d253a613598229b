"""A device of the tests: the commands of docs/spec/protocol.md over `struct` and `cbor2`, without any of our code.

It keeps what was uploaded, erases as device-state.md, section 10 says, and takes objects in pieces. What it does not
do is judge anything: the contract tests do that with the real bootloader.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field
from typing import Any

import cbor2

HEADER = struct.Struct(">BBHHBB")
OUR_GROUP = 0x4D42


@dataclass
class FakeDevice:
    """`sector_size_bytes` of uploaded bytes need one erase each; `further_sectors` are erased before the last byte."""

    name: str = "fake"
    buf_size: int = 2048
    sector_size_bytes: int = 16_384
    further_sectors: int = 3
    erase_seconds: float = 0.0
    like_others: bool = False
    canned: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    uploads: list[bytes] = field(default_factory=list)
    objects: dict[int, bytes] = field(default_factory=dict)
    requests: list[tuple[int, int, int]] = field(default_factory=list)
    resets: list[dict[str, Any]] = field(default_factory=list)
    erases: int = 0
    _announced: int | None = None
    _received: bytearray = field(default_factory=bytearray)
    _erased: int = 0
    _object: tuple[int, int, bytearray] | None = None

    def handle(self, request: bytes) -> bytes | None:
        """One request in, at most one reply out."""
        if len(request) < HEADER.size:
            return None
        first, flags, size, group, sequence, command = HEADER.unpack_from(request)
        op = first & 7
        if op not in {0, 2}:
            return None
        try:
            if size != len(request) - HEADER.size or flags or len(request) > max(self.buf_size, 1472):
                raise ValueError
            fields = cbor2.loads(request[HEADER.size :])
            self.requests.append((op, group, command))
            canned = self.canned.get((group, command))
            body = self._answer(op, group, command, fields) if canned is None else canned
        except (ValueError, KeyError, TypeError, cbor2.CBORError):
            body = {"rc": 3}
        encoded = cbor2.dumps(body)
        if self.like_others:  # a map of indefinite length, with an `rc` where nothing is wrong
            encoded = b"\xbf" + cbor2.dumps({"rc": 0, **body})[1:] + b"\xff"
        return HEADER.pack(first + 1, 0, len(encoded), group, sequence, command) + encoded

    def forget_upload(self) -> None:
        """As a reset would."""
        self._announced, self._object = None, None
        self._received.clear()

    def _answer(self, op: int, group: int, command: int, fields: dict[str, Any]) -> dict[str, Any]:
        if (group, command) == (0, 0):
            return {"r": fields["d"]}
        if (op, group, command) == (2, 0, 5):
            self.resets.append(fields)
            return {}
        if (op, group, command) == (0, 0, 6):
            return {"buf_size": self.buf_size, "buf_count": 1}
        if (group, command) == (1, 0):
            images = [{"slot": 0, "version": "1.2.0.4", "hash": bytes(32), "active": True}] if self.uploads else []
            return {"images": images}
        if (op, group, command) == (2, 1, 1):
            return {"off": self._upload(fields)}
        if group == OUR_GROUP:
            return self._ours(op, command, fields)
        return {"rc": 8}

    def _ours(self, op: int, command: int, fields: dict[str, Any]) -> dict[str, Any]:
        if (op, command) == (0, 0):
            return {"s": fields["n"].ljust(576, b"\x11")}
        if (op, command) == (2, 1):
            self.resets.append({"update mode": True})
            return {}
        if (op, command) == (0, 4):
            return {"c": fields["p"].ljust(512, b"\x22")}
        if (op, command) == (0, 7):
            return {"rx": len(self.requests), "tx": 0, "bad": 0, "fwd": 0, "drop": 0, "busy": 0}
        if op == 2 and command in {2, 3, 5, 6}:
            return self._piece(command, fields)
        return {"rc": 8}

    # --- uploads (sections 3 of protocol.md, 10 of device-state.md) ---

    def _upload(self, fields: dict[str, Any]) -> int:
        offset, data = fields["off"], fields["data"]
        if offset == 0 and not self._is_known(fields["len"], data):
            self._announced, self._erased = fields["len"], 0
            self._received.clear()
        if offset != len(self._received):
            return len(self._received)
        return self._take(data)

    def _is_known(self, size: int, data: bytes) -> bool:
        return self._announced == size and data.startswith(bytes(self._received[: len(data)]))

    def _take(self, data: bytes) -> int:
        if self._announced is None:
            raise ValueError
        data = data[: self._announced - len(self._received)]
        end = len(self._received) + len(data)
        sectors_under_it = -(-end // self.sector_size_bytes)
        if self._erased < sectors_under_it:
            return self._erase()
        if data and end == self._announced:
            if self._erased < sectors_under_it + self.further_sectors:
                self._received += data[:-1]
                return self._erase()
            self.uploads.append(bytes(self._received + data))
        self._received += data
        return len(self._received)

    def _erase(self) -> int:
        self._erased += 1
        self.erases += 1
        time.sleep(self.erase_seconds)
        return len(self._received)

    # --- objects in pieces (section 4) ---

    def _piece(self, command: int, fields: dict[str, Any]) -> dict[str, Any]:
        offset, data = fields["off"], fields["data"]
        if offset == 0:
            self._object = (command, fields["len"], bytearray())
        expected = len(self._object[2]) if self._object is not None and self._object[0] == command else 0
        if self._object is None or offset != expected:
            return {"off": expected}
        _, size, received = self._object
        received += data
        if len(received) < size:
            return {"off": len(received)}
        self._object = None
        self.objects[command] = bytes(received)
        return {"off": size, "r": bytes(320)} if command in {5, 6} else {"off": size}
