"""Values for tests of the key store and the inventory."""

from __future__ import annotations

import hashlib
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from pki.key_specs import KEY_SPECS, KeyAlgorithm, key_label
from pki.roles import Role
from pki.values import PublicKey
from signer.store.custody_values import NewBackup
from signer.store.values import Change, NewKey, TokenRecord

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
DAY = timedelta(days=1)
TOKEN = TokenRecord("7bd61f2e0a9c4e01", "release", "/usr/lib/softhsm/libsofthsm2.so")
OTHER_TOKEN = TokenRecord("7bd61f2e0a9c4e01", "roots", "/usr/lib/softhsm/libsofthsm2.so")
"""Of the same serial, as NSS softokn's tokens are."""


THIRD_TOKEN = TokenRecord("00c0ffee00c0ffee", "spare", "/usr/lib/softhsm/libsofthsm2.so")
BACKUP = NewBackup(bytes(range(32)), bytes(range(5)), None)


def change(now: datetime = NOW, reason: str = "test", who: str = "alice@example.com") -> Change:
    return Change(now, who, reason)


def public_key(seed: int) -> PublicKey:
    """A different one for each seed; whether it is on the curve is no concern of the store."""
    return PublicKey(hashlib.sha512(seed.to_bytes(8, "big")).digest())


def new_key(
    role: Role = Role.APPLICATION_RELEASE,
    product: str | None = "pump-x2",
    sequence: int = 1,
    *,
    seed: int | None = None,
    token: TokenRecord = TOKEN,
    key: PublicKey | None = None,
) -> NewKey:
    spec = KEY_SPECS[role]
    label = key_label(spec, product, sequence)
    own_seed = int.from_bytes(hashlib.sha256(label.encode()).digest()[:6], "big") if seed is None else seed
    if spec.algorithm is KeyAlgorithm.AES_256:
        return NewKey(label, hashlib.sha256(own_seed.to_bytes(8, "big")).digest()[:20], None, token, NOW)
    pair = key or public_key(own_seed)
    return NewKey(label, pair.cka_id, pair, token, NOW)


def software_key() -> tuple[ec.EllipticCurvePrivateKey, PublicKey]:
    private = ec.generate_private_key(ec.SECP256R1())
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return private, PublicKey.from_spki(spki)


def certificate_for(
    private: ec.EllipticCurvePrivateKey,
    *,
    subject: str = "Release key",
    serial_number: int = 0x0123456789ABCDEF,
    not_before: datetime = NOW,
    not_after: datetime = NOW + 365 * DAY,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """A self-signed certificate, DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(serial_number)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    return builder.sign(private, digest or hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def raw(path: Path) -> sqlite3.Connection:
    """The file as anybody with an SQLite shell opens it."""
    return sqlite3.connect(path, isolation_level=None)
