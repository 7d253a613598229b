"""A world with a station: its token with lot, lot CA and station keys, an order, and a real fixture as a process.

A folder's conftest.py gets the fixtures by `from tests.stations.station_world import *`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.context import open_session
from pki.values import PublicKey
from provisioning.station.fixture_socket import FixtureSocket
from provisioning.station.records import BirthRecord
from signer.device_objects.common import Injection, Protection
from signer.device_objects.work_order import StationQuota, WorkOrder
from signer.signing_key import sign_verified
from signer.store.key_store import open_key_store
from signer.tokens import KeyRef, ModuleConfig, find_module, load_module
from tests.cli.release_world import ReleaseWorld, copied
from tests.cli.world import PRODUCT, Result, label
from tests.softhsm_fixtures import close_all

__all__ = ["station_template", "station_world"]

ROOT = Path(__file__).parents[2]
HARDWARE_TYPE = "1.3.6.1.4.1.99999.1"
LOT = "LOT-7"
_ORGANIZATION = ("--organization", "Example Pumps", "--common-name")
STOP_SECONDS_MAX = 60.0


def uid_of(number: int) -> str:
    """The UID of one test board, as the board has it (12 bytes)."""
    return f"{0x31000000 + number:024x}"


def padded(uid: str) -> bytes:
    return bytes.fromhex(uid).ljust(16, b"\0")


@dataclass
class Fixture:
    """A running fixture, and the operator's hands."""

    process: subprocess.Popen[bytes]
    socket: Path
    frames: Path
    hands: FixtureSocket

    def insert(self, nest: int, uid: str, **keys: Any) -> None:
        self.hands.ask("insert", nest=nest, uid=uid, **keys)

    def remove(self, nest: int) -> None:
        self.hands.ask("remove", nest=nest)

    def look(self, uid: str, *, secrets: bool = False) -> dict[str, Any]:
        return self.hands.ask("look", uid=uid, secrets=secrets)


@dataclass
class Station:
    """A running station; each of its lines is one verdict."""

    process: subprocess.Popen[str]

    def verdict(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the station ended with {self.process.wait(5)}: {self.errors()}"
        verdict: dict[str, Any] = json.loads(line)
        return verdict

    def errors(self) -> str:
        return self.process.stderr.read() if self.process.stderr is not None else ""

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS_MAX)


@dataclass
class StationWorld(ReleaseWorld):
    """`out` has lot-ca.pem; orders and stations are made by tests."""

    @property
    def lot_ca(self) -> Path:
        return self.out / "lot-ca.pem"

    @property
    def factory(self) -> Path:
        return self.out / "factory.hex"

    def make_station_at(self, folder: Path, sub_quota: int, number: int, **changed: Any) -> None:
        """One of several stations, each with a token and keys of its own."""
        sequence, token = number + 1, token_name(number)
        keys = {name: self.public_key(label(name, sequence)) for name in ("lot", "lot-ca", "station")}
        order = self.make_order(
            f"order-{number}",
            sub_quota,
            lot_public_key=keys["lot"],
            issuing_ca=keys["lot-ca"].spki_sha256,
            stations=(StationQuota(keys["station"].spki_sha256, sub_quota),),
            **changed,
        )
        self.ok(*self.init_arguments(folder, order, token=token, issuing_ca=self.lot_ca_of(number)))

    def lot_ca_of(self, number: int) -> Path:
        return self.out / ("lot-ca.pem" if number == 0 else f"lot-ca-{number}.pem")

    def public_key(self, key_label: str) -> PublicKey:
        with open_key_store(self.repository.key_store_path) as store:
            found = store.key(key_label).public_key
        assert found is not None
        return found

    def make_order(self, name: str = "order", sub_quota: int = 3, **changed: Any) -> Path:
        """A signed order for this world's station."""
        now = datetime.now(UTC)
        production = self.public_key(label("production"))
        fields: dict[str, Any] = {
            "order_id": uuid.uuid4().bytes,
            "product_id": self.repository.product(PRODUCT).id_bytes,
            "lot": LOT,
            "quota": 100_000,
            "trust_bundle_version_min": 1,
            "not_before": int((now - timedelta(days=1)).timestamp()),
            "not_after": int((now + timedelta(days=30)).timestamp()),
            "protection_required": Protection.READOUT | Protection.PRE_BOOTLOADER_WRITE_PROTECTED,
            "hardware_revision_min": 1,
            "hardware_revision_max": 9,
            "lot_public_key": self.public_key(label("lot")),
            "issuing_ca": self.public_key(label("lot-ca")).spki_sha256,
            "stations": (StationQuota(self.public_key(label("station")).spki_sha256, sub_quota),),
            "signer_key_id": production.key_id,
            "inject": Injection(0),
        }
        order = WorkOrder(**(fields | changed))
        with open_session(self.repository, self.repository.site(None), "release") as session:
            signature = sign_verified(session.find(KeyRef(label=label("production"))), order.digest)
        path = self.out / f"{name}.srw"
        path.write_bytes(order.signed(signature))
        return path

    def init_arguments(
        self,
        folder: Path,
        order: Path,
        bundles: Sequence[Path] | None = None,
        token: str = "station",  # noqa: S107 (a name)
        issuing_ca: Path | None = None,
    ) -> list[str | Path]:
        arguments: list[str | Path] = ["station", "init", folder, "--token", token, "-p", PRODUCT, "--order", order]
        arguments += ["--issuing-ca", issuing_ca or self.lot_ca, "--factory-image", self.factory]
        arguments += ["--hardware-type", HARDWARE_TYPE]
        for bundle in bundles or [self.bundle]:
            arguments += ["--bundle", bundle]
        return arguments

    def make_station(self, name: str = "line", sub_quota: int = 3, **changed: Any) -> Path:
        """An order and a station for it."""
        folder = self.out / name
        self.ok(*self.init_arguments(folder, self.make_order(name, sub_quota, **changed)))
        return folder

    @contextmanager
    def fixture(
        self, links: int = 1, *options: str | Path, on: str = "serial", name: str = "fixture"
    ) -> Iterator[Fixture]:
        socket, frames = self.out / f"{name}.sock", self.out / f"{name}.frames"
        command: list[str | Path] = [
            "device",
            "fixture",
            "--factory-image",
            self.factory,
            "-p",
            PRODUCT,
            "--links",
            str(links),
        ]
        command += ["--socket", socket, "--frames", frames, "--on", on, "--detailed-codes", *options]
        process = self.begin(*command)
        assert process.stdout is not None
        for _ in range(links):
            assert process.stdout.readline(), process.stderr
        hands = FixtureSocket(socket)
        try:
            yield Fixture(process, socket, frames, hands)
        finally:
            hands.close()
            _end(process)

    @contextmanager
    def station(self, folder: Path, fixture: Fixture, *options: str) -> Iterator[Station]:
        command: list[str | Path] = ["station", "run", folder, "--fixture", fixture.socket, "--json", *options]
        process = self.begin(*command, text=True)
        try:
            yield Station(process)
        finally:
            _end(process)

    @contextmanager
    def killed_station(self, moment: int, folder: Path, fixture: Fixture, *options: str) -> Iterator[Station]:
        """A station that ends by SIGKILL at one moment."""
        program = [sys.executable, "-m", "tests.stations.killed_station", str(moment), "--authority", str(self.root)]
        program += ["station", "run", str(folder), "--fixture", str(fixture.socket), "--json", *options]
        process = self._begin(program, text=True)
        try:
            yield Station(process)
        finally:
            _end(process)

    def begin(self, *arguments: str | Path, text: bool = False, types: bool = False) -> subprocess.Popen[Any]:
        """A command; `types`: somebody will write into its standard input."""
        command = [sys.executable, "-m", "cli.start", "--authority", str(self.root), *map(str, arguments)]
        return self._begin(command, text, types)

    def _begin(self, command: list[str], text: bool, types: bool = False) -> subprocess.Popen[Any]:
        environment = {**os.environ, **self.environment, "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command,
            stdin=pipe if types else subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            cwd=self.root,
            env=environment,
            text=text,
        )

    def station_process(self, *arguments: str | Path) -> Result:
        """A station command in a process of its own: no session of this process may be in its way."""
        return self.process("station", *arguments)

    def status(self, folder: Path) -> dict[str, Any]:
        fields: dict[str, Any] = self.ok("station", "status", folder, "--verify", "--json").json
        return fields

    def records(self, folder: Path) -> list[BirthRecord]:
        from provisioning.station.folder import StationFolder
        from provisioning.station.ledger_file import LedgerFile
        from provisioning.station.records import parse_record

        file = LedgerFile(StationFolder(folder).ledger_path)
        try:
            return [parse_record(row.record) for row in file.rows()]
        finally:
            file.close()


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def token_name(number: int) -> str:
    """The site's name of a station's token."""
    return "station" if number == 0 else f"station-{number}"


