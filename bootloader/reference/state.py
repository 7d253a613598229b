"""The state of a device: what the records of its journal say when applied in order (device-state.md, section 2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from bootloader.reference.records import (
    SERVICE_LIFECYCLES,
    Activated,
    AppConfirmed,
    AppTrial,
    BootConfirmed,
    BootTrial,
    Device,
    DeviceKeys,
    Event,
    Floors,
    GroupKey,
    Installed,
    InstallRegion,
    InstallStarted,
    Moved,
    PendingGrant,
    Record,
    Seal,
    ServiceStarted,
    Taken,
    TrustBundleInForce,
    Unknown,
)

EVENTS_KEPT_MAX = 16


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What is on record; None, or empty, where nothing is. Without `device` or `trust_bundle` there is no state."""

    device: Device | None = None
    keys: DeviceKeys | None = None
    group_key: GroupKey | None = None
    trust_bundle: TrustBundleInForce | None = None
    floors: Floors = field(default_factory=Floors)
    boot_confirmed: BootConfirmed | None = None
    installs_started: tuple[InstallStarted, ...] = ()
    boot_trial: BootTrial | None = None
    installed: Installed | None = None
    app_trial: AppTrial | None = None
    app_confirmed: AppConfirmed | None = None
    activated: Activated | None = None
    pending_grant: PendingGrant | None = None
    service_started: ServiceStarted | None = None
    events: tuple[Event, ...] = ()
    unknown: tuple[Unknown, ...] = ()

    @property
    def application_is_confirmed(self) -> bool:
        """Whether the installed image itself is confirmed, and not one before it."""
        if self.installed is None or self.app_confirmed is None:
            return False
        return self.app_confirmed.head_hash == self.installed.head_hash

    @property
    def application_attempts(self) -> int:
        """How often the installed image has been started without being confirmed."""
        if self.installed is None or self.app_trial is None:
            return 0
        return self.app_trial.attempts if self.app_trial.head_hash == self.installed.head_hash else 0


def state_of(records: Iterable[Record]) -> DeviceState:
    """The state that records make, applied in their order."""
    state = DeviceState()
    for record in records:
        state = apply(state, record)
    return state


def apply(state: DeviceState, record: Record) -> DeviceState:  # noqa: C901, PLR0911, PLR0912 (one case for each type)
    """The state after one more record. Applying a record twice changes nothing."""
    match record:
        case Device():
            return _after_device(state, record)
        case DeviceKeys():
            return replace(state, keys=record)
        case GroupKey():
            return replace(state, group_key=record)
        case TrustBundleInForce():
            return replace(state, trust_bundle=record)
        case InstallStarted():
            return _after_install_started(state, record)
        case Installed():
            return _after_installed(state, record)
        case AppTrial():
            return replace(state, app_trial=record)
        case AppConfirmed():
            return replace(state, app_confirmed=record, app_trial=None)
        case BootTrial():
            return replace(state, boot_trial=record)
        case BootConfirmed():
            started = _without(state.installs_started, InstallRegion.of_copy(record.copy))
            return replace(state, boot_confirmed=record, boot_trial=None, installs_started=started)
        case Floors():
            return replace(state, floors=record)
        case Activated():
            return replace(state, activated=record)
        case PendingGrant():
            return replace(state, pending_grant=record)
        case ServiceStarted():
            return replace(state, service_started=record)
        case Event():
            return _after_event(state, record)
        case Seal() | Moved() | Taken():
            return state  # they are about the journal itself
        case Unknown():
            return _after_unknown(state, record)


def snapshot(state: DeviceState) -> list[Record]:
    """The records that make this state again, in the order of the specification.

    What would remove another comes before it. FLOORS of zero say nothing and are left out.
    """
    floors = state.floors if state.floors != Floors() else None
    records: list[Record | None] = [state.device, state.keys, state.group_key, state.trust_bundle]
    records += [floors, state.boot_confirmed, *state.installs_started, state.boot_trial]
    records += [state.installed, state.app_confirmed, state.app_trial]
    records += [state.activated, state.pending_grant, state.service_started, *state.events, *state.unknown]
    return [record for record in records if record is not None]


def _after_device(state: DeviceState, record: Device) -> DeviceState:
    """RMA and DECOMMISSIONED say that a destruction is over."""
    is_over = record.lifecycle in SERVICE_LIFECYCLES.values()
    return replace(state, device=record, service_started=None if is_over else state.service_started)


def _after_installed(state: DeviceState, record: Installed) -> DeviceState:
    started = _without(state.installs_started, InstallRegion.APPLICATION)
    grant = state.pending_grant
    if grant is not None and grant.head_hash == record.head_hash:
        grant = None  # it was for this package, and is used up
    without = replace(state, app_trial=None, app_confirmed=None, pending_grant=grant)
    return replace(without, installed=record, installs_started=started)


def _after_install_started(state: DeviceState, record: InstallStarted) -> DeviceState:
    started = (*_without(state.installs_started, record.region), record)
    started = tuple(sorted(started, key=lambda entry: entry.region))
    if record.region is InstallRegion.APPLICATION:
        return replace(state, installs_started=started, installed=None, app_trial=None, app_confirmed=None)
    trial = state.boot_trial
    if trial is not None and InstallRegion.of_copy(trial.copy) is record.region:
        trial = None
    return replace(state, installs_started=started, boot_trial=trial)


def _after_event(state: DeviceState, event: Event) -> DeviceState:
    if state.events and event.count <= state.events[-1].count:
        return state  # a repeat
    return replace(state, events=(*state.events, event)[-EVENTS_KEPT_MAX:])


def _after_unknown(state: DeviceState, record: Unknown) -> DeviceState:
    kind = (record.record_type, record.record_format)
    others = [entry for entry in state.unknown if (entry.record_type, entry.record_format) != kind]
    kept = sorted((*others, record), key=lambda entry: (entry.record_type, entry.record_format))
    return replace(state, unknown=tuple(kept))


def _without(started: tuple[InstallStarted, ...], region: InstallRegion) -> tuple[InstallStarted, ...]:
    return tuple(entry for entry in started if entry.region is not region)
