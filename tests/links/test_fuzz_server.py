"""Fuzzing of what listens: any bytes, and valid requests with something changed, in every state of a device.

No exception; at most one answer of bounded size; and flash as it was, but for the event log (a refusal may leave an
event, within its bounds), unless what was sent was valid as a whole.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootloader.link.bus import BusAdapter, BusSlave
from bootloader.link.chain import ChainNode
from bootloader.link.console import encode_lines
from bootloader.link.hop import HopFlags, HopPacket, framed
from bootloader.link.statistics import LinkStatistics
from bootloader.reference.journal_half import half_regions
from bootloader.simulation.device_file import decode_device, encode_device
from tests.scenarios.life import (
    BOTH_INJECTED,
    HOST,
    WORLD,
    activated_device,
    device_at_work,
    device_with_keys,
    locked_device,
    serve_and_reset,
    without_state,
)
from tests.scenarios.world import image_of
from tests.unit.link.smp_rig import IMAGE, OS, OURS, READ, WRITE, Host, message
from tests.unit.reference.life_builders import DECOMMISSION, REPAIR, ServicePlan, build_activation, build_service_order

PACKAGE = WORLD.application(2, image=image_of("two chunks", 5000)) + bytes(144)
REPLY_SIZE_BYTES_MAX = 2048
STATES = ("LOCKED without keys", "LOCKED", "OPERATIONAL", "application", "RMA", "DECOMMISSIONED", "no state")


@cache
def device_file(state: str) -> bytes:
    if state == "LOCKED without keys":
        return encode_device(locked_device())
    if state == "LOCKED":
        return encode_device(device_with_keys())
    if state == "application":
        return encode_device(device_at_work())
    if state == "no state":
        return encode_device(without_state(device_at_work()))
    device = activated_device(BOTH_INJECTED)
    if state != "OPERATIONAL":
        serve_and_reset(device, ServicePlan(action=REPAIR if state == "RMA" else DECOMMISSION))
    return encode_device(device)


def host_in(state: str) -> Host:
    return Host(decode_device(device_file(state)))


def outside_the_journal(host: Host) -> list[int]:
    """Addresses of all that was done to flash beside the journal."""
    halves = half_regions(host.device.board)
    operations = [operation for group in host.store.groups for operation in group]
    return [entry.address for entry in operations if not any(half.contains(entry.address, 1) for half in halves)]


@cache
def valid_requests() -> tuple[bytes, ...]:
    """One of each kind: what a mutation begins with. None of these alone changes more than the event log."""
    challenge = locked_device().challenge(HOST.public)
    objects = {
        2: WORLD.genesis,
        3: bytes(400),
        5: build_activation(BOTH_INJECTED, challenge),
        6: build_service_order(ServicePlan(action=DECOMMISSION), challenge),
    }
    pieces = [(OURS, command, {"off": 0, "len": len(data), "data": data[:1900]}) for command, data in objects.items()]
    pieces += [(OURS, command, {"off": 1000, "data": data[1000:]}) for command, data in objects.items()]
    uploads = [
        (IMAGE, 1, {"off": offset, "data": PACKAGE[offset : offset + 1400], "len": len(PACKAGE), "image": 0})
        for offset in (0, 1400, 5000)
    ]
    writes: list[tuple[int, int, object]] = [*pieces, *uploads, (OS, 0, {"d": "echo"})]
    writes += [(IMAGE, 0, {"hash": bytes(32), "confirm": True}), (IMAGE, 5, {"slot": 0}), (OURS, 1, {})]
    reads: list[tuple[int, int, object]] = [
        (OS, 0, {"d": "echo"}),
        (OS, 6, {}),
        (OS, 8, {"query": "mode"}),
        (IMAGE, 0, {}),
    ]
    reads += [(OURS, 0, {"n": bytes(32)}), (OURS, 4, {"p": HOST.public}), (OURS, 7, {})]
    return tuple(message(WRITE, *parts) for parts in writes) + tuple(message(READ, *parts) for parts in reads)


# --- strategies ---

LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.integers(-(2**64), 2**64 - 1),
    st.booleans(),
    st.none(),
    st.text(max_size=8),
    st.binary(max_size=64),
    st.sampled_from([PACKAGE[:1024], PACKAGE[:1500], WORLD.genesis[:1500], HOST.public, bytes(32), 0, 1, 2304, 1504]),
)
KEYS = st.sampled_from(["off", "len", "data", "d", "n", "p", "image", "sha", "query", "boot_mode", "x"])
FIELDS = st.dictionaries(KEYS, LEAVES | st.dictionaries(KEYS, LEAVES, max_size=2), max_size=6)
REQUESTS = st.builds(
    lambda op, group, command, fields, version: message(op, group, command, fields, version=version),
    st.integers(0, 7),
    st.sampled_from([OS, IMAGE, OURS, 2, 63, 64, 65535]),
    st.integers(0, 9),
    FIELDS,
    st.integers(0, 3),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid request with bits flipped, bytes replaced, cut short, or made longer."""
    request = bytearray(draw(st.sampled_from(valid_requests())))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(request) - 1)))
        change = draw(st.sampled_from(["flip", "replace", "cut", "insert", "zero length"]))
        if change == "flip" and request:
            request[place] ^= 1 << draw(st.integers(0, 7))
        elif change == "replace" and request:
            request[place] = draw(st.integers(0, 255))
        elif change == "cut":
            del request[place:]
        elif change == "insert":
            request[place:place] = draw(st.binary(max_size=16))
        elif len(request) >= 4:
            request[2:4] = len(request[8:]).to_bytes(2, "big")
    return bytes(request)


