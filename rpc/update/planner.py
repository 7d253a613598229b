"""From one status, a package and what is at hand: what has to be done, or the first rule that says no. Pure.

docs/spec/update.md, section 2. A plan holds for the status it was made from; after every start it is made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from rpc.objects import lifecycle
from rpc.objects.lifecycle import lifecycle_name
from rpc.objects.signed_status import APPLICATION_ON_TRIAL, RUNS_APPLICATION, SignedStatus
from rpc.update.bundle_facts import BundleChain, BundleFacts
from rpc.update.package_facts import PackageFacts, PackageType, RecipientMode, Target
from rpc.update.presence import (
    DOES_NOT_START,
    Material,
    is_confirmed,
    is_kept_from_starting,
    is_there,
    listens,
    needs_settling,
    running_version,
)
from rpc.update.rules import Refusal, Refused

_LIFECYCLES: Final = {
    PackageType.APPLICATION: (lifecycle.OPERATIONAL,),
    PackageType.BOOTLOADER: (lifecycle.OPERATIONAL,),
    PackageType.FACTORY_TEST: (lifecycle.LOCKED, lifecycle.RMA),
}
# Roles of docs/spec/trust-bundle.md.
_SIGNING_ROLES: Final = {PackageType.APPLICATION: 1, PackageType.BOOTLOADER: 5, PackageType.FACTORY_TEST: 2}
# Where a grant, as a device takes it, has what (docs/spec/grant.md).
_GRANT_HEAD_HASH: Final = slice(40, 72)
_GRANT_RECIPIENT: Final = slice(272, 280)


class Action(Enum):
    """What a step does."""

    ENTER_UPDATE_MODE = "enter-update-mode"
    SEND_TRUST_BUNDLE = "send-trust-bundle"
    SEND_GRANT = "send-grant"
    UPLOAD = "upload"
    RESET = "reset"
    AWAIT_CONFIRMATION = "await-confirmation"


@dataclass(frozen=True, slots=True)
class Step:
    """One step; `data` is what is sent, `detail` what people read beside it."""

    action: Action
    detail: str = ""
    data: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        """As the report has it."""
        return f"{self.action.value} {self.detail}".rstrip()


def plan(status: SignedStatus, package: PackageFacts, material: Material) -> tuple[Step, ...] | Refusal:
    """The steps that bring this device to this package, none where it is there; or why it is left alone."""
    try:
        return tuple(_steps(status, package, material))
    except Refused as refused:
        return refused.refusal


def _steps(status: SignedStatus, package: PackageFacts, material: Material) -> Iterator[Step]:
    _require_takes_anything(status)
    _require_meant(status, package)
    there = is_there(status, package, material)
    links = _links(status, material.bundles)
    in_force = _bundle_in_force(status, material.bundles, links)
    settles = package.package_type is PackageType.BOOTLOADER and needs_settling(status, package, there=there)
    grant: bytes | None = None
    if not there:
        _require_versions(status, package, links, in_force)
        _require_newer(status, package, material)
        grant = _grant_to_send(status, package, material)
    if package.package_type is PackageType.BOOTLOADER and (settles or not there):
        in_force = _require_bundle(in_force)

    waits = there and status.application_state == APPLICATION_ON_TRIAL and status.installed_type == package.package_type
    work = not there or links or settles
    if work and status.runs == RUNS_APPLICATION:
        yield Step(Action.ENTER_UPDATE_MODE)
    for link in links:
        yield Step(Action.SEND_TRUST_BUNDLE, f"version {link.version}", link.raw)
    if grant is not None:
        yield Step(Action.SEND_GRANT, "", grant)
    if not there:
        yield Step(Action.UPLOAD, str(package.version))
    elif settles and in_force is not None and not links:
        # Verifying any bundle of the succession confirms a copy; after a link it is confirmed already.
        yield Step(Action.SEND_TRUST_BUNDLE, f"version {in_force.version}", in_force.raw)
    if work or is_kept_from_starting(status, package):
        yield Step(Action.RESET)
    if waits or (not there and package.package_type is not PackageType.BOOTLOADER):
        yield Step(Action.AWAIT_CONFIRMATION)


# --- rules about the device ---


def _require(condition: bool, rule_id: str, reason: str) -> None:
    if not condition:
        raise Refused(rule_id, reason)


def _require_takes_anything(status: SignedStatus) -> None:
    has_state = status.lifecycle != lifecycle.NO_READABLE_STATE
    _require(has_state, "UP-11", "the device has no readable state; a service order re-provisions it")
    free = not status.is_service_pending
    _require(free, "UP-12", "a service order is being carried out; wait for it, and look at the device's status")


def _require_meant(status: SignedStatus, package: PackageFacts) -> None:
    same = status.product_id == package.product_id
    _require(same, "UP-13", f"the device is of product {status.product_id.hex()}, not {package.product_id.hex()}")
    low, high, own = package.hardware_revision_min, package.hardware_revision_max, status.hardware_revision
    _require(low <= own <= high, "UP-14", f"the device has hardware revision {own}; the package is for {low} to {high}")
    meant = package.target is not Target.ONE_DEVICE or package.target_uid == status.uid
    _require(meant, "UP-15", f"the package is for device {package.target_uid.hex()} alone")
    allowed = _LIFECYCLES[package.package_type]
    names = " or ".join(map(lifecycle_name, allowed))
    kind = package.package_type.name.lower().replace("_", " ")
    found = lifecycle_name(status.lifecycle)
    _require(status.lifecycle in allowed, "UP-16", f"the device is {found}; a package of type {kind} needs {names}")


def _require_newer(status: SignedStatus, package: PackageFacts, material: Material) -> None:
    version = package.version
    if package.package_type is PackageType.BOOTLOADER:
        running = running_version(status)
        _require(version >= running, "UP-18", f"bootloader {version} is older than the running copy's {running}")
        copy = "AB"[status.running_copy]
        other = material.linked_for != status.running_copy
        _require(other, "UP-19", f"linked for copy {copy}, which is running; send the package for the other copy")
        return
    broken = listens(status) and status.update_mode_code in DOES_NOT_START
    replaced = status.application_version
    newer = not status.installed_type or not is_confirmed(status) or broken or version > replaced
    reason = (
        f"version {version} is not newer than the confirmed {replaced}; a service order can permit it (--reinstall)"
    )
    _require(newer or material.reinstall, "UP-17", reason)


def _require_versions(
    status: SignedStatus, package: PackageFacts, links: tuple[BundleFacts, ...], in_force: BundleFacts | None
) -> None:
    """In the device's own order, so that both say the same of a package that breaks several rules."""
    running, needed = running_version(status), package.bootloader_version_min
    _require(running >= needed, "UP-21", f"needs bootloader {needed}, the device runs {running}: update that first")
    version = links[-1].version if links else status.trust_bundle_version
    wanted = package.trust_bundle_version_min
    _require(
        version >= wanted, "UP-22", f"needs trust bundle {wanted}, the device would have {version}: give --bundles"
    )
    own, floor = package.security_version, status.floors[package.package_type - 1]
    _require(own >= floor, "UP-20", f"security version {own} is below the device's floor of {floor}")
    if in_force is None:
        return
    low, high = in_force.limits[package.package_type - 1]
    limits = f"the limits of trust bundle {in_force.version}, {low} to {high}"
    _require(low <= own <= high, "UP-24", f"security version {own} is outside {limits}")
    role = _SIGNING_ROLES[package.package_type]
    for signer in package.signer_key_ids:
        current = (role, signer) in in_force.role_keys and signer not in in_force.revoked
        reason = (
            f"signed by {signer.hex()}, which trust bundle {in_force.version} revokes or does not name for this type"
        )
        _require(current, "UP-25", reason)


