"""What is on a token, for the audit and for evidence. Key material is never asked for."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import pkcs11
from pkcs11.constants import Attribute
from pkcs11.constants import ObjectClass as CryptokiClass
from pkcs11.mechanisms import KeyType

from pki.key_audit import ObjectClass, ObservedObject
from pki.key_specs import KeyAlgorithm, KeyUsage
from signer.tokens.errors import TokenError
from signer.tokens.objects import P256_EC_PARAMETERS, Template, point_of_attribute, search

MAX_OBJECTS = 20_000

_AES_256_SIZE_BYTES = 32
_CLASSES = {
    CryptokiClass.PRIVATE_KEY: ObjectClass.PRIVATE_KEY,
    CryptokiClass.PUBLIC_KEY: ObjectClass.PUBLIC_KEY,
    CryptokiClass.SECRET_KEY: ObjectClass.SECRET_KEY,
    CryptokiClass.CERTIFICATE: ObjectClass.CERTIFICATE,
}
_USAGES = {usage: Attribute[usage.name] for usage in KeyUsage}
_OTHER_USAGES = {
    "verify": Attribute.VERIFY,
    "sign-recover": Attribute.SIGN_RECOVER,
    "verify-recover": Attribute.VERIFY_RECOVER,
}
# CKA_VALUE is the key itself on private and secret keys: it is in no list here.
_SHOWN = (
    Attribute.CLASS,
    Attribute.LABEL,
    Attribute.ID,
    Attribute.KEY_TYPE,
    Attribute.TOKEN,
    Attribute.PRIVATE,
    Attribute.LOCAL,
    Attribute.SENSITIVE,
    Attribute.ALWAYS_SENSITIVE,
    Attribute.EXTRACTABLE,
    Attribute.NEVER_EXTRACTABLE,
    Attribute.MODIFIABLE,
    Attribute.COPYABLE,
    Attribute.DESTROYABLE,
    Attribute.TRUSTED,
    Attribute.WRAP_WITH_TRUSTED,
    Attribute.ALWAYS_AUTHENTICATE,
    Attribute.KEY_GEN_MECHANISM,
    Attribute.VALUE_LEN,
    Attribute.EC_PARAMS,
    Attribute.EC_POINT,
    Attribute.START_DATE,
    Attribute.END_DATE,
    *_USAGES.values(),
    *_OTHER_USAGES.values(),
)


def observe(raw: pkcs11.Session) -> tuple[ObservedObject, ...]:
    """Every token object as `pki.key_audit` takes it."""
    return tuple(_observed(item, shown_attributes(item)) for item in _token_objects(raw))


def dump(raw: pkcs11.Session) -> tuple[Mapping[str, Any], ...]:
    """Every token object's attributes by CKA_ name: booleans, numbers, text, names of enumerations, bytes as hex."""
    return tuple(
        {f"CKA_{attribute.name}": _json_ready(value) for attribute, value in shown_attributes(item).items()}
        for item in _token_objects(raw)
    )


def shown_attributes(item: pkcs11.Object) -> Template:
    """The attributes that the module gives for an object; those it does not know are left out."""
    try:
        # python-pkcs11 gives the attributes back as plain numbers.
        return {Attribute(number): value for number, value in item.get_attributes(list(_SHOWN)).items()}
    except pkcs11.PKCS11Error:
        return _one_by_one(item)


def _one_by_one(item: pkcs11.Object) -> Template:
    """For modules that fail a whole request because of one attribute."""
    shown: Template = {}
    for attribute in _SHOWN:
        try:
            shown[attribute] = item[attribute]
        except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, pkcs11.FunctionFailed):
            continue
    return shown


def _token_objects(raw: pkcs11.Session) -> list[pkcs11.Object]:
    found = search(raw, {Attribute.TOKEN: True})
    if len(found) > MAX_OBJECTS:
        raise TokenError(f"the token holds {len(found)} objects; at most {MAX_OBJECTS} are supported")
    return found


def _observed(item: pkcs11.Object, shown: Template) -> ObservedObject:
    object_class = _CLASSES.get(shown.get(Attribute.CLASS), ObjectClass.OTHER)  # type: ignore[arg-type]
    point = _point_of(item, object_class, shown)
    return ObservedObject(
        object_class=object_class,
        label=shown.get(Attribute.LABEL, ""),
        cka_id=shown.get(Attribute.ID, b""),
        algorithm=_algorithm(object_class, shown, point),
        private=shown.get(Attribute.PRIVATE),
        local=shown.get(Attribute.LOCAL),
        sensitive=shown.get(Attribute.SENSITIVE),
        always_sensitive=shown.get(Attribute.ALWAYS_SENSITIVE),
        extractable=shown.get(Attribute.EXTRACTABLE),
        never_extractable=shown.get(Attribute.NEVER_EXTRACTABLE),
        modifiable=shown.get(Attribute.MODIFIABLE),
        copyable=shown.get(Attribute.COPYABLE),
        usages=frozenset(usage for usage, attribute in _USAGES.items() if shown.get(attribute)),
        other_usages=frozenset(name for name, attribute in _OTHER_USAGES.items() if shown.get(attribute)),
        public_point=point,
    )


def _algorithm(object_class: ObjectClass, shown: Template, point: bytes | None) -> KeyAlgorithm | None:
    if object_class is ObjectClass.CERTIFICATE:
        return KeyAlgorithm.EC_P256 if point is not None else None
    key_type = shown.get(Attribute.KEY_TYPE)
    if key_type == KeyType.EC and shown.get(Attribute.EC_PARAMS) == P256_EC_PARAMETERS:
        return KeyAlgorithm.EC_P256
    if key_type == KeyType.AES and shown.get(Attribute.VALUE_LEN) == _AES_256_SIZE_BYTES:
        return KeyAlgorithm.AES_256
    return None


def _point_of(item: pkcs11.Object, object_class: ObjectClass, shown: Template) -> bytes | None:
    if object_class is ObjectClass.PUBLIC_KEY and shown.get(Attribute.EC_PARAMS) == P256_EC_PARAMETERS:
        return point_of_attribute(shown.get(Attribute.EC_POINT, b""))
    if object_class is ObjectClass.CERTIFICATE:
        return _point_of_certificate(item[Attribute.VALUE])
    return None


def _point_of_certificate(der: bytes) -> bytes | None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from pki.values import PublicKey

    try:
        certificate = x509.load_der_x509_certificate(der)
        spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return PublicKey.from_spki(spki).point
    except ValueError:
        return None


def _json_ready(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, IntEnum):
        return value.name
    return value
