"""Where acts are performed: what they may use. The command line opens it; a rehearsal has one of throw-away tokens."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from ceremonies.artefacts import Artefacts

if TYPE_CHECKING:
    from pathlib import Path

    from ceremonies.acts.packages import SignPackage
    from pki.roles import Role
    from signer.authority.key_intents import KeyIntents
    from signer.authority.repository import AuthorityRepository
    from signer.certificates import CertificateKey
    from signer.custody.intents import CustodyIntents
    from signer.custody.shares import ShareSink, ShareSource
    from signer.log.values import EventKind
    from signer.signing_key import SigningKey
    from signer.store.key_store import KeyStore
    from signer.store.values import Change
    from signer.tokens.session import Session
    from signer.trust_bundles.content import TrustBundleContent
    from signer.trust_bundles.succession_rules import SuccessionFacts


class Workplace(Protocol):
    """An authority repository, its key store, the tokens that were unlocked, and the ceremony's own folder."""

    ceremony: str
    """The ceremony's name."""
    digest: str
    """Its reviewed digest, in hexadecimal."""
    repository: AuthorityRepository
    intents: KeyIntents
    custody_intents: CustodyIntents
    artefacts: Artefacts

    @property
    def store(self) -> KeyStore:
        """The key store."""

    def now(self) -> datetime:
        """The time in UTC."""

    def require_reviewed(self) -> None:
        """That every reviewed file still is what was reviewed. Raises CeremonyAborted CE-17."""

    def reviewed_file(self, path: str) -> bytes:
        """A file as it was reviewed, whatever stands on the disk now."""

    def unlock(self, token: str) -> dict[str, str]:
        """Log in to a token of the site; what it says about itself: serial, token_label. Raises TokenError."""

    def session(self, token: str) -> Session:
        """The writable session with an unlocked token."""

    def signing_key(self, label: str, role: Role, product: str | None, token: str) -> SigningKey:
        """A key let through by the key store; its use is logged. Raises PolicyViolation, TokenError."""

    def certificate_key(self, label: str, role: Role, product: str | None, token: str) -> CertificateKey:
        """The same for a key that signs X.509 structures."""

    def change(self, step: str) -> Change:
        """What the key store notes with a change: now, the operator, and ceremony and step as the reason."""

    def genesis_content(self, product: str) -> TrustBundleContent:
        """What version 1 of a product's trust bundle says. Raises ConfigurationError, PolicyViolation TB-01."""

    def succession_facts(self, product: str) -> SuccessionFacts:
        """What is known beside two versions of a trust bundle: keys, what is built in, what was released."""

    def sign_package(self, act: SignPackage, out: Path) -> None:
        """Sign a prepared package into a new file, by the signing service where the act names a request."""

    def share_sink(self) -> ShareSink:
        """How shares reach custodians, one at a time."""

    def share_source(self) -> ShareSource:
        """How shares come back from custodians."""

    def log(self, kind: EventKind, step: str, details: dict[str, Any]) -> None:
        """Log what a step did, once: an event of this kind, ceremony and step that is there already is not repeated."""


def reason_of(ceremony: str, step: str) -> str:
    """How the key store says which step of which ceremony made a change: so a rerun knows its own work."""
    return f"ceremony {ceremony}, step {step}"
