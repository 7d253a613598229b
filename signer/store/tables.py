"""The tables as SQLAlchemy sees them. The migrations are what makes them; a test holds the two together."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from pki.key_specs import KeyAlgorithm
from pki.key_states import KeyState
from pki.roles import Role
from signer.store.custody_values import CopyOrigin
from signer.store.stored_times import text_to_time, time_to_text


class StoredTime(TypeDecorator[datetime]):
    """A time with its zone in Python, the text of stored_times.py in the file."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> str | None:  # noqa: ARG002 (SQLAlchemy's)
        """To the file."""
        return None if value is None else time_to_text(value)

    def process_result_value(self, value: str | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """From the file; ValueError for anything else."""
        return None if value is None else text_to_time(value)


class StoredName(TypeDecorator[Enum]):
    """A member of an enumeration in Python, its value in the file."""

    impl = Text
    cache_ok = True

    def __init__(self, enumeration: type[Enum]) -> None:
        super().__init__()
        self.enumeration = enumeration

    def process_bind_param(self, value: Enum | None, dialect: Any) -> str | None:  # noqa: ARG002
        """To the file."""
        return None if value is None else str(self.enumeration(value).value)

    def process_result_value(self, value: str | None, dialect: Any) -> Enum | None:  # noqa: ARG002
        """From the file; ValueError for a name that is not a member's."""
        return None if value is None else self.enumeration(value)


class Base(DeclarativeBase):
    """Collects the tables' metadata."""

    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        str: Text,
        bytes: LargeBinary,
        datetime: StoredTime,
        Role: StoredName(Role),
        KeyAlgorithm: StoredName(KeyAlgorithm),
        KeyState: StoredName(KeyState),
        CopyOrigin: StoredName(CopyOrigin),
    }


class TokenRow(Base):
    """A token that keys are on."""

    __tablename__ = "tokens"
    __table_args__ = (UniqueConstraint("serial", "label"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    serial: Mapped[str]
    label: Mapped[str]
    module_path: Mapped[str]


class KeyRow(Base):
    """A key. Its state is not here, but in its newest state change."""

    __tablename__ = "keys"

    cka_id: Mapped[bytes] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(unique=True)
    role: Mapped[Role]
    product: Mapped[str | None]
    algorithm: Mapped[KeyAlgorithm]
    spki: Mapped[bytes | None] = mapped_column(unique=True)
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"))
    created_at: Mapped[datetime]
    not_before: Mapped[datetime | None]
    not_after: Mapped[datetime | None]

    token: Mapped[TokenRow] = relationship(lazy="joined", innerjoin=True)
    changes: Mapped[list[StateChangeRow]] = relationship(lazy="selectin", order_by="StateChangeRow.sequence")
    certificates: Mapped[list[CertificateRow]] = relationship(
        lazy="selectin", order_by="(CertificateRow.added_at, CertificateRow.sha256)"
    )
    backups: Mapped[list[KeyBackupRow]] = relationship(lazy="selectin", order_by="KeyBackupRow.digest")
    copies: Mapped[list[KeyCopyRow]] = relationship(lazy="selectin", order_by="KeyCopyRow.id")


class StateChangeRow(Base):
    """One entry of a key's append-only history."""

    __tablename__ = "key_state_changes"

    cka_id: Mapped[bytes] = mapped_column(ForeignKey("keys.cka_id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    from_state: Mapped[KeyState | None]
    to_state: Mapped[KeyState]
    changed_at: Mapped[datetime]
    changed_by: Mapped[str]
    reason: Mapped[str]


class CertificateRow(Base):
    """A certificate of a key, current while `ended_at` is NULL."""

    __tablename__ = "certificates"
    __table_args__ = (
        Index("certificates_of_key", "cka_id"),
        Index("one_current_certificate", "cka_id", unique=True, sqlite_where=text("ended_at IS NULL")),
    )

    sha256: Mapped[bytes] = mapped_column(primary_key=True)
    cka_id: Mapped[bytes] = mapped_column(ForeignKey("keys.cka_id"))
    der: Mapped[bytes]
    serial_number: Mapped[str]
    subject: Mapped[str]
    issuer: Mapped[str]
    not_before: Mapped[datetime]
    not_after: Mapped[datetime]
    added_at: Mapped[datetime]
    added_by: Mapped[str]
    reason: Mapped[str]
    ended_at: Mapped[datetime | None]


class KeyBackupRow(Base):
    """A backup file of a key, there while `ended_at` is NULL."""

    __tablename__ = "key_backups"
    __table_args__ = (Index("backups_of_key", "cka_id"),)

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    cka_id: Mapped[bytes] = mapped_column(ForeignKey("keys.cka_id"))
    method: Mapped[str]
    kek_kcv: Mapped[bytes]
    ceremony_digest: Mapped[bytes | None]
    made_at: Mapped[datetime]
    made_by: Mapped[str]
    reason: Mapped[str]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None]
    end_reason: Mapped[str | None]


class KeyCopyRow(Base):
    """A copy of a key on a further token, current while `ended_at` is NULL; or that its first token has it no more."""

    __tablename__ = "key_copies"
    __table_args__ = (
        Index("copies_of_key", "cka_id"),
        Index("one_current_copy", "cka_id", "token_id", unique=True, sqlite_where=text("ended_at IS NULL")),
        Index("one_end_of_home", "cka_id", unique=True, sqlite_where=text("origin = 'generated'")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    cka_id: Mapped[bytes] = mapped_column(ForeignKey("keys.cka_id"))
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"))
    origin: Mapped[CopyOrigin]
    made_at: Mapped[datetime]
    made_by: Mapped[str]
    reason: Mapped[str]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None]
    end_reason: Mapped[str | None]

    token: Mapped[TokenRow] = relationship(lazy="joined", innerjoin=True)


class ContentKeyUsedRow(Base):
    """A content key that has been claimed; written by signing_gate.py without SQLAlchemy."""

    __tablename__ = "content_keys_used"

    fingerprint: Mapped[bytes] = mapped_column(primary_key=True)
    claimed_at: Mapped[datetime]
