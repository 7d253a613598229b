"""The signed status: what a device says of itself over the asker's nonce (docs/spec/signed-status.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pki.errors import FormatError
from pki.values import Digest, PublicKey
from rpc.objects.protection import KNOWN_FLAGS, Protection
from rpc.objects.reading import SIGNATURE_SIZE_BYTES, ImageVersion, ObjectReader
from rpc.objects.verifying import object_digest, require_same, verify_signature

STATUS_SIZE_BYTES: Final = 576
RUNS_BOOTLOADER: Final = 1
RUNS_APPLICATION: Final = 2
APPLICATION_NONE: Final = 0
APPLICATION_ON_TRIAL: Final = 1
APPLICATION_CONFIRMED: Final = 2

_MAGIC: Final = b"SRS1"
_CONTEXT: Final = "SR-status-v1"
_SIMULATION: Final = 1
_SERVICE_PENDING: Final = 2
_COPIES_ALL: Final = 0x0F


@dataclass(frozen=True, slots=True)
class SignedStatus:
    """Fields as in the specification; `raw` is what was signed. What a device does not know is zero, or empty."""

    runs: int
    uid: bytes
    nonce: bytes
    product_id: bytes
    hardware_revision: int
    lifecycle: int
    is_simulation: bool
    is_service_pending: bool
    lot: str
    protection: Protection
    running_copy: int
    copies: int
    bootloader_version_a: ImageVersion
    bootloader_version_b: ImageVersion
    bootloader_security_version_a: int
    bootloader_security_version_b: int
    installed_type: int
    application_state: int
    application_attempts: int
    application_version: ImageVersion
    application_security_version: int
    application_head_hash: bytes
    application_upload_hash: bytes
    floors: tuple[int, int, int]
    """Application, bootloader, factory test."""
    trust_bundle_version: int
    trust_bundle_digest: bytes
    order_id: bytes
    activation_digest: bytes
    certificate_digest: bytes
    grant_head_hash: bytes
    update_mode_code: int
    event_count: int
    journal_free_bytes: int
    upload_offset_bytes: int
    upload_size_bytes: int
    serial: str
    board: str
    identity_key_id: bytes
    agreement_key_id: bytes
    group_key_id: bytes
    signature: bytes
    raw: bytes

    @classmethod
    def parse(cls, data: bytes) -> SignedStatus:
        """Raises FormatError. Nothing is verified yet."""
        reader = ObjectReader(data, "a signed status", _MAGIC, STATUS_SIZE_BYTES)
        runs = reader.u8("runs", RUNS_APPLICATION)
        if runs == 0:
            raise FormatError("runs", 7, "[LK-11] neither bootloader nor application")
        fields: dict[str, object] = {"runs": runs, "raw": data}
        _read_device(reader, fields)
        _read_images(reader, fields)
        _read_trust_and_life(reader, fields)
        fields["signature"] = reader.raw(SIGNATURE_SIZE_BYTES)
        return cls(**fields)  # type: ignore[arg-type]  # the readers below fill in each field; tests hold both together

    @property
    def is_signed(self) -> bool:
        """Whether there is a signature at all. It proves nothing before `verify`."""
        return any(self.signature)

    @property
    def digest(self) -> Digest:
        """What the device signed."""
        return object_digest(_CONTEXT, self.raw[:-SIGNATURE_SIZE_BYTES])

    def verify(self, identity_public_key: PublicKey, nonce: bytes) -> None:
        """Verify under the key that registry or certificate has for this UID, and that it answers this question.

        Raises WrongTarget (LK-13), SignatureInvalid (LK-12, also where it is not signed).
        """
        verify_signature(identity_public_key, self.digest, self.signature, "the status")
        require_same(self.nonce, nonce, "the status answers another question: an old one, sent again")


def _read_device(reader: ObjectReader, fields: dict[str, object]) -> None:
    """Offsets 8 to 119: who it is, what protects it, the bootloader's two copies."""
    fields["uid"] = reader.raw(16)
    fields["nonce"] = reader.raw(32)
    fields["product_id"] = reader.raw(16)
    fields["hardware_revision"] = reader.u16()
    fields["lifecycle"] = reader.u8("lifecycle")
    flags = reader.flags("flags", _SIMULATION | _SERVICE_PENDING)
    fields["is_simulation"] = bool(flags & _SIMULATION)
    fields["is_service_pending"] = bool(flags & _SERVICE_PENDING)
    fields["lot"] = reader.text("lot", 16)
    fields["protection"] = Protection(reader.flags("protection", KNOWN_FLAGS, size_bytes=2))
    fields["running_copy"] = reader.u8("running_copy", 1)
    fields["copies"] = reader.flags("copies", _COPIES_ALL)
    fields["bootloader_version_a"] = reader.version()
    fields["bootloader_version_b"] = reader.version()
    fields["bootloader_security_version_a"] = reader.u32()
    fields["bootloader_security_version_b"] = reader.u32()


def _read_images(reader: ObjectReader, fields: dict[str, object]) -> None:
    """Offsets 120 to 211: what is installed, and below which it does not go."""
    fields["installed_type"] = reader.u8("installed_type", 3)
    fields["application_state"] = reader.u8("application_state", APPLICATION_CONFIRMED)
    fields["application_attempts"] = reader.u8("application_attempts")
    reader.reserved(1)
    fields["application_version"] = reader.version()
    fields["application_security_version"] = reader.u32()
    fields["application_head_hash"] = reader.raw(32)
    fields["application_upload_hash"] = reader.raw(32)
    fields["floors"] = (reader.u32(), reader.u32(), reader.u32())


def _read_trust_and_life(reader: ObjectReader, fields: dict[str, object]) -> None:
    """Offsets 212 to 511: trust bundle, activation, grant, update mode, events, names and key ids."""
    fields["trust_bundle_version"] = reader.u32()
    fields["trust_bundle_digest"] = reader.raw(32)
    fields["order_id"] = reader.raw(16)
    fields["activation_digest"] = reader.raw(32)
    fields["certificate_digest"] = reader.raw(32)
    fields["grant_head_hash"] = reader.raw(32)
    fields["update_mode_code"] = reader.u16()
    reader.reserved(2)
    fields["event_count"] = reader.u32()
    fields["journal_free_bytes"] = reader.u32()
    fields["upload_offset_bytes"] = reader.u32()
    fields["upload_size_bytes"] = reader.u32()
    fields["serial"] = reader.text("serial", 32)
    fields["board"] = reader.text("board", 32)
    fields["identity_key_id"] = reader.raw(8)
    fields["agreement_key_id"] = reader.raw(8)
    fields["group_key_id"] = reader.raw(8)
    reader.reserved(44)
