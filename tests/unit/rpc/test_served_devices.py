"""The same drive on the real device: the reference bootloader in processes of its own, behind every kind of link."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pki.errors import SignatureInvalid, WrongTarget
from pki.values import PublicKey
from rpc.addresses import NodeLink, open_links
from rpc.client import DeviceClient
from rpc.errors import DeviceRefused
from rpc.objects.challenge import Challenge, new_host_ephemeral
from rpc.objects.lifecycle import LOCKED, OPERATIONAL
from rpc.objects.signed_status import APPLICATION_CONFIRMED, RUNS_APPLICATION, RUNS_BOOTLOADER, SignedStatus
from tests.links.served import serving, write_devices
from tests.scenarios.world import LOT, World
from tests.unit.reference.fake.keys import fake_key

COUNT = 3
WORLDS = [World(uid=bytes([0x40 + number]) * 12, application_size_bytes=9_000) for number in range(COUNT)]
IDENTITY = PublicKey(fake_key("device identity").public)

TOPOLOGIES = {
    "udp": ("--on", "udp:0"),
    "tcp": ("--on", "tcp:0"),
    "serial": ("--on", "serial"),
    "star": ("--topology", "star", "--on", "serial"),
    "chain": ("--topology", "chain", "--on", "serial"),
    "chain over tcp": ("--topology", "chain", "--on", "tcp:0"),
    "bus": ("--topology", "bus", "--on", "tcp:0"),
}


@contextmanager
def nodes_of(folder: Path, *options: str) -> Iterator[list[NodeLink]]:
    """Three devices, served; a link to each, in their order."""
    paths = write_devices(folder, [world.device() for world in WORLDS])
    links = 1 if {"chain", "bus", "star"} & set(options) else COUNT
    with serving(paths, *options, links=links) as served:
        is_bad_chain = "chain" in options and len(options) > len(TOPOLOGIES["chain"])
        # Where a chain ends is asked, which a very bad line does not always answer in time.
        vias = [f"{via}#0-{COUNT - 1}" if is_bad_chain else via for via in served.vias]
        nodes = [node for via in vias for node in open_links(via)]
        try:
            yield nodes
        finally:
            for node in nodes:
                node.link.close()


def status_of(client: DeviceClient, number: int) -> SignedStatus:
    nonce = hashlib.sha256(b"nonce %d" % number).digest()
    status = SignedStatus.parse(client.signed_status(nonce))
    status.verify(IDENTITY, nonce)
    assert status.uid == WORLDS[number].padded_uid
    return status


def update(node: NodeLink, number: int, timeout_seconds: float | None = None, retries: int = 5) -> DeviceClient:
    """Version 1 onto a device that waits for an application, and what it says then."""
    client = DeviceClient(node.link, retries, timeout_seconds)
    assert status_of(client, number).runs == RUNS_BOOTLOADER
    package = WORLDS[number].application(1)
    client.upload(io.BytesIO(package), len(package), lambda done, total: None)
    client.reset()
    client.wait_until_up(20)
    status = status_of(client, number)
    for _ in range(100):  # the application says that it works, and resets
        if status.application_state == APPLICATION_CONFIRMED:
            break
        client.wait_until_up(20)
        status = status_of(client, number)
    assert (status.runs, str(status.application_version)) == (RUNS_APPLICATION, "1.0.0.0")
    assert status.application_upload_hash == hashlib.sha256(package).digest()
    (image,) = client.image_state()
    assert (image.version, image.confirmed) == ("1.0.0", True)
    return client


def update_all(nodes: list[NodeLink]) -> None:
    """Side by side, a thread each."""
    assert len(nodes) == COUNT
    with ThreadPoolExecutor(COUNT) as threads:
        for done in [threads.submit(update, node, number) for number, node in enumerate(nodes)]:
            done.result(timeout=60)


@pytest.mark.parametrize("kind", ["star", "chain", "bus"])
def test_devices_that_are_reached_together_are_updated(kind: str, tmp_path: Path) -> None:
    with nodes_of(tmp_path, *TOPOLOGIES[kind]) as nodes:
        update_all(nodes)


def test_devices_that_are_reached_each_by_itself_are_updated(tmp_path: Path) -> None:
    """The first over UDP, the second over TCP, the third by a serial line."""
    kinds = ("udp:0", "tcp:0", "serial")
    paths = write_devices(tmp_path, [world.device() for world in WORLDS])
    with serving(paths, *(word for kind in kinds for word in ("--on", kind)), links=COUNT * len(kinds)) as served:
        nodes = [open_links(served.vias[number * len(kinds) + number])[0] for number in range(COUNT)]
        update_all(nodes)
        for node in nodes:
            node.link.close()


@pytest.mark.campaign
@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_devices_of_every_topology_are_updated(kind: str, tmp_path: Path) -> None:
    with nodes_of(tmp_path, *TOPOLOGIES[kind]) as nodes:
        update_all(nodes)


def update_over_faults(kind: str, percent: int, folder: Path) -> None:
    """The last of three devices, over lines that lose, double, reorder and change so many of all frames."""
    faults = [f"--{fault}={percent}%" for fault in ("lose", "duplicate", "reorder")] + ["--seed=4"]
    if kind not in {"udp", "tcp"}:  # there the system's own checksum finds what was changed
        faults.append(f"--corrupt={percent}%")
    with nodes_of(folder, *TOPOLOGIES[kind], *faults) as nodes:
        client = update(nodes[-1], COUNT - 1, timeout_seconds=0.1, retries=200)
        assert percent < 10 or client.link.counters.retries + client.link.counters.skipped_replies


@pytest.mark.parametrize(("kind", "percent"), [("udp", 15), ("chain", 3)])
def test_an_update_arrives_over_lines_that_lose_double_and_change(kind: str, percent: int, tmp_path: Path) -> None:
    update_over_faults(kind, percent, tmp_path)


@pytest.mark.campaign
@pytest.mark.parametrize("percent", [1, 5, 10, 20])
@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_an_update_arrives_over_lines_of_every_kind_and_badness(kind: str, percent: int, tmp_path: Path) -> None:
    update_over_faults(kind, percent, tmp_path)


def test_what_a_device_signs_is_of_this_device_and_answers_this_question(tmp_path: Path) -> None:
    with nodes_of(tmp_path, *TOPOLOGIES["udp"]) as nodes:
        client = DeviceClient(nodes[0].link)
        status = SignedStatus.parse(client.signed_status(bytes(32)))
        status.verify(IDENTITY, bytes(32))
        with pytest.raises(WrongTarget, match="LK-13"):
            status.verify(IDENTITY, bytes(31) + b"\1")
        with pytest.raises(SignatureInvalid, match="LK-12"):
            status.verify(PublicKey(fake_key("another").public), bytes(32))

        private, point = new_host_ephemeral()
        challenge = Challenge.parse(client.challenge(point))
        challenge.verify(private)
        assert (challenge.lifecycle, challenge.lot, challenge.is_simulation) == (OPERATIONAL, LOT.decode(), True)
        assert challenge.identity_public_key == IDENTITY.point
        assert challenge.agreement_public_key == fake_key("device agreement").public
        with pytest.raises(WrongTarget, match="LK-13"):
            challenge.verify(new_host_ephemeral()[0])
        assert client.link_statistics().received >= 2


@pytest.mark.parametrize(("options", "name"), [((), "REFUSED"), (("--detailed-codes",), "BUNDLE_RESERVED")])
def test_refusals_have_one_name_and_detailed_ones_where_asked_for(
    options: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    changed = WORLDS[0].genesis[:-1] + bytes([WORLDS[0].genesis[-1] ^ 1])
    with nodes_of(tmp_path, *TOPOLOGIES["udp"], *options) as nodes:
        client = DeviceClient(nodes[0].link)
        with pytest.raises(DeviceRefused) as raised:
            client.send_trust_bundle(changed)
        assert raised.value.name == name
        client.send_trust_bundle(WORLDS[0].genesis)
        for send, size_bytes in [(client.send_activation, 1504), (client.send_service_order, 256)]:
            with pytest.raises(DeviceRefused):
                send(bytes(size_bytes))
        with pytest.raises(DeviceRefused):
            client.send_grant(bytes(416))


def test_a_locked_device_makes_keys_only_behind_its_protection(tmp_path: Path) -> None:
    """Nobody has set the option bytes of a new board: it tells who it is, signs nothing, and proves nothing."""
    (path,) = write_devices(tmp_path, [WORLDS[0].locked_device()])
    with serving([path], "--on", "udp:0") as served:
        (node,) = open_links(served.vias[0])
        client = DeviceClient(node.link)
        private, point = new_host_ephemeral()
        challenge = Challenge.parse(client.challenge(point))
        assert (challenge.lifecycle, challenge.uid) == (LOCKED, WORLDS[0].padded_uid)
        if not challenge.has_keys:
            with pytest.raises(SignatureInvalid, match="LK-12"):
                challenge.verify(private)
        else:
            challenge.verify(private)
        node.link.close()
