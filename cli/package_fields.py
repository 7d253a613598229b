"""A package for people: every field of its head in words, its payload and trailer checked, two packages compared."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootloader.reference.codes import Refused
from bootloader.reference.head import (
    LINK_SIZE_BYTES,
    TRAILER_SIZE_BYTES_MAX,
    Head,
    PackageType,
    RecipientMode,
    Target,
    parse_head,
)
from bootloader.reference.payload import authenticate_chunk, chunk_size_on_wire
from bootloader.reference.sizes import HEAD_SIZE_BYTES
from cli.device_words import code_in_words, version_in_words
from pki.errors import InputRefused

_TRAILER_NAMES = {0x10: "SHA-256", 0x01: "key hash", 0x22: "ECDSA signature"}
_TRAILER_MAGIC = (0x6907).to_bytes(2, "little")

# What two packages must never share, whatever they carry (docs/spec/package.md, section 9).
_NEVER_SHARED = (
    "image_salt",
    "image_digest",
    "sbom_digest",
    "first_link",
    "cek_commitment",
    "ephemeral_public_key",
    "wrapped_cek",
    "signature_0",
    "signature_1",
)
_BLOCK_SIZE_BYTES = 16


@dataclass(frozen=True, slots=True)
class PackageRead:
    """A well-formed package: its head, and where its payload ends. Nobody has said that it is genuine."""

    path: Path
    head: Head
    size_bytes: int
    trailer: bytes
    head_and_payload_sha256: bytes

    @property
    def is_signed(self) -> bool:
        """Whether every signature that the type needs is there; none is verified here."""
        needed = [self.head.signature_0]
        if self.head.package_type is PackageType.BOOTLOADER:
            needed.append(self.head.signature_1)
        return all(any(signature) for signature in needed)


def read_package(path: Path) -> PackageRead:
    """Read a package, with the bootloader's own checks of head and chunk chain. Raises InputRefused."""
    try:
        with path.open("rb") as stream:
            head = parse_head(stream.read(HEAD_SIZE_BYTES))
            state = hashlib.sha256(head.raw)
            link = head.first_link
            for index in range(head.chunk_count):
                chunk = stream.read(chunk_size_on_wire(head, index))
                _, link = authenticate_chunk(head, index, link, chunk)
                state.update(chunk)
            trailer = stream.read(TRAILER_SIZE_BYTES_MAX + 1)
    except Refused as refusal:
        words = code_in_words(refusal.code)
        raise InputRefused(f"{path} is not a well-formed package: {words} ({refusal})") from None
    except OSError as error:
        raise InputRefused(f"package {path}: cannot be read ({error.strerror})") from None
    if len(trailer) > TRAILER_SIZE_BYTES_MAX:
        raise InputRefused(f"{path} has more than {TRAILER_SIZE_BYTES_MAX} bytes behind its payload")
    return PackageRead(path, head, head.package_size_bytes_min + len(trailer), trailer, state.digest())


def package_fields(package: PackageRead) -> dict[str, Any]:
    """Every field of the head, sizes, and the state of trailer and signatures."""
    head = package.head
    return {
        "file": str(package.path),
        "size_bytes": package.size_bytes,
        "signed": package.is_signed,
        "type": _words(head.package_type.name),
        "format_version": head.format_version,
        "suite": head.suite,
        "product_id": str(uuid.UUID(bytes=head.product_id)),
        "hardware_revision_min": head.hardware_revision_min,
        "hardware_revision_max": head.hardware_revision_max,
        "image_version": version_in_words(head.image_version),
        "security_version": head.security_version,
        "load_address": f"0x{head.load_address:08x}",
        "image_size_bytes": head.image_size_bytes,
        "bootloader_version_min": version_in_words(head.bootloader_version_min),
        "trust_bundle_version_min": head.trust_bundle_version_min,
        "target": _words(head.target.name),
        "target_uid": head.target_uid.hex(),
        "recipient_mode": _words(head.recipient_mode.name),
        "recipient_key_id": head.recipient_key_id.hex(),
        "image_salt": head.image_salt.hex(),
        "image_digest": head.image_digest.hex(),
        "sbom_digest": head.sbom_digest.hex(),
        "chunk_size_bytes": head.chunk_size_bytes,
        "chunk_count": head.chunk_count,
        "payload_size_bytes": head.payload_size_bytes,
        "first_link": head.first_link.hex(),
        "cek_commitment": head.cek_commitment.hex(),
        "ephemeral_public_key": head.ephemeral_public_key.hex(),
        "wrapped_cek": head.wrapped_cek.hex(),
        "signer_key_id_0": head.signer_key_id_0.hex(),
        "signer_key_id_1": head.signer_key_id_1.hex(),
        "signature_0": head.signature_0.hex(),
        "signature_1": head.signature_1.hex(),
        "head_sha256": head.hash.hex(),
        "head_and_payload_sha256": package.head_and_payload_sha256.hex(),
        "trailer": _trailer(package),
    }


