"""Private keys out of one token and into another, wrapped: the key is never on the host in the clear.

A wrapping key is a session object of its token, from bytes that custodians hold, or derived in two tokens at once
(docs/spec/key-backup.md). Which mechanism wraps so that the other side can unwrap follows from the modules' profiles
(docs/adr/0073). A key is wrapped only while it says that it is extractable, also where the module would not care.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

import pkcs11
from pkcs11.constants import DEFAULT, Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KDF, KeyType, Mechanism

from pki.key_specs import KeySpec, KeyUsage
from pki.values import PublicKey
from signer.tokens import templates
from signer.tokens.attributes import NSS_DB
from signer.tokens.errors import ActionRefused, MechanismUnsupported, TokenLost, WrappedKeyRefused
from signer.tokens.generation import check_pair, check_read_back, generate_unlocked_pair, private_demands
from signer.tokens.objects import Template, public_key_of
from signer.tokens.profiles import ModuleProfile, PaddedWrap
from signer.tokens.verifier import verifier_of
from signer.tokens.wrapped_key import Framing, WrappedKey

if TYPE_CHECKING:
    from signer.tokens.session import Session

WRAPPING_KEY_SIZE_BYTES = 32

_SAYS_5649 = (PaddedWrap.RFC_5649, PaddedWrap.RFC_5649_OF_WHOLE_BLOCKS)
_WRAP_AND_UNWRAP = frozenset({KeyUsage.WRAP, KeyUsage.UNWRAP})
# Rights that a module may give an unwrapped key whatever the template says (NSS softokn gives the first two).
_RIGHTS = (Attribute.DERIVE, Attribute.SIGN_RECOVER, Attribute.DECRYPT, Attribute.UNWRAP)
# python-pkcs11 puts these into every template for unwrapping; on a private key modules refuse them.
_NOT_FOR_PRIVATE_KEYS = {Attribute.ENCRYPT: DEFAULT, Attribute.WRAP: DEFAULT, Attribute.VERIFY: DEFAULT}


def framing_made_by(profile: ModuleProfile) -> tuple[Framing, Mechanism]:
    """How a module wraps a private key, whose PKCS#8 is of any length. Raises MechanismUnsupported."""
    if profile.padded_wrap is PaddedWrap.PKCS7:
        return Framing.RFC_3394, Mechanism.AES_KEY_WRAP_PAD
    if profile.padded_wrap is PaddedWrap.RFC_5649:
        return Framing.RFC_5649, Mechanism.AES_KEY_WRAP_PAD
    if profile.aes_key_wrap:
        return Framing.RFC_3394, Mechanism.AES_KEY_WRAP
    raise MechanismUnsupported("the module has no AES key wrap; its keys can have no backup and no copy")


def unwrapping_mechanism(profile: ModuleProfile, framing: Framing) -> Mechanism:
    """How a module unwraps it. Raises MechanismUnsupported."""
    if framing is Framing.RFC_3394 and profile.aes_key_wrap:
        return Mechanism.AES_KEY_WRAP
    if framing is Framing.RFC_5649 and profile.padded_wrap in _SAYS_5649:
        return Mechanism.AES_KEY_WRAP_PAD
    raise MechanismUnsupported(f"the module cannot unwrap a key framed as {framing}; restore it on another module")


