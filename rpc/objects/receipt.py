"""The receipt: an activation or a service order took effect, says the device (docs/spec/activation.md, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pki.values import Digest, PublicKey
from rpc.objects.protection import KNOWN_FLAGS, Protection
from rpc.objects.reading import SIGNATURE_SIZE_BYTES, ObjectReader
from rpc.objects.verifying import object_digest, require_same, verify_signature

RECEIPT_SIZE_BYTES: Final = 320
_MAGIC: Final = b"SRR1"
_CONTEXT: Final = "SR-receipt-v1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Fields as in the specification; `raw` is what was signed."""

    lifecycle: int
    uid: bytes
    nonce: bytes
    object_digest: bytes
    identity_public_key: bytes
    agreement_public_key: bytes
    protection: Protection
    trust_bundle_version: int
    signature: bytes
    raw: bytes

    @classmethod
    def parse(cls, data: bytes) -> Receipt:
        """Raises FormatError. Nothing is verified yet."""
        reader = ObjectReader(data, "a receipt", _MAGIC, RECEIPT_SIZE_BYTES)
        lifecycle = reader.u8("lifecycle")
        uid, nonce, answered = reader.raw(16), reader.raw(32), reader.raw(32)
        identity, agreement = reader.raw(64), reader.raw(64)
        protection = Protection(reader.flags("protection", KNOWN_FLAGS, size_bytes=2))
        reader.reserved(2)
        trust_bundle_version = reader.u32()
        reader.reserved(32)
        return cls(
            lifecycle=lifecycle,
            uid=uid,
            nonce=nonce,
            object_digest=answered,
            identity_public_key=identity,
            agreement_public_key=agreement,
            protection=protection,
            trust_bundle_version=trust_bundle_version,
            signature=reader.raw(SIGNATURE_SIZE_BYTES),
            raw=data,
        )

    @property
    def digest(self) -> Digest:
        """What the device signed."""
        return object_digest(_CONTEXT, self.raw[:-SIGNATURE_SIZE_BYTES])

    def verify(
        self, identity_public_key: PublicKey, *, nonce: bytes | None = None, answered: Digest | None = None
    ) -> None:
        """Verify under the key that is known for this device, not the one that the receipt names.

        Who decides by a receipt gives the nonce of the challenge, and `answered`, the digest of the activation or
        service order: without them an old receipt of the same device passes.
        Raises WrongTarget (LK-13), SignatureInvalid (LK-12).
        """
        require_same(self.identity_public_key, identity_public_key.point, "the receipt names another identity key")
        verify_signature(identity_public_key, self.digest, self.signature, "the receipt")
        if nonce is not None:
            require_same(self.nonce, nonce, "the receipt answers another challenge's object")
        if answered is not None:
            require_same(self.object_digest, answered.value, "the receipt is for another object")
