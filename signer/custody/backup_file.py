"""The backup file of a key (docs/spec/key-backup.md, "Backup file"): public as far as it goes without its KEK."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from pki.canonical_json import encode_canonical, parse_canonical
from pki.errors import ConfigurationError, FormatError, PolicyViolation
from pki.key_specs import KeyAlgorithm, LabelParts, parse_key_label
from pki.values import PublicKey
from signer.custody.kek import MAC_SIZE_BYTES, Kek, KekIdentity
from signer.custody.rules import violation
from signer.custody.shares import ShareSet
from signer.tokens.wrapped_key import Framing, WrappedKey

BACKUP_TYPE = "strongroom-key-backup-1"
BACKUP_SIZE_BYTES_MAX = 8192

_WHAT = "key backup"
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A wrapped key and what is said of it. `made_at` is in whole seconds, UTC; `mac` is 32 bytes."""

    label: str
    public_key: PublicKey
    wrapped: WrappedKey
    kek: KekIdentity
    token_serial: str
    token_label: str
    made_at: datetime
    made_by: str
    ceremony_digest: bytes | None
    mac: bytes = bytes(MAC_SIZE_BYTES)

    @property
    def parts(self) -> LabelParts:
        """Role, product and number of the key."""
        return parse_key_label(self.label)

    def encode(self) -> bytes:
        """The bytes of the file."""
        return encode_canonical(self._fields() | {"mac": self.mac.hex()})

    @property
    def digest(self) -> bytes:
        """SHA-256 of the file, 32 bytes: what the key store records."""
        return hashlib.sha256(self.encode()).digest()

    def sealed(self, kek: Kek) -> BackupFile:
        """The same with its MAC."""
        return replace(self, mac=kek.mac(encode_canonical(self._fields())))

    def require_made_under(self, kek: Kek) -> None:
        """Raise PolicyViolation KB-06 unless this is the file's KEK, by check value and MAC."""
        if not hmac.compare_digest(kek.identity.kcv, self.kek.kcv):
            raise violation("KB-06", "the backup is of another key-encryption key; take the shares of its custodians")
        if not hmac.compare_digest(kek.mac(encode_canonical(self._fields())), self.mac):
            raise violation("KB-06", "the backup file was changed after it was made; take another copy of it")

    def _fields(self) -> dict[str, object]:
        parts, shares = self.parts, self.kek.shares
        return {
            "type": BACKUP_TYPE,
            "label": self.label,
            "role": parts.role.value,
            "product": parts.product,
            "algorithm": KeyAlgorithm.EC_P256.value,
            "spki": self.public_key.spki.hex(),
            "framing": self.wrapped.framing.value,
            "wrapped": self.wrapped.data.hex(),
            "kek": {
                "kcv": self.kek.kcv.hex(),
                "shares": {
                    "identifier": shares.identifier,
                    "groups_needed": shares.groups_needed,
                    "groups": [list(group) for group in shares.groups],
                },
            },
            "token": {"serial": self.token_serial, "label": self.token_label},
            "made_at": self.made_at.strftime(_TIME_FORMAT),
            "made_by": self.made_by,
            "ceremony_digest": None if self.ceremony_digest is None else self.ceremony_digest.hex(),
        }


def _hexadecimal(sizes_bytes: str) -> msgspec.Meta:
    return msgspec.Meta(pattern=rf"^(?:[0-9a-f]{{2}}){{{sizes_bytes}}}\Z")


_Line = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{1,128}\Z")]
_Digest = Annotated[str, _hexadecimal("32")]


class _WireShares(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    identifier: int
    groups_needed: int
    groups: Annotated[list[tuple[int, int]], msgspec.Meta(max_length=16)]


class _WireKek(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kcv: Annotated[str, _hexadecimal("5")]
    shares: _WireShares


class _WireToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    serial: _Line
    label: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{0,128}\Z")]


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["strongroom-key-backup-1"]
    label: Annotated[str, msgspec.Meta(max_length=61)]
    role: str
    product: str | None
    algorithm: Literal["ec-p256"]
    spki: Annotated[str, _hexadecimal("91")]
    framing: Framing
    wrapped: Annotated[str, _hexadecimal("24,512")]
    kek: _WireKek
    token: _WireToken
    made_at: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]
    made_by: _Line
    ceremony_digest: _Digest | None
    mac: _Digest


def decode_backup(data: bytes) -> BackupFile:
    """Read a backup file; raises FormatError for anything that `encode` does not make."""
    fields = parse_canonical(data, _WHAT, BACKUP_SIZE_BYTES_MAX)
    try:
        wire = msgspec.convert(fields, _Wire)
        backup = _of_wire(wire)
        if (backup.parts.role.value, backup.parts.product) != (wire.role, wire.product):
            raise ValueError("role or product are not those of the label")
    except (msgspec.ValidationError, ValueError, ConfigurationError, PolicyViolation) as error:
        raise FormatError(_WHAT, 0, " ".join(str(error).split())) from None
    if backup.encode() != data:
        raise FormatError(_WHAT, 0, "not as it was written")
    return backup


def _of_wire(wire: _Wire) -> BackupFile:
    shares = wire.kek.shares
    return BackupFile(
        label=wire.label,
        public_key=PublicKey.from_spki(bytes.fromhex(wire.spki)),
        wrapped=WrappedKey(wire.framing, bytes.fromhex(wire.wrapped)),
        kek=KekIdentity(
            bytes.fromhex(wire.kek.kcv), ShareSet(shares.identifier, shares.groups_needed, tuple(shares.groups))
        ),
        token_serial=wire.token.serial,
        token_label=wire.token.label,
        made_at=datetime.strptime(wire.made_at, _TIME_FORMAT).replace(tzinfo=UTC),
        made_by=wire.made_by,
        ceremony_digest=None if wire.ceremony_digest is None else bytes.fromhex(wire.ceremony_digest),
        mac=bytes.fromhex(wire.mac),
    )
