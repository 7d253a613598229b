"""Devices of one product, served as real processes, and the update tool brought to them as its users do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bootloader.simulation.device import SimulatedDevice
from bootloader.simulation.device_file import decode_device, encode_device
from bootloader.simulation.operational import make_operational_simulation_only
from pki.values import PublicKey
from tests.links.served import ROOT, device_in
from tests.scenarios.world import World
from tests.unit.reference import builders
from tests.unit.reference.fake.keys import FakeKey, fake_key
from tests.unit.reference.grants_by_hand import GrantPlan, Recipient, batch_of, leaf_of
from tests.vectors.generator.grants import levels

PRODUCT_ID = builders.PRODUCT_ID
GROUP = {"target": builders.ANY_DEVICE, "recipient_mode": builders.MODE_GROUP, "recipient": fake_key("group agreement")}


@cache
def world(number: int, application_size_bytes: int = 9_000) -> World:
    """The device with this number; another UID for each."""
    return World(
        uid=bytes([0x40 + number // 256, number % 256]) + bytes(9) + b"\x01",
        application_size_bytes=application_size_bytes,
    )


def identity_of(number: int) -> FakeKey:
    return fake_key(f"identity of device {number}")


def agreement_of(number: int) -> FakeKey:
    return fake_key(f"agreement of device {number}")


def device(number: int, version: int | None = 1) -> SimulatedDevice:
    """OPERATIONAL, with keys of its own and the group's, and a confirmed application if a version is given."""
    return decode_device(_device_file(number, version))


@cache
def _device_file(number: int, version: int | None) -> bytes:
    made = world(number).locked_device()
    keys = (identity_of(number).private, agreement_of(number).private, fake_key("group agreement").private)
    make_operational_simulation_only(made, *keys)
    if version is not None:
        made.power_on()
        made.install(application(version))
        made.application_confirms()
    return encode_device(made)


def application(version: int, size_bytes: int = 9_000, **other: Any) -> bytes:
    """For any device of the product, encrypted for the group; version and security version are the same number."""
    plan = world(0, size_bytes).application_plan(version, **GROUP)
    return builders.build_package(replace(plan, **other))


def next_bundle(previous: bytes, version: int, **other: Any) -> bytes:
    """The link from one trust bundle to the next: the same roots."""
    digest = builders.sha256(builders.padded("SR-bundle-v1"), previous[:1599])
    return builders.build_bundle(replace(builders.BundlePlan(), version=version, previous_digest=digest, **other))


def public_file(number: int) -> dict[str, Any]:
    """docs/spec/device-file.md."""
    of = world(number)
    return {
        "format": 1,
        "uid": of.uid.hex(),
        "product_id": "2f1d7a0c-b6a9-4c0e-9d5e-43b8f0a61c75",
        "board": of.board_name,
        "hardware_revision": 2,
        "lot": "00" * 16,
        "identity_public_key": identity_of(number).public.hex(),
        "agreement_public_key": agreement_of(number).public.hex(),
        "simulation_only": True,
    }


def write_public_files(folder: Path, numbers: Sequence[int]) -> Path:
    """A folder with one file for each device."""
    known = folder / "known"
    known.mkdir()
    for number in numbers:
        (known / f"device-{number}.json").write_text(json.dumps(public_file(number)))
    return known


@dataclass(frozen=True)
class Done:
    """A finished command: exit code, its report, and what it said."""

    code: int
    report: dict[str, Any]
    said: str

    @property
    def devices(self) -> list[dict[str, Any]]:
        return list(self.report["devices"])

    @property
    def results(self) -> list[str]:
        return [str(entry["result"]) for entry in self.devices]

    @property
    def rules(self) -> list[str | None]:
        return [entry["rule"] for entry in self.devices]


def update(package: Path, *options: str, timeout_seconds: float = 240) -> Done:
    """`strongroom update --json`, as a process of its own."""
    command = [sys.executable, "-m", "cli.start", "update", str(package), *options, "--json"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_seconds, cwd=ROOT, env=environment, check=False
    )
    assert run.stdout.startswith("{"), run.stderr
    return Done(run.returncode, json.loads(run.stdout), run.stderr)


def running_version(path: Path) -> str:
    """What a device that nobody serves runs when it is powered on; "confirmed" is part of it."""
    found = device_in(path)
    found.power_on()
    state = found.bootloader.running.state
    assert state.installed is not None
    version = state.installed.image_version
    confirmed = "confirmed" if state.application_is_confirmed else "on trial"
    return f"{version.major}.{version.minor}.{version.revision}.{version.build} {confirmed}"


def identity_key(number: int) -> PublicKey:
    return PublicKey(identity_of(number).public)


def granted_application(version: int, size_bytes: int = 9_000) -> tuple[bytes, builders.PackagePlan]:
    """A package whose content key comes in a grant, and its plan."""
    fields = {"target": builders.GRANT_REQUIRED, "recipient_mode": builders.MODE_GRANT}
    plan = world(0, size_bytes).application_plan(version, **fields)
    return builders.build_package(plan), plan


def write_grants(path: Path, plan: builders.PackagePlan, numbers: Sequence[int]) -> Path:
    """A file of grants for these devices, by hand (docs/spec/grant.md, section 4)."""
    recipients = [Recipient(uid=world(number).padded_uid, agreement=agreement_of(number)) for number in numbers]
    grants = GrantPlan(
        recipients=sorted(recipients, key=lambda recipient: recipient.uid),
        head_hash=builders.sha256(builders.build_head(plan)),
        content_key=plan.content_key,
        image_salt=plan.image_salt,
    )
    leaves = [leaf_of(grants, recipient) for recipient in grants.recipients]
    body = batch_of(grants) + b"".join(leaves) + b"".join(b"".join(level) for level in levels(leaves))
    path.write_bytes(body + builders.sha256(body))
    return path
