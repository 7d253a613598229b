"""The content key: commitment, fingerprint and wrap against formulas written out here; one key, one package."""

from __future__ import annotations

import hashlib
import hmac
import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pki.errors import InputRefused, PolicyViolation
from pki.values import PublicKey
from signer.packages.encryption import (
    PackagingMeans,
    cek_commitment,
    content_key_fingerprint,
    new_content_key,
    new_salt,
    software_ephemeral_key,
    wrap_content_key,
)
from signer.packages.manifest import WrappedContentKey
from signer.packages.terms import PackageType, RecipientMode, Target
from tests.unit.packages import oracle
from tests.unit.packages.builders import DEVICE_KEY, GROUP_KEY, PRODUCT_ID, UID, random_means, request, terms
from tests.unit.packages.fake.means import MemoryLedger, MemoryVault, RepeatableRandom, means_with
from tests.unit.packages.fake.software_keys import SoftwareKey

SALT = bytes(range(32))
KEY = bytes(range(64, 96))


class FixedEphemeral:
    """An ephemeral key that is known, as a token would hold one."""

    def __init__(self, name: str) -> None:
        self._key = SoftwareKey(name)
        self.public_key = self._key.public_key

    def agree(self, recipient: PublicKey) -> bytes:
        return oracle.ecdh_x(self._key.private, recipient.point)


def test_commitment_and_fingerprint_are_those_of_the_specification() -> None:
    assert cek_commitment(SALT, KEY) == hashlib.sha256(b"SR-cek-v1\0\0\0\0\0\0\0" + SALT + KEY).digest()
    assert content_key_fingerprint(KEY) == hashlib.sha256(b"SR-cek-used-v1\0\0" + KEY).digest()


@pytest.mark.parametrize(
    ("mode", "uid"), [(RecipientMode.DEVICE, UID), (RecipientMode.GROUP, bytes(16)), (RecipientMode.GROUP, UID)]
)
def test_the_wrap_is_the_one_of_the_specification(mode: RecipientMode, uid: bytes) -> None:
    asked = terms(target=Target.ONE_UID if any(uid) else Target.ANY_DEVICE, target_uid=uid, recipient_mode=mode)
    ephemeral = FixedEphemeral("ephemeral")
    wrapped = wrap_content_key(KEY, asked, SALT, DEVICE_KEY.public_key, ephemeral)
    points = ephemeral.public_key.point + DEVICE_KEY.public_key.point
    info = b"SR-wrap-v1\0\0\0\0\0\0" + PRODUCT_ID + SALT + bytes([mode]) + uid + points
    shared = oracle.ecdh_x(DEVICE_KEY.private, ephemeral.public_key.point)
    assert wrapped == oracle.wrap(KEY, info, shared)
    # RFC 5869 with an empty salt and one block of output, written out.
    mask = hmac.digest(hmac.digest(b"", shared, "sha256"), info + b"\x01", "sha256")
    assert wrapped == bytes(a ^ b for a, b in zip(KEY, mask, strict=True))


def test_only_the_right_recipient_unwraps() -> None:
    ephemeral = FixedEphemeral("ephemeral")
    wrapped = wrap_content_key(KEY, terms(), SALT, GROUP_KEY.public_key, ephemeral)
    points = ephemeral.public_key.point + DEVICE_KEY.public_key.point
    info = b"SR-wrap-v1\0\0\0\0\0\0" + PRODUCT_ID + SALT + b"\x02" + bytes(16) + points
    assert oracle.wrap(wrapped, info, oracle.ecdh_x(DEVICE_KEY.private, ephemeral.public_key.point)) != KEY


def test_a_wrap_for_a_point_off_the_curve_is_refused() -> None:
    off = PublicKey(bytes(63) + b"\x01")
    with pytest.raises(InputRefused, match="not a point"):
        wrap_content_key(KEY, terms(), SALT, off, FixedEphemeral("ephemeral"))


def test_a_repeated_content_key_is_caught() -> None:
    ledger = MemoryLedger()
    new_content_key(request(), SALT, means_with(RepeatableRandom("stuck"), ledger))
    with pytest.raises(PolicyViolation) as refusal:
        new_content_key(request(), SALT, means_with(RepeatableRandom("stuck"), ledger))
    assert refusal.value.rule_id == "CEK-REUSE"


def test_the_ledger_gets_the_fingerprint_and_never_the_key() -> None:
    ledger = MemoryLedger()
    key = new_content_key(request(), SALT, means_with(os.urandom, ledger))
    assert key is not None
    assert ledger.fingerprints == {content_key_fingerprint(key.secret)}


def test_the_content_key_shows_in_no_repr() -> None:
    key = new_content_key(request(), SALT, random_means())
    assert key is not None
    shown = repr(key)
    assert repr(key.secret) not in shown
    assert key.secret.hex() not in shown


def test_an_unencrypted_factory_test_has_no_content_key_and_asks_for_none() -> None:
    asked = request(package_type=PackageType.FACTORY_TEST, recipient_mode=RecipientMode.NONE)
    ledger = MemoryLedger()
    assert new_content_key(asked, SALT, means_with(os.urandom, ledger)) is None
    assert ledger.fingerprints == set()


def test_a_package_by_grant_keeps_its_key_in_the_vault_before_it_is_used() -> None:
    asked = request(target=Target.GRANT_REQUIRED, recipient_mode=RecipientMode.GRANT)
    vault = MemoryVault()
    key = new_content_key(asked, SALT, means_with(os.urandom, vault=vault))
    assert key is not None
    assert vault.kept == {cek_commitment(SALT, key.secret): key.secret}
    assert key.wrapped == WrappedContentKey(cek_commitment=cek_commitment(SALT, key.secret))


def test_a_package_by_grant_is_refused_where_nothing_would_keep_its_key() -> None:
    asked = request(target=Target.GRANT_REQUIRED, recipient_mode=RecipientMode.GRANT)
    ledger = MemoryLedger()
    with pytest.raises(InputRefused, match="content key"):
        new_content_key(asked, SALT, means_with(os.urandom, ledger))
    assert ledger.fingerprints == set()


@pytest.mark.parametrize("broken", [bytes, lambda size: b"\x01" * (size - 1), lambda size: b"\x01" * (size + 1)])
def test_a_generator_that_is_visibly_broken_is_refused(broken: object) -> None:
    means: PackagingMeans = means_with(broken)  # type: ignore[arg-type]
    with pytest.raises(InputRefused, match="random"):
        new_salt(means.random)
    with pytest.raises(InputRefused, match="random"):
        new_content_key(request(), SALT, means)
    with pytest.raises(InputRefused, match="random"):
        software_ephemeral_key(means.random)


def test_the_software_ephemeral_key_follows_from_48_random_bytes() -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    drawn = bytes([0xFF]) * 48
    key = software_ephemeral_key(lambda size: drawn[:size])
    expected = ec.derive_private_key(int.from_bytes(drawn, "big") % (order - 1) + 1, ec.SECP256R1())
    numbers = expected.public_key().public_numbers()
    assert key.public_key.point == numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    assert key.agree(GROUP_KEY.public_key) == oracle.ecdh_x(expected, GROUP_KEY.public_key.point)
