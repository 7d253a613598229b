"""The signed status: what a device says of itself to whoever asks, over the asker's nonce (docs/spec/signed-status.md).

There is no secret in it, and nothing that tells of plaintext.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from bootloader.reference.board import Board, Copy
from bootloader.reference.challenge import SIMULATION_ONLY_FLAG, sign_object
from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.crypto import KEY_ID_SIZE_BYTES, context, key_id
from bootloader.reference.flash import FlashDevice
from bootloader.reference.head import Head
from bootloader.reference.journal_half import half_regions, read_journal
from bootloader.reference.platform import Platform
from bootloader.reference.records import DeviceKeys
from bootloader.reference.signed_object import FORMAT_VERSION, NONCE_SIZE_BYTES, SUITE, ObjectKind
from bootloader.reference.state import DeviceState
from bootloader.reference.status import CopyStatus, Status, read_copies, read_status

SIGNED_STATUS = ObjectKind("signed status", b"SRS1", context("SR-status-v1"), 576)
SERVICE_FLAG = 0x02

# magic version suite runs; uid nonce
_WHO = Struct("<4s H B B 16s 32s")
# product revision lifecycle flags lot
_DEVICE = Struct("<16s H B B 16s")
# protection running_copy copies; versions and security versions of A and B
_COPIES = Struct("<H B B 8s 8s I I")
# installed_type state attempts reserved; version security_version; head hash, upload hash
_APPLICATION = Struct("<B B B x 8s I 32s 32s")
# floors; trust bundle version, digest; order_id activation_digest certificate_digest grant_head_hash
_RECORDS = Struct("<12s I 32s 16s 32s 32s 32s")
# update_mode_code reserved event_count journal_free upload_offset upload_size; serial board; key ids; reserved
_REST = Struct("<H 2x I I I I 32s 32s 8s 8s 8s 44x")


class Runs(IntEnum):
    """Who speaks."""

    BOOTLOADER = 1
    APPLICATION = 2


class ApplicationState(IntEnum):
    """Of the installed image, a factory test included."""

    NONE = 0
    ON_TRIAL = 1
    CONFIRMED = 2


@dataclass(frozen=True, slots=True)
class Speaker:
    """What flash does not say: who runs, from which copy, why in update mode, and the upload (offset, size)."""

    runs: Runs
    copy: Copy
    code: DeviceCode = DeviceCode.OK
    upload: tuple[int, int] = (0, 0)


def application_status(
    flash: FlashDevice,
    board: Board,
    uid: bytes,
    platform: Platform,
    nonce: bytes,
    head: Head,
    copy: Copy | None = None,
) -> bytes:
    """The status as a running application answers it; `uid` has 16 bytes, `head` is the application's own.

    `copy` is the bootloader copy that started it; who does not know takes the confirmed one for it.
    Raises Refused(OBJECT_SIZE) for a nonce of another size, and HEAD_CHANGED if another image is on record.
    """
    state = _read_state(flash, board)
    recorded = state.installed is not None and state.installed.head_hash == head.hash
    require(recorded, DeviceCode.HEAD_CHANGED, "the application that runs is not the one on record")
    if copy is None:
        copy = state.boot_confirmed.copy if state.boot_confirmed is not None else Copy.A
    return build_status(flash, board, uid, platform, nonce, Speaker(Runs.APPLICATION, copy))


def build_status(
    flash: FlashDevice, board: Board, uid: bytes, platform: Platform, nonce: bytes, speaker: Speaker
) -> bytes:
    """The 576 bytes, signed if the device has keys; raises Refused(OBJECT_SIZE). `uid` has 16 bytes."""
    detail = f"a nonce has {NONCE_SIZE_BYTES} bytes, not {len(nonce)}"
    require(len(nonce) == NONCE_SIZE_BYTES, DeviceCode.OBJECT_SIZE, detail)
    own_uid = uid[: board.uid_size_bytes]
    who = _WHO.pack(SIGNED_STATUS.magic, FORMAT_VERSION, SUITE, speaker.runs, uid, nonce)
    try:
        found = read_status(flash, board, own_uid)
    except Refused:  # no readable state: the copies, and that it is so
        copies = _copies(read_copies(flash, board, own_uid, DeviceState()), platform, speaker.copy)
        rest = _rest(None, board, speaker)
        unsigned = who + bytes(_DEVICE.size) + copies + bytes(_APPLICATION.size + _RECORDS.size) + rest
        return unsigned + sign_object(SIGNED_STATUS, unsigned, None)
    copies = _copies(found.copies, platform, speaker.copy)
    unsigned = who + _device(found) + copies + _application(found) + _records(found) + _rest(found, board, speaker)
    return unsigned + sign_object(SIGNED_STATUS, unsigned, _keys(flash, board))


def _device(found: Status) -> bytes:
    device = found.device
    simulated = SIMULATION_ONLY_FLAG if device.is_simulation_only else 0
    flags = simulated | (SERVICE_FLAG if found.service_started is not None else 0)
    return _DEVICE.pack(device.product_id, device.hardware_revision, device.lifecycle, flags, device.lot)


def _copies(copies: tuple[CopyStatus, CopyStatus], platform: Platform, running: Copy) -> bytes:
    verified = sum(1 << part.copy for part in copies if part.version is not None)
    confirmed = sum(4 << part.copy for part in copies if part.is_confirmed)
    return _COPIES.pack(
        *(platform.protection, running, verified | confirmed),
        *(part.version.to_bytes() if part.version is not None else b"" for part in copies),
        *(part.security_version or 0 for part in copies),
    )


def _application(found: Status) -> bytes:
    installed = found.installed
    if installed is None:
        return bytes(_APPLICATION.size)
    state = ApplicationState.CONFIRMED if found.application_is_confirmed else ApplicationState.ON_TRIAL
    version = installed.image_version.to_bytes()
    fields = (installed.package_type, state, min(found.application_attempts, 0xFF), version)
    return _APPLICATION.pack(*fields, installed.security_version, installed.head_hash, installed.upload_hash)


def _records(found: Status) -> bytes:
    activated, grant = found.activated, found.pending_grant
    activation = (b"", b"", b"")
    if activated is not None:
        activation = (activated.order_id, activated.activation_digest, activated.certificate_digest)
    bundle = (found.trust_bundle_version, found.trust_bundle_digest)
    return _RECORDS.pack(found.floors.payload(), *bundle, *activation, grant.head_hash if grant is not None else b"")


def _rest(found: Status | None, board: Board, speaker: Speaker) -> bytes:
    name = board.name.encode("ascii", "replace")[:32]
    if found is None:
        return _REST.pack(speaker.code, 0, 0, *speaker.upload, b"", name, b"", b"", b"")
    points = (found.identity_public_key, found.agreement_public_key, found.group_public_key)
    return _REST.pack(
        *(speaker.code, found.events[-1].count if found.events else 0, found.journal_free_bytes, *speaker.upload),
        *(found.activated.serial if found.activated is not None else b"", name),
        *(key_id(point) if point is not None else bytes(KEY_ID_SIZE_BYTES) for point in points),
    )


def _keys(flash: FlashDevice, board: Board) -> DeviceKeys | None:
    return _read_state(flash, board).keys


def _read_state(flash: FlashDevice, board: Board) -> DeviceState:
    data = [flash.read(region.address, board.state_half_size_bytes) for region in half_regions(board)]
    halves, active = read_journal(data[0], data[1])
    half = halves[active] if active is not None else None
    return half.state if half is not None else DeviceState()
