"""Signing a prepared package away from every network: the reviewed digest covers the package, byte for byte."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from ceremonies.acts.base import Act, Foreseen, Outcome
from ceremonies.rules import NOT_THIS_CEREMONYS, PRECONDITION
from pki.errors import CeremonyAborted
from pki.roles import Role

if TYPE_CHECKING:
    from ceremonies.workplace import Workplace

Names = Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=2)]


class SignPackage(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The signatures of `signers` on a prepared package, and the trailer.

    With `request` (and its approvals) the signing service decides, as it must in production; without, in development,
    the ceremony itself does.
    """

    NAME: ClassVar[str] = "sign-package"

    product: str
    prepared: str
    signers: Names
    tokens_used: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=4)]
    artefact: str
    request: str | None = None
    approvals: Annotated[tuple[str, ...], msgspec.Meta(max_length=8)] = ()
    sbom: str | None = None
    tests: str | None = None

    def text(self) -> str:
        """For the script."""
        by = " and ".join(self.signers)
        asked = f" It was asked for in {self.request}." if self.request is not None else ""
        return f"The package {self.prepared} of {self.product} is signed by {by}, as {self.artefact}.{asked}"

    def tokens(self) -> tuple[str, ...]:
        """Those of the signers, and of the trailer's key."""
        return self.tokens_used

    def files(self) -> tuple[str, ...]:
        """The package; the request and the approvals with their signatures; what the request speaks of."""
        statements = (*((self.request,) if self.request is not None else ()), *self.approvals)
        others = tuple(path for path in (self.sbom, self.tests) if path is not None)
        return (self.prepared, *statements, *(f"{path}.sig" for path in statements), *others)

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """The keys can sign then. Raises CeremonyAborted CE-15."""
        for token in self.tokens_used:
            foreseen.require_unlocked(token)
        for label in self.signers:
            fact = foreseen.key(label)
            if fact.role not in {Role.APPLICATION_RELEASE, Role.BOOTLOADER_RELEASE, Role.PRODUCTION}:
                raise CeremonyAborted(PRECONDITION, f"key {label} has the role {fact.role}, which signs no packages")
            foreseen.require_signing(label, fact.role, next((name for name in fact.tokens), "none"))
        return foreseen.with_artefact(self.artefact)

    def perform(self, place: Workplace, _step: str) -> Outcome:
        """Verify and sign what was reviewed; a package that an interrupted run had finished stays as it is."""
        from signer.packages.layout import SIGNED_SIZE_BYTES

        path = place.artefacts.path(self.artefact)
        if not place.artefacts.has(self.artefact):
            place.sign_package(self, path)
        content = place.artefacts.adopt(self.artefact)
        require_signed(place, self.signers, content)
        if content[:SIGNED_SIZE_BYTES] != place.reviewed_file(self.prepared)[:SIGNED_SIZE_BYTES]:
            raise CeremonyAborted(NOT_THIS_CEREMONYS, f"{self.artefact} is there, and is not what was reviewed, signed")
        return Outcome(
            {
                "product": self.product,
                "prepared": self.prepared,
                "signers": list(self.signers),
                "artefact": self.artefact,
            },
            {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)},
        )


def require_signed(place: Workplace, signers: tuple[str, ...], content: bytes) -> None:
    """Every signature is there and verifies under the recorded keys. Raises SignatureInvalid."""
    from pki.values import Signature
    from signer.packages.layout import SIGNATURE_OFFSETS, SIGNATURE_SIZE_BYTES, SIGNED_SIZE_BYTES
    from signer.packages.manifest import decode_manifest, tbs_digest
    from signer.signing_key import verify_signature

    manifest = decode_manifest(content[:SIGNED_SIZE_BYTES])
    digest = tbs_digest(content)
    keys = {key.key_id: key for label in signers if (key := place.store.key(label).public_key) is not None}
    for key_id, offset in zip(manifest.signer_key_ids, SIGNATURE_OFFSETS, strict=False):
        verify_signature(keys[key_id], digest, Signature(content[offset : offset + SIGNATURE_SIZE_BYTES]))
