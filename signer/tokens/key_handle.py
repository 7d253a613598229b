"""Keys on a token: what can be done with them once found. The hot path of every signature is here.

A handle stays valid while its session lives: after a failure the session finds the objects again (docs/spec/tokens.md).
"""

from __future__ import annotations

from collections.abc import Callable
from os import getpid
from typing import TYPE_CHECKING

import pkcs11
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from pkcs11.mechanisms import Mechanism

from pki.values import Digest, PublicKey, Scheme, Signature
from signer.tokens.errors import (
    ActionRefused,
    ForkedProcess,
    KeyInconsistent,
    MechanismUnsupported,
    SignatureRefused,
    TokenError,
)
from signer.tokens.return_codes import ckr_of_exception, error_from_exception
from signer.tokens.values import KeyRef
from signer.tokens.verifier import verifier_of

if TYPE_CHECKING:
    from signer.tokens.open_session import OpenSession

_RAW_ECDSA = Scheme.ECDSA_P256_SHA256_RAW
_ECDSA = Mechanism.ECDSA
_PREHASHED_SHA256 = ec.ECDSA(Prehashed(hashes.SHA256()))
_SIGNATURE_SIZE_BYTES = 64
_CKR_KEY_HANDLE_INVALID = 0x60
_CKR_OBJECT_HANDLE_INVALID = 0x82
_VANISHED = (_CKR_KEY_HANDLE_INVALID, _CKR_OBJECT_HANDLE_INVALID)


class KeyHandle:
    """An EC P-256 private key on a token, with its public key."""

    __slots__ = (
        "_generation",
        "_lock",
        "_private",
        "_process_id",
        "_session",
        "_sign",
        "_verify",
        "cka_id",
        "label",
        "public_key",
    )

    def __init__(self, session: OpenSession, private: pkcs11.PrivateKey, label: str, public_key: PublicKey) -> None:
        self.label = label
        self.cka_id = public_key.cka_id
        self.public_key = public_key
        self._session = session
        self._lock = session.lock
        self._process_id = getpid()
        self._verify = verifier_of(public_key).verify
        self._hold(private)

    @property
    def ref(self) -> KeyRef:
        """The reference that finds exactly this key again."""
        return KeyRef(self.label, self.cka_id)

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        """Sign a digest in the token, and verify the signature in software before returning it.

        Raises SignatureRefused when it does not verify (nothing is released), MechanismUnsupported for another scheme,
        and TokenError for what the token reports; after any of these but the second, the session was discarded.
        """
        signature = self.sign_unverified(digest, scheme)
        raw = signature.value
        encoded = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        try:
            self._verify(encoded, digest.value, _PREHASHED_SHA256)
        except InvalidSignature:
            self._session.discard()
            raise SignatureRefused(
                f"the token returned a wrong signature for key {self.label!r}; nothing was released; "
                "stop using this token until its maker has explained it"
            ) from None
        return signature

    def sign_unverified(self, digest: Digest, scheme: Scheme) -> Signature:
        """Dangerous: a signature that nobody checked. For measuring only; everything else uses `sign`."""
        if scheme is not _RAW_ECDSA or type(digest) is not Digest:  # type: ignore[redundant-expr]
            raise MechanismUnsupported(f"a P-256 key signs a Digest with {_RAW_ECDSA.value}")
        if getpid() != self._process_id:
            raise ForkedProcess("a key handle cannot be used in a forked child; open the token in each process")
        with self._lock:
            try:
                if self._generation != self._session.generation:
                    self._bind()
                raw = self._sign(digest.value, _ECDSA, None, None, _SIGNATURE_SIZE_BYTES)
            except pkcs11.PKCS11Error as error:
                raw = self._sign_after(error, digest)
            except TokenError:
                raise
            except BaseException:
                self._session.discard()
                raise
        if len(raw) != _SIGNATURE_SIZE_BYTES:
            self._session.discard()
            raise SignatureRefused(f"the token returned a signature of {len(raw)} bytes for key {self.label!r}, not 64")
        return Signature(raw)

    def _sign_after(self, error: pkcs11.PKCS11Error, digest: Digest) -> bytes:
        """Find the key again, once, when its handle went stale; otherwise give up and discard the session."""
        if ckr_of_exception(error) in _VANISHED:
            try:
                self._bind()
                return self._sign(digest.value, _ECDSA, None, None, _SIGNATURE_SIZE_BYTES)
            except pkcs11.PKCS11Error as second_error:
                error = second_error
        self._session.discard()
        raise error_from_exception(error, f"signing with key {self.label!r}") from None

    def derive_shared_secret(self, peer: PublicKey) -> bytes:
        """The X coordinate, 32 bytes, of ECDH with `peer` (SP 800-56A Rev 3, section 5.7.1.2); for keys with DERIVE.

        Raises KeyInconsistent for a peer that is not on the curve, ActionRefused for a key without the right.
        """
        from signer.tokens.secret_keys import derive_shared_secret

        verifier_of(peer)
        with self._session.operation(f"deriving with key {self.label!r}"):
            if self._generation != self._session.generation:
                self._bind()
            return derive_shared_secret(self._private, peer)

    def _bind(self) -> None:
        """Find the objects again; they must belong to the same public key."""
        private, label, public_key = self._session.locate_key_pair(self.ref)
        if public_key != self.public_key or label != self.label:
            raise KeyInconsistent(f"key {self.label!r} was replaced on the token by another of the same name")
        self._hold(private)

    def _hold(self, private: pkcs11.PrivateKey) -> None:
        self._private = private
        # python-pkcs11 gives an object only the methods that its attributes permit. `_sign` (data, mechanism,
        # parameter, PIN, buffer size) is what its `sign` calls after sorting out keywords, which costs 3 % of the time.
        self._sign: Callable[..., bytes] = getattr(private, "_sign", self._refuse_to_sign)
        self._generation = self._session.generation

    def _refuse_to_sign(self, *_arguments: object) -> bytes:
        raise ActionRefused(f"key {self.label!r} has no right to sign (CKA_SIGN is false)")

    def __repr__(self) -> str:
        return f"<KeyHandle {self.label!r} id {self.cka_id.hex()}>"
