"""The activation, and every check that makes a LOCKED device OPERATIONAL (docs/spec/activation.md, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from struct import Struct

from bootloader.reference.challenge import OutstandingNonce
from bootloader.reference.codes import DeviceCode, require
from bootloader.reference.crypto import POINT_SIZE_BYTES, context, key_id, public_point, sha256, verify_signature
from bootloader.reference.injected_key import (
    WRAPPED_SIZE_BYTES_MAX,
    WRAPPED_SIZE_BYTES_MIN,
    InjectedKey,
    unwrap_injected_key,
)
from bootloader.reference.platform import Protection
from bootloader.reference.records import Activated, Device, DeviceKeys
from bootloader.reference.signed_object import (
    ObjectKind,
    is_text,
    require_field,
    require_format,
    require_known_flags,
    require_not_revoked,
    require_signer,
    require_zero,
)
from bootloader.reference.trust_bundle import Role, TrustBundle
from bootloader.reference.work_order import INJECT_KNOWN, WORK_ORDER, Inject, WorkOrder, parse_work_order

ACTIVATION = ObjectKind("activation", b"SRA1", context("SR-activate-v1"), 864)
ORDER_AND_ACTIVATION_SIZE_BYTES = WORK_ORDER.size_bytes + ACTIVATION.size_bytes

# magic version suite (of `require_format`), injected; uid nonce order_digest station; sequence bundle_version; digests
# of identity key, agreement key and certificate; serial; group_key agreement_key; reserved, signature
_LAYOUT = Struct("<7s B 16s 32s 32s 32s I I 32s 32s 32s 32s 224s 288s 32s 64s")
_INJECTED = Struct(f"<64s H 6s {WRAPPED_SIZE_BYTES_MAX}s")


@dataclass(frozen=True, slots=True)
class Activation:
    """A well-formed activation, no more. `raw` is its exact 864 bytes; a key is None where none is injected."""

    raw: bytes
    injected: Inject
    uid: bytes
    nonce: bytes
    order_digest: bytes
    station: bytes
    sequence: int
    trust_bundle_version: int
    identity_key_digest: bytes
    agreement_key_digest: bytes
    certificate_digest: bytes
    serial: bytes
    group_key: InjectedKey | None
    agreement_key: InjectedKey | None

    @property
    def digest(self) -> bytes:
        return ACTIVATION.digest(self.raw)

    @property
    def signature(self) -> bytes:
        return ACTIVATION.signature(self.raw)


@dataclass(frozen=True, slots=True)
class ActivationFacts:
    """What a device knows of itself when an activation arrives. `device_uid` has 16 bytes."""

    device: Device
    keys: DeviceKeys
    bundle: TrustBundle
    device_uid: bytes
    protection: Protection


@dataclass(frozen=True, slots=True)
class NewKeys:
    """The private keys that an activation brings; None where the device keeps what it has."""

    group_private: bytes | None
    agreement_private: bytes | None


def parse_order_and_activation(data: bytes) -> tuple[WorkOrder, Activation]:
    """Check 1; raises Refused(OBJECT_SIZE, then OBJECT_MAGIC, OBJECT_FORMAT, OBJECT_RESERVED or OBJECT_FIELD)."""
    detail = f"work order and activation have {ORDER_AND_ACTIVATION_SIZE_BYTES:,} bytes, not {len(data):,}"
    require(len(data) == ORDER_AND_ACTIVATION_SIZE_BYTES, DeviceCode.OBJECT_SIZE, detail)
    order = parse_work_order(data[: WORK_ORDER.size_bytes])
    return order, parse_activation(data[WORK_ORDER.size_bytes :], order.group_public_key)


def parse_activation(data: bytes, group_public_key: bytes) -> Activation:
    """An activation from its 864 bytes; raises Refused as `parse_order_and_activation`, but for OBJECT_SIZE."""
    require_format(ACTIVATION, data)
    _, injected, uid, nonce, order_digest, station, sequence, bundle_version, *rest = _LAYOUT.unpack(data)
    identity, agreement, certificate_digest, serial, group_raw, agreement_raw, reserved_768, _ = rest
    own_point, agreement_wrap = agreement_raw[:POINT_SIZE_BYTES], agreement_raw[POINT_SIZE_BYTES:]
    require_zero(
        (
            *((group_raw,) if not injected & Inject.GROUP_KEY else _unused_in(group_raw)),
            *((agreement_raw,) if not injected & Inject.AGREEMENT_KEY else _unused_in(agreement_wrap)),
            reserved_768,
        )
    )
    require_known_flags("injected", injected, INJECT_KNOWN)

    require_field(sequence >= 1, "sequence is 0")
    require_field(any(certificate_digest), "certificate_digest is zero")
    require_field(is_text(serial), "serial is no text")
    group_key = _injected_key(group_raw, group_public_key) if injected & Inject.GROUP_KEY else None
    own_key = _injected_key(agreement_wrap, own_point) if injected & Inject.AGREEMENT_KEY else None
    fields = (uid, nonce, order_digest, station, sequence, bundle_version, identity, agreement, certificate_digest)
    return Activation(data, Inject(injected), *fields, serial, group_key, own_key)


def verify_signers(order: WorkOrder, activation: Activation, bundle: TrustBundle) -> None:
    """Checks 3 and 4: production signed the order, and the order's lot key the activation.

    Raises Refused(SIGNER_REVOKED, SIGNER_UNKNOWN, SIGNATURE_INVALID or WRONG_ORDER).
    """
    require_signer(bundle, Role.PRODUCTION, order.signer_key_id, order.digest, order.signature)
    require_not_revoked(bundle, key_id(order.lot_public_key))
    of_order = activation.order_digest == order.digest
    require(of_order, DeviceCode.WRONG_ORDER, "the activation names another work order")
    verify_signature(order.lot_public_key, activation.digest, activation.signature)


def require_for_this_device(
    order: WorkOrder, activation: Activation, facts: ActivationFacts, nonce: OutstandingNonce
) -> None:
    """Check 5, in its order; raises Refused. From the nonce on, the challenge is used up."""
    device, keys = facts.device, facts.keys
    same_product = order.product_id == device.product_id
    require(same_product, DeviceCode.WRONG_PRODUCT, f"for product {order.product_id.hex()}")
    require(order.lot == device.lot, DeviceCode.WRONG_LOT, f"for lot {order.lot.hex()}")
    in_range = order.hardware_revision_min <= device.hardware_revision <= order.hardware_revision_max
    detail = f"for hardware {order.hardware_revision_min} to {order.hardware_revision_max}"
    require(in_range, DeviceCode.WRONG_HARDWARE_REVISION, detail)
    require(activation.uid == facts.device_uid, DeviceCode.WRONG_DEVICE, f"for UID {activation.uid.hex()}")
    nonce.use_up(activation.nonce)
    require_own_keys(activation, keys)
    sub_quota = order.sub_quota(activation.station)
    within = 1 <= activation.sequence <= sub_quota
    detail = f"number {activation.sequence} of a station that may activate {sub_quota}"
    require(within, DeviceCode.WRONG_ORDER, detail)
    same = activation.injected == order.inject
    require(same, DeviceCode.WRONG_ORDER, "the injected keys are not those of the work order")
    _require_trust_bundle(order, activation, facts.bundle)
    missing = order.protection_required & ~facts.protection
    require(not missing, DeviceCode.PROTECTION_MISSING, f"not set: {missing.name}")


def require_own_keys(activation: Activation, keys: DeviceKeys) -> None:
    """Made for the two keys that the device showed in its challenge; raises Refused(WRONG_KEYS)."""
    identity = compare_digest(activation.identity_key_digest, sha256(public_point(keys.identity_private)))
    agreement = compare_digest(activation.agreement_key_digest, sha256(public_point(keys.agreement_private)))
    require(identity and agreement, DeviceCode.WRONG_KEYS, "made for other keys than this device has")


def unwrap_new_keys(activation: Activation, keys: DeviceKeys) -> NewKeys:
    """Check 6; raises Refused(KEY_INJECTION)."""
    return NewKeys(
        *(
            unwrap_injected_key(wrapped, keys.agreement_private) if wrapped is not None else None
            for wrapped in (activation.group_key, activation.agreement_key)
        )
    )


def record_of(order: WorkOrder, activation: Activation) -> Activated:
    """What the journal keeps of it."""
    digests = (order.digest, activation.digest, activation.certificate_digest)
    return Activated(order.order_id, *digests, activation.serial)


def _require_trust_bundle(order: WorkOrder, activation: Activation, bundle: TrustBundle) -> None:
    allowed = activation.trust_bundle_version >= order.trust_bundle_version_min
    require(allowed, DeviceCode.WRONG_ORDER, "a lower trust bundle version than the work order's minimum")
    new_enough = activation.trust_bundle_version <= bundle.version
    detail = f"needs trust bundle {activation.trust_bundle_version}, this is {bundle.version}"
    require(new_enough, DeviceCode.TRUST_BUNDLE_TOO_OLD, detail)


def _unused_in(raw: bytes) -> tuple[bytes, bytes]:
    """The bytes of a wrapped key that mean nothing: reserved ones, and those behind the wrap."""
    _, size_bytes, reserved, wrapped = _INJECTED.unpack(raw)
    return reserved, wrapped[size_bytes:]


def _injected_key(raw: bytes, public_key: bytes) -> InjectedKey:
    ephemeral, size_bytes, _, wrapped = _INJECTED.unpack(raw)
    right = WRAPPED_SIZE_BYTES_MIN <= size_bytes <= WRAPPED_SIZE_BYTES_MAX and size_bytes % 8 == 0
    require_field(right, f"a wrapped key of {size_bytes} bytes")
    return InjectedKey(ephemeral, wrapped[:size_bytes], public_key)
