"""A world whose product encrypts by grant: keys for it, a device whose trust bundle names the grant key, and a list."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from signer.tokens import ModuleConfig, find_module, load_module
from tests.cli.release_world import UID, ReleaseWorld, build_release, copied
from tests.cli.service_world import ServiceWorld
from tests.cli.service_world import build as build_service
from tests.cli.world import PRODUCT, World, label
from tests.softhsm_fixtures import close_all
from tests.unit.reference.fake.keys import fake_key

__all__ = [
    "UID",
    "GrantServiceWorld",
    "GrantWorld",
    "grant_service_template",
    "grant_service_world",
    "grant_template",
    "grant_world",
]


class GrantWorld(ReleaseWorld):
    """`devices.csv` lists the device in a crowd."""

    @property
    def devices(self) -> Path:
        return self.out / "devices.csv"

    @property
    def content_keys(self) -> Path:
        return self.root / "store" / "content-keys"

    def granted_application(self, version: str = "1.0.0", security_version: int = 1) -> Path:
        return self.application(version, security_version, "--grant")

    def list_devices(self, path: Path, more: Mapping[str, str] | None = None, others: int = 20) -> Path:
        """The device and others, in no order."""
        own = json.loads(self.public.read_text(encoding="utf-8"))
        rows = {own["uid"]: own["agreement_public_key"]}
        rows |= {f"{number * 37 % 101:024x}": fake_key(f"device {number}").public.hex() for number in range(1, others)}
        rows |= dict(more or {})
        lines = [f"{uid},{key}\n" for uid, key in sorted(rows.items(), key=lambda row: row[1])]
        path.write_text("".join(["uid,agreement_public_key\n", *lines]), encoding="ascii")
        return path


def enable_grants(world: World) -> None:
    """Keys and their entries in the product's file."""
    for role in ("grant", "package-wrap"):
        world.ok("key", "generate", role, "--token", "release", "--product", PRODUCT, "--sequence", "1", "--activate")
    lines = world.product_file.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("# grant =", "# package-wrap ="))]
    entries = [f'{role} = [{{ token = "release", label = "{label(role)}" }}]' for role in ("grant", "package-wrap")]
    world.product_file.write_text("\n".join([*kept, *entries, ""]), encoding="utf-8")


@pytest.fixture(scope="session")
def grant_template(world_template: World) -> Iterator[GrantWorld]:
    with pytest.MonkeyPatch.context() as patch:
        world = copied(world_template, patch, GrantWorld)
        enable_grants(world)
        build_release(world)
        world.list_devices(world.devices)
        close_all(load_module(ModuleConfig(find_module("softhsm2"))))
        yield world
    shutil.rmtree(world.folder)


@pytest.fixture
def grant_world(grant_template: GrantWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[GrantWorld]:
    world = copied(grant_template, monkeypatch, GrantWorld)
    yield world
    close_all(load_module(ModuleConfig(find_module("softhsm2"))))
    shutil.rmtree(world.folder)


class GrantServiceWorld(GrantWorld, ServiceWorld):
    """The same with people, policies and a log: what is signed in it is asked for and approved."""

    def granted_by_request(self, version: str = "1.0.0") -> Path:
        """A package by grant, through the signing service."""
        prepared = self.prepare(version, 1, "--grant")
        request = self.request(prepared)
        self.sign(prepared, request, [self.approve(request, person) for person in ("ben", "cleo")])
        (signed,) = self.shelf.glob("*.srp")
        return signed


@pytest.fixture(scope="session")
def grant_service_template(grant_template: GrantWorld) -> Iterator[GrantServiceWorld]:
    with pytest.MonkeyPatch.context() as patch:
        world = copied(grant_template, patch, GrantServiceWorld)
        build_service(world)
        close_all(load_module(ModuleConfig(find_module("softhsm2"))))
        yield world
    shutil.rmtree(world.folder)


@pytest.fixture
def grant_service_world(
    grant_service_template: GrantServiceWorld, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GrantServiceWorld]:
    world = copied(grant_service_template, monkeypatch, GrantServiceWorld)
    yield world
    close_all(load_module(ModuleConfig(find_module("softhsm2"))))
    shutil.rmtree(world.folder)