def package_text(fields: dict[str, Any]) -> str:
    """The same for a terminal: what a person asks first, then every field."""
    notes = {
        "target": {
            _words(Target.ANY_DEVICE.name): "any device of the product",
            _words(Target.ONE_UID.name): "one device only, by its UID",
            _words(Target.GRANT_REQUIRED.name): "devices that hold a grant",
        },
        "recipient_mode": {
            _words(RecipientMode.NONE.name): "not encrypted",
            _words(RecipientMode.DEVICE.name): "encrypted for one device",
            _words(
                RecipientMode.GROUP.name
            ): "encrypted for a group: whoever reads its key from one device can decrypt",
            _words(RecipientMode.GRANT.name): "encrypted; the key comes in a grant",
        },
    }
    signed = "signed" if fields["signed"] else "NOT signed by all"
    lines = [
        f"{fields['type']} {fields['image_version']}, security version {fields['security_version']}, {signed}",
        "the format is right and every chunk is in its place; who signed it is the question of `package verify`",
    ]
    for name, value in fields.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())  # noqa: PLW2901 (its text)
        note = notes.get(name, {}).get(str(value), "")
        is_empty = name.startswith(("signature", "signer", "target_uid")) and not str(value).strip("0")
        lines.append(f"{name:26}{'none' if is_empty else value}{f' ({note})' if note else ''}")
    return "\n".join(lines)


def differences(first: PackageRead, second: PackageRead) -> list[dict[str, Any]]:
    """Field by field: the two values where they differ, and a finding where they must and do not."""
    left, right = package_fields(first), package_fields(second)
    rows = []
    for name in left:
        if name == "file":
            continue
        same = left[name] == right[name]
        is_empty = not str(left[name]).strip("0")
        must_differ = name in _NEVER_SHARED and not is_empty
        if not same or must_differ:
            finding = f"PD-01: {name} must never be the same in two packages" if same and must_differ else ""
            rows.append({"field": name, "first": left[name], "second": right[name], "finding": finding})
    shared = _shared_block_count(first, second)
    finding = f"PD-02: {shared} blocks of ciphertext are the same in the same place: the keystream was used twice"
    rows.append(
        {"field": "equal_ciphertext_blocks", "first": shared, "second": shared, "finding": finding if shared else ""}
    )
    return rows


def _shared_block_count(first: PackageRead, second: PackageRead) -> int:
    """AES blocks that are equal at the same place of the image; by chance, none ever is."""
    if RecipientMode.NONE in {first.head.recipient_mode, second.head.recipient_mode}:
        return 0
    shared = 0
    with first.path.open("rb") as left, second.path.open("rb") as right:
        left.seek(HEAD_SIZE_BYTES)
        right.seek(HEAD_SIZE_BYTES)
        for index in range(min(first.head.chunk_count, second.head.chunk_count)):
            a = left.read(chunk_size_on_wire(first.head, index))[:-LINK_SIZE_BYTES]
            b = right.read(chunk_size_on_wire(second.head, index))[:-LINK_SIZE_BYTES]
            size = min(len(a), len(b)) // _BLOCK_SIZE_BYTES * _BLOCK_SIZE_BYTES
            shared += sum(
                a[begin : begin + _BLOCK_SIZE_BYTES] == b[begin : begin + _BLOCK_SIZE_BYTES]
                for begin in range(0, size, _BLOCK_SIZE_BYTES)
            )
    return shared


def _trailer(package: PackageRead) -> dict[str, Any]:
    """What MCUboot's tools read, checked for form; it has no meaning to a device of ours."""
    data = package.trailer
    if not data:
        return {"size_bytes": 0, "state": "none: not signed by all yet"}
    if data[:2] != _TRAILER_MAGIC or int.from_bytes(data[2:4], "little") != len(data):
        return {"size_bytes": len(data), "state": "not one that imgtool reads; devices ignore it"}
    entries, position = [], 4
    state = "well-formed"
    while position < len(data):
        kind, size = int.from_bytes(data[position : position + 2], "little"), data[position + 2 : position + 4]
        end = position + 4 + int.from_bytes(size, "little")
        if end > len(data):
            return {"size_bytes": len(data), "state": "cut short; devices ignore it"}
        if kind == 0x10 and data[position + 4 : end] != package.head_and_payload_sha256:
            state = "its SHA-256 is not the package's: imgtool will refuse it"
        entries.append(_TRAILER_NAMES.get(kind, f"type 0x{kind:04x}"))
        position = end
    return {"size_bytes": len(data), "entries": "/".join(entries), "state": state}


def _words(name: str) -> str:
    return name.lower().replace("_", "-")
