"""The roles a key can have, as data. One key has exactly one role, for its whole life."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec


class Role(StrEnum):
    """What a key is for. The value is the name in labels, the store, configuration and on the command line."""

    ROOT = "root"
    APPLICATION_RELEASE = "application-release"
    BOOTLOADER_RELEASE = "bootloader-release"
    PRODUCTION = "production"
    GRANT = "grant"
    SERVICE = "service"
    ROOT_CA = "root-ca"
    PRODUCTION_CA = "production-ca"
    CODE_SIGNING = "code-signing"
    COMPAT = "compat"
    LOG = "log"
    PACKAGE_WRAP = "package-wrap"
    LOT = "lot"
    LOT_CA = "lot-ca"
    STATION = "station"
    GROUP_AGREEMENT = "group-agreement"
    GROUP_WRAP = "group-wrap"


class RoleFacts(msgspec.Struct, frozen=True):
    """What a role means. `device_role_number` is its number in trust bundles; None where a device never sees it."""

    role: Role
    device_role_number: int | None
    description: str


_FACTS = (
    RoleFacts(Role.ROOT, None, "trust-bundle root: on three separate tokens, two of three sign each trust bundle"),
    RoleFacts(Role.APPLICATION_RELEASE, 1, "signs the heads of application packages"),
    RoleFacts(Role.BOOTLOADER_RELEASE, 5, "signs the heads of bootloader packages, two of the three built in for life"),
    RoleFacts(Role.PRODUCTION, 2, "signs work orders and factory tests, which let a locked device leave production"),
    RoleFacts(Role.GRANT, 3, "signs batches of grants: which device may install and decrypt which package"),
    RoleFacts(Role.SERVICE, 4, "signs return for repair, decommissioning and re-provisioning"),
    RoleFacts(Role.ROOT_CA, None, "X.509 root CA: issues CA certificates and its CRL, nothing else"),
    RoleFacts(Role.PRODUCTION_CA, None, "X.509 issuing CA: device identities, code-signing certificates and its CRL"),
    RoleFacts(Role.CODE_SIGNING, None, "signs files for hosts, under an X.509 code-signing certificate"),
    RoleFacts(Role.COMPAT, None, "signs the MCUboot trailer for stock tools; has no authority on any device"),
    RoleFacts(Role.LOG, None, "signs checkpoints of the audit log"),
    RoleFacts(Role.PACKAGE_WRAP, None, "AES key that keeps the content keys of prepared packages wrapped at rest"),
    RoleFacts(Role.LOT, None, "signs activations of one lot; devices take it because a work order names it"),
    RoleFacts(Role.LOT_CA, None, "X.509 issuing CA of one lot: identities of its devices and its CRL"),
    RoleFacts(Role.STATION, None, "signs a provisioning station's birth records; work orders name the station by it"),
    RoleFacts(Role.GROUP_AGREEMENT, None, "ECDH key of a product's group, injected into devices; on no token to stay"),
    RoleFacts(Role.GROUP_WRAP, None, "AES key that keeps a group's agreement key wrapped at rest"),
)

ROLES: Mapping[Role, RoleFacts] = MappingProxyType({facts.role: facts for facts in _FACTS})
"""Every role, in the order in which people expect to read them."""

DEVICE_ROLES: Mapping[int, Role] = MappingProxyType(
    {facts.device_role_number: facts.role for facts in _FACTS if facts.device_role_number is not None}
)
"""Role number in a trust bundle -> role. Numbers are extend-only: a number is never used again for another role."""
