"""A group's agreement key, made in a token and kept as files under `group-wrap` keys (docs/spec/key-backup.md).

It is a session object whenever it is used, and never an object of a token (docs/adr/0105). Between tokens it goes
wrapped, HSM to HSM, under a key that both derive for this one passage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from pki.canonical_json import encode_canonical
from pki.errors import ConfigurationError, StrongroomError
from pki.key_specs import KeyUsage
from pki.values import PublicKey
from signer.tokens.errors import MechanismUnsupported
from signer.tokens.values import KeyRef
from signer.tokens.wrapped_key import Framing, WrappedKey

if TYPE_CHECKING:
    import pkcs11

    from signer.tokens.session import Session
    from signer.tokens.wrapping import WrappingKey

GROUP_KEY_USAGES = frozenset({KeyUsage.DERIVE})


class GroupKeyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `wrapped` is RFC 3394 over PKCS#8 and padding: ciphertext. Names are the JSON keys."""

    format: Literal["strongroom-group-key-1"] = "strongroom-group-key-1"
    public_key: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z")]
    wrapped_by: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}\Z")]
    wrapped: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{16}){3,19}\Z")]

    @property
    def group_public_key(self) -> PublicKey:
        """The public half."""
        return PublicKey(bytes.fromhex(self.public_key))

    def encode(self) -> bytes:
        """The canonical bytes."""
        return encode_canonical(msgspec.to_builtins(self))


def decode_group_key_file(data: bytes) -> GroupKeyFile:
    """Read the file. Raises ConfigurationError."""
    try:
        return msgspec.json.decode(data, type=GroupKeyFile)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"the group key's file: {error}") from None


@dataclass(frozen=True, slots=True)
class GroupKeyPlace:
    """An open token, and the CKA_ID (20 bytes) of its `group-wrap` key."""

    session: Session
    wrap_key_id: bytes


def generate_group_key(source: GroupKeyPlace, targets: Sequence[GroupKeyPlace] = ()) -> tuple[GroupKeyFile, ...]:
    """Make the key in `source`'s token; its file there, then one for each target, in order.

    Nothing is left on any token. Raises MechanismUnsupported for a module without RFC 3394 or ECDH, TokenError.
    """
    from signer.tokens.generation import generate_unlocked_pair
    from signer.tokens.objects import public_key_of

    _require_rfc_3394(source, *targets)
    with source.session.operation("making a group's key") as raw:
        profile = source.session.probe_profile()
        public, private = generate_unlocked_pair(raw, "", GROUP_KEY_USAGES, profile, on_token=False, extractable=True)
        with _gone_afterwards(private):
            public_key = public_key_of(public)
            public.destroy()
            own = _file(source, private, public_key)
            return (own, *(_brought_to(source, target, private, public_key) for target in targets))


def transfer_group_key(
    file: GroupKeyFile, source: GroupKeyPlace, targets: Sequence[GroupKeyPlace]
) -> tuple[GroupKeyFile, ...]:
    """Files for further tokens, out of the file of `source`'s token. Raises WrappedKeyRefused, TokenError."""
    _require_rfc_3394(source, *targets)
    if file.wrapped_by != source.wrap_key_id.hex():
        raise ConfigurationError("the group key's file is wrapped by another key than this token's; take its own")
    public_key = file.group_public_key
    wrapped = WrappedKey(Framing.RFC_3394, bytes.fromhex(file.wrapped))
    with source.session.operation("unwrapping a group's key"):
        private = _wrapping(source).unwrap_to_wrap_again(wrapped, public_key, GROUP_KEY_USAGES)
        with _gone_afterwards(private):
            return tuple(_brought_to(source, target, private, public_key) for target in targets)


def _brought_to(
    source: GroupKeyPlace, target: GroupKeyPlace, private: pkcs11.PrivateKey, public_key: PublicKey
) -> GroupKeyFile:
    """Wrapped by one token, unwrapped by the other, wrapped there by the key that stays."""
    from signer.tokens.wrapping import connect

    sending, receiving = connect(source.session, target.session)
    try:
        wrapped = sending.wrap(private)
        with target.session.operation("receiving a group's key"):
            received = receiving.unwrap_to_wrap_again(wrapped, public_key, GROUP_KEY_USAGES)
            with _gone_afterwards(received):
                return _file(target, received, public_key)
    finally:
        for key in (sending, receiving):
            with suppress(StrongroomError):
                key.destroy()


def _file(place: GroupKeyPlace, private: pkcs11.PrivateKey, public_key: PublicKey) -> GroupKeyFile:
    wrapped = _wrapping(place).wrap(private)
    return GroupKeyFile(
        public_key=public_key.point.hex(), wrapped_by=place.wrap_key_id.hex(), wrapped=wrapped.data.hex()
    )


def _wrapping(place: GroupKeyPlace) -> WrappingKey:
    """The token's own key. It is an object of the token, so it is never destroyed here."""
    from signer.tokens.wrapping import WrappingKey

    key, _, _ = place.session.locate_secret_key(KeyRef(cka_id=place.wrap_key_id))
    return WrappingKey(place.session, key)


def _require_rfc_3394(*places: GroupKeyPlace) -> None:
    """A device unwraps RFC 3394 and nothing else, and so do the tokens between."""
    from signer.tokens.wrapping import framing_made_by

    for place in places:
        framing, _ = framing_made_by(place.session.probe_profile())
        if framing is not Framing.RFC_3394:
            raise MechanismUnsupported("the module has no AES key wrap by RFC 3394; use another for group keys")


@contextmanager
def _gone_afterwards(private: pkcs11.PrivateKey) -> Iterator[None]:
    import pkcs11

    try:
        yield
    finally:
        with suppress(pkcs11.PKCS11Error):
            private.destroy()