class WrappingKey:
    """An AES-256 key, a session object, that wraps and unwraps private keys; gone at the latest with its session."""

    __slots__ = ("_key", "session")

    def __init__(self, session: Session, key: pkcs11.SecretKey) -> None:
        self.session = session
        self._key: pkcs11.SecretKey | None = key

    @classmethod
    def of_bytes(cls, session: Session, value: bytes) -> WrappingKey:
        """Bring 32 bytes into the token as a session object; the caller wipes them. Raises TokenError."""
        if len(value) != WRAPPING_KEY_SIZE_BYTES:
            raise ValueError(f"a wrapping key has {WRAPPING_KEY_SIZE_BYTES} bytes")
        dropped = session.probe_profile().dropped_secret
        template = templates.wrapping_key_template(_WRAP_AND_UNWRAP, dropped=dropped)
        with session.operation("importing a wrapping key") as raw:
            made = raw.create_object(template | {Attribute.KEY_TYPE: KeyType.AES, Attribute.VALUE: value})
            return cls(session, cast(pkcs11.SecretKey, made))

    def wrap(self, private: pkcs11.PrivateKey) -> WrappedKey:
        """Wrap a private key of the same session; raises ActionRefused for one that says it is not extractable."""
        with self.session.operation("wrapping a private key"):
            framing, mechanism = framing_made_by(self.session.probe_profile())
            if private[Attribute.EXTRACTABLE] is not True:
                raise ActionRefused("the key is not extractable; a backup is made when a key is generated, never later")
            wrapped = self._current().wrap_key(private, mechanism=mechanism)  # type: ignore[attr-defined]
            return WrappedKey(framing, wrapped)

    def restore(self, wrapped: WrappedKey, public_key: PublicKey, spec: KeySpec, label: str) -> None:
        """Unwrap a key, try it under `public_key`, and only then make it a key of this token, locked; try it again.

        Raises WrappedKeyRefused, KeyInconsistent when it is another key's, MechanismUnsupported; what was made on the
        token is destroyed then.
        """
        with self.session.operation(f"unwrapping key {label!r}") as raw:
            # What the token does not take must not be in the session object either: it is copied (NSS: CKA_COPYABLE).
            profile = self.session.probe_profile(on_token=True)
            unwrapped = self._unwrap(wrapped, public_key, spec, profile)
            try:
                check_pair(unwrapped, public_key, label)
                _install(raw, unwrapped, public_key, spec, label, profile)
            finally:
                with suppress(pkcs11.PKCS11Error):
                    unwrapped.destroy()

    def unwrap_to_wrap_again(
        self, wrapped: WrappedKey, public_key: PublicKey, usages: frozenset[KeyUsage]
    ) -> pkcs11.PrivateKey:
        """A key on its way: a session object that may be wrapped once more. The caller destroys it.

        Raises WrappedKeyRefused, MechanismUnsupported.
        """
        with self.session.operation("unwrapping a key that is on its way"):
            profile = self.session.probe_profile()
            template = templates.private_template(
                "", usages, on_token=False, dropped=profile.dropped_private, extractable=True
            )
            return self._unwrap_as(template, wrapped, public_key, profile)

    def _unwrap(
        self, wrapped: WrappedKey, public_key: PublicKey, spec: KeySpec, profile: ModuleProfile
    ) -> pkcs11.PrivateKey:
        """The key as a session object with no right but those of its role."""
        template: Template = templates.unwrapped_private_template("", spec.usages, dropped=profile.dropped_private)
        return self._unwrap_as(template, wrapped, public_key, profile)

    def _unwrap_as(
        self, template: Template, wrapped: WrappedKey, public_key: PublicKey, profile: ModuleProfile
    ) -> pkcs11.PrivateKey:
        mechanism = unwrapping_mechanism(profile, wrapped.framing)
        template |= _NOT_FOR_PRIVATE_KEYS
        try:
            try:
                private = self._unwrap_with(template, wrapped, mechanism)
            except pkcs11.TemplateIncomplete:
                template[cast(Attribute, NSS_DB)] = b"\x04" + public_key.point
                private = self._unwrap_with(template, wrapped, mechanism)
        except pkcs11.PKCS11Error as error:
            # Modules answer all sorts of codes (SoftHSM: CKR_GENERAL_ERROR); the session's state is unknown.
            self.session.discard()
            raise WrappedKeyRefused(
                f"the wrapped key was refused ({type(error).__name__}): it was changed, or belongs to another wrapping "
                "key; nothing was made on the token"
            ) from None
        for right in _RIGHTS:
            if right in template and not template[right] and private[right]:
                private[right] = False
        return private

    def _unwrap_with(self, template: Template, wrapped: WrappedKey, mechanism: Mechanism) -> pkcs11.PrivateKey:
        unwrapped = self._current().unwrap_key(  # type: ignore[attr-defined]
            ObjectClass.PRIVATE_KEY,
            KeyType.EC,
            wrapped.data,
            mechanism=mechanism,
            store=False,
            capabilities=MechanismFlag(0),
            template=template,
        )
        return cast(pkcs11.PrivateKey, unwrapped)

    def _current(self) -> pkcs11.SecretKey:
        if self._key is None or not self.session.still_is(self._key.session):
            raise TokenLost("the wrapping key ended with its session; begin again, with the custodians if it is theirs")
        return self._key

    def destroy(self) -> None:
        """Destroy the session object, if it is still there."""
        key, self._key = self._key, None
        if key is not None and self.session.still_is(key.session):
            with self.session.operation("destroying a wrapping key"), suppress(pkcs11.PKCS11Error):
                key.destroy()

    def __repr__(self) -> str:
        return f"<WrappingKey of {self.session!r}>"


