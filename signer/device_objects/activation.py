"""Activations (`SRA1`): a station, by the lot's key, makes one LOCKED device OPERATIONAL (docs/spec/activation.md, 3).

Rules WO-30 to WO-36 stand beside the fields.
"""

from __future__ import annotations

import struct
from functools import cached_property
from typing import Any

import msgspec

from pki.errors import FormatError, PolicyViolation
from pki.values import Digest, PublicKey, Signature
from signer.device_objects.common import (
    FINGERPRINT_SIZE_BYTES,
    FORMAT_VERSION,
    NONCE_SIZE_BYTES,
    SUITE,
    U32_MAX,
    Injection,
    decode_text,
    encode_text,
    known_flags,
    object_digest,
    refused,
    require_bytes,
    require_point,
    require_present,
    require_range,
    require_same,
    require_signed,
    split,
    verify_object,
)
from signer.packages.layout import UID_SIZE_BYTES

ACTIVATION_SIZE_BYTES = 864
SERIAL_SIZE_BYTES = 32
WRAPPED_SIZE_BYTES_MIN = 24
WRAPPED_SIZE_BYTES_MAX = 152

_WHAT = "activation"
_MAGIC = b"SRA1"
_CONTEXT = "SR-activate-v1"
_FIELDS = struct.Struct("<4sHBB16s32s32s32sII32s32s32s32s224s288s32x")
_INJECTED = struct.Struct("<64sH6x152s")
_DIGEST_SIZE_BYTES = 32
_POINT_SIZE_BYTES = 64


class InjectedKey(msgspec.Struct, frozen=True):
    """A private key wrapped to one device, inside the station's token. It is ciphertext: no secret.

    `ephemeral`: the public half of the pair made for this one wrap; `wrapped`: RFC 3394 over a PKCS#8 PrivateKeyInfo,
    24 to 152 bytes, a multiple of 8.
    """

    ephemeral: PublicKey
    wrapped: bytes

    def __post_init__(self) -> None:
        require_point("WO-36", "the ephemeral key of an injected key", self.ephemeral)
        size_bytes = len(self.wrapped)
        if not WRAPPED_SIZE_BYTES_MIN <= size_bytes <= WRAPPED_SIZE_BYTES_MAX or size_bytes % 8:
            raise refused(
                "WO-36",
                f"a wrapped key has {WRAPPED_SIZE_BYTES_MIN} to {WRAPPED_SIZE_BYTES_MAX} bytes, a multiple of 8, "
                f"not {size_bytes}",
            )

    def encode(self) -> bytes:
        """224 bytes."""
        return _INJECTED.pack(self.ephemeral.point, len(self.wrapped), self.wrapped)


class InjectedAgreementKey(msgspec.Struct, frozen=True):
    """An agreement key made by the station's token, which replaces the device's own."""

    public_key: PublicKey
    key: InjectedKey

    def __post_init__(self) -> None:
        require_point("WO-36", "the injected agreement key", self.public_key)

    def encode(self) -> bytes:
        """288 bytes."""
        return self.public_key.point + self.key.encode()


