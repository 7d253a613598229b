"""AES keys on a token, for wrapping content keys at rest, and ECDH: both pass secrets to the caller, briefly.

Values go in and out through session objects, which end with the session and are destroyed at once.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, cast

import pkcs11
from pkcs11.constants import Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KDF, KeyType, Mechanism

from pki.values import PublicKey
from signer.tokens.errors import ActionRefused, KeyInconsistent, MechanismUnsupported, TokenError
from signer.tokens.objects import Template
from signer.tokens.values import KeyRef

if TYPE_CHECKING:
    from signer.tokens.open_session import OpenSession

CONTENT_KEY_SIZES_BYTES = (16, 32)
_WRAP_OVERHEAD_BYTES = 8
_SHARED_SECRET_SIZE_BYTES = 32


class SecretKeyHandle:
    """An AES-256 key on a token that wraps and unwraps content keys (RFC 3394, CKM_AES_KEY_WRAP)."""

    __slots__ = ("_generation", "_key", "_session", "cka_id", "label")

    def __init__(self, session: OpenSession, key: pkcs11.SecretKey, label: str, cka_id: bytes) -> None:
        self.label = label
        self.cka_id = cka_id
        self._session = session
        self._key = key
        self._generation = session.generation

    @property
    def ref(self) -> KeyRef:
        """The reference that finds exactly this key again."""
        return KeyRef(self.label, self.cka_id)

    def wrap_content_key(self, content_key: bytes) -> bytes:
        """Wrap a content key of 16 or 32 bytes; the result has 8 bytes more. It is tried out before it is returned.

        Raises MechanismUnsupported for another length, KeyInconsistent when unwrapping gives something else.
        """
        if len(content_key) not in CONTENT_KEY_SIZES_BYTES:
            raise MechanismUnsupported(f"a content key has 16 or 32 bytes, not {len(content_key)}")
        with self._session.operation(f"wrapping with key {self.label!r}") as raw:
            key = self._current_key()
            wrapped = _wrap(raw, key, content_key)
            if not hmac.compare_digest(_unwrap(key, wrapped), content_key):
                self._session.discard()
                raise KeyInconsistent(f"the token wrapped wrongly with key {self.label!r}; nothing was released")
        return wrapped

    def unwrap_content_key(self, wrapped: bytes) -> bytes:
        """Unwrap what `wrap_content_key` made. Raises ActionRefused when it is not authentic under this key."""
        if len(wrapped) - _WRAP_OVERHEAD_BYTES not in CONTENT_KEY_SIZES_BYTES:
            raise MechanismUnsupported(f"a wrapped content key has 24 or 40 bytes, not {len(wrapped)}")
        with self._session.operation(f"unwrapping with key {self.label!r}"):
            key = self._current_key()
            try:
                return _unwrap(key, wrapped)
            except pkcs11.PKCS11Error as error:
                # Modules answer all sorts of codes (SoftHSM: CKR_GENERAL_ERROR); the session's state is unknown.
                self._session.discard()
                raise ActionRefused(
                    f"unwrapping with key {self.label!r}: refused ({type(error).__name__}); "
                    "the wrapped key was changed, or belongs to another key"
                ) from None

    def _current_key(self) -> pkcs11.SecretKey:
        if self._generation != self._session.generation:
            key, label, cka_id = self._session.locate_secret_key(self.ref)
            if (label, cka_id) != (self.label, self.cka_id):
                raise KeyInconsistent(f"key {self.label!r} was replaced on the token by another of the same name")
            self._key, self._generation = key, self._session.generation
        return self._key

    def __repr__(self) -> str:
        return f"<SecretKeyHandle {self.label!r} id {self.cka_id.hex()}>"


def _wrap(raw: pkcs11.Session, key: pkcs11.SecretKey, content_key: bytes) -> bytes:
    template: Template = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
        Attribute.TOKEN: False,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: True,
        Attribute.VALUE: content_key,
    }
    imported = raw.create_object(template)
    try:
        return cast(bytes, key.wrap_key(imported, mechanism=Mechanism.AES_KEY_WRAP))  # type: ignore[attr-defined]
    finally:
        imported.destroy()


def _unwrap(key: pkcs11.SecretKey, wrapped: bytes) -> bytes:
    size_bytes = len(wrapped) - _WRAP_OVERHEAD_BYTES
    readable = key.unwrap_key(  # type: ignore[attr-defined]
        ObjectClass.SECRET_KEY,
        KeyType.GENERIC_SECRET,
        wrapped,
        mechanism=Mechanism.AES_KEY_WRAP,
        store=False,
        capabilities=MechanismFlag(0),
        template={
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: False,
            Attribute.EXTRACTABLE: True,
        },
    )
    try:
        value = cast(bytes, readable[Attribute.VALUE])
    finally:
        readable.destroy()
    if len(value) != size_bytes:
        raise TokenError("the token unwrapped to another length than was wrapped")
    return value


def derive_shared_secret(private: pkcs11.PrivateKey, peer: PublicKey) -> bytes:
    """ECDH with CKD_NULL: the X coordinate, 32 bytes. The caller has checked that `peer` is on the curve."""
    if not hasattr(private, "derive_key"):
        raise ActionRefused("the key has no right to derive (CKA_DERIVE is false)")
    derived = private.derive_key(
        KeyType.GENERIC_SECRET,
        _SHARED_SECRET_SIZE_BYTES * 8,
        store=False,
        capabilities=MechanismFlag(0),
        mechanism=Mechanism.ECDH1_DERIVE,
        mechanism_param=(KDF.NULL, None, b"\x04" + peer.point),
        template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
    )
    try:
        value = cast(bytes, derived[Attribute.VALUE])
    finally:
        derived.destroy()
    if len(value) != _SHARED_SECRET_SIZE_BYTES:
        raise TokenError(f"the token derived {len(value)} bytes instead of {_SHARED_SECRET_SIZE_BYTES}")
    return value
