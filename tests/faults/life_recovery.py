"""A patient host, and a device that had its power cut in a step of its life: start it, look, and finish the step."""

from __future__ import annotations

from bootloader.reference.codes import Refused
from bootloader.reference.records import Lifecycle
from bootloader.reference.state import DeviceState
from bootloader.simulation.device import ApplicationRuns, Running
from tests.faults.life_scenarios import NEW_LOT, LifeScenario, RecordingPlatform, activate, serve
from tests.faults.life_witness import LifeWitness
from tests.faults.recovery import Outcome
from tests.faults.witness import Violation, demand

STEPS_MAX = 4
OUTCOMES = {
    None: Outcome.NO_STATE,
    Lifecycle.LOCKED: Outcome.LOCKED,
    Lifecycle.OPERATIONAL: Outcome.OPERATIONAL,
    Lifecycle.RMA: Outcome.RMA,
    Lifecycle.DECOMMISSIONED: Outcome.DECOMMISSIONED,
}


def recover_life(scenario: LifeScenario, witness: LifeWitness, drawn_before: int | None) -> Outcome:
    """Start twice without help, then finish what was begun; raises Violation for any state that is neither the one
    before nor the one after, nor none where there was none.

    `drawn_before`: how many draws there had been when the scenario was over; None in a second recovery, to which the
    draws of the first still matter.
    """
    platform = witness.device.platform
    assert isinstance(platform, RecordingPlatform)
    if drawn_before is not None:
        del platform.drawn[drawn_before:]
    platform.seed(len(platform.drawn) + 1)  # a device that was without power draws something else
    witness.device.flash.power_on()  # to read what the cut left; nothing runs yet
    witness.examine_flash()
    witness.power_on()
    first = witness.readable_state()
    demand(first is None or first.service_started is None, "a start did not carry the service order out to its end")
    running = witness.power_on()
    second = witness.readable_state()
    demand(_is_repeat(first, second), "the second start contradicts the first")
    _reach_goal(scenario, witness, running)
    return OUTCOMES[_lifecycle(first)]


def _lifecycle(state: DeviceState | None) -> Lifecycle | None:
    return None if state is None or state.device is None else Lifecycle(state.device.lifecycle)


def _is_repeat(first: DeviceState | None, second: DeviceState | None) -> bool:
    """A state that was read stays; one that was torn may be read the second time, and then stays."""
    if first is None:
        return True
    if second is None or first.device != second.device:
        return False
    return (first.keys, first.group_key, first.activated) == (second.keys, second.group_key, second.activated)


def _reach_goal(scenario: LifeScenario, witness: LifeWitness, running: Running) -> None:
    for _ in range(STEPS_MAX):
        if _is_reached(scenario, witness):
            break
        try:
            running = witness.examine(_step(scenario, witness, running))
        except Refused as refusal:
            raise Violation(f"recovery is refused: {refusal}") from None
    else:
        raise Violation("the goal is not reached")
    witness.power_on()
    demand(_is_reached(scenario, witness), "the goal does not last")


def _is_reached(scenario: LifeScenario, witness: LifeWitness) -> bool:
    state = witness.readable_state()
    if state is None or state.device is None or state.device.lifecycle != scenario.ends_as:
        return False
    return scenario.ends_as != Lifecycle.LOCKED or state.device.lot == NEW_LOT


def _step(scenario: LifeScenario, witness: LifeWitness, running: Running) -> Running:
    """The station's step, or the service technician's; the device is asked for update mode if it does not listen."""
    device = witness.device
    if isinstance(running, ApplicationRuns):
        if running.head.package_type == 1:
            device.application_requests_update()
        else:
            device.entry_pin_is_active = True
            device.power_on()
            device.entry_pin_is_active = False
    if scenario.service is not None:
        serve(device, scenario.service)
    else:
        activate(device, scenario.activation)
    return device.power_on()
