"""A world whose releases go through the signing service: people with SSH keys, policies, an audit log, a witness.

A folder's conftest.py gets the fixtures by `from tests.cli.service_world import *`, beside those of the release world.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from signer.tokens import ModuleConfig, find_module, load_module
from tests.cli.release_world import ReleaseWorld, copied, terms
from tests.cli.world import PRODUCT, World
from tests.softhsm_fixtures import close_all
from tests.ssh_people import SshKeyFile, new_ssh_key

__all__ = ["service_template", "service_world"]

REQUESTER = "ada"
APPROVERS = ("ben", "cleo", "dan")
SBOM = b'{"bomFormat":"CycloneDX","specVersion":"1.6"}\n'
TESTS = b"<testsuite tests='1' failures='0'/>\n"
_PEOPLE = """\
format = 1

[[people]]
id = "ada"
name = "Ada Example"
roles = ["requester"]

[[people]]
id = "ben"
name = "Ben Example"
roles = ["approver"]
groups = ["quality"]

[[people]]
id = "cleo"
name = "Cleo Example"
roles = ["approver"]
groups = ["security"]

[[people]]
id = "dan"
name = "Dan Example"
roles = ["approver", "requester"]
groups = ["quality"]
"""
_LOG = """
[log]
token = "ca"
label = "sr:log:-:0001"
witnesses = [{witnesses}]
"""


@dataclass
class ServiceWorld(ReleaseWorld):
    """`ssh/` has the people's keys, `out/` the SBOM, the test report, and what commands write."""

    @property
    def sbom(self) -> Path:
        return self.out / "app.cdx.json"

    @property
    def tests(self) -> Path:
        return self.out / "tests.xml"

    @property
    def log_key(self) -> Path:
        return self.root / "log" / "log.pub.pem"

    @property
    def shelf(self) -> Path:
        return self.root / "store" / "signed"

    def ssh_key(self, person: str) -> SshKeyFile:
        return SshKeyFile(self.folder / "ssh" / person)

    def prepare(self, version: str = "1.0.0", security_version: int = 1, *options: str | Path) -> Path:
        """An application for the device, with its SBOM."""
        path = self.out / f"app-{version}.prepared.srp"
        chosen = options or ("--for-device", self.public)
        firmware = self.firmware(f"app-{version}")
        self.ok(
            "package", "prepare", *terms(version, security_version), firmware, "--sbom", self.sbom, "-o", path, *chosen
        )
        return path

    def request(self, prepared: Path, *options: str | Path, person: str = REQUESTER) -> Path:
        path = prepared.with_name(prepared.name.replace(".prepared.srp", ".request.json"))
        self.ok(
            "package", "request", prepared, "-p", PRODUCT, "--as", person, "--ssh-key", self.ssh_key(person).path,
            "--sbom", self.sbom, "--tests", self.tests, "-o", path, *options,
        )  # fmt: skip
        return path

    def approve(self, request: Path, person: str) -> Path:
        path = request.with_name(request.name.replace(".request.json", f".{person}.approval.json"))
        digest = hashlib.sha256(request.read_bytes()).hexdigest()
        key = self.ssh_key(person).path
        self.ok("approve", request, "--as", person, "--ssh-key", key, "--digest", digest, "-o", path)
        return path

    def asked(
        self, version: str = "1.0.0", *, approvers: Sequence[str] = ("ben", "cleo")
    ) -> tuple[Path, Path, list[Path]]:
        """A prepared package, its request, and the approvals."""
        prepared = self.prepare(version)
        request = self.request(prepared)
        return prepared, request, [self.approve(request, person) for person in approvers]

    def sign_arguments(self, prepared: Path, request: Path, approvals: Sequence[Path]) -> list[str | Path]:
        arguments: list[str | Path] = ["package", "sign", prepared, "--request", request]
        for approval in approvals:
            arguments += ["--approval", approval]
        return [*arguments, "--sbom", self.sbom, "--tests", self.tests]

    def sign(self, prepared: Path, request: Path, approvals: Sequence[Path]) -> Any:
        return self.ok(*self.sign_arguments(prepared, request, approvals), "--json").json

    def log_story(self) -> list[dict[str, Any]]:
        """Kind and details of every entry about requests: what the service wrote, without what each key wrote."""
        from signer.log.audit_log import open_audit_log

        with open_audit_log(self.root / "log", None) as log:
            entries = [entry.event for entry in log.entries(1)]
        return [{"event": event.kind.value, **event.details} for event in entries if "request_digest" in event.details]

    def log_kinds(self) -> list[str]:
        return [entry["event"] for entry in self.log_story()]

    def make_production(self) -> None:
        """Change the environment, as a reviewed change would; what was made for development stays what it is."""
        path = self.root / "strongroom.toml"
        text = path.read_text(encoding="utf-8").replace('environment = "development"', 'environment = "production"')
        path.write_text(text, encoding="utf-8")
        # The PIN of this world's tokens lies in a folder for test material, which production does not take (DEV-02).
        (self.root / "pins").mkdir()
        shutil.copy(self.pin_file, self.root / "pins" / "user.pin")
        site = re.sub(r'path = "[^"]*user\.pin"', 'path = "pins/user.pin"', self.site_file.read_text(encoding="utf-8"))
        self.site_file.write_text(site, encoding="utf-8")


def build(world: ServiceWorld, witnesses: str = "") -> None:
    """From a world that can release to one that asks, decides and logs."""
    world.sbom.write_bytes(SBOM)
    world.tests.write_bytes(TESTS)
    shutil.copy(world.bundle, world.root / "public" / "trust-1.srb")
    (world.root / "people.toml").write_text(_PEOPLE, encoding="utf-8")
    (world.folder / "ssh").mkdir()
    lines = [f"{person} {new_ssh_key(world.folder / 'ssh', person).line}\n" for person in (REQUESTER, *APPROVERS)]
    (world.root / "allowed_signers").write_text("".join(lines), encoding="utf-8")
    world.ok("key", "generate", "log", "--token", "ca", "--sequence", "1", "--activate")
    with (world.root / "strongroom.toml").open("a", encoding="utf-8") as stream:
        stream.write(_LOG.format(witnesses=witnesses))
    world.ok("audit", "init")


@pytest.fixture(scope="session")
def service_template(release_template: World) -> Iterator[ServiceWorld]:
    with pytest.MonkeyPatch.context() as patch:
        world = copied(release_template, patch, ServiceWorld)
        build(world)
        close_all(load_module(ModuleConfig(find_module("softhsm2"))))
        yield world
    shutil.rmtree(world.folder)


@pytest.fixture
def service_world(service_template: ServiceWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceWorld]:
    world = copied(service_template, monkeypatch, ServiceWorld)
    yield world
    close_all(load_module(ModuleConfig(find_module("softhsm2"))))
    shutil.rmtree(world.folder)


def in_days(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
