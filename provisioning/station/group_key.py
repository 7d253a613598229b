"""The group's agreement key at a station: a file, wrapped by the token's `group-wrap` key (docs/spec/station.md, 5).

It is unwrapped inside the token, as a session object that may be wrapped to a device, and destroyed after one wrap.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal, cast

import msgspec
import pkcs11
from pkcs11.constants import DEFAULT, Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism

from pki.errors import ConfigurationError
from pki.key_specs import KeyUsage
from pki.values import PublicKey
from provisioning.station.rules import Rule, refused
from signer.tokens import KeyRef, templates
from signer.tokens.attributes import NSS_DB
from signer.tokens.errors import KeyNotFound, WrappedKeyRefused

if TYPE_CHECKING:
    from signer.tokens.session import Session

FILE_FORMAT = "strongroom-group-key-1"
_RIGHTS = frozenset({KeyUsage.DERIVE})
# python-pkcs11 puts these into every template for unwrapping; on a private key modules refuse them.
_NOT_FOR_PRIVATE_KEYS = {Attribute.ENCRYPT: DEFAULT, Attribute.WRAP: DEFAULT, Attribute.VERIFY: DEFAULT}


class WrappedGroupKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `wrapped` is RFC 3394 over PKCS#8 and padding; it is ciphertext."""

    format: Literal["strongroom-group-key-1"]
    public_key: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}$")]
    wrapped_by: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}$")]
    wrapped: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{16}){3,19}$")]

    @property
    def group_public_key(self) -> PublicKey:
        """As the order names it."""
        return PublicKey(bytes.fromhex(self.public_key))


def parse_group_key(data: bytes, expected: PublicKey | None) -> WrappedGroupKey:
    """Read the file. Raises ConfigurationError, PolicyViolation ST-11 for another group's key than the order's."""
    try:
        found = msgspec.json.decode(data, type=WrappedGroupKey)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"the group key's file: {error}") from None
    if found.group_public_key != expected:
        raise refused(Rule.GROUP_KEY, "the group key is not the one that the order injects; bring the order's")
    return found


class GroupKeySource:
    """Gives the group's private key as a session object, each time anew."""

    def __init__(self, session: Session, file: WrappedGroupKey) -> None:
        """Raises PolicyViolation ST-11 when the token has not the wrapping key."""
        try:
            session.find_secret(KeyRef(cka_id=bytes.fromhex(file.wrapped_by)))
        except KeyNotFound:
            raise refused(Rule.GROUP_KEY, "the token has not the key that the group's key is wrapped by") from None
        self._session = session
        self._file = file

    def __call__(self) -> pkcs11.PrivateKey:
        """Unwrap; the caller destroys it. Raises WrappedKeyRefused, TokenError."""
        wrapping, _, _ = self._session.locate_secret_key(KeyRef(cka_id=bytes.fromhex(self._file.wrapped_by)))
        profile = self._session.probe_profile()
        template = templates.private_template(
            "", _RIGHTS, on_token=False, dropped=profile.dropped_private, extractable=True
        )
        template |= _NOT_FOR_PRIVATE_KEYS
        with self._session.operation("unwrapping the group's key"):
            try:
                try:
                    return self._unwrap(wrapping, template)
                except pkcs11.TemplateIncomplete:
                    template[cast(Attribute, NSS_DB)] = b"\x04" + self._file.group_public_key.point
                    return self._unwrap(wrapping, template)
            except pkcs11.PKCS11Error as error:
                with suppress(pkcs11.PKCS11Error):
                    self._session.discard()
                raise WrappedKeyRefused(
                    f"the group's key was refused ({type(error).__name__}): its file was changed, or is another token's"
                ) from None

    def _unwrap(self, wrapping: pkcs11.SecretKey, template: dict[Attribute, object]) -> pkcs11.PrivateKey:
        unwrapped = wrapping.unwrap_key(  # type: ignore[attr-defined]
            ObjectClass.PRIVATE_KEY,
            KeyType.EC,
            bytes.fromhex(self._file.wrapped),
            mechanism=Mechanism.AES_KEY_WRAP,
            store=False,
            capabilities=MechanismFlag(0),
            template=template,
        )
        return cast(pkcs11.PrivateKey, unwrapped)
