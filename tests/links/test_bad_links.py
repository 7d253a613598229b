"""Links that lose, change, double and reorder frames: updates complete, or fail cleanly and are done again.

Real processes in every topology, with the host's own client. Nothing but a valid package ever changes flash.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

from bootloader.simulation.device import ApplicationRuns, SimulatedDevice
from pki.errors import StrongroomError
from rpc.addresses import NodeLink, open_links
from rpc.client import DeviceClient
from tests.links.packages import with_trailer
from tests.links.served import device_in, serving, write_devices
from tests.scenarios.world import World, image_of

ATTEMPTS_MAX = 6
TIMEOUT_SECONDS = 0.4
RETRIES = 8
IMAGE_SIZE_BYTES = 6_000


@dataclass(frozen=True)
class Wires:
    """How devices are wired, and how many."""

    topology: str
    on: str
    count: int

    def options(self, share: float, *faults: str) -> list[str]:
        chosen = [item for fault in faults for item in (f"--{fault}", f"{share}")]
        return ["--topology", self.topology, "--on", self.on, "--seed", "3", *chosen]


TOPOLOGIES = {
    "serial": Wires("point", "serial", 1),
    "UDP": Wires("point", "udp:0", 1),
    "TCP": Wires("point", "tcp:0", 1),
    "chain": Wires("chain", "serial", 3),
    "star": Wires("star", "udp:0", 2),
    "bus": Wires("bus", "tcp:0", 2),
}


def world_of(number: int) -> World:
    return World(uid=bytes([number + 1]) * 12)


def packages(count: int, version: int = 1) -> list[bytes]:
    image = image_of(f"over bad links {version}", IMAGE_SIZE_BYTES)
    return [with_trailer(world_of(number).application(version, image=image)) for number in range(count)]


def region_of(device: SimulatedDevice) -> bytes:
    region = device.board.application
    return device.flash.read(region.address, region.size_bytes)


def runs(client: DeviceClient) -> bool:
    """Whether it says so twice: a bad link may change an answer. (An update tool asks for signatures.)"""
    return all(any(image.active for image in client.image_state()) for _ in range(2))


def update(node: NodeLink, package: bytes) -> bool:
    """One attempt, as an update tool makes it; False if it fails, which must be a clean error."""
    client = DeviceClient(node.link, retries=RETRIES, timeout_seconds=TIMEOUT_SECONDS)
    try:
        if runs(client):
            return True  # the answer to an earlier reset was lost, or changed
        client.upload(BytesIO(package), len(package), lambda _done, _total: None)
        client.reset()
        client.wait_until_up(20)
        return runs(client)
    except StrongroomError:
        return False


def update_all(via: str, sent: list[bytes], attempts: int) -> list[bool]:
    """Whether each device was updated within so many attempts."""
    done = [False] * len(sent)
    for _ in range(attempts):
        try:
            nodes = open_links(via)
        except StrongroomError:
            continue  # a chain that could not be asked where it ends
        for number, node in enumerate(nodes):
            if number < len(sent) and not done[number]:
                done[number] = update(node, sent[number])
            node.link.close()
    return done


def assert_updated(paths: list[Path], sent: list[bytes]) -> None:
    """Each device runs its application, confirmed; behind the image flash is erased, byte for byte."""
    for path, package in zip(paths, sent, strict=True):
        device = device_in(path)
        assert isinstance(device.power_on(), ApplicationRuns)
        assert device.status().application_is_confirmed
        flash = region_of(device)
        assert flash[:1024] == package[:1024]
        assert flash[1024 : 1024 + IMAGE_SIZE_BYTES] == image_of("over bad links 1", IMAGE_SIZE_BYTES)
        assert flash[1024 + IMAGE_SIZE_BYTES :].strip(b"\xff") == b""


def assert_old_or_new(paths: list[Path], sent: list[bytes]) -> None:
    """What stands in flash is nothing that runs, or the application: never a mixture that runs."""
    for path, package in zip(paths, sent, strict=True):
        device = device_in(path)
        running = device.power_on()
        if isinstance(running, ApplicationRuns):
            assert running.head.raw == package[:1024]


def run(folder: Path, wires: Wires, share: float, faults: tuple[str, ...]) -> None:
    """Update over the bad link; what it could not finish is finished over a good one."""
    paths = write_devices(folder, [world_of(number).device() for number in range(wires.count)])
    sent = packages(wires.count)
    with serving(paths, *wires.options(share, *faults)) as served:
        done = update_all(served.vias[0], sent, ATTEMPTS_MAX)
        assert served.stop() == 0
    assert_old_or_new(paths, sent)
    if not all(done):
        assert share >= 0.1 or "corrupt" in faults, "a link that loses a few frames is no reason to fail"
        with serving(paths, *wires.options(0)) as served:
            assert all(update_all(served.vias[0], sent, 2))
            assert served.stop() == 0
    assert_updated(paths, sent)


ALL_FAULTS = ("lose", "corrupt", "duplicate", "reorder")


@pytest.mark.parametrize("name", ["serial", "UDP", "chain", "bus"])
def test_an_update_over_a_link_with_every_fault(name: str, tmp_path: Path) -> None:
    """3 % each of lost, changed, doubled and reordered frames, on every line between the nodes too."""
    run(tmp_path, TOPOLOGIES[name], 0.03, ALL_FAULTS)


@pytest.mark.campaign
@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("fault", [*ALL_FAULTS, "all"])
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_updates_over_bad_links(name: str, fault: str, share: float, tmp_path: Path) -> None:
    """From 1 to 20 percent of the frames, each fault alone and all together, in every topology."""
    run(tmp_path, TOPOLOGIES[name], share, ALL_FAULTS if fault == "all" else (fault,))


@pytest.mark.parametrize("name", ["serial", *(pytest.param(name, marks=pytest.mark.campaign) for name in TOPOLOGIES)])
def test_a_package_that_is_not_authentic_changes_no_flash_over_a_bad_link(name: str, tmp_path: Path) -> None:
    """However its frames arrive: the region that it was meant for stays as it was."""
    wires = TOPOLOGIES[name]
    paths = write_devices(tmp_path, [world_of(number).device() for number in range(wires.count)])
    before = [region_of(device_in(path)) for path in paths]
    forged = []
    for package in packages(wires.count):
        changed = bytearray(package)
        changed[1024 + 700] ^= 1
        forged.append(bytes(changed))
    with serving(paths, *wires.options(0.05, *ALL_FAULTS)) as served:
        assert not any(update_all(served.vias[0], forged, 2))
        assert served.stop() == 0
    assert [region_of(device_in(path)) for path in paths] == before
