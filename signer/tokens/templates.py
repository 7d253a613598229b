"""Object templates: every attribute that matters, every time, so that no default of a module or library decides."""

from __future__ import annotations

from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType

from pki.key_specs import KeyUsage
from pki.values import PublicKey
from signer.tokens.objects import P256_EC_PARAMETERS, Template

# Attributes that some modules do not take; which ones is found by probing (docs/spec/tokens.md).
OPTIONAL_PUBLIC = (
    Attribute.VERIFY_RECOVER,
    Attribute.ENCRYPT,
    Attribute.WRAP,
    Attribute.DERIVE,
    Attribute.MODIFIABLE,
    Attribute.COPYABLE,
)
OPTIONAL_PRIVATE = (
    Attribute.SIGN_RECOVER,
    Attribute.DECRYPT,
    Attribute.UNWRAP,
    Attribute.DERIVE,
    Attribute.MODIFIABLE,
    Attribute.COPYABLE,
)
OPTIONAL_SECRET = (Attribute.MODIFIABLE, Attribute.COPYABLE)


def public_template(label: str, usages: frozenset[KeyUsage], *, on_token: bool, dropped: frozenset[str]) -> Template:
    """The public key object as generation makes it: still modifiable and copyable, without its CKA_ID."""
    template: Template = {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.TOKEN: on_token,
        Attribute.PRIVATE: False,
        Attribute.LABEL: label,
        Attribute.ID: b"",
        Attribute.EC_PARAMS: P256_EC_PARAMETERS,
        Attribute.VERIFY: KeyUsage.SIGN in usages,
        Attribute.VERIFY_RECOVER: False,
        Attribute.ENCRYPT: False,
        Attribute.WRAP: False,
        Attribute.DERIVE: False,
        Attribute.MODIFIABLE: True,
        Attribute.COPYABLE: True,
    }
    return _without(template, dropped)


def private_template(
    label: str, usages: frozenset[KeyUsage], *, on_token: bool, dropped: frozenset[str], extractable: bool = False
) -> Template:
    """The private key object as generation makes it: sensitive and, unless it is to be wrapped, never extractable."""
    template: Template = {
        Attribute.CLASS: ObjectClass.PRIVATE_KEY,
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.TOKEN: on_token,
        Attribute.PRIVATE: True,
        Attribute.LABEL: label,
        Attribute.ID: b"",
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: extractable,
        Attribute.SIGN: KeyUsage.SIGN in usages,
        Attribute.SIGN_RECOVER: False,
        Attribute.DECRYPT: KeyUsage.DECRYPT in usages,
        Attribute.UNWRAP: KeyUsage.UNWRAP in usages,
        Attribute.DERIVE: KeyUsage.DERIVE in usages,
        Attribute.MODIFIABLE: True,
        Attribute.COPYABLE: True,
    }
    return _without(template, dropped)


def locking_copy_template(label: str, cka_id: bytes, *, forbid_copying: bool, on_token: bool) -> Template:
    """What C_CopyObject changes. MODIFIABLE comes last: SoftHSM applies attributes in order, and then takes no more."""
    template: Template = {Attribute.TOKEN: on_token, Attribute.LABEL: label, Attribute.ID: cka_id}
    if forbid_copying:
        template[Attribute.COPYABLE] = False
    template[Attribute.MODIFIABLE] = False
    return template


def secret_template(
    label: str, cka_id: bytes, usages: frozenset[KeyUsage], *, on_token: bool, dropped: frozenset[str]
) -> Template:
    """An AES key, final from its first moment."""
    template: Template = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.TOKEN: on_token,
        Attribute.PRIVATE: True,
        Attribute.LABEL: label,
        Attribute.ID: cka_id,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.ENCRYPT: KeyUsage.ENCRYPT in usages,
        Attribute.DECRYPT: KeyUsage.DECRYPT in usages,
        Attribute.SIGN: False,
        Attribute.VERIFY: False,
        Attribute.WRAP: KeyUsage.WRAP in usages,
        Attribute.UNWRAP: KeyUsage.UNWRAP in usages,
        Attribute.DERIVE: KeyUsage.DERIVE in usages,
        Attribute.MODIFIABLE: False,
        Attribute.COPYABLE: False,
    }
    return _without(template, dropped)


def wrapping_key_template(usages: frozenset[KeyUsage], *, dropped: frozenset[str]) -> Template:
    """An AES key of one session, to wrap or unwrap private keys and for nothing else."""
    return secret_template("", b"", usages, on_token=False, dropped=dropped)


def restored_public_template(label: str, public_key: PublicKey, *, dropped: frozenset[str]) -> Template:
    """The public key object of a restored key, final from its first moment."""
    template = public_template(label, frozenset({KeyUsage.SIGN}), on_token=True, dropped=dropped)
    template |= {Attribute.ID: public_key.cka_id, Attribute.EC_POINT: b"\x04\x41\x04" + public_key.point}
    if Attribute.MODIFIABLE.name not in dropped:
        template[Attribute.MODIFIABLE] = False
    return template


def unwrapped_private_template(label: str, usages: frozenset[KeyUsage], *, dropped: frozenset[str]) -> Template:
    """A private key that is being unwrapped: a session object with the rights of its role, still modifiable."""
    return private_template(label, usages, on_token=False, dropped=dropped)


def _without(template: Template, dropped: frozenset[str]) -> Template:
    return {attribute: value for attribute, value in template.items() if attribute.name not in dropped}
