"""`strongroom device` tells of a life: status, boot and events of devices activated, serviced, without a state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bootloader.reference.codes import DeviceCode
from bootloader.reference.records import EventKind, Lifecycle
from bootloader.simulation.device import SimulatedDevice
from bootloader.simulation.device_file import create_device_file
from cli.device_words import code_in_words, event_in_words, lifecycle_in_words, protection_in_words, step_in_words
from cli.exit_codes import ExitCode
from tests.cli.world import World
from tests.scenarios import life
from tests.unit.reference.life_builders import REPAIR, ServicePlan


@pytest.fixture
def desk(tmp_path: Path) -> World:
    """These commands need no authority, only a file."""
    return World(tmp_path)


def file_of(folder: Path, device: SimulatedDevice) -> Path:
    path = folder / "device.img"
    create_device_file(path, device)
    return path


def status_of(desk: World, path: Path) -> tuple[dict[str, Any], str]:
    report: dict[str, Any] = json.loads(desk.ok("device", "status", path, "--json").out)
    return report, desk.ok("device", "status", path).out


def test_a_locked_device_without_keys(desk: World, tmp_path: Path) -> None:
    report, text = status_of(desk, file_of(tmp_path, life.locked_device()))
    assert report["lifecycle"].startswith("LOCKED")
    assert report["activation"] is report["identity_public_key"] is report["service_order"] is None
    assert "keys: none; a locked device makes them at its first challenge" in text
    assert "readout protection level 1, pre-bootloader write-protected, brown-out level, debug port closed" in text


def test_an_activated_device(desk: World, tmp_path: Path) -> None:
    path = file_of(tmp_path, life.activated_device())
    report, text = status_of(desk, path)
    assert report["lifecycle"] == "OPERATIONAL"
    assert report["activation"]["serial"] == "SN-0001"
    assert "serial number SN-0001" in text
    assert "activation" in desk.ok("device", "events", path).out


def test_a_device_that_is_about_to_destroy_its_keys_and_has(desk: World, tmp_path: Path) -> None:
    device = life.activated_device()
    life.serve(device, ServicePlan(action=REPAIR))
    path = file_of(tmp_path, device)
    report, text = status_of(desk, path)
    assert report["service_order"] is not None
    assert "A SERVICE ORDER IS BEING CARRIED OUT" in text
    assert "NO_APPLICATION" in desk.ok("device", "boot", path).out
    report, text = status_of(desk, path)
    assert report["lifecycle"].startswith("RMA")
    assert report["service_order"] is report["identity_public_key"] is report["activation"] is None
    assert "service order" in desk.ok("device", "events", path).out


def test_a_device_without_a_readable_state(desk: World, tmp_path: Path) -> None:
    path = file_of(tmp_path, life.without_state(life.device_with_keys()))
    line = desk.fails(ExitCode.INPUT, "device", "status", path)
    assert "neither half of the device's journal is readable" in line
    assert "NO_STATE" in desk.ok("device", "boot", path).out


@pytest.mark.parametrize("code", DeviceCode)
def test_every_code_has_words_and_a_step(code: DeviceCode) -> None:
    assert code_in_words(code)
    if code is not DeviceCode.OK:
        assert step_in_words(code)


def test_words_for_life_events_and_protection() -> None:
    assert lifecycle_in_words(Lifecycle.RMA) == "RMA (returned for repair)"
    assert [event_in_words(kind, 0) for kind in (7, 8, 9)] == ["activation", "grant taken", "service order"]
    assert event_in_words(EventKind.REFUSAL, 831).startswith("refusal: SERVICE_PENDING, a service order is")
    assert list(protection_in_words(0)) == []
    assert next(iter(protection_in_words(0x1F))) == "readout protection level 2"
