"""A device in this process behind its SMP server, and a host that speaks to it; messages are made by cbor2."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack, unpack
from typing import Any

import cbor2

from bootloader.simulation.device import SimulatedDevice
from bootloader.simulation.sim_flash import Operation
from cli.served.machine import Machine
from cli.served.options import ServeOptions

READ, WRITE = 0, 2
OS, IMAGE, OURS = 0, 1, 0x4D42
STATUS, UPDATE_MODE, BUNDLE, GRANT, CHALLENGE, ACTIVATION, SERVICE, STATISTICS = range(8)

QUICK = ServeOptions(reset_after_seconds=0.0, power_back_after_seconds=0.0)


class RecordingStore:
    """Keeps what was put on record, in order, and nothing else."""

    def __init__(self) -> None:
        self.groups: list[tuple[Operation, ...]] = []
        self.whole_count = 0

    def keep(self, operations: Sequence[Operation]) -> None:
        if operations:
            self.groups.append(tuple(operations))

    def write_whole(self) -> None:
        self.whole_count += 1

    def write_whole_if_log_is_long(self) -> None:
        pass


def message(op: int, group: int, command: int, fields: object, *, version: int = 1, sequence: int = 7) -> bytes:
    """A request; `fields` may be anything that CBOR encodes, or bytes as they are."""
    body = fields if isinstance(fields, bytes) else cbor2.dumps(fields)
    return pack(">B B H H B B", version << 3 | op, 0, len(body), group, sequence, command) + body


def body_of(request: bytes, reply: bytes | None) -> dict[str, Any]:
    """The map of a reply whose header fits its request."""
    assert reply is not None
    first, flags, size, group, sequence, command = unpack(">B B H H B B", reply[:8])
    asked_first, _, _, *asked = unpack(">B B H H B B", request[:8])
    assert (first, flags, size) == (asked_first + 1, 0, len(reply) - 8)
    assert [group, sequence, command] == asked
    found = cbor2.loads(reply[8:])
    assert isinstance(found, dict)
    assert len(cbor2.dumps(found)) == len(reply) - 8, "nothing behind the map"
    return found


class Host:
    """Speaks to a machine, as over a perfect link."""

    def __init__(self, device: SimulatedDevice, options: ServeOptions = QUICK) -> None:
        self.device = device
        self.store = RecordingStore()
        self.machine = Machine(device, self.store, options)
        self.machine.power_on()

    def ask(self, op: int, group: int, command: int, fields: object, *, version: int = 1) -> dict[str, Any]:
        """The body of the answer; a reset that it announced is carried out."""
        request = message(op, group, command, fields, version=version)
        reply = self.machine.handle(request)
        self.machine.reset_if_wanted()
        return body_of(request, reply)

    def upload(self, package: bytes, block_size_bytes: int = 1400, begin: int = 0) -> dict[str, Any]:
        """Send a package from the offsets that are expected; the last answer."""
        answer: dict[str, Any] = {"off": begin}
        while answer.get("off", len(package)) < len(package):
            offset = answer["off"]
            fields = {"off": offset, "data": package[offset : offset + block_size_bytes]}
            answer = self.ask(WRITE, IMAGE, 1, fields | ({"len": len(package)} if offset == 0 else {}))
        return answer

    def send_object(self, command: int, data: bytes, piece_size_bytes: int = 1000) -> dict[str, Any]:
        """Send an object in pieces; the last answer."""
        answer: dict[str, Any] = {"off": 0}
        while answer.get("off", len(data)) < len(data):
            offset = answer["off"]
            fields: dict[str, Any] = {"off": offset, "data": data[offset : offset + piece_size_bytes]}
            answer = self.ask(WRITE, OURS, command, fields | ({"len": len(data)} if offset == 0 else {}))
        return answer

    def update_mode(self) -> None:
        """Ask for it, and be there."""
        assert self.ask(WRITE, OURS, UPDATE_MODE, {}) == {}
