"""Values of the token layer. Pure and light: nothing here loads a module."""

from __future__ import annotations

import msgspec

from pki.errors import ConfigurationError
from signer.tokens.pkcs11_uri import Pkcs11Uri

MAX_LABEL_BYTES = 255
MAX_CKA_ID_BYTES = 64


class ModuleConfig(msgspec.Struct, frozen=True):
    """Which PKCS#11 module to load, and the parameter string that it wants at C_Initialize (None: it wants none)."""

    path: str
    init_arguments: str | None = None


class KeyRef(msgspec.Struct, frozen=True):
    """Names one key on a token by label, by CKA_ID, or by both, which is best: they must then agree."""

    label: str | None = None
    cka_id: bytes | None = None

    def __post_init__(self) -> None:
        if self.label is None and self.cka_id is None:
            raise ConfigurationError("a key is named by its label (object=) or its CKA_ID (id=), or both")
        if self.label is not None and not 1 <= len(self.label.encode("utf-8")) <= MAX_LABEL_BYTES:
            raise ConfigurationError(f"a key label has 1 to {MAX_LABEL_BYTES} bytes")
        if self.cka_id is not None and not 1 <= len(self.cka_id) <= MAX_CKA_ID_BYTES:
            raise ConfigurationError(f"a CKA_ID has 1 to {MAX_CKA_ID_BYTES} bytes")

    @classmethod
    def from_uri(cls, uri: Pkcs11Uri) -> KeyRef:
        """Take `object` and `id` of a URI; raises ConfigurationError when it has neither, or names no key."""
        if uri.type is not None and uri.type not in ("private", "secret-key"):
            raise ConfigurationError(f"the URI names a {uri.type} object; a key has type=private or type=secret-key")
        return cls(label=uri.object, cka_id=uri.id)

    def __str__(self) -> str:
        parts = [repr(self.label)] if self.label is not None else []
        if self.cka_id is not None:
            parts.append(f"id {self.cka_id.hex()}")
        return " ".join(parts)


class TokenInfo(msgspec.Struct, frozen=True):
    """What a token says about itself (CK_TOKEN_INFO, PKCS#11 v2.40 base, section 3.2), as far as people need it.

    `slot_id` is for show only: it changes when tokens are added. `user_pin_count_low` says that a wrong PIN was entered
    since the last right one.
    """

    label: str
    serial: str
    manufacturer: str
    model: str
    slot_id: int
    slot_description: str
    slot_manufacturer: str
    initialised: bool
    user_pin_set: bool
    login_required: bool
    protected_authentication_path: bool
    write_protected: bool
    user_pin_count_low: bool
    user_pin_final_try: bool
    user_pin_locked: bool

    def uri(self, module_path: str | None = None, init_arguments: str | None = None) -> Pkcs11Uri:
        """The URI that pins this token; the label is kept in it for people, and for modules whose serials repeat."""
        return Pkcs11Uri(
            token=self.label or None,
            serial=self.serial or None,
            module_path=module_path,
            strongroom_init_args=init_arguments,
        )
