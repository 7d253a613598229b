"""A patient host, and a device that had its power cut: power on, look, and bring it to where the scenario was going."""

from __future__ import annotations

from enum import Enum

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.head import Version
from bootloader.reference.records import TRIAL_ATTEMPTS_MAX
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, Running
from tests.faults.scenarios import WORLD, Scenario
from tests.faults.witness import Violation, Witness, demand

STEPS_MAX = 12


class Outcome(Enum):
    """What the device did at its first start after the cut."""

    OLD = "runs the old image"
    NEW = "runs the new image"
    SAME = "runs its only image"
    WAITS = "waits for the package"
    LOCKED = "is LOCKED"
    OPERATIONAL = "is OPERATIONAL"
    RMA = "is in RMA"
    DECOMMISSIONED = "is DECOMMISSIONED"
    NO_STATE = "has no readable state"


def recover(scenario: Scenario, witness: Witness) -> Outcome:
    """Start twice without help, then finish what was begun; raises Violation for anything but old, new or waiting."""
    witness.forget()
    witness.device.flash.power_on()  # to read what the cut left; nothing runs yet
    witness.examine_flash()
    running = witness.power_on()
    outcome = _judge(scenario, witness, running)
    again = witness.power_on()
    _demand_repeat(witness, running, again)
    witness.may_change = scenario.in_recovery().may_change
    if not scenario.goal.listens:
        again = _wait_for_fall_back(witness)
    _reach_goal(scenario, witness, again)
    return outcome


def _judge(scenario: Scenario, witness: Witness, running: Running) -> Outcome:
    """Old, new, or waiting with a code that the specification names for this scenario."""
    goal = scenario.goal
    if isinstance(running, InUpdateMode):
        allowed = (*scenario.waits_as, *((DeviceCode.TRIAL_EXHAUSTED,) if _app_may_be_exhausted(witness) else ()))
        demand(running.code in allowed, f"waits with {running.code.name}")
        return Outcome.WAITS
    assert isinstance(running, ApplicationRuns)
    if goal.bundles:
        demand(running.version == Version(1, 0, 0, 0), f"application {running.version} runs")
        return Outcome.NEW if _bundle_in_force(witness) != WORLD.genesis else Outcome.OLD
    if goal.bootloader_package is not None:
        demand(running.version == Version(1, 0, 0, 0), f"application {running.version} runs")
        return Outcome.NEW if running.copy is goal.bootloader_copy else Outcome.OLD
    allowed_versions = (1, goal.application)
    demand(running.version.major in allowed_versions, f"application {running.version} runs")
    if goal.application_package is None:
        return Outcome.SAME
    return Outcome.NEW if running.version.major == goal.application else Outcome.OLD


def _demand_repeat(witness: Witness, first: Running, second: Running) -> None:
    """The second start does what the first did, unless a trial has run out in between."""
    if isinstance(first, ApplicationRuns) and isinstance(second, ApplicationRuns):
        demand(first.head == second.head, "the second start runs another application than the first")
    elif isinstance(first, InUpdateMode) and isinstance(second, InUpdateMode):
        demand(first.code == second.code, f"first {first.code.name}, then {second.code.name}")
    else:
        exhausted = isinstance(second, InUpdateMode) and second.code is DeviceCode.TRIAL_EXHAUSTED
        demand(exhausted and _app_may_be_exhausted(witness), "the second start contradicts the first")


def _app_may_be_exhausted(witness: Witness) -> bool:
    state = witness.read_state()
    if state is None or state.installed is None or state.application_is_confirmed:
        return False
    return state.application_attempts >= TRIAL_ATTEMPTS_MAX


def _wait_for_fall_back(witness: Witness) -> Running:
    """A copy that nobody speaks to must give up by itself; two starts have been seen already."""
    running = witness.power_on()
    if witness.device.bootloader.running.is_confirmed:
        return running  # it fell back sooner; or, cut a second time, somebody had spoken to it at last
    running = witness.power_on()
    assert isinstance(running, ApplicationRuns | InUpdateMode)
    demand(running.copy is Copy.A, "a copy without a link keeps running")
    running = witness.power_on()
    assert isinstance(running, ApplicationRuns | InUpdateMode)
    demand(running.copy is Copy.A, "a copy that fell back came up again")
    return running


def _reach_goal(scenario: Scenario, witness: Witness, running: Running) -> None:
    """Whatever the host must do: install again, confirm, start again; at most a few steps."""
    for _ in range(STEPS_MAX):
        if _is_reached(scenario, witness, running):
            break
        try:
            running = witness.examine(_step(scenario, witness, running))
        except Refused as refusal:
            raise Violation(f"recovery is refused: {refusal}") from None
    else:
        raise Violation("the goal is not reached")
    running = witness.power_on()
    demand(_is_reached(scenario, witness, running), "the goal does not last")
    state = witness.read_state()
    assert state is not None
    demand(state.floors.application == scenario.goal.application, "the floor does not follow the confirmation")


def _is_reached(scenario: Scenario, witness: Witness, running: Running) -> bool:
    state, goal = witness.read_state(), scenario.goal
    if state is None or not isinstance(running, ApplicationRuns):
        return False
    right_copy = goal.bootloader_package is None or _has_new_copy(scenario, witness, running)
    right_application = running.version.major == goal.application and state.application_is_confirmed
    right_bundle = not goal.bundles or _bundle_in_force(witness) == goal.bundles[-1]
    return right_copy and right_application and right_bundle


def _bundle_in_force(witness: Witness) -> bytes:
    state = witness.read_state()
    assert state is not None
    return witness.bundles[witness.bundle_in_force(state)]


def _has_new_copy(scenario: Scenario, witness: Witness, running: ApplicationRuns | InUpdateMode) -> bool:
    return _runs_new_copy(scenario, running) and witness.device.bootloader.running.is_confirmed


def _runs_new_copy(scenario: Scenario, running: ApplicationRuns | InUpdateMode) -> bool:
    return running.copy is scenario.goal.bootloader_copy


def _step(scenario: Scenario, witness: Witness, running: Running) -> Running:
    device, goal, state = witness.device, scenario.goal, witness.read_state()
    assert state is not None
    if isinstance(running, ApplicationRuns):
        wants_confirmation = running.version.major == goal.application and not state.application_is_confirmed
        return device.application_confirms() if wants_confirmation else device.application_requests_update()
    assert isinstance(running, InUpdateMode)
    if goal.bootloader_package is not None and not _has_new_copy(scenario, witness, running):
        if not _runs_new_copy(scenario, running):
            return device.install(goal.bootloader_package)
        device.receive_trust_bundle(_bundle_in_force(witness))  # the current one confirms it
        return device.power_on()
    missing = witness.bundles[witness.bundles.index(_bundle_in_force(witness)) + 1 :]
    if missing:
        for link in missing:
            device.receive_trust_bundle(link)
        return device.power_on()
    if state.installed is None or running.code is DeviceCode.UPDATE_REQUESTED or not state.application_is_confirmed:
        assert goal.application_package is not None
        if goal.grant is not None:
            device.receive_grant(goal.grant)  # which changes nothing where the device holds it already
        return device.install(goal.application_package)
    return device.power_on()
