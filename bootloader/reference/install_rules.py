"""May this device install this package? The rules that follow the signatures (device-state.md, section 5, step 1).

Each rule is one function and has one code; the first that fails is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bootloader.reference.board import Board, Copy, load_address
from bootloader.reference.boot_check import require_lifecycle
from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.copies import require_fit
from bootloader.reference.crypto import key_id, public_point
from bootloader.reference.flash import Region
from bootloader.reference.head import TRAILER_SIZE_BYTES_MAX, Head, PackageType, RecipientMode, Version
from bootloader.reference.payload import unwrap_content_key, unwrap_granted_key
from bootloader.reference.records import Device
from bootloader.reference.state import DeviceState
from bootloader.reference.trust_bundle import TrustBundle


@dataclass(frozen=True, slots=True)
class InstallFacts:
    """What a device knows of itself when a head arrives. `device_uid` has 16 bytes.

    `replaced_version` is that of the installed image if it is confirmed and passes the boot check, else None;
    `may_reinstall`: a service order permits the same or an older version.
    """

    board: Board
    state: DeviceState
    device: Device
    bundle: TrustBundle
    device_uid: bytes
    running_copy: Copy
    running_version: Version
    running_is_confirmed: bool
    announced_size_bytes: int
    replaced_version: Callable[[], Version | None]
    may_reinstall: bool = False

    def region_for(self, head: Head) -> Region:
        """Where this package is written: the application's region, or the copy that is not running."""
        if head.package_type == PackageType.BOOTLOADER:
            return self.board.copy_region(self.running_copy.other)
        return self.board.application


def require_installable(head: Head, facts: InstallFacts) -> None:
    """All rules in their order; raises Refused with the code of the first that fails."""
    for rule in _RULES:
        rule(head, facts)


def content_key_for(head: Head, facts: InstallFacts) -> bytes | None:
    """The content key, None for a plaintext image.

    Raises Refused(GRANT_REQUIRED, RECIPIENT_UNKNOWN, EPHEMERAL_KEY or CEK_COMMITMENT), in this order.
    """
    if head.recipient_mode == RecipientMode.NONE:
        return None
    if head.recipient_mode == RecipientMode.GRANT:
        return _granted_key(head, facts)
    private = _recipient_private(head.recipient_mode, facts.state)
    known = private is not None and key_id(public_point(private)) == head.recipient_key_id
    if private is None or not known:
        raise Refused(DeviceCode.RECIPIENT_UNKNOWN, f"encrypted for {head.recipient_key_id.hex()}")
    return unwrap_content_key(head, private, facts.device_uid)


def _granted_key(head: Head, facts: InstallFacts) -> bytes:
    """Out of the pending grant for this very head, by the device's own agreement key."""
    pending, keys = facts.state.pending_grant, facts.state.keys
    if pending is None or pending.head_hash != head.hash:
        raise Refused(DeviceCode.GRANT_REQUIRED, "this device holds no grant for the package")
    if keys is None:
        raise Refused(DeviceCode.RECIPIENT_UNKNOWN, "this device has no agreement key")
    sealed = (pending.ephemeral_public_key, pending.wrapped_cek)
    return unwrap_granted_key(head, keys.agreement_private, facts.device_uid, *sealed)


def _recipient_private(mode: RecipientMode, state: DeviceState) -> bytes | None:
    if mode == RecipientMode.DEVICE:
        return state.keys.agreement_private if state.keys is not None else None
    return state.group_key.agreement_private if state.group_key is not None else None


def _product(head: Head, facts: InstallFacts) -> None:
    same = head.product_id == facts.device.product_id
    require(same, DeviceCode.WRONG_PRODUCT, f"for product {head.product_id.hex()}")


