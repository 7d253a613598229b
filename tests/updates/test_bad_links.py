"""Links that lose, change, double and reorder frames, 1 to 20 percent: updates complete, or a later run ends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bootloader.simulation.device import ApplicationRuns
from cli.served.faults import LinkFaults
from cli.served.options import FaultOptions
from rpc.errors import LinkTimeout
from rpc.link import reply_among
from rpc.update.report import Fault, Result
from tests.links.served import serving, write_devices
from tests.updates.desk import DeskLink, job, run
from tests.updates.fleet import application, device, running_version, update, write_public_files

V2 = application(2, 20_000)


class BadLink(DeskLink):
    """Frames in both directions meet faults. With a checksum (serial, chain, bus), a changed frame is a lost one."""

    def __init__(self, faults: FaultOptions, *, has_checksum: bool) -> None:
        super().__init__(device(0))
        self._there, self._back = LinkFaults(faults, "there"), LinkFaults(faults, "back")
        self._has_checksum = has_checksum
        self._true_frames: set[bytes] = set()

    def exchange(self, message: bytes, timeout_seconds: float) -> bytes:
        self.counters.bytes_sent += len(message)
        answers: list[bytes] = []
        for frame in self._arriving(self._there, message):
            answer = self.machine.handle(frame)
            self.machine.reset_if_wanted()
            if answer is not None:
                answers += self._arriving(self._back, answer)
        reply = reply_among(answers, message, self.counters)
        if reply is None:
            raise LinkTimeout("lost")
        return reply

    def _arriving(self, faults: LinkFaults, frame: bytes) -> list[bytes]:
        self._true_frames.add(frame)
        arriving = faults.pass_on(frame)
        return [frame for frame in arriving if not self._has_checksum or frame in self._true_frames]


KINDS = ("lose", "corrupt", "duplicate", "reorder")
SHARES = (0.01, 0.05, 0.1, 0.2)


def seeds(usual: int, campaign: int) -> list[Any]:
    return [
        pytest.param(seed, marks=[pytest.mark.campaign] if seed >= usual else []) for seed in range(usual + campaign)
    ]


def require_all_or_nothing(link: DeskLink) -> None:
    """What runs is the old image or the new one, confirmed; or nothing, and the device listens."""
    running = link.machine.device.running
    if isinstance(running, ApplicationRuns):
        assert running.version.major in {1, 2}
        assert link.machine.device.status().application_is_confirmed


def until_it_is_there(link: DeskLink, folder: Path, runs: int = 4) -> int:
    """How many runs it took, 0 if it never was; each ends well, or says what of the link was at fault."""
    work = job(folder, V2)
    for number in range(1, runs + 1):
        report = run(link, work)
        require_all_or_nothing(link)
        if report.result in {Result.UPDATED, Result.CURRENT}:
            return number
        assert report.fault in {Fault.LINK, Fault.DEVICE, Fault.VERIFICATION}, report
    return 0


@pytest.mark.parametrize("seed", seeds(2, 20))
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_link_with_checksums_always_gets_there(kind: str, share: float, seed: int, tmp_path: Path) -> None:
    link = BadLink(FaultOptions(**{kind: share}, seed=seed), has_checksum=True)
    assert 1 <= until_it_is_there(link, tmp_path) <= 2


@pytest.mark.parametrize("seed", seeds(2, 20))
@pytest.mark.parametrize("share", SHARES)
def test_all_faults_at_once(share: float, seed: int, tmp_path: Path) -> None:
    faults = FaultOptions(lose=share, corrupt=share, duplicate=share, reorder=share, seed=seed)
    assert until_it_is_there(BadLink(faults, has_checksum=True), tmp_path, runs=8)


@pytest.mark.parametrize("seed", seeds(2, 20))
@pytest.mark.parametrize("share", SHARES)
def test_frames_that_change_unnoticed_never_change_what_is_installed(share: float, seed: int, tmp_path: Path) -> None:
    """Without a checksum (no UDP or TCP is so bad) the device's own checks refuse; on a good link it is soon done."""
    link = BadLink(FaultOptions(corrupt=share, seed=seed), has_checksum=False)
    until_it_is_there(link, tmp_path, runs=2)
    good = DeskLink(device(0))
    good.machine = link.machine
    assert until_it_is_there(good, tmp_path, runs=1) == 1
    running = good.machine.device.running
    assert isinstance(running, ApplicationRuns)
    assert running.version.major == 2


# The same with real processes and real time-outs.

TOPOLOGIES = {
    "udp": ("--on", "udp:0"),
    "tcp": ("--on", "tcp:0"),
    "serial": ("--on", "serial"),
    "star": ("--topology", "star", "--on", "serial"),
    "chain": ("--topology", "chain", "--on", "serial"),
    "bus": ("--topology", "bus", "--on", "tcp:0"),
}
COUNT = 2
SERVED = [
    pytest.param(
        topology, fault, share, seed, marks=[] if (topology, fault, share) in usual else [pytest.mark.campaign]
    )
    for usual in ({("chain", "lose", "2%"), ("bus", "corrupt", "2%"), ("udp", "duplicate", "20%")},)
    for topology in TOPOLOGIES
    for fault in KINDS
    for share in ("1%", "2%", "10%", "20%")
    for seed in (1, 2)
    if not (fault == "corrupt" and topology in {"udp", "tcp"}) and (seed == 1 or (topology, fault, share) not in usual)
]


@pytest.mark.parametrize(("topology", "fault", "share", "seed"), SERVED)
def test_bad_links_in_every_topology(topology: str, fault: str, share: str, seed: int, tmp_path: Path) -> None:
    paths = write_devices(tmp_path, [device(number) for number in range(COUNT)])
    known = write_public_files(tmp_path, range(COUNT))
    package = tmp_path / "app-2.srp"
    package.write_bytes(application(2, 10_000))
    options = (*TOPOLOGIES[topology], f"--{fault}", share, "--seed", str(seed))
    count = 1 if topology in {"chain", "bus", "star"} else COUNT
    with serving(paths, *options, links=count) as served:
        words = [word for via in served.vias for word in ("--via", via)]
        for _ in range(4):
            done = update(package, *words, "--devices", str(known), timeout_seconds=600)
            if done.code == 0:
                break
            assert done.code in {11, 15}, done.report
        assert done.code == 0
        served.stop()
    assert [running_version(path) for path in paths] == ["2.0.0.0 confirmed"] * COUNT
