"""Roots sign a trust bundle one at a time, each where its token is; in between it is a bundle with fewer signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pki.errors import InputRefused, SignatureInvalid
from pki.values import PublicKey
from signer.signing_key import SigningKey, sign_verified, verify_signature
from signer.trust_bundles.content import TrustBundleContent
from signer.trust_bundles.encoding import (
    BundleSignature,
    RootSet,
    assemble,
    bundle_digest,
    decode_bundle,
)


@dataclass(frozen=True, slots=True)
class SignatureStatus:
    """How far the signing of a bundle has come; every signature counted was verified.

    `own_threshold` and `previous_threshold` are what each set of roots needs; a genesis bundle needs nothing of
    previous roots, so theirs is 0.
    """

    own_signers: tuple[PublicKey, ...]
    own_threshold: int
    previous_signers: tuple[PublicKey, ...]
    previous_threshold: int

    @property
    def complete(self) -> bool:
        """Whether both thresholds are reached."""
        return len(self.own_signers) >= self.own_threshold and len(self.previous_signers) >= self.previous_threshold


def add_signature(bundle: bytes, key: SigningKey, previous_bundle: bytes | None = None) -> bytes:
    """Sign with one root, and return the bundle with its signature added.

    A root of the previous version and of this one signs once, and counts in both sets. Everything already there is
    verified first. Raises FormatError, SignatureInvalid, TokenError; InputRefused for a key that is no root or has
    signed already, and for a successor without its previous bundle.
    """
    content, signatures = decode_bundle(bundle)
    previous = _previous_content(content, previous_bundle)
    _verify_all(bundle, content, previous, signatures)
    places = _places_of(key.public_key, content, previous)
    taken = {(entry.root_set, entry.root_index) for entry in signatures}
    if not places:
        raise InputRefused(f"key {key.public_key.key_id.hex()} is not a root of this trust bundle or the one before it")
    if taken.issuperset(places):
        raise InputRefused(f"root {key.public_key.key_id.hex()} has signed this trust bundle already")
    signature = sign_verified(key, bundle_digest(bundle))
    added = [BundleSignature(*place, signature) for place in places if place not in taken]
    return assemble(content, [*signatures, *added])


def signature_status(bundle: bytes, previous_bundle: bytes | None = None) -> SignatureStatus:
    """Verify every signature and say whose are there; raises FormatError, SignatureInvalid, InputRefused."""
    content, signatures = decode_bundle(bundle)
    previous = _previous_content(content, previous_bundle)
    signers = _verify_all(bundle, content, previous, signatures)
    return SignatureStatus(
        own_signers=tuple(key for root_set, key in signers if root_set is RootSet.OWN),
        own_threshold=content.root_threshold,
        previous_signers=tuple(key for root_set, key in signers if root_set is RootSet.PREVIOUS),
        previous_threshold=previous.root_threshold if previous else 0,
    )


def own_signers(bundle: bytes) -> tuple[PublicKey, ...]:
    """Whose signatures are there of the bundle's own roots, each verified; raises FormatError, SignatureInvalid.

    Those of the previous version's roots are not looked at: without that version nobody can.
    """
    content, signatures = decode_bundle(bundle)
    own = [entry for entry in signatures if entry.root_set is RootSet.OWN]
    return tuple(key for _, key in _verify_all(bundle, content, None, own))


def _previous_content(content: TrustBundleContent, previous_bundle: bytes | None) -> TrustBundleContent | None:
    if content.version == 1:
        if previous_bundle is not None:
            raise InputRefused("the genesis bundle has no previous one; leave it out")
        return None
    if previous_bundle is None:
        raise InputRefused(
            f"to sign version {content.version}, give the trust bundle of version {content.version - 1} too"
        )
    previous, _ = decode_bundle(previous_bundle)
    if (
        previous.product_id != content.product_id
        or previous.version != content.version - 1
        or bundle_digest(previous_bundle).value != content.previous_digest
    ):
        raise InputRefused("the previous trust bundle given is not the one that this one follows")
    return previous


def _verify_all(
    bundle: bytes,
    content: TrustBundleContent,
    previous: TrustBundleContent | None,
    signatures: Sequence[BundleSignature],
) -> list[tuple[RootSet, PublicKey]]:
    digest = bundle_digest(bundle)
    signers = []
    for entry in signatures:
        roots = _ordered_roots(content if entry.root_set is RootSet.OWN else previous)
        if entry.root_index >= len(roots):
            raise SignatureInvalid(
                f"a signature names root {entry.root_index}, which does not exist; gather them again"
            )
        key = roots[entry.root_index]
        verify_signature(key, digest, entry.signature)
        signers.append((entry.root_set, key))
    return signers


def _places_of(
    key: PublicKey, content: TrustBundleContent, previous: TrustBundleContent | None
) -> list[tuple[RootSet, int]]:
    """Where the key's signature belongs: as a root of this version, of the previous one, or both."""
    places = []
    for root_set, roots_of in ((RootSet.PREVIOUS, previous), (RootSet.OWN, content)):
        roots = _ordered_roots(roots_of)
        if key in roots:
            places.append((root_set, roots.index(key)))
    return places


def _ordered_roots(content: TrustBundleContent | None) -> list[PublicKey]:
    """In their order on the wire."""
    return sorted(content.roots, key=lambda root: root.point) if content else []
