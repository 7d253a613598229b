"""Reviewed files as a rehearsal needs them: what they say of real keys, they say of the stand-ins instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from cli.ceremony_shares import MemoryShares
from pki.values import Digest, PublicKey, Scheme, Signature

if TYPE_CHECKING:
    from signer.signing_key import SigningKey

_BUNDLE_MAGIC = b"SRB1"
_MANIFEST_MAGIC = b"SRM1"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_MANIFEST_OFFSET = 32


class SoftwareKey:
    """A signing key in memory, for stand-ins whose token is not there."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._key = ec.generate_private_key(ec.SECP256R1())
        encoded = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public_key = PublicKey.from_spki(encoded)

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:  # noqa: ARG002 (there is one scheme)
        """As tokens do: raw ECDSA over the digest."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

        r, s = decode_dss_signature(self._key.sign(digest.value, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return Signature(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


class StandIns(msgspec.Struct):
    """Which key stands for which; `software` are those that no token of the rehearsal has; its custodians' shares."""

    keys: dict[PublicKey, PublicKey] = {}
    software: dict[PublicKey, SoftwareKey] = {}
    shares: MemoryShares = msgspec.field(default_factory=MemoryShares)

    def key_id(self, key_id: bytes) -> bytes:
        """The stand-in's 8-byte id; the same where there is none."""
        return {real.key_id: stand_in.key_id for real, stand_in in self.keys.items()}.get(key_id, key_id)


RootSigner = Callable[[PublicKey], "SigningKey | None"]
"""The stand-in of a root by its public key; None for one that may not sign."""


def stand_in_file(content: bytes, made: StandIns, roots: RootSigner) -> bytes:
    """The file for the rehearsal: a trust bundle, prepared package or certificate rewritten, else as it is.

    Raises FormatError, InputRefused for one that is damaged.
    """
    if content.startswith(_BUNDLE_MAGIC):
        return _stand_in_bundle(content, made, roots)
    if content[_MANIFEST_OFFSET:].startswith(_MANIFEST_MAGIC):
        return _stand_in_package(content, made)
    if content.startswith(_CERTIFICATE):
        return _stand_in_certificate(content, made)
    return content


def _stand_in_certificate(content: bytes, made: StandIns) -> bytes:
    """The same certificate for the stand-in's key. Its signature is then none; no act of a ceremony looks at it."""
    from base64 import b64encode

    from pki.x509_parse import certificate_der, certificate_public_key, parse_certificate

    der = certificate_der(content)
    real = certificate_public_key(parse_certificate(der))
    stand_in = made.keys.get(real, real)
    other = der.replace(real.spki, stand_in.spki).replace(real.cka_id, stand_in.cka_id)
    return _CERTIFICATE + b"\n" + b64encode(other) + b"\n-----END CERTIFICATE-----\n"


def _stand_in_bundle(content: bytes, made: StandIns, roots: RootSigner) -> bytes:
    """The same version with other keys, signed by as many of its own stand-in roots as it needs."""
    from dataclasses import replace

    from signer.signing_key import sign_verified
    from signer.trust_bundles.content import RevokedKey
    from signer.trust_bundles.encoding import (
        BundleSignature,
        RootSet,
        assemble,
        bundle_digest,
        decode_bundle,
        unsigned_bundle,
    )

    said, _ = decode_bundle(content)
    other = replace(
        said,
        roots=tuple(made.keys.get(root, root) for root in said.roots),
        role_keys=tuple(replace(entry, key=made.keys.get(entry.key, entry.key)) for entry in said.role_keys),
        revoked=tuple(RevokedKey(made.key_id(entry.key_id), entry.stops_installed_images) for entry in said.revoked),
    )
    digest = bundle_digest(unsigned_bundle(other))
    ordered = sorted(other.roots, key=lambda root: root.point)
    signers = [(place, key) for place, root in enumerate(ordered) if (key := roots(root)) is not None]
    signatures = [
        BundleSignature(RootSet.OWN, place, sign_verified(key, digest)) for place, key in signers[: said.root_threshold]
    ]
    return assemble(other, signatures)


def _stand_in_package(content: bytes, made: StandIns) -> bytes:
    """The same prepared package for other signers: nothing is signed yet, so only the head's key ids change."""
    from signer.packages.layout import SIGNED_SIZE_BYTES
    from signer.packages.manifest import decode_manifest, encode_manifest

    said = decode_manifest(content[:SIGNED_SIZE_BYTES])
    signers = tuple(sorted(made.key_id(key_id) for key_id in said.signer_key_ids))
    return encode_manifest(msgspec.structs.replace(said, signer_key_ids=signers)) + content[SIGNED_SIZE_BYTES:]
