"""The keys that a package needs, by role, from the product's file: the key store is asked before any token is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from cli.context import SigningKeys, content_key_ledger, require_may_sign
from pki.errors import InputRefused, PolicyViolation
from pki.roles import Role
from pki.values import Digest, Scheme, Signature
from signer.authority.development_material import refuse_known_test_key
from signer.authority.model import KeyConfig, Product
from signer.authority.repository import AuthorityRepository
from signer.packages.terms import PackageType, RecipientMode, signer_count

if TYPE_CHECKING:
    from cli.content_keys import ProductContentKeys
    from signer.log.logged_key import LoggedKey
    from signer.packages.encryption import PackagingMeans
    from signer.store.signing_gate import SigningPermit
    from signer.tokens.key_handle import KeyHandle

ROLE_OF_TYPE = {
    PackageType.APPLICATION: Role.APPLICATION_RELEASE,
    PackageType.BOOTLOADER: Role.BOOTLOADER_RELEASE,
    PackageType.FACTORY_TEST: Role.PRODUCTION,
}


class PermittedKey:
    """A key that the key store lets sign in this command; its token is opened when it is first needed."""

    def __init__(self, config: KeyConfig, permit: SigningPermit, keys: SigningKeys) -> None:
        self.label = config.label
        self.public_key = permit.public_key
        self._token = config.token
        self._permit = permit
        self._keys = keys
        self._handle: KeyHandle | LoggedKey | None = None

    def at_hand(self) -> KeyHandle | LoggedKey:
        """The key on its token, found before long work begins. Raises TokenError, PolicyViolation."""
        if self._handle is None:
            self._handle = self._keys.permitted(self._permit, self._token)
        return self._handle

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        """Ask the token. Raises TokenError, PolicyViolation, ConfigurationError."""
        return self.at_hand().sign(digest, scheme)


class PackageKeys(msgspec.Struct, frozen=True):
    """Chooses among a product's keys, for one command."""

    repository: AuthorityRepository
    product: Product
    keys: SigningKeys
    when: datetime

    def signers(self, package_type: PackageType, labels: Sequence[str]) -> list[PermittedKey]:
        """As many signers as the type needs: those named by `labels`, else the first that may sign now.

        Raises InputRefused for a label that the product does not have; PolicyViolation if too few may sign.
        """
        role, needed = ROLE_OF_TYPE[package_type], signer_count(package_type)
        if labels:
            chosen = [self._permitted(config, role) for config in self._named(role, labels)]
            if len(chosen) != needed:
                raise InputRefused(f"this type of package has {needed} signers, not {len(chosen)}; correct --key")
            return chosen
        chosen, refused = self.permitted(role)
        if len(chosen) < needed:
            raise (
                refused[0]
                if refused
                else InputRefused(
                    f"product {self.product.name!r} has too few keys of role {role} in its file: {needed} needed"
                )
            )
        return chosen[:needed]

    def permitted(self, role: Role) -> tuple[list[PermittedKey], list[PolicyViolation]]:
        """The product's keys of a role that may sign now, in the file's order, and why the others may not."""
        allowed, refused = [], []
        for config in self.product.keys.of_role(role):
            try:
                allowed.append(self._permitted(config, role))
            except PolicyViolation as violation:
                refused.append(violation)
        return allowed, refused

    def compat(self) -> PermittedKey:
        """The key of the MCUboot trailer."""
        return self._permitted(self.product.keys.compat, Role.COMPAT)

    def means(self, mode: RecipientMode) -> PackagingMeans:
        """Randomness from the HSM that holds the compat key, the ledger of content keys, and their vault for grants.

        Raises ConfigurationError or PolicyViolation KS-… if a package by grant could not keep its content key.
        """
        from signer.packages.encryption import PackagingMeans, software_ephemeral_key

        random = self.keys.session(self.product.keys.compat.token).random
        ledger = content_key_ledger(self.repository, self.when)
        vault = self._vault() if mode is RecipientMode.GRANT else None
        return PackagingMeans(random, lambda: software_ephemeral_key(random), ledger, vault)

    def _vault(self) -> ProductContentKeys:
        from cli.content_keys import ProductContentKeys

        vault = ProductContentKeys(self.repository, self.product, self.keys, self.when)
        vault.require_wrapping_key()
        return vault

    def _named(self, role: Role, labels: Sequence[str]) -> list[KeyConfig]:
        by_label = {config.label: config for config in self.product.keys.of_role(role)}
        for label in labels:
            if label not in by_label:
                have = ", ".join(by_label) or "none"
                raise InputRefused(f"product {self.product.name!r} has no {role} key {label!r} (there: {have})")
        return [by_label[label] for label in labels]

    def _permitted(self, config: KeyConfig, role: Role) -> PermittedKey:
        permit = require_may_sign(self.repository, config.label, role, self.product.name, self.when)
        refuse_known_test_key(self.repository.authority.environment, permit.public_key)
        return PermittedKey(config, permit, self.keys)
