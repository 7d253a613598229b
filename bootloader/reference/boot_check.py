"""The check of the application at every start (docs/spec/device-state.md, section 4, step 4)."""

from __future__ import annotations

from bootloader.reference.board import Board
from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.copies import read_head, require_fit, require_image_in_flash
from bootloader.reference.crypto import key_id, sha256, verify_signature
from bootloader.reference.flash import FlashDevice
from bootloader.reference.head import Head, PackageType, parse_head
from bootloader.reference.records import Installed, Lifecycle
from bootloader.reference.state import DeviceState
from bootloader.reference.trust_bundle import TrustBundle

# In which states of its life a device runs, and installs, what. An unknown state allows nothing.
LIFECYCLES_OF_TYPE = {
    PackageType.APPLICATION: (Lifecycle.OPERATIONAL,),
    PackageType.BOOTLOADER: (Lifecycle.OPERATIONAL,),
    PackageType.FACTORY_TEST: (Lifecycle.LOCKED, Lifecycle.RMA),
}


def check_application(
    flash: FlashDevice, board: Board, state: DeviceState, bundle: TrustBundle, device_uid: bytes
) -> Head:
    """The head of the application, if it may start; raises Refused with the code of the first check that fails."""
    installed = state.installed
    if installed is None:
        raise Refused(DeviceCode.NO_APPLICATION, "no completed installation is on record")
    require_lifecycle(state, installed.package_type)
    head = _recorded_head(flash, board, installed)
    try:
        verify_signature(installed.signer, head.signed_digest(device_uid), head.signature_0)
    except Refused as refusal:
        raise Refused(DeviceCode.BOOT_SIGNATURE, refusal.detail) from None
    stopped = bundle.stops(key_id(installed.signer))
    require(not stopped, DeviceCode.STOPPED, "the application's key is revoked and marked stop")
    require_fit(head, board.application)
    require_image_in_flash(flash, board.application, head, DeviceCode.BOOT_DIGEST)
    return head


def require_lifecycle(state: DeviceState, package_type: PackageType) -> None:
    """The state of the device's life allows this type of image; raises Refused(LIFECYCLE)."""
    allowed = state.device is not None and state.device.lifecycle in LIFECYCLES_OF_TYPE[package_type]
    require(allowed, DeviceCode.LIFECYCLE, f"{package_type.name} is not allowed in this state of the device's life")


def _recorded_head(flash: FlashDevice, board: Board, installed: Installed) -> Head:
    """What was read is what is hashed and then believed: a second reading could differ."""
    raw_head = read_head(flash, board.application)
    same = sha256(raw_head) == installed.head_hash
    require(same, DeviceCode.HEAD_CHANGED, "the head in flash is not the installed one")
    return parse_head(raw_head)
