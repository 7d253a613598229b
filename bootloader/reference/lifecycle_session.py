"""Update mode: challenge, activation and service orders (docs/spec/device-state.md, section 9).

What is taken is judged whole before anything is written; then each step is one record, and the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bootloader.reference import service_order
from bootloader.reference.activation import (
    Activation,
    ActivationFacts,
    NewKeys,
    parse_order_and_activation,
    record_of,
    require_for_this_device,
    unwrap_new_keys,
    verify_signers,
)
from bootloader.reference.challenge import (
    OutstandingNonce,
    build_challenge,
    draw_keys,
    draw_nonce,
    require_host_ephemeral,
)
from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.platform import Platform
from bootloader.reference.receipt import build_receipt
from bootloader.reference.records import (
    SERVICE_LIFECYCLES,
    BootConfirmed,
    DeviceKeys,
    EventKind,
    Floors,
    GroupKey,
    Lifecycle,
    ServiceAction,
    ServiceStarted,
)
from bootloader.reference.running import RunningCopy
from bootloader.reference.service_order import (
    SERVICE_ORDER,
    ServiceOrder,
    parse_service_order,
    verify_service_signer,
)
from bootloader.reference.state import DeviceState
from bootloader.reference.update_mode import UpdateSession
from bootloader.reference.work_order import WorkOrder


class LifecycleSession:
    """From entering update mode to the next reset, beside `updates`, which takes packages."""

    def __init__(self, running: RunningCopy, platform: Platform, updates: UpdateSession) -> None:
        self._running = running
        self._platform = platform
        self._updates = updates
        self._nonce = OutstandingNonce()

    # --- challenge ---

    def challenge(self, host_ephemeral: bytes) -> bytes:
        """Who this device is, over a fresh nonce; a LOCKED device makes its keys at the first one.

        Raises Refused(EPHEMERAL_KEY, RANDOM_FAILED, STATE_FULL or FLASH_WRITE).
        """
        running, platform = self._running, self._platform
        with self._recorded_refusal():
            require_host_ephemeral(host_ephemeral)
            new_keys = draw_keys(platform) if self._keys_are_due() else None
            nonce = draw_nonce(platform)
            if new_keys is not None:
                running.journal.append(new_keys)
            self._nonce.remember(nonce)
        facts = (running.device_uid, platform.protection, running.state, running.bundle)
        return build_challenge(*facts, nonce, host_ephemeral)

    def _keys_are_due(self) -> bool:
        """Keys are made once, on a LOCKED device, and never where the hardware would let them be read out."""
        state, demanded = self._running.state, self._running.board.protection_required
        is_locked = self._running.device.lifecycle == Lifecycle.LOCKED and state.service_started is None
        return is_locked and state.keys is None and not demanded & ~self._platform.protection

    # --- activation ---

    def receive_activation(self, data: bytes) -> bytes:
        """Take work order and activation: the device is OPERATIONAL when this returns, with the receipt.

        Raises Refused; after FLASH_WRITE the next start says what the device is.
        """
        with self._recorded_refusal():
            order, activation = parse_order_and_activation(data)
            facts = self._activation_facts()
            verify_signers(order, activation, facts.bundle)
            self._running.confirm_itself()
            require_for_this_device(order, activation, facts, self._nonce)
            self._activate(order, activation, unwrap_new_keys(activation, facts.keys))
        return self._receipt(Lifecycle.OPERATIONAL, activation.nonce, activation.digest)

    def _activation_facts(self) -> ActivationFacts:
        """Check 2; raises Refused(LIFECYCLE or NO_KEYS)."""
        running = self._running
        locked = running.device.lifecycle == Lifecycle.LOCKED
        require(locked, DeviceCode.LIFECYCLE, "only a LOCKED device is activated")
        keys = running.state.keys
        if keys is None:
            raise Refused(DeviceCode.NO_KEYS, "a device makes its keys at its first challenge")
        protection = self._platform.protection
        return ActivationFacts(running.device, keys, running.bundle, running.device_uid, protection)

    def _activate(self, order: WorkOrder, activation: Activation, new: NewKeys) -> None:
        """One record after the other; DEVICE comes last, and only it makes the device OPERATIONAL."""
        running = self._running
        self._make_room(without_group_key=new.group_private is None)
        keys = running.state.keys
        if new.agreement_private is not None and keys is not None:
            running.journal.append(DeviceKeys(keys.identity_private, new.agreement_private))
        if new.group_private is not None:
            running.journal.append(GroupKey(new.group_private))
        running.journal.append(record_of(order, activation))
        running.journal.append(replace(running.device, lifecycle=Lifecycle.OPERATIONAL))
        running.events.record(EventKind.ACTIVATION, DeviceCode.OK)

    def _make_room(self, *, without_group_key: bool) -> None:
        """Compact if due; also to be rid of a group key that an activation brought which a cut then ended."""
        if without_group_key and self._running.state.group_key is not None:
            self._running.journal.compact(forget=_without_group_key)
        else:
            self._running.compact_if_due()

    # --- service ---

    def receive_service_order(self, data: bytes) -> bytes:
        """Take a service order, and give the receipt. Repair and decommissioning are carried out at the next start.

        Raises Refused; after FLASH_WRITE the next start says what the device is.
        """
        running = self._running
        if running.state.service_started is not None:
            return self._receive_again(data, running.state.service_started)
        with self._recorded_refusal():
            order = parse_service_order(data)
            verify_service_signer(order, running.bundle)
            running.confirm_itself()
            facts = (running.device.product_id, running.device_uid, self._nonce)
            service_order.require_for_this_device(order, *facts)
            service_order.require_lifecycle(order, running.device.lifecycle)
            self._updates.end_upload()
            lifecycle = self._carry_out(order)
        return self._receipt(lifecycle, order.nonce, order.digest)

    def _receive_again(self, data: bytes, started: ServiceStarted) -> bytes:
        """The order that is being carried out confirms a copy that did not take it itself, so that it goes on with it.

        Any other is SERVICE_PENDING. The nonce was judged when it was taken, and its digest is on record.
        """
        same = len(data) == SERVICE_ORDER.size_bytes and SERVICE_ORDER.digest(data) == started.order_digest
        require(same, DeviceCode.SERVICE_PENDING, "another service order is being carried out")
        order = parse_service_order(data)
        verify_service_signer(order, self._running.bundle)
        self._running.confirm_itself()
        return self._receipt(SERVICE_LIFECYCLES[order.action], order.nonce, order.digest)

    def _carry_out(self, order: ServiceOrder) -> Lifecycle:
        """Do what can be done at once; the state of life that follows."""
        if order.action == ServiceAction.PERMIT_REINSTALLATION:
            self._updates.permit_reinstallation()
            self._running.events.record(EventKind.SERVICE, DeviceCode.OK)
            return Lifecycle.OPERATIONAL
        if order.action == ServiceAction.RE_PROVISION:
            self._re_provision(order)
            return Lifecycle.LOCKED
        self._begin_destruction(order)
        return SERVICE_LIFECYCLES[order.action]

    def _begin_destruction(self, order: ServiceOrder) -> None:
        """From this record on nothing is started, and the next start destroys. This copy will be the one that does."""
        running = self._running
        running.compact_if_due()
        if running.state.boot_trial is not None:
            running.journal.append(BootConfirmed(running.copy, running.head.hash))
        running.journal.append(ServiceStarted(order.action, order.digest))

    def _re_provision(self, order: ServiceOrder) -> None:
        """In RMA there are no keys any more: another lot, LOCKED, in one step."""
        running = self._running
        locked = replace(running.device, lifecycle=Lifecycle.LOCKED, lot=order.lot)
        device = replace(locked, hardware_revision=order.hardware_revision)
        event = running.events.next_event(EventKind.SERVICE, DeviceCode.OK)
        running.journal.compact(device, higher_floors(running.state.floors, order.floors), event)

    # --- inside ---

    def _receipt(self, lifecycle: Lifecycle, nonce: bytes, digest: bytes) -> bytes:
        running = self._running
        facts = (running.state.keys, self._platform.protection, running.bundle.version)
        return build_receipt(lifecycle, running.device_uid, (nonce, digest), *facts)

    @contextmanager
    def _recorded_refusal(self) -> Iterator[None]:
        try:
            yield
        except Refused as refusal:
            self._running.events.record_refusal(refusal.code)
            raise


def higher_floors(floors: Floors, others: Floors) -> Floors:
    """Each floor the higher of the two: none is ever lowered."""
    return Floors(
        max(floors.application, others.application),
        max(floors.bootloader, others.bootloader),
        max(floors.factory_test, others.factory_test),
    )


def _without_group_key(state: DeviceState) -> DeviceState:
    return replace(state, group_key=None)
