"""What a key handle and a module know of the session they belong to, so that neither needs the session's own code."""

from __future__ import annotations

from contextlib import AbstractContextManager
from threading import RLock
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pkcs11

    from pki.values import PublicKey
    from signer.tokens.pkcs11_uri import Pkcs11Uri
    from signer.tokens.values import KeyRef


class OpenSession(Protocol):
    """A logged-in session that outlives the PKCS#11 sessions under it; `generation` counts those given up."""

    generation: int

    @property
    def lock(self) -> RLock:
        """The module's lock: one call at a time."""

    def serves(self, uri: Pkcs11Uri) -> bool:
        """Whether this session is with the token that `uri` names."""

    def operation(self, doing: str) -> AbstractContextManager[pkcs11.Session]:
        """Hold the module for a sequence of calls; a failure discards the PKCS#11 session and is mapped."""

    def discard(self) -> None:
        """Give up the PKCS#11 session after a failure."""

    def locate_key_pair(self, ref: KeyRef) -> tuple[pkcs11.PrivateKey, str, PublicKey]:
        """The private key, label and public key of exactly one key pair."""

    def locate_secret_key(self, ref: KeyRef) -> tuple[pkcs11.SecretKey, str, bytes]:
        """The key, label and CKA_ID of exactly one secret key."""

    def close(self) -> None:
        """Log out and close."""