class Activation(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What makes one device OPERATIONAL. `uid` has 16 bytes, padded; digests, nonce and `station` 32 each.

    Constructing one that a device would refuse for its fields raises PolicyViolation WO-30 to WO-36.
    """

    uid: bytes
    nonce: bytes
    order_digest: bytes
    station: bytes
    sequence: int
    trust_bundle_version: int
    identity_key_digest: bytes
    agreement_key_digest: bytes
    certificate_digest: bytes
    serial: str = ""
    group_key: InjectedKey | None = None
    agreement_key: InjectedAgreementKey | None = None

    def __post_init__(self) -> None:
        require_bytes("WO-30", "the device's UID", self.uid, UID_SIZE_BYTES)
        require_bytes("WO-31", "the nonce", self.nonce, NONCE_SIZE_BYTES)
        require_bytes("WO-32", "the order's digest", self.order_digest, _DIGEST_SIZE_BYTES)
        require_bytes("WO-32", "the station's fingerprint", self.station, FINGERPRINT_SIZE_BYTES)
        require_range("WO-32", "the sequence number", self.sequence, 1, U32_MAX)
        require_range("WO-33", "the trust-bundle version", self.trust_bundle_version, 0, U32_MAX)
        require_bytes("WO-34", "the identity key's digest", self.identity_key_digest, _DIGEST_SIZE_BYTES)
        require_bytes("WO-34", "the agreement key's digest", self.agreement_key_digest, _DIGEST_SIZE_BYTES)
        require_present("WO-34", "the certificate's digest", self.certificate_digest, _DIGEST_SIZE_BYTES)
        encode_text("WO-35", "the serial number", self.serial, SERIAL_SIZE_BYTES)

    @property
    def injected(self) -> Injection:
        """Which keys it carries."""
        group = Injection.GROUP_KEY if self.group_key is not None else Injection(0)
        return group | (Injection.AGREEMENT_KEY if self.agreement_key is not None else Injection(0))

    def encode_unsigned(self) -> bytes:
        """The 800 bytes that the digest covers."""
        return _FIELDS.pack(
            _MAGIC,
            FORMAT_VERSION,
            SUITE,
            self.injected,
            self.uid,
            self.nonce,
            self.order_digest,
            self.station,
            self.sequence,
            self.trust_bundle_version,
            self.identity_key_digest,
            self.agreement_key_digest,
            self.certificate_digest,
            encode_text("WO-35", "the serial number", self.serial, SERIAL_SIZE_BYTES),
            b"" if self.group_key is None else self.group_key.encode(),
            b"" if self.agreement_key is None else self.agreement_key.encode(),
        )

    @cached_property
    def digest(self) -> Digest:
        """What the lot's key signs."""
        return object_digest(_CONTEXT, self.encode_unsigned())

    def signed(self, signature: Signature) -> bytes:
        """The activation with its signature, 864 bytes. Nothing is verified here."""
        return self.encode_unsigned() + signature.value


class SignedActivation(msgspec.Struct, frozen=True):
    """An activation's exact bytes, and what they say. Only `parse_activation` makes one; nothing is verified yet."""

    raw: bytes
    activation: Activation
    signature: Signature

    @property
    def digest(self) -> Digest:
        """The digest of the activation."""
        return self.activation.digest

    def verify(self, lot_public_key: PublicKey) -> None:
        """The signature, under the lot's key as the work order names it. Raises SignatureInvalid."""
        verify_object(_WHAT, self.digest, self.signature, lot_public_key, None)


def parse_activation(data: bytes) -> SignedActivation:
    """Read a signed activation strictly; FormatError for anything else. The signature is not verified here."""
    unsigned, signature = split(data, _WHAT, _MAGIC, ACTIVATION_SIZE_BYTES)
    try:
        fields = _FIELDS.unpack(unsigned)
        activation = _from_fields(fields)
    except (ValueError, PolicyViolation) as error:
        raise FormatError(_WHAT, 0, f"not one that a device would take: {error}") from None
    require_same(_WHAT, unsigned, activation.encode_unsigned())
    return SignedActivation(bytes(data), activation, require_signed(_WHAT, signature))


def _from_fields(fields: tuple[Any, ...]) -> Activation:
    # Every element is what the format string says at its place; the names are those of the specification.
    injected, uid, nonce, order_digest, station, sequence, bundle_version = fields[3:10]
    identity, agreement, certificate, serial, group_key, agreement_key = fields[10:]
    require_range("WO-36", "`injected`", injected, 0, known_flags(Injection))
    return Activation(
        uid=uid,
        nonce=nonce,
        order_digest=order_digest,
        station=station,
        sequence=sequence,
        trust_bundle_version=bundle_version,
        identity_key_digest=identity,
        agreement_key_digest=agreement,
        certificate_digest=certificate,
        serial=decode_text(serial),
        group_key=_injected_key(group_key) if injected & Injection.GROUP_KEY else None,
        agreement_key=(
            InjectedAgreementKey(
                PublicKey(agreement_key[:_POINT_SIZE_BYTES]), _injected_key(agreement_key[_POINT_SIZE_BYTES:])
            )
            if injected & Injection.AGREEMENT_KEY
            else None
        ),
    )


def _injected_key(field: bytes) -> InjectedKey:
    ephemeral, size_bytes, wrapped = _INJECTED.unpack(field)
    require_range("WO-36", "the size of a wrapped key", size_bytes, WRAPPED_SIZE_BYTES_MIN, WRAPPED_SIZE_BYTES_MAX)
    return InjectedKey(PublicKey(ephemeral), wrapped[:size_bytes])