def _install(
    raw: pkcs11.Session,
    unwrapped: pkcs11.PrivateKey,
    public_key: PublicKey,
    spec: KeySpec,
    label: str,
    profile: ModuleProfile,
) -> None:
    """Make the token's objects, the public one first, so that an interruption leaves at most that."""
    made: list[pkcs11.Object] = []
    change = templates.locking_copy_template(
        label, public_key.cka_id, forbid_copying=profile.copy_forbids_copying, on_token=True
    )
    try:
        made.append(
            raw.create_object(templates.restored_public_template(label, public_key, dropped=profile.dropped_public))
        )
        private = unwrapped.copy(change)
        made.append(private)
        demands = private_demands(spec, label, public_key.cka_id, profile)
        check_read_back(private, demands | {Attribute.MODIFIABLE: False})
        check_pair(private, public_key, label)
    except BaseException:
        for item in reversed(made):
            with suppress(pkcs11.PKCS11Error):
                item.destroy()
        raise


def connect(source: Session, target: Session) -> tuple[WrappingKey, WrappingKey]:
    """One wrapping key in two tokens, derived in both by ECDH from pairs made for it; it is on no host.

    The first only wraps, the second only unwraps. Raises MechanismUnsupported when a module cannot.
    """
    framing, _ = framing_made_by(source.probe_profile())
    unwrapping_mechanism(target.probe_profile(), framing)
    if not (source.probe_profile().ecdh_null_kdf and target.probe_profile().ecdh_null_kdf):
        raise MechanismUnsupported("a module has no ECDH; use a backup file instead of a copy")
    with source.operation("agreeing on a wrapping key"), target.operation("agreeing on a wrapping key"):
        source_private, source_public = _agreement_pair(source)
        target_private, target_public = _agreement_pair(target)
        return (
            _derived(source, source_private, target_public, KeyUsage.WRAP),
            _derived(target, target_private, source_public, KeyUsage.UNWRAP),
        )


def derive_wrapping_key(session: Session, peer: PublicKey) -> tuple[PublicKey, WrappingKey]:
    """A key that wraps to the holder of `peer`: the public half of the pair made for it, and the key (CKD_NULL).

    Raises KeyInconsistent for a peer that is no point of P-256, MechanismUnsupported, TokenError.
    """
    with session.operation("agreeing on a wrapping key"):
        private, public = _agreement_pair(session)
        return public, _derived(session, private, peer, KeyUsage.WRAP)


def _agreement_pair(session: Session) -> tuple[pkcs11.PrivateKey, PublicKey]:
    with session.operation("agreeing on a wrapping key") as raw:
        usages = frozenset({KeyUsage.DERIVE})
        public, private = generate_unlocked_pair(raw, "", usages, session.probe_profile(), on_token=False)
        public_key = public_key_of(public)
        public.destroy()
        return private, public_key


def _derived(session: Session, private: pkcs11.PrivateKey, peer: PublicKey, usage: KeyUsage) -> WrappingKey:
    # SoftHSM refuses CKA_COPYABLE in C_DeriveKey; a copy of an unmodifiable key gains nothing there (docs/adr/0022).
    dropped = session.probe_profile().dropped_secret | {Attribute.COPYABLE.name}
    template = templates.wrapping_key_template(frozenset({usage}), dropped=dropped)
    verifier_of(peer)
    try:
        key = private.derive_key(  # type: ignore[attr-defined]
            KeyType.AES,
            WRAPPING_KEY_SIZE_BYTES * 8,
            store=False,
            capabilities=MechanismFlag(0),
            mechanism=Mechanism.ECDH1_DERIVE,
            mechanism_param=(KDF.NULL, None, b"\x04" + peer.point),
            template=template,
        )
    finally:
        private.destroy()
    return WrappingKey(session, key)