ANYTHING = st.one_of(st.binary(max_size=300), REQUESTS, mutated())


def fuzz(state: str, requests: list[bytes]) -> None:
    """Sends them; what must hold then."""
    host = host_in(state)
    lifecycle = host.device.flash.operation_count
    for request in requests:
        reply = host.machine.handle(request)
        assert reply is None or 8 < len(reply) <= REPLY_SIZE_BYTES_MAX
        if reply is not None:
            assert len(request) >= 8
            assert reply[4:8] == request[4:8]
            assert isinstance(cbor2.loads(reply[8:]), dict)
        host.machine.reset_if_wanted()
    assert outside_the_journal(host) == [], "only a package whose head and first chunk are authentic erases anything"
    assert host.device.flash.operation_count - lifecycle < 4000, "and the event log is bounded"


@pytest.mark.parametrize("state", STATES)
@settings(max_examples=12)
@given(st.lists(ANYTHING, min_size=1, max_size=25))
def test_a_sample_of_anything_in_every_state(state: str, requests: list[bytes]) -> None:
    fuzz(state, requests)


@pytest.mark.campaign
@pytest.mark.parametrize("state", STATES)
@settings(settings.get_profile("campaign"))
@given(st.lists(ANYTHING, min_size=1, max_size=60))
def test_anything_in_every_state(state: str, requests: list[bytes]) -> None:
    fuzz(state, requests)


# --- framing and hops ---

FRAMES = st.one_of(
    st.binary(max_size=120),
    ANYTHING.map(lambda request: framed(HopPacket(0, HopFlags(0), request[:2048]))),
    st.builds(
        lambda address, flags, data: framed(HopPacket(address, HopFlags(flags), data)),
        st.integers(0, 255),
        st.integers(0, 7),
        st.binary(max_size=60),
    ),
    ANYTHING.map(lambda request: b"".join(encode_lines(request[:2048]))),
    st.sampled_from([b"\0", b"\0\0\0", b"\x06", b"\x06\x09", b"\x04\x14", b"\n", b"console text\r\n"]),
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    frame = bytearray(draw(FRAMES))
    if frame and draw(st.booleans()):
        frame[draw(st.integers(0, len(frame) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(frame)


@pytest.mark.parametrize("state", ["LOCKED", "OPERATIONAL", "application"])
@settings(max_examples=20)
@given(st.lists(st.tuples(st.booleans(), spoiled()), max_size=20))
def test_any_bytes_on_both_sides_of_a_node(state: str, stream: list[tuple[bool, bytes]]) -> None:
    """Whatever comes from above or below: bounded queues, no exception, and flash as it was."""
    host = host_in(state)
    node = ChainNode(host.machine.statistics, has_next=True)
    for is_from_above, data in stream:
        (node.receive_from_above if is_from_above else node.receive_from_below)(data)
        if (request := node.take_request()) is not None:
            answer = host.machine.handle(request.message)
            if answer is not None:
                node.answer(request, answer)
        while (sent := node.send_up()) is not None:
            assert len(sent) < 4096
        while (sent := node.send_down()) is not None:
            assert len(sent) < 4096
    assert outside_the_journal(host) == []


@settings(max_examples=50)
@given(st.lists(spoiled(), max_size=20))
def test_any_bytes_at_a_bus_adapter(stream: list[bytes]) -> None:
    slaves = {address: BusSlave(address, LinkStatistics()) for address in (1, 2)}
    adapter = BusAdapter(slaves)
    for data in stream:
        for answer in adapter.receive(data):
            assert len(answer) < 4096
        for slave in slaves.values():
            if (request := slave.take_request()) is not None:
                slave.answer(request[:2048])


def test_valid_requests_are_what_the_mutations_begin_with() -> None:
    """The seed is alive: in its own state each of them is answered, and without an error of SMP itself."""
    for request in valid_requests():
        host = host_in("OPERATIONAL")
        reply = host.machine.handle(request)
        assert reply is not None
        body = cbor2.loads(reply[8:])
        assert "rc" not in body, body
