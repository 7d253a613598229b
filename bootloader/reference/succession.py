"""From one trust bundle to the next: is this the successor? (docs/spec/trust-bundle.md, Succession)

Asked by a device of what comes over its link, and by hosts that want to know what devices will say. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from bootloader.reference.codes import DeviceCode, require
from bootloader.reference.trust_bundle import (
    Role,
    SignatureSet,
    TrustBundle,
    verify_own_threshold,
    verify_threshold,
)


def verify_offered_bundle(bundle: TrustBundle, current: TrustBundle) -> None:
    """Checks 1 to 3 of a bundle offered to a device that goes by `current`: the same bundle again, or its successor.

    Raises Refused(BUNDLE_PRODUCT, BUNDLE_SUCCESSION or BUNDLE_SIGNATURES), in this order. `is_successor` says which.
    """
    same_product = bundle.product_id == current.product_id
    require(same_product, DeviceCode.BUNDLE_PRODUCT, f"for product {bundle.product_id.hex()}")
    if bundle.digest != current.digest:
        _require_next(bundle, current)
        verify_threshold(bundle, SignatureSet.PREVIOUS_ROOTS, current.roots, current.root_threshold)
    verify_own_threshold(bundle)


def is_successor(bundle: TrustBundle, current: TrustBundle) -> bool:
    """Whether a bundle that `verify_offered_bundle` has let through is the next one, and not `current` again."""
    return bundle.digest != current.digest


def require_built_in(bundle: TrustBundle, built_in_keys: Sequence[bytes]) -> None:
    """Check 4: bootloader-release keys are those built into the device, or fewer. Raises Refused(BUNDLE_BUILT_IN)."""
    foreign = [key for key in bundle.keys_of(Role.BOOTLOADER_RELEASE) if key not in built_in_keys]
    detail = f"{len(foreign)} bootloader-release keys are not built into this device"
    require(not foreign, DeviceCode.BUNDLE_BUILT_IN, detail)


def _require_next(bundle: TrustBundle, current: TrustBundle) -> None:
    code = DeviceCode.BUNDLE_SUCCESSION
    detail = f"version {bundle.version}, here is {current.version}: only version {current.version + 1} follows"
    require(bundle.version == current.version + 1, code, detail)
    follows = bundle.previous_digest == current.digest
    require(follows, code, f"version {bundle.version} does not follow the version {current.version} that is here")
