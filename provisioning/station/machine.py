"""What a station does with the board in one nest: `advance(state, event) -> (state, step)`, pure.

Specification: docs/spec/station.md, section 5.

Steps are done elsewhere, and each is answered by one event. Every attempt ends: the steps are counted, and so is how
often the link may fail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from provisioning.station import steps
from provisioning.station.boards import Standing
from provisioning.station.facts import ChallengeFacts, FlashContent, Issued, Known, LifeCycle, Terms, Verdict
from provisioning.station.rules import Rule
from provisioning.station.steps import Event, Step

STEPS_MAX = 48
LINK_FAILURES_MAX = 3
REFUSALS_MAX = 2
"""Of activations: the first may be that of a device that lost its nonce in a reset."""

STATION_RULES = frozenset(
    {Rule.QUOTA_USED_UP, Rule.TOO_EARLY, Rule.TOO_LATE, Rule.CLOCK_SET_BACK, Rule.STATION_STOPPED, Rule.LEDGER_DAMAGED}
)
"""Refusals that say nothing about the board: they are shown, not recorded."""


@dataclass(frozen=True, slots=True)
class State:
    """One attempt. `waiting_for` is the step that was asked for last; None before the board came."""

    terms: Terms
    waiting_for: Step | None = None
    step_count: int = 0
    link_failures: int = 0
    scanned_uid: bytes | None = None
    is_verified: bool = False
    """The flash was found to be the factory image, in this attempt."""
    was_erased: bool = False
    was_programmed: bool = False
    challenge: ChallengeFacts | None = None
    known: Known | None = None
    issued: Issued | None = None
    receipt: bytes | None = None
    refusals: int = 0
    """How often the device took no activation; whether it is LOCKED all the same, its next challenge says."""
    refusal: str | None = None
    verdict: Verdict | None = None
    """Set while a failure is being recorded."""


def advance(state: State, event: Event) -> tuple[State, Step]:
    """The next step. An event that does not answer the step that was asked for is a defect: ValueError."""
    state, step = _decide(state, event)
    if state.step_count >= STEPS_MAX and not isinstance(step, steps.Finish):
        text = f"no end after {STEPS_MAX} steps; take the board out and look at the fixture"
        step = steps.Finish(_verdict(state, Rule.FIXTURE_FAILED, text))
    return replace(state, waiting_for=step, step_count=state.step_count + 1), step


def _decide(state: State, event: Event) -> tuple[State, Step]:
    match event:
        case steps.Refused(Rule.ACTIVATION_REFUSED, text) if state.refusals < REFUSALS_MAX:
            # It may have taken it already, and the answer was lost; or it was reset, and its nonce is gone: what it is
            # now, it says itself.
            return replace(state, refusals=state.refusals + 1, refusal=text, issued=None), steps.Challenge()
        case steps.Refused(rule, text):
            return _refuse(state, rule, text)
        case steps.FixtureFailed(text):
            return _refuse(state, Rule.FIXTURE_FAILED, text)
        case steps.LinkLost(text):
            return _after_lost_link(state, text)
        case _:
            return _decide_fixture(state, event)


def _decide_fixture(state: State, event: Event) -> tuple[State, Step]:
    match state.waiting_for, event:
        case None, steps.BoardInserted(scanned_uid):
            return replace(state, scanned_uid=scanned_uid), steps.ReadOptionBytes()
        case steps.ReadOptionBytes(), steps.OptionBytesRead(found):
            is_readable = found is not None and found.readout_level == 0
            return state, steps.ReadFlash() if is_readable else steps.PowerCycle()
        case steps.ReadFlash(), steps.FlashRead(content):
            return _judge_flash(state, content)
        case steps.EraseBoard(), steps.Done():
            return replace(state, was_erased=True), steps.Program()
        case steps.Program(), steps.Done():
            return replace(state, was_programmed=True), steps.ReadFlash()
        case steps.WriteOptionBytes(wanted), steps.OptionBytesRead(found):
            if found != wanted:
                return _refuse(
                    state, Rule.OPTION_BYTES, f"option bytes read back as {found}; check supply and contacts"
                )
            return state, steps.PowerCycle()
        case steps.PowerCycle(), steps.Done():
            return state, steps.Challenge()
        case _:
            return _decide_device(state, event)


def _decide_device(state: State, event: Event) -> tuple[State, Step]:
    match state.waiting_for, event:
        case steps.Challenge(), steps.Challenged(challenge):
            state = replace(state, challenge=challenge, scanned_uid=state.scanned_uid or challenge.uid)
            return _judge_challenge(state, challenge)
        case steps.SendBundles(), steps.Done():
            return state, steps.Challenge()
        case steps.LookUp(), steps.LookedUp(known):
            return _judge_known(replace(state, known=known), known)
        case steps.AskSerial(), steps.SerialRead(serial):
            return state, steps.Begin(_challenge(state), serial)
        case ((steps.Begin() | steps.Renew()), steps.Recorded(issued)):
            return replace(state, issued=issued), steps.SendActivation(issued)
        case steps.SendActivation(), steps.ReceiptTaken(raw):
            return replace(state, receipt=raw), _read_status(state)
        case steps.ReadStatus(), steps.StatusRead():
            return _judge_status(state, event)
        case steps.Complete(), steps.Done():
            return state, steps.Finish(_verdict(state, None, "activated"))
        case steps.RecordFailure(), steps.Done():
            assert state.verdict is not None  # noqa: S101 (set with the step)
            return state, steps.Finish(state.verdict)
        case _:
            raise ValueError(f"{type(event).__name__} does not answer {type(state.waiting_for).__name__}")


def _judge_flash(state: State, content: FlashContent) -> tuple[State, Step]:
    if content is FlashContent.FACTORY_IMAGE:
        return replace(state, is_verified=True), steps.WriteOptionBytes(state.terms.option_bytes)
    if state.was_programmed:
        return _refuse(state, Rule.FLASH_NOT_WRITTEN, "the flash does not read back as programmed; the board is bad")
    if content is FlashContent.BLANK:
        return state, steps.Program()
    if content is FlashContent.USED:
        # The code is right, and has run. What it, or somebody, has written since is not judged: it goes.
        return state, steps.EraseBoard()
    if state.terms.reprograms and not state.was_erased:
        return state, steps.EraseBoard()
    return _refuse(
        state,
        Rule.FOREIGN_FLASH,
        "the flash is neither blank nor the factory image; if nothing on it is needed: station run --reprogram",
    )


def _judge_challenge(state: State, challenge: ChallengeFacts) -> tuple[State, Step]:
    fault = _fault_of_board(state, challenge)
    if fault is not None:
        return _refuse(state, *fault)
    newest = state.terms.newest_bundle_version
    if challenge.trust_bundle_version > newest:
        text = f"the board has trust bundle {challenge.trust_bundle_version}, the station {newest}: station bundle"
        return _refuse(state, Rule.BUNDLE_NEWER, text)
    if challenge.trust_bundle_version < newest:
        return state, steps.SendBundles(challenge.trust_bundle_version + 1)
    assert challenge.identity_public_key is not None  # noqa: S101 (_fault_of_board)
    return state, steps.LookUp(challenge.uid, challenge.identity_public_key.point)


def _fault_of_board(state: State, challenge: ChallengeFacts) -> tuple[Rule, str] | None:
    terms = state.terms
    if state.scanned_uid not in (None, challenge.uid):
        return Rule.UID_DIFFERS, f"UID {challenge.uid.hex()}: it is not the board that was put in; begin again"
    if challenge.lifecycle is LifeCycle.NO_STATE:
        return Rule.STATE_OF_LIFE, "the board has no readable state; it needs a service order, or another factory image"
    if challenge.identity_public_key is None or challenge.agreement_public_key is None:
        return Rule.NO_KEYS, "the board makes no keys: its option bytes are not as its board file demands"
    if challenge.product_id != terms.product_id:
        return Rule.WRONG_BOARD, "the board is of another product"
    if challenge.lot != terms.lot:
        return Rule.WRONG_BOARD, f"the board is of lot {challenge.lot!r}, the order for {terms.lot!r}"
    if not terms.hardware_revision_min <= challenge.hardware_revision <= terms.hardware_revision_max:
        return Rule.WRONG_BOARD, f"the order is not for hardware revision {challenge.hardware_revision}"
    if challenge.is_simulation_only and not terms.allows_simulation_only:
        return Rule.SIMULATION_ONLY, "the board was made for simulation only, and this station is for production"
    missing = terms.protection_required & ~challenge.protection
    if missing:
        return Rule.PROTECTION_MISSING, f"the board's protection lacks what the order requires (flags {missing.value})"
    return None


def _judge_known(state: State, known: Known) -> tuple[State, Step]:
    challenge = _challenge(state)
    assert challenge.identity_public_key is not None  # noqa: S101 (_fault_of_board)
    identity = challenge.identity_public_key.point
    if known.uid_of_identity not in (None, challenge.uid):
        return _refuse(state, Rule.CLONED_IDENTITY, f"its identity key is that of {_text(known.uid_of_identity)}")
    if known.identity_public_key not in (None, identity):
        return _refuse(state, Rule.OTHER_IDENTITY, "this UID was counted with another identity key; scrap the board")
    if known.standing is Standing.SCRAPPED:
        return _finish(state, Rule.SCRAPPED, "this board was scrapped; take it out of production")
    counted = known.standing in (Standing.BEGUN, Standing.ACTIVATED)
    if challenge.lifecycle is LifeCycle.LOCKED:
        return _judge_locked(state, known)
    if challenge.lifecycle is LifeCycle.OPERATIONAL and counted:
        return state, _read_status(state)
    if challenge.lifecycle is LifeCycle.OPERATIONAL:
        return _refuse(state, Rule.FOREIGN_ACTIVATION, "the board was activated, and not by this order at this station")
    return _refuse(state, Rule.STATE_OF_LIFE, f"the board's state of life is {challenge.lifecycle.name}")


def _judge_locked(state: State, known: Known) -> tuple[State, Step]:
    challenge = _challenge(state)
    if state.refusal is not None and state.refusals >= REFUSALS_MAX:
        return _refuse(state, Rule.ACTIVATION_REFUSED, state.refusal)
    if known.standing is Standing.BEGUN:
        return state, steps.Renew(challenge)
    if known.standing is Standing.ACTIVATED:
        return _refuse(state, Rule.LOCKED_AGAIN, "the board was activated, and is LOCKED again: it needs another order")
    if state.is_verified:
        return state, steps.AskSerial() if state.terms.asks_serial else steps.Begin(challenge, "")
    # It came protected, so nobody has seen what runs on it: everything goes, and it begins anew as a blank board. This
    # is reached once: from then on the flash has been verified.
    return replace(state, challenge=None, known=None), steps.EraseBoard()


def _judge_status(state: State, event: steps.StatusRead) -> tuple[State, Step]:
    challenge, known, status = _challenge(state), state.known, event.status
    ours = set(known.activations) if known is not None else set()
    certificate = known.certificate_digest if known is not None else None
    if state.issued is not None:
        ours.add(state.issued.activation_digest)
        certificate = state.issued.certificate_digest
    if status.uid != challenge.uid or status.lifecycle is not LifeCycle.OPERATIONAL:
        return _refuse(state, Rule.STATUS_INVALID, f"the status says UID {status.uid.hex()}, {status.lifecycle.name}")
    if status.order_id != state.terms.order_id or status.activation_digest not in ours:
        return _refuse(state, Rule.FOREIGN_ACTIVATION, "the board was activated, and not by this order at this station")
    if status.certificate_digest != certificate:
        return _refuse(state, Rule.STATUS_INVALID, "the status names another certificate than was issued")
    if known is not None and known.standing is Standing.ACTIVATED:
        return state, steps.Finish(_verdict(state, None, "was activated before; nothing changed"))
    return state, steps.Complete(challenge, status, state.receipt)


def _after_lost_link(state: State, text: str) -> tuple[State, Step]:
    """Power off and on, and ask the board again: ledger and device then say how far it came."""
    if state.link_failures >= LINK_FAILURES_MAX:
        return _refuse(state, Rule.LINK_LOST, f"no answer, {LINK_FAILURES_MAX + 1} times: {text}; check the contacts")
    fresh = replace(state, link_failures=state.link_failures + 1, known=None, issued=None, receipt=None)
    return fresh, steps.PowerCycle()


def _refuse(state: State, rule: Rule, text: str) -> tuple[State, Step]:
    verdict = _verdict(state, rule, text)
    is_recordable = state.challenge is not None and rule not in STATION_RULES
    if not is_recordable or state.verdict is not None or isinstance(state.waiting_for, steps.Complete):
        return state, steps.Finish(verdict)
    return replace(state, verdict=verdict), steps.RecordFailure(_challenge(state), verdict)


def _finish(state: State, rule: Rule, text: str) -> tuple[State, Step]:
    return state, steps.Finish(_verdict(state, rule, text))


def _verdict(state: State, rule: Rule | None, text: str) -> Verdict:
    known = state.known
    return Verdict(
        passed=rule is None,
        rule=rule,
        text=text,
        uid=state.challenge.uid if state.challenge is not None else state.scanned_uid,
        serial=known.serial if known is not None else None,
        sequence=state.issued.sequence if state.issued is not None else known.sequence if known is not None else None,
    )


def _read_status(state: State) -> steps.ReadStatus:
    identity = _challenge(state).identity_public_key
    assert identity is not None  # noqa: S101 (_fault_of_board)
    return steps.ReadStatus(identity.point)


def _challenge(state: State) -> ChallengeFacts:
    assert state.challenge is not None  # noqa: S101 (asked for before anything that needs it)
    return state.challenge


def _text(uid: bytes | None) -> str:
    return "" if uid is None else f"board {uid.hex()}"
