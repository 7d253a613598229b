"""The challenge, in which a device shows who it is before it is activated or serviced (activation.md, section 1)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pki.errors import SignatureInvalid
from pki.values import Digest, PublicKey
from rpc.objects.protection import KNOWN_FLAGS, Protection
from rpc.objects.reading import SIGNATURE_SIZE_BYTES, ObjectReader
from rpc.objects.verifying import agreement_proof, object_digest, public_point, require_same, verify_signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CHALLENGE_SIZE_BYTES: Final = 512
_MAGIC: Final = b"SRC1"
_CONTEXT: Final = "SR-challenge-v1"
_PROVEN_SIZE_BYTES: Final = 288
_SIMULATION: Final = 1
_FACTORY_TEST: Final = 2


def new_host_ephemeral() -> tuple[EllipticCurvePrivateKey, bytes]:
    """A fresh private key for one challenge, and its point E (64 bytes), which goes to the device."""
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    return private, public_point(private)


@dataclass(frozen=True, slots=True)
class Challenge:
    """Fields as in the specification; `raw` is what was signed."""

    lifecycle: int
    uid: bytes
    product_id: bytes
    lot: str
    hardware_revision: int
    protection: Protection
    trust_bundle_version: int
    nonce: bytes
    host_ephemeral: bytes
    identity_public_key: bytes
    agreement_public_key: bytes
    agreement_proof: bytes
    trust_bundle_digest: bytes
    order_id: bytes
    activation_digest: bytes
    is_simulation: bool
    has_factory_test: bool
    signature: bytes
    raw: bytes

    @classmethod
    def parse(cls, data: bytes) -> Challenge:
        """Raises FormatError. Nothing is verified yet."""
        reader = ObjectReader(data, "a challenge", _MAGIC, CHALLENGE_SIZE_BYTES)
        lifecycle = reader.u8("lifecycle")
        uid, product_id, lot = reader.raw(16), reader.raw(16), reader.text("lot", 16)
        hardware_revision = reader.u16()
        protection = Protection(reader.flags("protection", KNOWN_FLAGS, size_bytes=2))
        trust_bundle_version, nonce, host_ephemeral = reader.u32(), reader.raw(32), reader.raw(64)
        identity, agreement, proof = reader.raw(64), reader.raw(64), reader.raw(32)
        bundle_digest, order_id, activation_digest = reader.raw(32), reader.raw(16), reader.raw(32)
        flags = reader.flags("flags", _SIMULATION | _FACTORY_TEST)
        reader.reserved(47)
        return cls(
            lifecycle=lifecycle,
            uid=uid,
            product_id=product_id,
            lot=lot,
            hardware_revision=hardware_revision,
            protection=protection,
            trust_bundle_version=trust_bundle_version,
            nonce=nonce,
            host_ephemeral=host_ephemeral,
            identity_public_key=identity,
            agreement_public_key=agreement,
            agreement_proof=proof,
            trust_bundle_digest=bundle_digest,
            order_id=order_id,
            activation_digest=activation_digest,
            is_simulation=bool(flags & _SIMULATION),
            has_factory_test=bool(flags & _FACTORY_TEST),
            signature=reader.raw(SIGNATURE_SIZE_BYTES),
            raw=data,
        )

    @property
    def has_keys(self) -> bool:
        """Whether the device has keys of its own. Without them nothing is signed, and nothing can be verified."""
        return any(self.identity_public_key) and any(self.agreement_public_key)

    @property
    def digest(self) -> Digest:
        """What the device signed."""
        return object_digest(_CONTEXT, self.raw[:-SIGNATURE_SIZE_BYTES])

    def verify(self, host_private: EllipticCurvePrivateKey) -> None:
        """Verify that the device holds both private keys now, and answers this host's question.

        The identity key is the challenge's own: whether it is the one that is on record for this UID is the caller's
        to compare. Raises WrongTarget (LK-13), SignatureInvalid (LK-12, LK-14).
        """
        require_same(self.host_ephemeral, public_point(host_private), "the challenge answers another host's question")
        verify_signature(PublicKey(self.identity_public_key), self.digest, self.signature, "the challenge")
        proven = self.raw[:_PROVEN_SIZE_BYTES]
        try:
            expected = agreement_proof(host_private, self.agreement_public_key, proven)
        except ValueError:
            expected = b""  # no point of the curve: nothing can prove it
        if not hmac.compare_digest(self.agreement_proof, expected):
            raise SignatureInvalid("[LK-14] the device does not prove that it holds its agreement key")