# --- trust bundles ---


def _links(status: SignedStatus, bundles: BundleChain) -> tuple[BundleFacts, ...]:
    """The links from the device's trust bundle to the newest at hand, one after the other without a gap."""
    own = bundles.by_version.get(status.trust_bundle_version)
    fork = own is not None and own.digest != status.trust_bundle_digest
    _require(not fork, "UP-23", f"the device has another trust bundle of version {status.trust_bundle_version}: a fork")
    version, digest = status.trust_bundle_version, status.trust_bundle_digest
    links = bundles.after(version)
    for link in links:
        version += 1
        _require(
            link.version == version, "UP-23", f"the link to trust bundle {version} is missing: give it in --bundles"
        )
        follows = link.previous_digest == digest
        _require(follows, "UP-23", f"trust bundle {version} does not follow the one that the device has: a fork")
        digest = link.digest
    return links


def _bundle_in_force(status: SignedStatus, bundles: BundleChain, links: tuple[BundleFacts, ...]) -> BundleFacts | None:
    """The one that will be in force, where it is at hand."""
    return links[-1] if links else bundles.by_version.get(status.trust_bundle_version)


def _require_bundle(in_force: BundleFacts | None) -> BundleFacts:
    if in_force is None:
        raise Refused("UP-29", "a new bootloader confirms itself by the trust bundle in force: give it in --bundles")
    return in_force


# --- the recipient ---


def _grant_to_send(status: SignedStatus, package: PackageFacts, material: Material) -> bytes | None:
    """What the device needs to decrypt; None where it has it."""
    if package.recipient_mode is RecipientMode.DEVICE:
        own = status.agreement_key_id == package.recipient_key_id
        _require(own, "UP-26", "encrypted for another agreement key than the device has: build it for this device anew")
    if package.recipient_mode is RecipientMode.GROUP:
        own = status.group_key_id == package.recipient_key_id
        _require(own, "UP-26", "encrypted for a group whose key the device does not have")
    if package.recipient_mode is not RecipientMode.GRANT or status.grant_head_hash == package.head_hash:
        return None
    grant = material.grant
    if grant is None or grant[_GRANT_HEAD_HASH] != package.head_hash:
        raise Refused("UP-27", "needs a grant for this package, and none is at hand for this device: give --grants")
    same = grant[_GRANT_RECIPIENT] == status.agreement_key_id
    _require(same, "UP-28", "the grant is for another agreement key than the device has: issue it anew")
    return grant
