"""Stock SMP clients of two families, unmodified, as processes of their own, update a device over UDP and serial.

`smpmgr` and `smpclient` are one family (smpmgr is the command line of smpclient), `mcumgr-toolkit`, in Rust, another.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bootloader.simulation.device import ApplicationRuns
from tests.links.packages import with_trailer
from tests.links.served import CLIENTS, device_in, run_client, serving, write_devices
from tests.scenarios.world import World, image_of

pytestmark = pytest.mark.skipif(not CLIENTS.is_dir(), reason="the stock clients are not installed: make setup")

SCRIPTS = Path(__file__).parent / "stock"
WORLD = World()
IMAGE = image_of("for stock clients", 30_000)
PACKAGE = WORLD.application(1, image=IMAGE)
UPLOAD_HASH = hashlib.sha256(PACKAGE).hexdigest()
LINKS = ("udp", "serial")


@dataclass(frozen=True)
class Place:
    """A device that is served, by its two addresses, and a package for it."""

    folder: Path
    host: str

    @property
    def package(self) -> str:
        return str(self.folder / "app.srp")

    @property
    def terminal(self) -> str:
        return str(self.folder / "terminal")

    def address(self, link: str) -> str:
        return self.host if link == "udp" else self.terminal

    def installed(self) -> bool:
        """Whether the device file holds the application, confirmed."""
        device = device_in(self.folder / "device-1.img")
        running = device.power_on()
        return isinstance(running, ApplicationRuns) and device.status().application_is_confirmed


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A new device in update mode; the clients know port 1337 only, so each test has a loopback address of its own."""
    paths = write_devices(tmp_path, [WORLD.device()])
    (tmp_path / "app.srp").write_bytes(with_trailer(PACKAGE))
    host = f"127.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}.17"
    options = ("--on", f"serial:{tmp_path / 'terminal'}", "--on", f"udp:{host}:1337")
    with serving(paths, *options, links=2) as served:
        yield Place(tmp_path, host)
        assert served.stop() == 0


def seen_by(script: str, place: Place, link: str) -> dict[str, Any]:
    done = run_client("python", str(SCRIPTS / script), link, place.address(link), place.package)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(seen, dict)
    return seen


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("script", ["smpclient_session.py", "toolkit_session.py"])
def test_a_stock_library_updates_a_device(script: str, link: str, place: Place) -> None:
    """Echo, parameters, image state, upload of our package, reset; then the device runs it, and has confirmed it."""
    seen = seen_by(script, place, link)
    assert seen["echo"] == "Grüße"
    assert seen["buf_size"] == 2048
    assert seen["before"] == []
    assert seen["uploaded"] == len(with_trailer(PACKAGE))
    assert seen["after"] == [{"version": "1.0.0", "hash": UPLOAD_HASH, "active": True, "confirmed": True}]
    assert seen.get("local_hash", UPLOAD_HASH) == UPLOAD_HASH, "the client finds the hash that the device reports"
    assert seen.get("bootloader", {"name": "Strongroom"}) == {"name": "Strongroom"}


@pytest.mark.parametrize("link", LINKS)
def test_smpmgr_updates_a_device(link: str, place: Place) -> None:
    """The command line that people use: echo, upload, reset, image state. Over serial by `upgrade`.

    That is upload, image state write, and reset; the write changes nothing: a device decides by itself what it
    confirms.
    """
    where = ("--ip", place.host) if link == "udp" else ("--port", place.terminal)
    echo = run_client("smpmgr", *where, "os", "echo", "hello")
    assert echo.returncode == 0
    assert "r='hello'" in echo.stdout
    updates = [("image", "upload", place.package), ("os", "reset")] if link == "udp" else [("upgrade", place.package)]
    for update in updates:
        done = run_client("smpmgr", *where, *update)
        assert done.returncode == 0, done.stdout
    time.sleep(0.5)
    state = run_client("smpmgr", *where, "image", "state-read")
    assert state.returncode == 0
    assert UPLOAD_HASH in state.stdout.lower().replace(" ", "").replace("\n", "")


@pytest.mark.parametrize("script", ["smpclient_session.py", "toolkit_session.py"])
def test_what_a_device_refuses_a_stock_client_reports(script: str, place: Place) -> None:
    """A changed byte: the upload ends with an error of our group, and nothing is installed."""
    changed = bytearray(with_trailer(PACKAGE))
    changed[5000] ^= 1
    (place.folder / "app.srp").write_bytes(changed)
    done = run_client("python", str(SCRIPTS / script), "udp", place.host, place.package)
    assert done.returncode != 0
    assert "19778" in done.stderr, "group 0x4D42"
