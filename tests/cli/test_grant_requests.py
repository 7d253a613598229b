"""Packages by grant and batches of grants through the signing service: asked for, approved, signed, logged."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from cli.exit_codes import ExitCode
from tests.cli.grant_world import *  # noqa: F403
from tests.cli.grant_world import GrantServiceWorld
from tests.cli.world import label


class Asked:
    """A batch on its way: package, prepared file, request, approvals."""

    def __init__(self, world: GrantServiceWorld, approvers: tuple[str, ...] = ("ben", "cleo")) -> None:
        self.world = world
        self.package = world.granted_application()
        self.prepared = self.prepare()
        self.request = world.out / "grants.request.json"
        world.ok(*self.asking(self.prepared, self.package, self.request))
        self.approvals = [world.approve(self.request, person) for person in approvers]

    def prepare(self, name: str = "grants.prepared.srg") -> Path:
        out = self.world.out / name
        self.world.ok("grant", "prepare", "--package", self.package, "--devices", self.world.devices, "-o", out)
        return out

    def asking(self, prepared: Path, package: Path, out: Path) -> list[str | Path]:
        key = self.world.ssh_key("ada").path
        return ["grant", "request", prepared, "--package", package, "--as", "ada", "--ssh-key", key, "-o", out]

    def signing(self, out: Path, prepared: Path | None = None, package: Path | None = None) -> list[str | Path]:
        arguments: list[str | Path] = ["grant", "sign", prepared or self.prepared, "--package", package or self.package]
        arguments += ["--request", self.request, "-o", out]
        for approval in self.approvals:
            arguments += ["--approval", approval]
        return arguments


def test_a_package_by_grant_goes_through_the_signing_service_and_is_granted(
    grant_service_world: GrantServiceWorld,
) -> None:
    world = grant_service_world
    prepared = world.prepare("1.0.0", 1, "--grant")
    request = world.request(prepared)
    approvals = [world.approve(request, person) for person in ("ben", "cleo")]
    world.sign(prepared, request, approvals)
    package = world.out / "app-1.0.0.srp"
    world.ok("package", "release", request, "-o", package)
    grants = world.out / "grants.srg"
    world.ok("grant", "issue", "--package", package, "--devices", world.devices, "-o", grants)
    refused = world.device_json("install", package, code=ExitCode.REFUSED_BY_DEVICE)
    assert refused["name"] == "GRANT_REQUIRED"
    assert world.device_json("grant", grants)["accepted"]
    assert world.device_json("install", package)["accepted"]


def test_a_batch_is_asked_for_approved_signed_and_taken(grant_service_world: GrantServiceWorld) -> None:
    world = grant_service_world
    asked, grants = Asked(world), world.out / "grants.srg"
    report = world.ok(*asked.signing(grants), "--json").json
    assert not report["repeated"]
    world.ok("grant", "verify", grants)
    assert world.device_json("grant", grants)["accepted"]
    assert world.device_json("install", asked.package)["accepted"]


def test_the_request_says_what_is_granted(grant_service_world: GrantServiceWorld) -> None:
    world = grant_service_world
    asked = Asked(world, approvers=())
    words = asked.request.read_text(encoding="utf-8")
    head_hash = hashlib.sha256(asked.package.read_bytes()[:1024]).hexdigest()
    for text in ('"kind":"grant-batch"', f'"head_hash":"{head_hash}"', '"devices":20', '"version":"1.0.0"'):
        assert text in words


def test_the_log_tells_the_story_of_a_batch(grant_service_world: GrantServiceWorld) -> None:
    world = grant_service_world
    asked = Asked(world)
    world.ok(*asked.signing(world.out / "grants.srg"))
    story = [entry for entry in world.log_story() if entry.get("kind") == "grant-batch"]
    assert [entry["event"] for entry in story] == ["sign-intent", "sign-result"]
    assert story[0]["approvers"] == ["ben", "cleo"]
    assert story[0]["facts"]["devices"] == 20
    assert story[0]["key_labels"] == [label("grant")]


def test_the_same_call_again_gives_the_same_file_and_asks_no_token(grant_service_world: GrantServiceWorld) -> None:
    world = grant_service_world
    asked = Asked(world)
    first, second = world.out / "one.srg", world.out / "two.srg"
    world.ok(*asked.signing(first))
    again = world.ok(*asked.signing(second), "--json").json
    assert again["repeated"]
    assert first.read_bytes() == second.read_bytes()


def test_another_batch_than_the_approved_one_is_not_signed(grant_service_world: GrantServiceWorld) -> None:
    """Made from the same list, for the same package: another id, another pair, another digest."""
    world = grant_service_world
    asked = Asked(world)
    other = asked.prepare("other.prepared.srg")
    line = world.fails(ExitCode.POLICY, *asked.signing(world.out / "g.srg", prepared=other))
    assert "[OB-03]" in line
    assert not (world.out / "g.srg").exists()


def test_a_changed_leaf_is_found_before_anybody_signs(grant_service_world: GrantServiceWorld) -> None:
    world = grant_service_world
    asked = Asked(world)
    content = bytearray(asked.prepared.read_bytes())
    content[256 + 30] ^= 1
    content[-32:] = hashlib.sha256(content[:-32]).digest()
    asked.prepared.write_bytes(content)
    assert "[GR-33]" in world.fails(ExitCode.VERIFICATION, *asked.signing(world.out / "g.srg"))
    assert "[GR-33]" in world.fails(
        ExitCode.VERIFICATION, *asked.asking(asked.prepared, asked.package, world.out / "again.json")
    )
    assert not [entry for entry in world.log_story() if entry["event"] == "sign-intent"]


def test_a_request_names_the_package_that_is_granted(grant_service_world: GrantServiceWorld) -> None:
    world = grant_service_world
    asked = Asked(world)
    other = world.granted_application("1.1.0")
    assert "[GR-11]" in world.fails(ExitCode.INPUT, *asked.signing(world.out / "g.srg", package=other))


@pytest.mark.parametrize("more", [("--approval", "x"), ("--package", "x")])
def test_options_of_the_service_go_with_a_request(grant_service_world: GrantServiceWorld, more: Any) -> None:
    world = grant_service_world
    assert world.run("grant", "sign", world.out / "p.srg", "-o", world.out / "g.srg", *more).code == ExitCode.USAGE


def test_in_production_many_grants_need_two_groups(grant_service_world: GrantServiceWorld) -> None:
    world = grant_service_world
    world.make_production()
    package = world.granted_by_request()
    prepared, request = world.out / "p.srg", world.out / "p.request.json"
    world.ok("grant", "prepare", "--package", package, "--devices", world.devices, "-o", prepared)
    ask: list[str | Path] = ["--as", "ada", "--ssh-key", world.ssh_key("ada").path, "-o", request]
    world.ok("grant", "request", prepared, "--package", package, *ask)
    one = world.approve(request, "ben")
    sign: list[str | Path] = [
        "grant",
        "sign",
        prepared,
        "--package",
        package,
        "--request",
        request,
        "-o",
        world.out / "g.srg",
    ]
    line = world.fails(ExitCode.POLICY, *sign, "--approval", one)
    assert "two" in line
    two = world.approve(request, "cleo")
    world.ok(*sign, "--approval", one, "--approval", two)
    world.ok("grant", "verify", world.out / "g.srg")
