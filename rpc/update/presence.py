"""What is there: whether a device has a package's image, which bootloader runs, and what a reset would start. Pure.

docs/spec/update.md, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rpc.objects.reading import ImageVersion
from rpc.objects.signed_status import APPLICATION_CONFIRMED, RUNS_APPLICATION, SignedStatus
from rpc.update.bundle_facts import BundleChain
from rpc.update.package_facts import PackageFacts, PackageType

# Device codes with which update mode says that the image on record does not start (docs/spec/device-codes.md).
HEAD_CHANGED: Final = 702
TRIAL_EXHAUSTED: Final = 706
UPDATE_REQUESTED: Final = 707
DOES_NOT_START: Final = range(HEAD_CHANGED, TRIAL_EXHAUSTED)


@dataclass(frozen=True, slots=True)
class Material:
    """What is at hand for one device.

    `grant` is what the file of grants has for its UID. `linked_for` is the copy (0 A, 1 B) of its board that a
    bootloader package is linked for, None where the board is not known. `sent` says that this run has uploaded the
    package to it; `reinstall`, that the same or an older version is meant.
    """

    bundles: BundleChain
    grant: bytes | None = None
    linked_for: int | None = None
    sent: bool = False
    reinstall: bool = False


def is_there(status: SignedStatus, package: PackageFacts, material: Material) -> bool:
    """Whether the package's image is the one on record. It may be on trial, and need not run at this moment."""
    if material.reinstall and not material.sent:
        return False
    if package.package_type is PackageType.BOOTLOADER:
        return _bootloader_is_there(status, package, material)
    same = status.installed_type == package.package_type and status.application_head_hash == package.head_hash
    starts = not (listens(status) and status.update_mode_code in DOES_NOT_START)
    gave_up = listens(status) and status.update_mode_code == TRIAL_EXHAUSTED and not is_confirmed(status)
    return same and starts and not gave_up


def listens(status: SignedStatus) -> bool:
    """Whether the bootloader speaks, in update mode."""
    return status.runs != RUNS_APPLICATION


def is_kept_from_starting(status: SignedStatus, package: PackageFacts) -> bool:
    """Whether there is an image on record that a reset would start. The package's own is not broken: it is there."""
    if not listens(status) or not status.installed_type:
        return False
    return package.package_type is not PackageType.BOOTLOADER or status.update_mode_code == UPDATE_REQUESTED


def is_confirmed(status: SignedStatus) -> bool:
    """Whether the image on record is confirmed."""
    return status.application_state == APPLICATION_CONFIRMED


def running_version(status: SignedStatus) -> ImageVersion:
    """The version of the running bootloader copy."""
    return status.bootloader_version_b if status.running_copy else status.bootloader_version_a


def version_of(status: SignedStatus, copy: int) -> ImageVersion | None:
    """None for a copy that does not verify."""
    if not status.copies >> copy & 1:
        return None
    return status.bootloader_version_b if copy else status.bootloader_version_a


def running_is_confirmed(status: SignedStatus) -> bool:
    """Whether the running bootloader copy is the confirmed one."""
    return bool(status.copies >> (2 + status.running_copy) & 1)


def _bootloader_is_there(status: SignedStatus, package: PackageFacts, material: Material) -> bool:
    """By the version of the copy it is linked for. One that was tried and fell back (the other runs) is not there."""
    running, other = running_version(status), version_of(status, 1 - status.running_copy)
    if material.linked_for is None:
        # Without knowing the board: it runs after having been sent, or both copies have the version.
        return running == package.version and (material.sent or other == package.version)
    if material.linked_for == status.running_copy:
        return running == package.version
    return other == package.version and running >= package.version


def needs_settling(status: SignedStatus, package: PackageFacts, *, there: bool) -> bool:
    """Whether the copy with this version runs, and has not verified anything yet."""
    return there and running_version(status) == package.version and not running_is_confirmed(status)
