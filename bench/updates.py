"""What an update costs: bytes sent against the package's size, and many devices side by side against one.

    python -m bench.updates

Devices are processes of their own behind real sockets and pseudo-terminals; erasing a sector takes as long as on a
microcontroller. `strongroom update` is run as its users run it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Bound, Figure, table
from bench.interleaved import interleave
from tests.links.served import serving, write_devices
from tests.updates.fleet import application, device, update, write_public_files

SIZE_BYTES = 384 * 1024
ERASE_MILLISECONDS = 1_000
CHAIN_NODES = 8
STAR_DEVICES = 32
_ROUNDS = 3
_BYTES_RATIO_MAX = 1.05
_ONE, _CHAIN, _STAR = "one device", f"chain of {CHAIN_NODES}", f"star of {STAR_DEVICES}"


def measure_updates(folder: Path, rounds: int = _ROUNDS) -> list[Figure]:
    """All figures; `folder` is on the file system that device files are made durable on."""
    package = folder / "update.srp"
    package.write_bytes(application(2, SIZE_BYTES))
    figures = [_bytes_sent(folder, package, scheme) for scheme in ("udp", "tcp")]
    kinds: dict[str, tuple[int, Sequence[str]]] = {
        _ONE: (1, ("--on", "serial")),
        _CHAIN: (CHAIN_NODES, ("--topology", "chain", "--on", "serial")),
        _STAR: (STAR_DEVICES, ("--topology", "star", "--on", "serial")),
    }

    def taking(count: int, options: Sequence[str]) -> float:
        return _update(folder, package, count, *options, "--erase-ms", str(ERASE_MILLISECONDS))[0]

    tasks = {name: (lambda kind=kind: taking(*kind)) for name, kind in kinds.items()}
    compared = interleave(tasks, rounds, warm_up_count=0)
    figures += [
        Figure(f"update of a {name}: time against one device", compared.ratio(name, _ONE), "ratio")
        for name in (_CHAIN, _STAR)
    ]
    figures += [Figure(f"update of {name}", compared.seconds(name), "s") for name in kinds]
    return figures


def _bytes_sent(folder: Path, package: Path, scheme: str) -> Figure:
    """Everything that the tool sends over the link, from the first question to the confirmed version."""
    sent = _update(folder, package, 1, "--on", f"{scheme}:0")[1]
    name = f"update over {scheme.upper()}: bytes sent against the package's size"
    return Figure(name, sent / package.stat().st_size, "ratio", Bound.AT_MOST, _BYTES_RATIO_MAX)


def _update(folder: Path, package: Path, count: int, *options: str) -> tuple[float, int]:
    """Seconds of the whole command, and bytes sent to all devices; an AssertionError if a device was not updated."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        paths = write_devices(Path(place), [device(number) for number in range(count)])
        known = write_public_files(Path(place), range(count))
        with serving(paths, *options) as served:
            begun = time.monotonic()
            done = update(package, "--via", served.vias[0], "--devices", str(known), timeout_seconds=1_800)
            seconds = time.monotonic() - begun
    assert done.results == ["updated"] * count, done.said
    return seconds, sum(entry["bytes_sent"] for entry in done.devices)


def main() -> int:
    build = Path(__file__).parents[1] / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-updates-", dir=build) as folder:
        figures = measure_updates(Path(folder))
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
