"""Power cuts while a grant is taken: the grant before it, or it, and never a mixture."""

from __future__ import annotations

from bootloader.reference.grant import parse_grant
from bootloader.reference.records import PendingGrant
from bootloader.simulation.cuts import single_operations
from bootloader.simulation.device import SimulatedDevice
from bootloader.simulation.sim_flash import Operation
from tests.faults import campaign, scenarios
from tests.scenarios.world import state_on_record


def pending_of(grant: bytes) -> PendingGrant:
    return parse_grant(grant).pending


def pending(device: SimulatedDevice) -> PendingGrant | None:
    return state_on_record(device).pending_grant


def operations_of_receiving(device: SimulatedDevice, grant: bytes) -> tuple[Operation, ...]:
    device.flash.log = []
    device.receive_grant(grant)
    operations = tuple(single_operations(device.flash.log, device.flash.write_unit_bytes))
    device.flash.log = None
    return operations


def test_a_newer_grant_replaces_the_older_one_at_once_or_not_at_all() -> None:
    device = scenarios.device_with_grant()
    older, newer = scenarios.grant(), scenarios.grant("fake batch two  ")
    before = device.flash.snapshot()
    operations = operations_of_receiving(device, newer)
    assert pending(device) == pending_of(newer)

    last = len(operations) - 1
    numbers = [*range(0, last, 3), last]  # the campaign's scenario "grant" has them all
    found = set()
    for cut in campaign.each_cut(device.flash, before, operations, numbers, lambda _: campaign.VARIANTS):
        device.mailbox = None
        device.power_on()
        first = pending(device)
        device.power_on()
        assert first in (pending_of(older), pending_of(newer)), str(cut)
        assert pending(device) == first, str(cut)
        found.add(first)
    assert found == {pending_of(older), pending_of(newer)}


def test_a_cut_installation_ends_with_the_grant_that_is_on_record_and_then_it_is_gone() -> None:
    """The host sends the package again, and no grant: the campaign's recovery has none to send in this scenario."""
    scenario = scenarios.scenario_named("installation by grant")
    assert scenario.goal.grant is None
    device = scenario.start()
    device.install(scenarios.granted_application())
    assert pending(device) is None
