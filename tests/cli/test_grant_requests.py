"""Packages by grant and batches of grants through the signing service: asked for, approved, signed, logged."""

from __future__ import annotations

from cli.exit_codes import ExitCode
from tests.cli.grant_world import *  # noqa: F403
from tests.cli.grant_world import GrantServiceWorld


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
