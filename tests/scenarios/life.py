"""Devices through their lives, for scenarios: made LOCKED, activated, serviced. Imports no signer."""

from __future__ import annotations

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.journal_half import half_regions
from bootloader.simulation.device import PowerOn, Running, SimulatedDevice
from bootloader.simulation.platform import OptionBytes
from tests.scenarios.world import World
from tests.unit.reference.fake.keys import fake_key
from tests.unit.reference.life_builders import (
    CHALLENGE_FIELDS,
    ActivationPlan,
    ServicePlan,
    build_activation,
    build_service_order,
    part,
)

WORLD = World()
HOST = fake_key("host ephemeral")
PROTECTED = OptionBytes(readout_level=1, write_protect=True, brown_out=True, debug_closed=True)
BOTH_INJECTED = ActivationPlan().having(inject=3)


def locked_device(world: World = WORLD, option_bytes: OptionBytes = PROTECTED) -> SimulatedDevice:
    """Flashed, protected by its option bytes, and listening for want of anything to run."""
    device = world.locked_device()
    device.set_option_bytes(option_bytes)
    device.power_on()
    return device


def device_with_keys(world: World = WORLD) -> SimulatedDevice:
    """LOCKED; a host has asked once, and so it has made its keys."""
    device = locked_device(world)
    device.challenge(HOST.public)
    return device


def activate(device: SimulatedDevice, plan: ActivationPlan | None = None) -> bytes:
    """What a station does; the receipt."""
    challenge = device.challenge(HOST.public)
    return device.receive_activation(build_activation(plan if plan is not None else ActivationPlan(), challenge))


def activated_device(plan: ActivationPlan | None = None, world: World = WORLD) -> SimulatedDevice:
    """OPERATIONAL by an activation, listening for want of an application."""
    device = locked_device(world)
    activate(device, plan)
    device.power_on()
    return device


def device_at_work(world: World = WORLD) -> SimulatedDevice:
    """OPERATIONAL, with injected keys (for which the world's packages are encrypted), application 1 confirmed."""
    device = activated_device(BOTH_INJECTED, world)
    device.install(world.application(1))
    device.application_confirms()
    return device


def serve(device: SimulatedDevice, plan: ServicePlan) -> bytes:
    """What a service technician does; the receipt. The device must be in update mode."""
    return device.receive_service_order(build_service_order(plan, device.challenge(HOST.public)))


def serve_and_reset(device: SimulatedDevice, plan: ServicePlan) -> Running:
    serve(device, plan)
    return device.power_on(PowerOn.WARM)


def nonce_of(challenge: bytes) -> bytes:
    return part(CHALLENGE_FIELDS, challenge, "nonce")


def without_state(device: SimulatedDevice) -> SimulatedDevice:
    """The same device, after both headers of its journal were overwritten."""
    for region in half_regions(device.board):
        device.flash.corrupt(region.address, b"\x00" * 16)
    device.power_on()
    return device


def code_of(action: object, *args: object) -> DeviceCode:
    """The code with which an action is refused."""
    try:
        action(*args)  # type: ignore[operator]
    except Refused as refusal:
        return refusal.code
    raise AssertionError("it was not refused")


def flash_of(device: SimulatedDevice) -> bytes:
    """All of it, as it stands, torn bits included."""
    return b"".join(bytes(sector.content) for sector in device.flash.snapshot().sectors)
