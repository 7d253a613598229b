"""What a device says of itself: a value, taken from flash in update mode or beside it."""

from __future__ import annotations

from dataclasses import dataclass

from bootloader.reference.board import Board, Copy, padded_uid
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.copies import read_built_in_keys, read_head, verify_copy
from bootloader.reference.crypto import public_point
from bootloader.reference.flash import FlashDevice
from bootloader.reference.head import Version
from bootloader.reference.journal_half import half_regions, read_journal
from bootloader.reference.records import (
    Activated,
    BootTrial,
    Device,
    Event,
    Floors,
    Installed,
    PendingGrant,
    ServiceStarted,
)
from bootloader.reference.state import DeviceState
from bootloader.reference.trust_bundle import parse_trust_bundle


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """One bootloader copy; versions are None unless it verifies."""

    copy: Copy
    version: Version | None
    security_version: int | None
    is_confirmed: bool


@dataclass(frozen=True, slots=True)
class Status:
    """A device as its flash tells. `uid` has the board's size; public keys are X ‖ Y, None where there is none."""

    board: str
    uid: bytes
    device: Device
    copies: tuple[CopyStatus, CopyStatus]
    boot_trial: BootTrial | None
    installed: Installed | None
    application_is_confirmed: bool
    application_attempts: int
    activated: Activated | None
    pending_grant: PendingGrant | None
    service_started: ServiceStarted | None
    floors: Floors
    trust_bundle_version: int
    trust_bundle_digest: bytes
    identity_public_key: bytes | None
    agreement_public_key: bytes | None
    group_public_key: bytes | None
    events: tuple[Event, ...]
    journal_free_bytes: int
    journal_size_bytes: int


def read_status(flash: FlashDevice, board: Board, uid: bytes) -> Status:
    """Everything but secrets, without writing anything; raises Refused(NO_STATE)."""
    data = [flash.read(region.address, board.state_half_size_bytes) for region in half_regions(board)]
    halves, active = read_journal(data[0], data[1])
    half = halves[active] if active is not None else None
    if half is None:
        raise Refused(DeviceCode.NO_STATE, "neither half of the journal is readable")
    state = half.state
    if state.device is None or state.trust_bundle is None:
        raise Refused(DeviceCode.NO_STATE, "the journal does not say what this device is, and whom it trusts")
    bundle = parse_trust_bundle(state.trust_bundle.bundle)
    return Status(
        board=board.name,
        uid=uid,
        device=state.device,
        copies=read_copies(flash, board, uid, state),
        boot_trial=state.boot_trial,
        installed=state.installed,
        application_is_confirmed=state.application_is_confirmed,
        application_attempts=state.application_attempts,
        activated=state.activated,
        pending_grant=state.pending_grant,
        service_started=state.service_started,
        floors=state.floors,
        trust_bundle_version=bundle.version,
        trust_bundle_digest=bundle.digest,
        identity_public_key=public_point(state.keys.identity_private) if state.keys else None,
        agreement_public_key=public_point(state.keys.agreement_private) if state.keys else None,
        group_public_key=public_point(state.group_key.agreement_private) if state.group_key else None,
        events=state.events,
        journal_free_bytes=board.state_half_size_bytes - half.end,
        journal_size_bytes=board.state_half_size_bytes,
    )


def read_copies(flash: FlashDevice, board: Board, uid: bytes, state: DeviceState) -> tuple[CopyStatus, CopyStatus]:
    """Both bootloader copies, verified as the pre-bootloader does. `uid` has the board's size."""
    return _copy_status(flash, board, uid, Copy.A, state), _copy_status(flash, board, uid, Copy.B, state)


def _copy_status(flash: FlashDevice, board: Board, uid: bytes, copy: Copy, state: DeviceState) -> CopyStatus:
    raw_head = read_head(flash, board.copy_region(copy))
    keys = read_built_in_keys(flash, board)
    try:
        head = verify_copy(flash, board, copy, raw_head, padded_uid(board, uid), keys)
    except Refused:
        return CopyStatus(copy, None, None, is_confirmed=False)
    confirmed = state.boot_confirmed
    is_confirmed = confirmed is not None and confirmed.copy is copy and confirmed.head_hash == head.hash
    return CopyStatus(copy, head.image_version, head.security_version, is_confirmed)
