"""The fixed test keys. Each private scalar follows from its name, so they are as public as this file."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from tests.vectors.generator import p256
from tests.vectors.generator.primitives import sha256

NAMES = (
    *(f"root-{number}" for number in range(1, 6)),
    *(f"next-root-{number}" for number in range(1, 4)),
    "app-release-1",
    "app-release-2",
    "app-release-revoked",
    *(f"app-release-spare-{number}" for number in range(1, 6)),
    "production-1",
    "grant-1",
    "service-1",
    *(f"bootloader-release-{number}" for number in range(1, 5)),
    "stranger",
    "compat",
    "device-1-identity",
    "device-1-agreement",
    "device-2-agreement",
    "group-lot-1-agreement",
    "group-lot-2-agreement",
    "production-revoked",
    "grant-revoked",
    "service-revoked",
    "lot-1",
    "lot-2",
    "lot-revoked",
    "station-1",
    "station-2",
    "device-1-injected-agreement",
    "device-2-identity",
)


@dataclass(frozen=True, slots=True)
class TestKey:
    """A test key pair: private scalar, public point X ‖ Y, and key id."""

    __test__ = False  # a value, not a test class

    name: str
    private: int
    public: bytes
    key_id: bytes


@functools.cache
def key(name: str) -> TestKey:
    """The test key of that name; KeyError for a name that is not on the list."""
    if name not in NAMES:
        raise KeyError(name)
    return key_from_label(f"Strongroom test key, worthless, never trust it: {name}")


@functools.cache
def ephemeral_key(case: str) -> TestKey:
    """The ephemeral key pair of one vector."""
    return key_from_label(f"Strongroom test ephemeral key of {case}")


def key_from_label(label: str) -> TestKey:
    """Private scalar = SHA-256(label) mod (n − 1) + 1."""
    private = int.from_bytes(sha256(label.encode()), "big") % (p256.N - 1) + 1
    public = p256.public_key(private)
    return TestKey(label.rpartition(" ")[2], private, public, p256.key_id(public))


def in_order(*names: str) -> tuple[TestKey, ...]:
    """The named keys in ascending order of their public keys, compared as byte strings."""
    return tuple(sorted((key(name) for name in names), key=lambda entry: entry.public))


def in_key_id_order(*names: str) -> tuple[TestKey, ...]:
    """The named keys in ascending order of their key ids, compared as byte strings."""
    return tuple(sorted((key(name) for name in names), key=lambda entry: entry.key_id))
