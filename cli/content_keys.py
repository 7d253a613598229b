"""The content keys of packages by grant, as commands keep and use them: wrapped on the token, and logged."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cli.context import SigningKeys, now, operator, purpose
from pki.errors import ConfigurationError, PolicyViolation
from pki.roles import Role
from signer.grants.content_keys import FOLDER_NAME, ContentKeyFolder, unwrapped
from signer.store.wrapping_gate import WrappingPermit, require_may_unwrap, require_may_wrap

if TYPE_CHECKING:
    from signer.authority.model import Product
    from signer.authority.repository import AuthorityRepository
    from signer.grants.grantable import GrantablePackage
    from signer.tokens.secret_keys import SecretKeyHandle


class ProductContentKeys:
    """Keeps and unwraps the content keys of one product, for one command. A `ContentKeyVault` of packaging."""

    def __init__(self, repository: AuthorityRepository, product: Product, keys: SigningKeys, when: datetime) -> None:
        self._repository = repository
        self._product = product
        self._keys = keys
        self._when = when
        self._folder = ContentKeyFolder(repository.key_store_path.parent / FOLDER_NAME)

    def keep(self, cek_commitment: bytes, content_key: bytes) -> None:
        """Log, wrap, store. Raises ConfigurationError, PolicyViolation KS-…, GrantRefused GR-20, TokenError."""
        permit = self.require_wrapping_key()
        handle = self._handle(permit)
        self._log("content-key-kept", permit, {"cek_commitment": cek_commitment.hex()})
        self._folder.keep(self._product.name, cek_commitment, content_key, handle)

    def unwrapped(self, package: GrantablePackage) -> bytes:
        """Log, unwrap, check. Raises GrantRefused GR-20 to GR-22, PolicyViolation KS-…, TokenError."""
        kept = self._folder.read(self._product.name, package)
        path, name = self._repository.key_store_path, self._product.name
        permit = require_may_unwrap(path, kept.wrapping_label, Role.PACKAGE_WRAP, name, self._when)
        handle = self._handle(permit)
        details = {"cek_commitment": package.cek_commitment.hex(), "head_digest": package.head_hash.hex()}
        self._log("content-key-used", permit, details)
        return unwrapped(kept, package, handle)

    def require_kept(self, package: GrantablePackage) -> None:
        """What can be refused without a token. Raises GrantRefused GR-20, GR-21."""
        self._folder.read(self._product.name, package)

    def require_wrapping_key(self) -> WrappingPermit:
        """The first of the product's package-wrap keys that may wrap now.

        Raises ConfigurationError if the product names none, PolicyViolation KS-… if none may.
        """
        refused: list[PolicyViolation] = []
        path, name = self._repository.key_store_path, self._product.name
        for config in self._product.keys.package_wrap:
            try:
                return require_may_wrap(path, config.label, Role.PACKAGE_WRAP, name, self._when)
            except PolicyViolation as violation:
                refused.append(violation)
        if refused:
            raise refused[0]
        raise ConfigurationError(
            f"product {name!r} names no key under [keys] package-wrap, which keeps the content keys of packages by "
            f"grant: `strongroom key generate package-wrap --product {name} --token TOKEN --activate`, then add it"
        )

    def _handle(self, permit: WrappingPermit) -> SecretKeyHandle:
        from signer.tokens import KeyRef

        session = self._keys.session_with(permit.tokens)
        permit.require_token(session.token.serial, session.token.label)
        return session.find_secret(KeyRef(permit.label, permit.cka_id))

    def _log(self, kind: str, permit: WrappingPermit, more: dict[str, str]) -> None:
        from signer.log.values import Event, EventKind

        log = self._keys.log
        if log is not None:
            details: dict[str, Any] = {"key_label": permit.label, "product": self._product.name, **more}
            details["purpose"] = purpose()
            log.append([Event(kind=EventKind(kind), actor=operator(), details=details)], now())
