"""The outside world of packaging, for tests: a working ledger, vault and random source, all in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pki.errors import PolicyViolation
from signer.packages.encryption import PackagingMeans, software_ephemeral_key


class MemoryLedger:
    """A ledger as the store's is, without its durability."""

    def __init__(self) -> None:
        self.fingerprints: set[bytes] = set()

    def claim(self, fingerprint: bytes) -> None:
        if fingerprint in self.fingerprints:
            raise PolicyViolation("CEK-REUSE", "this content key was used before")
        self.fingerprints.add(fingerprint)


class MemoryVault:
    """Content keys by commitment."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def keep(self, cek_commitment: bytes, content_key: bytes) -> None:
        self.kept[cek_commitment] = content_key


class RepeatableRandom:
    """Random-looking bytes that follow from a seed: two sources of one seed give the same."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def __call__(self, size_bytes: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(f"{self._seed} {self._count}".encode()).digest(size_bytes)


def means_with(
    random: Callable[[int], bytes], ledger: MemoryLedger | None = None, vault: MemoryVault | None = None
) -> PackagingMeans:
    return PackagingMeans(
        random=random,
        new_ephemeral_key=lambda: software_ephemeral_key(random),
        content_key_ledger=ledger or MemoryLedger(),
        content_key_vault=vault,
    )
