"""What a key of each role must be on its token, and its label there: data, read by generation and by the audit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import msgspec

from pki.errors import ConfigurationError
from pki.roles import Role


class KeyAlgorithm(Enum):
    """Algorithm and size of a key."""

    EC_P256 = "ec-p256"
    AES_256 = "aes-256"


class KeyUsage(Enum):
    """What the private or secret key may do: the CKA_ attribute of the same name (PKCS#11 v2.40, tables 25 and 28)."""

    SIGN = "sign"
    DERIVE = "derive"
    WRAP = "wrap"
    UNWRAP = "unwrap"
    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"


class KeySpec(msgspec.Struct, frozen=True):
    """What generation must ask for and what the audit demands.

    `max_validity_days` bounds the time in which the private key may be used (the originator-usage period of SP 800-57
    Part 1 Rev 5, section 5.3.4), counted from activation. Certificates may live longer: see docs/spec/key-roles.md.
    `backup_permitted`: whether a key may be wrapped while it is generated, for a copy on another token, and, with
    `backup_file_permitted`, for a backup file too. `stays_on_token` False: only ever a session object.
    """

    role: Role
    algorithm: KeyAlgorithm
    usages: frozenset[KeyUsage]
    extractable: bool
    modifiable: bool
    copyable: bool
    label_prefix: str
    max_validity_days: int
    backup_permitted: bool = False
    backup_file_permitted: bool = False
    stays_on_token: bool = True


LABEL_SCHEME = "sr"
"""First field of every label that is ours."""

MAX_SEQUENCE = 9999
MAX_PRODUCT_SLUG_LENGTH = 32

_PRODUCT_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_SEQUENCE = re.compile(r"[0-9]{4}")
_NO_PRODUCT = "-"
_DAYS_PER_YEAR = 365
_SIGN = frozenset({KeyUsage.SIGN})
_DERIVE = frozenset({KeyUsage.DERIVE})
_WRAP_AND_UNWRAP = frozenset({KeyUsage.WRAP, KeyUsage.UNWRAP})


def _spec(
    role: Role,
    years: int,
    algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256,
    *,
    usages: frozenset[KeyUsage] = _SIGN,
    backup_permitted: bool = False,
    copies_only: bool = False,
    stays_on_token: bool = True,
) -> KeySpec:
    """No finished key of any role may leave its token, change or be copied: there is no parameter for it."""
    return KeySpec(
        role=role,
        algorithm=algorithm,
        usages=usages if algorithm is KeyAlgorithm.EC_P256 else _WRAP_AND_UNWRAP,
        extractable=False,
        modifiable=False,
        copyable=False,
        label_prefix=f"{LABEL_SCHEME}:{role.value}",
        max_validity_days=years * _DAYS_PER_YEAR,
        backup_permitted=backup_permitted or copies_only,
        backup_file_permitted=backup_permitted,
        stays_on_token=stays_on_token,
    )


KEY_SPECS: Mapping[Role, KeySpec] = MappingProxyType(
    {
        spec.role: spec
        for spec in (
            _spec(Role.ROOT, years=25, backup_permitted=True),
            _spec(Role.APPLICATION_RELEASE, years=3, backup_permitted=True),
            _spec(Role.BOOTLOADER_RELEASE, years=25, backup_permitted=True),
            _spec(Role.PRODUCTION, years=5),
            _spec(Role.GRANT, years=3),
            _spec(Role.SERVICE, years=5),
            _spec(Role.ROOT_CA, years=25, backup_permitted=True),
            _spec(Role.PRODUCTION_CA, years=5),
            _spec(Role.CODE_SIGNING, years=3),
            _spec(Role.COMPAT, years=25, backup_permitted=True),
            _spec(Role.LOG, years=5),
            _spec(Role.PACKAGE_WRAP, years=3, algorithm=KeyAlgorithm.AES_256),
            _spec(Role.LOT, years=2, copies_only=True),
            _spec(Role.LOT_CA, years=2),
            _spec(Role.STATION, years=5),
            _spec(Role.GROUP_AGREEMENT, years=25, usages=_DERIVE, stays_on_token=False),
            _spec(Role.GROUP_WRAP, years=25, algorithm=KeyAlgorithm.AES_256),
        )
    }
)
"""One spec per role."""


class LabelParts(msgspec.Struct, frozen=True):
    """A label taken apart. `product` is None for a key that serves every product; `sequence` counts from 1."""

    role: Role
    product: str | None
    sequence: int


def key_label(spec: KeySpec, product: str | None, sequence: int) -> str:
    """Make the CKA_LABEL of a key: `sr:<role>:<product or ->:<sequence, four digits>`, at most 61 ASCII characters.

    Raises ConfigurationError for a product slug or sequence number outside the scheme.
    """
    if product is not None and not _is_product_slug(product):
        raise ConfigurationError(
            f"product {product!r} cannot be used in a key label: "
            f"use 1 to {MAX_PRODUCT_SLUG_LENGTH} lower-case letters, digits and inner hyphens"
        )
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise ConfigurationError(f"key sequence number {sequence} is out of range: use 1 to {MAX_SEQUENCE}")
    return f"{spec.label_prefix}:{product or _NO_PRODUCT}:{sequence:04d}"


def parse_key_label(label: str) -> LabelParts:
    """Take a label apart; exactly the strings that `key_label` makes are accepted.

    Raises ConfigurationError, in one line, for anything else.
    """
    fields = label.split(":")
    if len(fields) != 4 or fields[0] != LABEL_SCHEME:
        raise ConfigurationError(f"{label!r} is not a key label: expected {LABEL_SCHEME}:<role>:<product or ->:<NNNN>")
    _, role_name, product, sequence = fields
    if role_name not in {role.value for role in Role}:
        raise ConfigurationError(f"{label!r} is not a key label: there is no role {role_name!r}")
    if product != _NO_PRODUCT and not _is_product_slug(product):
        raise ConfigurationError(f"{label!r} is not a key label: {product!r} is not a product slug")
    if not _SEQUENCE.fullmatch(sequence) or int(sequence) == 0:
        raise ConfigurationError(f"{label!r} is not a key label: {sequence!r} is not a sequence number 0001 to 9999")
    return LabelParts(Role(role_name), None if product == _NO_PRODUCT else product, int(sequence))


def _is_product_slug(text: str) -> bool:
    return len(text) <= MAX_PRODUCT_SLUG_LENGTH and _PRODUCT_SLUG.fullmatch(text) is not None
