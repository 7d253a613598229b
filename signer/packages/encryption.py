"""The content key of a package: drawn, entered in the ledger, wrapped (docs/spec/package.md, section 6)."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from pki.errors import InputRefused
from pki.values import Digest, PublicKey
from signer.packages.layout import SALT_SIZE_BYTES, context
from signer.packages.manifest import WrappedContentKey
from signer.packages.terms import PackageRequest, PackageTerms, RecipientMode
from signer.signing_key import require_on_curve

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

RandomSource = Callable[[int], bytes]
"""Gives that many random bytes: the HSM's generator, injected."""

CONTENT_KEY_SIZE_BYTES = 32

_COMMITMENT_CONTEXT = context("SR-cek-v1")
_LEDGER_CONTEXT = context("SR-cek-used-v1")
_WRAP_CONTEXT = context("SR-wrap-v1")
# Order of the group of P-256 (SP 800-186, section 3.2.1.3).
_GROUP_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class EphemeralKey(Protocol):
    """A P-256 key pair used for one package."""

    @property
    def public_key(self) -> PublicKey:
        """The public half, which goes into the head."""

    def agree(self, recipient: PublicKey) -> bytes:
        """The X coordinate of ECDH with the recipient, 32 bytes (SP 800-56A Rev 3, section 5.7.1.2)."""


class ContentKeyLedger(Protocol):
    """Remembers every content key ever used, as fingerprints."""

    def claim(self, fingerprint: bytes) -> None:
        """Enter a fingerprint durably, before its key is used; raises PolicyViolation CEK-REUSE if it is there."""


class ContentKeyVault(Protocol):
    """Keeps the content keys of packages whose devices get them by grant, wrapped at rest."""

    def keep(self, cek_commitment: bytes, content_key: bytes) -> None:
        """Store the key durably under its commitment, before the package exists."""


class PackagingMeans(msgspec.Struct, frozen=True):
    """What packaging needs from outside: randomness, ephemeral keys, the ledger, and for grants the vault."""

    random: RandomSource
    new_ephemeral_key: Callable[[], EphemeralKey]
    content_key_ledger: ContentKeyLedger
    content_key_vault: ContentKeyVault | None = None


class ContentKey(msgspec.Struct, frozen=True):
    """A content key that was entered in the ledger, and what the head says about it. The key shows in no repr."""

    secret: bytes
    wrapped: WrappedContentKey

    def __repr__(self) -> str:
        return f"ContentKey(secret=…, wrapped={self.wrapped!r})"


def new_salt(random: RandomSource) -> bytes:
    """The package's salt, 32 bytes."""
    return _drawn(random, SALT_SIZE_BYTES)


def new_content_key(request: PackageRequest, image_salt: bytes, means: PackagingMeans) -> ContentKey | None:
    """Draw, enter in the ledger, wrap; None for an unencrypted factory test.

    Raises PolicyViolation CEK-REUSE, InputRefused for a package by grant without a vault, and what the means raise.
    """
    mode = request.terms.recipient_mode
    if mode is RecipientMode.NONE:
        return None
    if mode is RecipientMode.GRANT and means.content_key_vault is None:
        raise InputRefused("a package that needs a grant needs a place that keeps its content key; none is set up")
    secret = _drawn(means.random, CONTENT_KEY_SIZE_BYTES)
    means.content_key_ledger.claim(content_key_fingerprint(secret))
    commitment = cek_commitment(image_salt, secret)
    if request.recipient is None:
        if means.content_key_vault is not None:
            means.content_key_vault.keep(commitment, secret)
        return ContentKey(secret, WrappedContentKey(cek_commitment=commitment))
    ephemeral = means.new_ephemeral_key()
    wrapped = WrappedContentKey(
        cek_commitment=commitment,
        ephemeral_public_key=ephemeral.public_key.point,
        wrapped_cek=wrap_content_key(secret, request.terms, image_salt, request.recipient, ephemeral),
        recipient_key_id=request.recipient.key_id,
    )
    return ContentKey(secret, wrapped)


def content_key_fingerprint(content_key: bytes) -> bytes:
    """What the ledger remembers, 32 bytes: SHA-256 under a context of its own, so it tells nothing about the key."""
    return Digest.of(_LEDGER_CONTEXT, content_key).value


def cek_commitment(image_salt: bytes, content_key: bytes) -> bytes:
    """What the head commits to, 32 bytes."""
    return Digest.of(_COMMITMENT_CONTEXT, image_salt, content_key).value


def wrap_content_key(
    content_key: bytes, terms: PackageTerms, image_salt: bytes, recipient: PublicKey, ephemeral: EphemeralKey
) -> bytes:
    """The content key under a mask that only the recipient can compute, 32 bytes; raises InputRefused off the curve."""
    require_on_curve(recipient, "the recipient's key")
    info = b"".join(
        (
            _WRAP_CONTEXT,
            terms.product_id,
            image_salt,
            bytes((terms.recipient_mode,)),
            terms.target_uid,
            ephemeral.public_key.point,
            recipient.point,
        )
    )
    mask = _hkdf_sha256(ephemeral.agree(recipient), info)
    return bytes(a ^ b for a, b in zip(content_key, mask, strict=True))


def software_ephemeral_key(random: RandomSource) -> EphemeralKey:
    """An ephemeral key in this process, from 48 random bytes (FIPS 186-5, appendix A.2.1: extra random bits)."""
    from cryptography.hazmat.primitives.asymmetric import ec

    scalar = int.from_bytes(_drawn(random, 48), "big") % (_GROUP_ORDER - 1) + 1
    return _SoftwareEphemeralKey(ec.derive_private_key(scalar, ec.SECP256R1()))


class _SoftwareEphemeralKey:
    __slots__ = ("_private", "public_key")

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        numbers = private.public_key().public_numbers()
        self.public_key = PublicKey(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))
        self._private = private

    def agree(self, recipient: PublicKey) -> bytes:
        from cryptography.hazmat.primitives.asymmetric import ec

        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + recipient.point)
        return self._private.exchange(ec.ECDH(), peer)


def _hkdf_sha256(key_material: bytes, info: bytes) -> bytes:
    """RFC 5869 with an empty salt and 32 bytes of output, so that Expand has one round."""
    pseudo_random_key = hmac.digest(bytes(32), key_material, "sha256")
    return hmac.digest(pseudo_random_key, info + b"\x01", "sha256")


def _drawn(random: RandomSource, size_bytes: int) -> bytes:
    """Random bytes, checked for the one failure of a generator that shows at once."""
    drawn = random(size_bytes)
    if len(drawn) != size_bytes or not any(drawn):
        raise InputRefused("the random generator returned too few bytes or only zeros; do not use this token")
    return drawn
