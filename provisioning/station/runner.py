"""Does what the machine says with one nest: over the fixture, over the board's link, and with the ledger.

One thread for each nest. Every outcome of a step becomes one event; what a device says is verified before it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from pki.errors import FormatError, PolicyViolation, StrongroomError, VerificationError
from pki.values import Digest, PublicKey
from provisioning.station import steps
from provisioning.station.facts import ChallengeFacts, LifeCycle, StatusFacts, Terms, Verdict
from provisioning.station.fixture import FactoryImage, FixtureError, Nest
from provisioning.station.machine import State, advance
from provisioning.station.rules import Rule
from provisioning.station.station import Station
from provisioning.station.steps import Event, Step
from rpc.errors import DeviceRefused, LinkError
from rpc.objects.challenge import Challenge, new_host_ephemeral
from rpc.objects.lifecycle import OPERATIONAL
from rpc.objects.receipt import Receipt
from rpc.objects.signed_status import SignedStatus
from signer.device_objects.common import Protection

UP_TIMEOUT_SECONDS = 15.0
NONCE_SIZE_BYTES = 32
_NOT_IN_UPDATE_MODE = frozenset({"NOT_IN_UPDATE_MODE"})


class Device(Protocol):
    """The board on its link; `rpc.client.DeviceClient` is one. Raises LinkError, DeviceRefused."""

    def wait_until_up(self, timeout_seconds: float) -> None:
        """Until it answers."""

    def enter_update_mode(self) -> None:
        """It answers, then resets."""

    def challenge(self, host_ephemeral: bytes) -> bytes:
        """Over a fresh point."""

    def send_trust_bundle(self, bundle: bytes) -> None:
        """The next one."""

    def send_activation(self, order_and_activation: bytes) -> bytes:
        """The receipt."""

    def signed_status(self, nonce: bytes) -> bytes:
        """Over a fresh nonce."""


class Runner:
    """One nest of a station."""

    def __init__(
        self,
        station: Station,
        nest: Nest,
        device: Device,
        image: FactoryImage,
        bundles: Mapping[int, bytes],
        random_bytes: Callable[[int], bytes],
        ask_serial: Callable[[], str],
        watch: Callable[[Step], None] = lambda _: None,
    ) -> None:
        """`bundles` by version; `ask_serial` returns a serial number in its one form or raises PolicyViolation ST-39.

        `watch` is told each step before it is done: for displays, and for campaigns that end the process there.
        """
        self._station = station
        self._nest = nest
        self._device = device
        self._image = image
        self._bundles = bundles
        self._random_bytes = random_bytes
        self._ask_serial = ask_serial
        self._watch = watch

    def attempt(self, terms: Terms) -> Verdict:
        """One board, from the nest to its verdict. The board lies in the nest already."""
        state, event = State(terms), self._guarded(steps.Finish, lambda: steps.BoardInserted(self._nest.read_uid()))
        while True:
            state, step = advance(state, event)
            if isinstance(step, steps.Finish):
                return step.verdict
            self._watch(step)
            event = self._do(state, step)

    def _do(self, state: State, step: Step) -> Event:
        return self._guarded(type(step), lambda: _DOERS[type(step)](self, state, step))

    def _guarded(self, kind: type[Step], do: Callable[[], Event]) -> Event:
        """What went wrong, as an event: the machine decides what follows."""
        try:
            return do()
        except LinkError as error:
            return steps.LinkLost(str(error))
        except FixtureError as error:
            return steps.FixtureFailed(str(error))
        except DeviceRefused as error:
            return steps.Refused(_REFUSED_BY_DEVICE.get(kind, Rule.CHALLENGE_INVALID), str(error))
        except (VerificationError, FormatError) as error:
            return steps.Refused(_NOT_VERIFIED.get(kind, Rule.CHALLENGE_INVALID), str(error))
        except PolicyViolation as error:
            return steps.Refused(_rule_of(error), str(error))
        except StrongroomError as error:
            return steps.Refused(Rule.STATION_STOPPED, str(error))

    # The fixture

    def _read_option_bytes(self, _: State, __: Step) -> Event:
        return steps.OptionBytesRead(self._nest.read_option_bytes())

    def _read_flash(self, _: State, __: Step) -> Event:
        return steps.FlashRead(self._nest.compare_flash(self._image))

    def _erase(self, _: State, __: Step) -> Event:
        self._nest.erase()
        return steps.Done()

    def _program(self, _: State, __: Step) -> Event:
        self._nest.program(self._image)
        return steps.Done()

    def _write_option_bytes(self, _: State, step: steps.WriteOptionBytes) -> Event:
        if self._nest.read_option_bytes() != step.wanted:
            self._nest.write_option_bytes(step.wanted)
        return steps.OptionBytesRead(self._nest.read_option_bytes())

    def _power_cycle(self, _: State, __: Step) -> Event:
        self._nest.power_cycle()
        self._device.wait_until_up(UP_TIMEOUT_SECONDS)
        return steps.Done()

    # The device

    def _challenge(self, _: State, __: Step) -> Event:
        private, ephemeral = new_host_ephemeral()
        challenge = Challenge.parse(self._in_update_mode(lambda: self._device.challenge(ephemeral)))
        if challenge.has_keys:
            challenge.verify(private)
        return steps.Challenged(challenge_facts(challenge))

    def _in_update_mode(self, ask: Callable[[], bytes]) -> bytes:
        """A board that runs its factory test, or an application, is asked for update mode first."""
        try:
            return ask()
        except DeviceRefused as error:
            if error.name not in _NOT_IN_UPDATE_MODE:
                raise
        self._device.enter_update_mode()
        self._device.wait_until_up(UP_TIMEOUT_SECONDS)
        return ask()

    def _send_bundles(self, state: State, step: steps.SendBundles) -> Event:
        for version in range(step.first_version, state.terms.newest_bundle_version + 1):
            self._device.send_trust_bundle(self._bundles[version])
        return steps.Done()

    def _send_activation(self, state: State, step: steps.SendActivation) -> Event:
        challenge, issued = state.challenge, step.issued
        assert challenge is not None  # noqa: S101 (an activation answers a challenge)
        assert challenge.identity_public_key is not None  # noqa: S101 (ST-35)
        receipt = Receipt.parse(self._device.send_activation(issued.data))
        receipt.verify(challenge.identity_public_key, nonce=challenge.nonce, answered=Digest(issued.activation_digest))
        said = (receipt.uid, receipt.lifecycle, receipt.agreement_public_key)
        if said != (challenge.uid, OPERATIONAL, issued.agreement_public_key):
            return steps.Refused(Rule.RECEIPT_INVALID, "the receipt says another UID, state of life or agreement key")
        return steps.ReceiptTaken(receipt.raw)

    def _read_status(self, _: State, step: steps.ReadStatus) -> Event:
        nonce = self._random_bytes(NONCE_SIZE_BYTES)
        status = SignedStatus.parse(self._device.signed_status(nonce))
        status.verify(PublicKey(step.identity_public_key), nonce)
        return steps.StatusRead(status_facts(status))

    # The station

    def _look_up(self, _: State, step: steps.LookUp) -> Event:
        return steps.LookedUp(self._station.known(step.uid, step.identity_public_key))

    def _read_serial(self, _: State, __: Step) -> Event:
        return steps.SerialRead(self._ask_serial())

    def _begin(self, _: State, step: steps.Begin) -> Event:
        return steps.Recorded(self._station.begin(step.challenge, step.serial))

    def _renew(self, _: State, step: steps.Renew) -> Event:
        return steps.Recorded(self._station.renew(step.challenge))

    def _complete(self, _: State, step: steps.Complete) -> Event:
        self._station.complete(step.challenge, step.status, step.receipt)
        return steps.Done()

    def _record_failure(self, _: State, step: steps.RecordFailure) -> Event:
        self._station.fail(step.challenge, step.verdict)
        return steps.Done()


_DOERS: Mapping[type, Callable[..., Event]] = {
    steps.ReadOptionBytes: Runner._read_option_bytes,
    steps.ReadFlash: Runner._read_flash,
    steps.EraseBoard: Runner._erase,
    steps.Program: Runner._program,
    steps.WriteOptionBytes: Runner._write_option_bytes,
    steps.PowerCycle: Runner._power_cycle,
    steps.Challenge: Runner._challenge,
    steps.SendBundles: Runner._send_bundles,
    steps.LookUp: Runner._look_up,
    steps.AskSerial: Runner._read_serial,
    steps.Begin: Runner._begin,
    steps.Renew: Runner._renew,
    steps.SendActivation: Runner._send_activation,
    steps.ReadStatus: Runner._read_status,
    steps.Complete: Runner._complete,
    steps.RecordFailure: Runner._record_failure,
}
_REFUSED_BY_DEVICE: Mapping[type, Rule] = {
    steps.SendBundles: Rule.BUNDLE_REFUSED,
    steps.SendActivation: Rule.ACTIVATION_REFUSED,
    steps.ReadStatus: Rule.STATUS_INVALID,
}
_NOT_VERIFIED: Mapping[type, Rule] = {
    steps.SendActivation: Rule.RECEIPT_INVALID,
    steps.ReadStatus: Rule.STATUS_INVALID,
}


def _rule_of(error: PolicyViolation) -> Rule:
    """A rule of a birth record (BR-…) is broken only by a board that is there twice, in two nests at one time."""
    if error.rule_id in set(Rule):
        return Rule(error.rule_id)
    return Rule.CLONED_IDENTITY if error.rule_id.startswith("BR-") else Rule.STATION_STOPPED


def challenge_facts(challenge: Challenge) -> ChallengeFacts:
    """What the machine decides by."""
    return ChallengeFacts(
        lifecycle=_lifecycle(challenge.lifecycle),
        uid=challenge.uid,
        product_id=challenge.product_id,
        lot=challenge.lot,
        hardware_revision=challenge.hardware_revision,
        protection=Protection(int(challenge.protection)),
        trust_bundle_version=challenge.trust_bundle_version,
        nonce=challenge.nonce,
        identity_public_key=PublicKey(challenge.identity_public_key) if challenge.has_keys else None,
        agreement_public_key=PublicKey(challenge.agreement_public_key) if challenge.has_keys else None,
        is_simulation_only=challenge.is_simulation,
    )


def status_facts(status: SignedStatus) -> StatusFacts:
    """What the machine decides by."""
    return StatusFacts(
        nonce=status.nonce,
        raw=status.raw,
        uid=status.uid,
        lifecycle=_lifecycle(status.lifecycle),
        protection=Protection(int(status.protection)),
        trust_bundle_version=status.trust_bundle_version,
        order_id=status.order_id,
        activation_digest=status.activation_digest,
        certificate_digest=status.certificate_digest,
    )


def _lifecycle(value: int) -> LifeCycle:
    try:
        return LifeCycle(value)
    except ValueError:
        raise FormatError("lifecycle", 7, f"{value:#04x} is no state of life") from None
