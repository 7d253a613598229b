"""What the key store takes and gives: frozen values, free of any database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pki.errors import InputRefused
from pki.key_specs import KEY_SPECS, KeyAlgorithm, KeySpec, parse_key_label
from pki.key_states import KeyState
from pki.roles import Role
from pki.values import PublicKey
from signer.store.custody_values import BackupRecord, CopyOrigin, CopyRecord

CKA_ID_SIZE_BYTES = 20
MAX_WHO_LENGTH = 128
MAX_REASON_LENGTH = 512
MAX_TOKEN_SERIAL_LENGTH = 64
MAX_TOKEN_LABEL_LENGTH = 64
MAX_MODULE_PATH_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class Change:
    """When, by whom and why: every write to the store carries one. `now` carries a time zone."""

    now: datetime
    who: str
    reason: str

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise ValueError("the time of a change carries a time zone")
        _require_line("who makes the change", self.who, 1, MAX_WHO_LENGTH)
        _require_line("the reason of the change", self.reason, 1, MAX_REASON_LENGTH)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """The token a key is on. Serial and label together name it, since some modules give all their tokens one serial."""

    serial: str
    label: str
    module_path: str

    def __post_init__(self) -> None:
        _require_line("a token's serial number", self.serial, 1, MAX_TOKEN_SERIAL_LENGTH)
        _require_line("a token's label", self.label, 0, MAX_TOKEN_LABEL_LENGTH)
        _require_line("a module's path", self.module_path, 1, MAX_MODULE_PATH_LENGTH)

    @property
    def identity(self) -> tuple[str, str]:
        """What tells it from every other token: serial and label. The module may move."""
        return (self.serial, self.label)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to record. Role, product and algorithm follow from the label, so that they cannot contradict it.

    `public_key` is None exactly for secret keys; for the others `cka_id` must be the one derived from it. Raises
    ConfigurationError for a label outside the scheme, InputRefused for the rest.
    """

    label: str
    cka_id: bytes
    public_key: PublicKey | None
    token: TokenRecord
    created_at: datetime

    def __post_init__(self) -> None:
        if self.created_at.tzinfo is None:
            raise ValueError("the time a key was created carries a time zone")
        if len(self.cka_id) != CKA_ID_SIZE_BYTES:
            raise InputRefused(f"key {self.label}: a CKA_ID has {CKA_ID_SIZE_BYTES} bytes, not {len(self.cka_id)}")
        if (self.public_key is not None) is not (self.spec.algorithm is KeyAlgorithm.EC_P256):
            raise InputRefused(f"key {self.label}: a public key belongs to EC keys and only to them")
        if self.public_key is not None and self.public_key.cka_id != self.cka_id:
            raise InputRefused(f"key {self.label}: its CKA_ID is not the one derived from its public key")

    @property
    def spec(self) -> KeySpec:
        """The spec of the role in the label."""
        return KEY_SPECS[parse_key_label(self.label).role]

    @property
    def product(self) -> str | None:
        """The product in the label; None for a key that serves every product."""
        return parse_key_label(self.label).product


@dataclass(frozen=True, slots=True)
class StateChange:
    """One entry of a key's history; `sequence` counts from 1, and only the first has no `from_state`."""

    sequence: int
    from_state: KeyState | None
    to_state: KeyState
    change: Change


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate that was or is a key's own. `ended_at` is None for the current one.

    `serial_number` is unsigned, as lower-case hexadecimal digits without leading zeros; the names are RFC 4514 strings.
    """

    der: bytes
    sha256: bytes
    serial_number: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    added: Change
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """All that is recorded of one key, and its current state and certificate."""

    cka_id: bytes
    label: str
    role: Role
    product: str | None
    algorithm: KeyAlgorithm
    public_key: PublicKey | None
    token: TokenRecord
    created_at: datetime
    not_before: datetime | None
    not_after: datetime | None
    state: KeyState
    state_since: datetime
    certificate: CertificateRecord | None
    copies: tuple[CopyRecord, ...] = ()
    backups: tuple[BackupRecord, ...] = ()

    @property
    def spec(self) -> KeySpec:
        """What its role demands of it."""
        return KEY_SPECS[self.role]

    @property
    def tokens(self) -> tuple[TokenRecord, ...]:
        """Every token that has it now: its home first, unless that has it no more, then its current copies."""
        left_home = any(copy.origin is CopyOrigin.GENERATED for copy in self.copies)
        current = tuple(copy.token for copy in self.copies if copy.ended is None)
        return current if left_home else (self.token, *current)

    @property
    def was_extractable(self) -> bool:
        """Whether it was wrapped when it was generated: for a backup file, or for a copy."""
        return bool(self.backups) or any(copy.origin is CopyOrigin.TRANSFERRED for copy in self.copies)

    def origin_on(self, token: tuple[str, str]) -> CopyOrigin | None:
        """How the instance on a token (serial, label) came there; None if there is none (any more)."""
        for copy in self.copies:
            if copy.ended is None and copy.token.identity == token:
                return copy.origin
        at_home = self.token.identity == token and self.token in self.tokens
        return CopyOrigin.GENERATED if at_home else None


def _require_line(what: str, text: str, min_length: int, max_length: int) -> None:
    if not min_length <= len(text) <= max_length or not (text.isprintable() and text == text.strip()):
        raise InputRefused(
            f"{what} is one line of {min_length} to {max_length} printable characters, not {text[:40]!r}"
        )
