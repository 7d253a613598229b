"""What goes into the signing service, what comes out, and what it is handed to do its work with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from pki.errors import PolicyViolation
from pki.roles import Role
from pki.values import Digest, PublicKey, Scheme, Signature
from policies.allowed_signers import AllowedSigners
from policies.authentication import SignedStatement
from policies.people import People
from policies.policy_set import PolicySet
from policies.request import EnvironmentName
from signer.packages.terms import PackageType
from signer.signing_key import SigningKey

Clock = Callable[[], datetime]
"""The time in UTC."""

TYPE_OF_KIND = {
    "application": PackageType.APPLICATION,
    "bootloader": PackageType.BOOTLOADER,
    "factory-test": PackageType.FACTORY_TEST,
}
ROLE_OF_KIND = {
    "application": Role.APPLICATION_RELEASE,
    "bootloader": Role.BOOTLOADER_RELEASE,
    "factory-test": Role.PRODUCTION,
}


class SignOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One call: the signed request, the signed approvals, and the files that the request speaks of."""

    request: SignedStatement
    approvals: tuple[SignedStatement, ...]
    prepared: Path
    sbom: Path | None = None
    test_evidence: Path | None = None


class SignedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A package that was signed, logged and may be handed on. Digests of 32 bytes; indices are those of log entries.

    `repeated`: it had been signed by an earlier call, and no token was asked now.
    """

    path: Path
    request_digest: bytes
    head_digest: bytes
    package_digest: bytes
    package_size_bytes: int
    intent_index: int
    result_index: int
    policy_ids: tuple[str, ...]
    repeated: bool


class Verdict(msgspec.Struct, frozen=True):
    """What the reference bootloader says to a package. `judge` names it, `text` gives its reason."""

    accepted: bool
    judge: str
    text: str


class PackageJudge(Protocol):
    """The reference bootloader, as a new device of the product would decide. It changes nothing."""

    def judge(self, product: str, package: Path) -> Verdict:
        """Raises InputRefused or ConfigurationError when it cannot be asked at all; that counts as a refusal."""


class ReleaseKey(Protocol):
    """A key that the key store lets sign now. Its token is opened when `at_hand` or `sign` needs it."""

    @property
    def label(self) -> str:
        """`key-roles.md`."""

    @property
    def public_key(self) -> PublicKey:
        """The public half, from the key store."""

    def at_hand(self) -> object:
        """Find it on its token; raises TokenError, PolicyViolation KS-25, KS-26."""

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        """Ask the token."""


class ReleaseKeys(Protocol):
    """The keys of products, as their files name them."""

    def of_role(self, product: str, role: Role) -> tuple[Sequence[ReleaseKey], Sequence[PolicyViolation]]:
        """Those that may sign now, and why the others may not. Raises KeyStoreError."""

    def compat(self, product: str) -> ReleaseKey:
        """The key of the MCUboot trailer. Raises PolicyViolation KS-…"""


class Reviewed(msgspec.Struct, frozen=True, kw_only=True):
    """The reviewed files that a decision rests on, as they are in force now.

    `allowed_signers` is the file's text, `signers` what was read from it. `product_id` gives the 16 bytes of a
    product's id by its name, None if there is no such product.
    """

    environment: EnvironmentName
    policy_set: PolicySet
    people: People
    allowed_signers: str
    product_id: Callable[[str], bytes | None]
    signers: AllowedSigners

    def lines_of(self, people: Collection[str]) -> str:
        """The lines of `allowed_signers` that list any of these people."""
        lines = self.allowed_signers.split("\n")
        listed = [entry.line_number for entry in self.signers.entries if not set(people).isdisjoint(entry.principals)]
        return "".join(f"{lines[number - 1]}\n" for number in listed)


class OneDigestKey:
    """A key that signs one digest and no other: whatever happens to a file meanwhile, nothing else gets signed."""

    def __init__(self, key: SigningKey, digest: Digest) -> None:
        self._key = key
        self._digest = digest

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        return self._key.public_key

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        """Raises PolicyViolation SV-22 for another digest, before the token is asked."""
        if digest != self._digest:
            raise PolicyViolation(
                "SV-22",
                f"the prepared package changed while it was signed: its digest is now {digest.value.hex()}; "
                "nothing was signed",
            )
        return self._key.sign(digest, scheme)
