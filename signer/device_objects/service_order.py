"""Service orders (`SRV1`): repair, decommissioning, re-provisioning, reinstallation (docs/spec/service-order.md).

Rules WO-40 to WO-44 stand beside the fields. A prepared order is the same file with a signature of zeros.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import cached_property
from typing import Any

import msgspec

from pki.errors import FormatError, PolicyViolation
from pki.values import Digest, PublicKey, Signature
from signer.device_objects.common import (
    FORMAT_VERSION,
    KEY_ID_SIZE_BYTES,
    LOT_SIZE_BYTES,
    NO_SIGNATURE,
    NONCE_SIZE_BYTES,
    PRODUCT_ID_SIZE_BYTES,
    SUITE,
    U16_MAX,
    U32_MAX,
    decode_text,
    encode_text,
    object_digest,
    refused,
    require_bytes,
    require_present,
    require_range,
    require_same,
    require_signed,
    require_unsigned_object,
    split,
    verify_object,
)
from signer.packages.layout import UID_SIZE_BYTES

SERVICE_ORDER_SIZE_BYTES = 256
FLOOR_COUNT = 3

_WHAT = "service order"
_MAGIC = b"SRV1"
_CONTEXT = "SR-service-v1"
_FIELDS = struct.Struct("<4sHBB16s32s16s16sH2xIII8s80x")
_NO_FLOORS = (0, 0, 0)


class ServiceAction(IntEnum):
    """What is to be done with the device."""

    RETURN_FOR_REPAIR = 1
    DECOMMISSION = 2
    RE_PROVISION = 3
    PERMIT_REINSTALLATION = 4

    @property
    def text(self) -> str:
        """As requests, policies and the command line write it: `return-for-repair`."""
        return self.name.lower().replace("_", "-")


class ServiceOrder(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """An order to one device. `uid` has 16 bytes, padded; `nonce` is of its last challenge.

    `lot`, `hardware_revision` and `floors` (of application, bootloader, factory test) say what a re-provisioned device
    is from then on, and stand in no other order. Raises PolicyViolation WO-40 to WO-44.
    """

    action: ServiceAction
    uid: bytes
    nonce: bytes
    product_id: bytes
    signer_key_id: bytes
    lot: str = ""
    hardware_revision: int = 0
    floors: tuple[int, int, int] = _NO_FLOORS

    def __post_init__(self) -> None:
        if self.action not in set(ServiceAction):
            raise refused("WO-40", f"service action {int(self.action)} is unknown; use 1 to 4")
        require_bytes("WO-41", "the device's UID", self.uid, UID_SIZE_BYTES)
        require_bytes("WO-41", "the nonce", self.nonce, NONCE_SIZE_BYTES)
        require_present("WO-42", "the product's id", self.product_id, PRODUCT_ID_SIZE_BYTES)
        lot = encode_text("WO-43", "the lot", self.lot, LOT_SIZE_BYTES)
        require_range("WO-43", "the hardware revision", self.hardware_revision, 0, U16_MAX)
        if len(self.floors) != FLOOR_COUNT:
            raise refused("WO-43", f"{FLOOR_COUNT} floors are given, one for each package type")
        for floor in self.floors:
            require_range("WO-43", "a floor", floor, 0, U32_MAX)
        if self.action is ServiceAction.RE_PROVISION:
            require_present("WO-43", "the lot", lot, LOT_SIZE_BYTES)
        elif self.lot or self.hardware_revision or self.floors != _NO_FLOORS:
            raise refused("WO-43", f"lot, hardware revision and floors are for re-provision, not {self.action.text}")
        require_present("WO-44", "the signer's key id", self.signer_key_id, KEY_ID_SIZE_BYTES)

    def encode_unsigned(self) -> bytes:
        """The 192 bytes that the digest covers."""
        return _FIELDS.pack(
            _MAGIC,
            FORMAT_VERSION,
            SUITE,
            self.action,
            self.uid,
            self.nonce,
            self.product_id,
            encode_text("WO-43", "the lot", self.lot, LOT_SIZE_BYTES),
            self.hardware_revision,
            *self.floors,
            self.signer_key_id,
        )

    @cached_property
    def digest(self) -> Digest:
        """What the service key signs, and what the device's receipt names."""
        return object_digest(_CONTEXT, self.encode_unsigned())

    def prepared(self) -> bytes:
        """The file before it is signed, 256 bytes."""
        return self.encode_unsigned() + NO_SIGNATURE

    def signed(self, signature: Signature) -> bytes:
        """The file with its signature, 256 bytes. Nothing is verified here."""
        return self.encode_unsigned() + signature.value


class SignedServiceOrder(msgspec.Struct, frozen=True):
    """A service order's exact bytes, and what they say. Only `parse_service_order` makes one; nothing is verified."""

    raw: bytes
    order: ServiceOrder
    signature: Signature

    @property
    def digest(self) -> Digest:
        """The digest of the order."""
        return self.order.digest

    def verify(self, service_public_key: PublicKey) -> None:
        """The signature, under a key that the caller trusts. Raises SignatureInvalid."""
        verify_object(_WHAT, self.digest, self.signature, service_public_key, self.order.signer_key_id)


def parse_service_order(data: bytes) -> SignedServiceOrder:
    """Read a signed order strictly; FormatError for anything else. The signature is not verified here."""
    unsigned, signature = split(data, _WHAT, _MAGIC, SERVICE_ORDER_SIZE_BYTES)
    return SignedServiceOrder(bytes(data), _order_of(unsigned), require_signed(_WHAT, signature))


def parse_prepared_service_order(data: bytes) -> ServiceOrder:
    """Read an order that waits for its signature; FormatError for anything else, also for one that has it."""
    unsigned, signature = split(data, _WHAT, _MAGIC, SERVICE_ORDER_SIZE_BYTES)
    require_unsigned_object(_WHAT, signature)
    return _order_of(unsigned)


def _order_of(unsigned: bytes) -> ServiceOrder:
    try:
        order = _from_fields(_FIELDS.unpack(unsigned))
    except (ValueError, PolicyViolation) as error:
        raise FormatError(_WHAT, 0, f"not one that a device would take: {error}") from None
    require_same(_WHAT, unsigned, order.encode_unsigned())
    return order


def _from_fields(fields: tuple[Any, ...]) -> ServiceOrder:
    # Every element is what the format string says at its place; the names are those of the specification.
    action, uid, nonce, product_id, lot, hardware_revision, *floors, signer_key_id = fields[3:]
    first, second, third = floors
    return ServiceOrder(
        action=ServiceAction(action),
        uid=uid,
        nonce=nonce,
        product_id=product_id,
        signer_key_id=signer_key_id,
        lot=decode_text(lot),
        hardware_revision=hardware_revision,
        floors=(first, second, third),
    )