def _hardware_revision(head: Head, facts: InstallFacts) -> None:
    revision = facts.device.hardware_revision
    in_range = head.hardware_revision_min <= revision <= head.hardware_revision_max
    detail = f"for hardware {head.hardware_revision_min} to {head.hardware_revision_max}, this is {revision}"
    require(in_range, DeviceCode.WRONG_HARDWARE_REVISION, detail)


def _lifecycle(head: Head, facts: InstallFacts) -> None:
    require_lifecycle(facts.state, head.package_type)


def _copy_on_trial(head: Head, facts: InstallFacts) -> None:
    may_write = head.package_type != PackageType.BOOTLOADER or facts.running_is_confirmed
    require(may_write, DeviceCode.COPY_ON_TRIAL, "the running copy is on trial and must not write the other")


def _load_address(head: Head, facts: InstallFacts) -> None:
    demanded = load_address(facts.region_for(head))
    detail = f"linked for {head.load_address:#010x}, would stand at {demanded:#010x}"
    require(head.load_address == demanded, DeviceCode.WRONG_LOAD_ADDRESS, detail)


def _image_size(head: Head, facts: InstallFacts) -> None:
    require_fit(head, facts.region_for(head))


def _package_size(head: Head, facts: InstallFacts) -> None:
    trailer_size_bytes = facts.announced_size_bytes - head.package_size_bytes_min
    fits = 0 <= trailer_size_bytes <= TRAILER_SIZE_BYTES_MAX
    detail = f"{facts.announced_size_bytes:,} bytes announced, head and payload have {head.package_size_bytes_min:,}"
    require(fits, DeviceCode.PACKAGE_SIZE, detail)


def _bootloader_version(head: Head, facts: InstallFacts) -> None:
    new_enough = head.bootloader_version_min <= facts.running_version
    detail = f"needs bootloader {head.bootloader_version_min}, this is {facts.running_version}"
    require(new_enough, DeviceCode.BOOTLOADER_TOO_OLD, detail)


def _trust_bundle_version(head: Head, facts: InstallFacts) -> None:
    new_enough = head.trust_bundle_version_min <= facts.bundle.version
    detail = f"needs trust bundle {head.trust_bundle_version_min}, this is {facts.bundle.version}"
    require(new_enough, DeviceCode.TRUST_BUNDLE_TOO_OLD, detail)


def _floor(head: Head, facts: InstallFacts) -> None:
    floor = facts.state.floors.of_type(head.package_type)
    above = head.security_version >= floor
    require(above, DeviceCode.BELOW_FLOOR, f"security version {head.security_version} is below the floor {floor}")


def _minimum(head: Head, facts: InstallFacts) -> None:
    minimum = facts.bundle.limits_of(head.package_type).minimum
    detail = f"security version {head.security_version} is below the trust bundle's minimum {minimum}"
    require(head.security_version >= minimum, DeviceCode.BELOW_MINIMUM, detail)


def _maximum(head: Head, facts: InstallFacts) -> None:
    maximum = facts.bundle.limits_of(head.package_type).maximum
    detail = f"security version {head.security_version} is above the trust bundle's maximum {maximum}"
    require(head.security_version <= maximum, DeviceCode.ABOVE_MAXIMUM, detail)


def _version_newer(head: Head, facts: InstallFacts) -> None:
    if head.package_type == PackageType.BOOTLOADER:
        newer = head.image_version >= facts.running_version  # the same version is how the second copy follows
        replaced: Version | None = facts.running_version
    else:
        replaced = facts.replaced_version()
        newer = replaced is None or head.image_version > replaced
    require(
        newer or facts.may_reinstall, DeviceCode.VERSION_NOT_NEWER, f"version {head.image_version}, here is {replaced}"
    )


_RULES: tuple[Callable[[Head, InstallFacts], None], ...] = (
    _product,
    _hardware_revision,
    _lifecycle,
    _copy_on_trial,
    _load_address,
    _image_size,
    _package_size,
    _bootloader_version,
    _trust_bundle_version,
    _floor,
    _minimum,
    _maximum,
    _version_newer,
)