def build_station(world: StationWorld, count: int = 1) -> None:
    """Tokens for stations, with their keys, and the CA certificates down to the lots'."""
    root, production = world.out / "root-ca.pem", world.out / "production-ca.pem"
    root_key, production_key = "sr:root-ca:-:0001", "sr:production-ca:-:0001"
    world.ok("cert", "root-ca", "--key", root_key, *_ORGANIZATION, "Root CA", "-o", root)
    _issue(world, "production-ca", production_key, "Production CA", (root_key, root), production)
    pins = ("--so-pin-file", world.root / "fake" / "so.pin", "--pin-file", world.pin_file)
    for number in range(count):
        token, numbered = token_name(number), ("--product", PRODUCT, "--sequence", str(number + 1))
        world.ok("token", "init", token, "--module", "softhsm", "--label", token, *pins, "--write")
        for role in ("lot", "lot-ca", "station"):
            world.ok("key", "generate", role, "--token", token, *numbered, "--activate")
        lot_ca = world.lot_ca_of(number)
        _issue(world, "lot-ca", label("lot-ca", number + 1), f"Lot 7 {number}", (production_key, production), lot_ca)


def _issue(world: StationWorld, kind: str, key: str, name: str, ca: tuple[str, Path], out: Path) -> None:
    csr = out.with_suffix(".csr")
    world.ok("cert", "csr", "--key", key, *_ORGANIZATION, name, "-o", csr)
    issuer = ("--ca-key", ca[0], "--ca-cert", ca[1], "--csr", csr)
    days = ("--days", "3650") if kind == "lot-ca" else ()
    world.ok("cert", kind, *issuer, *_ORGANIZATION, name, *days, "-o", out)


@pytest.fixture(scope="session")
def station_template(release_template: ReleaseWorld) -> Iterator[StationWorld]:
    with pytest.MonkeyPatch.context() as patch:
        world = copied(release_template, patch, StationWorld)
        build_station(world)
        close_all(load_module(ModuleConfig(find_module("softhsm2"))))
        yield world
    shutil.rmtree(world.folder)


@pytest.fixture
def station_world(station_template: StationWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[StationWorld]:
    world = copied(station_template, monkeypatch, StationWorld)
    yield world
    close_all(load_module(ModuleConfig(find_module("softhsm2"))))
    shutil.rmtree(world.folder)
