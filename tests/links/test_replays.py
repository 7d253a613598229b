"""Row: replay between nodes of a chain. Frames recorded on one node's line, sent to another, again, or out of order.

Hop packets are trusted by nobody: what decides are signed objects, with UID and nonce.
"""

from __future__ import annotations

from itertools import permutations

import cbor2

from bootloader.link.hop import HopFlags, HopPacket, framed
from bootloader.link.stream import StreamSplitter
from bootloader.reference.records import Lifecycle
from bootloader.simulation.device_file import decode_device, encode_device
from tests.scenarios.life import BOTH_INJECTED, HOST, activated_device, locked_device
from tests.scenarios.world import World, image_of
from tests.unit.link.chain_rig import Chain
from tests.unit.link.smp_rig import ACTIVATION, CHALLENGE, IMAGE, OS, OURS, READ, WRITE, Host, message
from tests.unit.reference.life_builders import build_activation

WORLDS = [World(uid=bytes([number + 1]) * 12) for number in range(3)]


def chain_of(hosts: list[Host]) -> Chain:
    return Chain(len(hosts), lambda number, request: hosts[number].machine.handle(request))


def upload_frames(address: int, package: bytes, block_size_bytes: int = 1400) -> list[bytes]:
    """What a host sends for a whole package to one node, sectors' repeats included where they are known."""
    frames = []
    for offset in range(0, len(package), block_size_bytes):
        fields = {"off": offset, "data": package[offset : offset + block_size_bytes]}
        request = message(WRITE, IMAGE, 1, fields | ({"len": len(package)} if offset == 0 else {}))
        frames.append(framed(HopPacket(address, HopFlags(0), request)))
    return frames


def flash_writes(host: Host) -> int:
    """Operations beside the event log: erases, and what goes to the application's region."""
    region = host.device.board.application
    return sum(region.contains(entry.address, 1) for group in host.store.groups for entry in group)


def test_an_activation_of_one_node_is_refused_by_every_other() -> None:
    hosts = [Host(locked_device(world)) for world in WORLDS]
    chain = chain_of(hosts)
    challenges = []
    for address in range(3):
        (reply,) = chain.ask(address, message(READ, OURS, CHALLENGE, {"p": HOST.public}))
        challenges.append(cbor2.loads(reply.message[8:])["c"])
    both = build_activation(BOTH_INJECTED, challenges[1])
    pieces = [
        message(WRITE, OURS, ACTIVATION, {"off": 0, "len": len(both), "data": both[:1000]}),
        message(WRITE, OURS, ACTIVATION, {"off": 1000, "data": both[1000:]}),
    ]
    for address in (0, 2, 1, 0, 2):
        for piece in pieces:
            chain.ask(address, piece)
    lives = [host.device.bootloader.running.device.lifecycle for host in hosts]
    assert lives == [Lifecycle.LOCKED, Lifecycle.OPERATIONAL, Lifecycle.LOCKED]


def test_a_device_s_package_sent_to_its_neighbours_writes_nothing_there() -> None:
    hosts = [Host(activated_device(BOTH_INJECTED, world)) for world in WORLDS]
    chain = chain_of(hosts)
    package = WORLDS[1].application(2, target=1, image=image_of("for one device", 3000))
    for address in (0, 2):
        for frame in upload_frames(address, package):
            chain.send_bytes(frame)
    assert [flash_writes(host) for host in hosts] == [0, 0, 0]


def test_frames_of_an_upload_in_any_order_end_in_that_package_or_in_none() -> None:
    """All orders of the frames of a small package, each frame twice: offsets sort it out, and a reset is harmless."""
    device = encode_device(activated_device(BOTH_INJECTED, WORLDS[0]))
    package = WORLDS[0].application(2, image=image_of("small", 1500))
    frames = upload_frames(0, package, 800)
    reset = framed(HopPacket(0, HopFlags(0), message(WRITE, OS, 5, {})))
    for order in permutations(range(len(frames))):
        host = Host(decode_device(device))
        chain = chain_of([host])
        for number in (*order, *order):
            chain.send_bytes(frames[number])
        chain.send_bytes(reset)
        host.machine.reset_if_wanted()
        state = host.device.bootloader.running.state
        assert state.installed is None or state.installed.image_version.major == 2


def test_replies_replayed_as_requests_and_requests_replayed_as_replies_reach_nobody() -> None:
    hosts = [Host(activated_device(BOTH_INJECTED, world)) for world in WORLDS]
    chain = chain_of(hosts)
    request = message(READ, OURS, CHALLENGE, {"p": HOST.public})
    (reply,) = chain.ask(2, request)
    served = len(chain.served)
    assert chain.send(reply, HopPacket(0, HopFlags.REPLY, reply.message)) == [], "a reply, sent down"
    assert chain.send(HopPacket(1, HopFlags(0), reply.message)) == [], "its message, as a request"
    assert len(chain.served) == served + 1
    chain.nodes[0].receive_from_below(framed(HopPacket(0, HopFlags(0), request)))
    assert StreamSplitter().receive(chain.settle()) == [], "a request that comes from below"
    assert [flash_writes(host) for host in hosts] == [0, 0, 0]
