"""The signing service as commands use it: keys, log, policies, people and judge come from the authority repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.context import SigningKeys, now, operator, repository_of, site_of
from cli.output import read_input
from cli.package_judgement import ProductJudge
from cli.package_keys import PackageKeys, PermittedKey
from pki.errors import ConfigurationError, InputRefused, PolicyViolation
from pki.roles import Role
from policies.allowed_signers import FILE_SIZE_BYTES_MAX, parse_allowed_signers
from signer.authority.repository import ALLOWED_SIGNERS_FILE, AuthorityRepository
from signer.service.facts import Past
from signer.service.releases import ReleaseHistory
from signer.service.service import SigningService
from signer.service.shelf import Shelf
from signer.service.values import Reviewed

if TYPE_CHECKING:
    from signer.log.audit_log import TileLog


class ServiceKeys:
    """`ReleaseKeys` out of the products' files, the key store and the tokens of a site. Each token is opened once."""

    def __init__(self, repository: AuthorityRepository, keys: SigningKeys) -> None:
        self._repository = repository
        self._keys = keys
        self._compat: dict[str, PermittedKey] = {}

    def of_role(self, product: str, role: Role) -> tuple[Sequence[PermittedKey], Sequence[PolicyViolation]]:
        """The product's keys that may sign now, and why the others may not."""
        return self._of(product).permitted(role)

    def compat(self, product: str) -> PermittedKey:
        """The key of the MCUboot trailer."""
        if product not in self._compat:
            self._compat[product] = self._of(product).compat()
        return self._compat[product]

    def _of(self, product: str) -> PackageKeys:
        return PackageKeys(self._repository, self._repository.product(product), self._keys, now())


@contextmanager
def signing_service(context: typer.Context) -> Iterator[SigningService]:
    """The service at the site of this command. Raises ConfigurationError, AuditError, TokenError, KeyStoreError."""
    repository = repository_of(context)
    with SigningKeys(repository, site_of(context, repository), now(), for_releases=True) as keys:
        yield service_with(repository, keys)


def service_with(repository: AuthorityRepository, keys: SigningKeys) -> SigningService:
    """The service on keys that may be used for releases. Raises ConfigurationError, AuditError, KeyStoreError."""
    log = log_of(keys)
    return SigningService(
        reviewed=reviewed(repository),
        keys=ServiceKeys(repository, keys),
        log=log,
        judge=ProductJudge(repository),
        shelf=shelf_of(repository),
        past=Past(log, history_of(repository), repository.product_names()),
        clock=now,
        actor=operator(),
    )


def reviewed(repository: AuthorityRepository) -> Reviewed:
    """The reviewed files in force now. Raises ConfigurationError."""
    text = allowed_signers_text(repository)
    return Reviewed(
        environment=repository.authority.environment.value,
        policy_set=repository.policy_set(),
        people=repository.people,
        allowed_signers=text,
        signers=parse_allowed_signers(text),
        product_id=lambda name: repository.product(name).id_bytes if name in repository.product_names() else None,
    )


def allowed_signers_text(repository: AuthorityRepository) -> str:
    """The file's text, read once. Raises ConfigurationError."""
    path = repository.root / ALLOWED_SIGNERS_FILE
    try:
        return read_input(path, "the file", FILE_SIZE_BYTES_MAX).decode("utf-8")
    except (InputRefused, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None


def log_of(keys: SigningKeys) -> TileLog:
    """The audit log, which the service cannot do without. Raises ConfigurationError if there is none."""
    log = keys.log
    if log is None:
        raise ConfigurationError(
            "the signing service logs what it decides, and strongroom.toml has no [log]: add it, then `strongroom "
            "audit init`"
        )
    return log


def shelf_of(repository: AuthorityRepository) -> Shelf:
    """Where signed packages are kept: beside the key store."""
    return Shelf(shelf_folder(repository))


def shelf_folder(repository: AuthorityRepository) -> Path:
    """The folder of the shelf."""
    return repository.key_store_path.parent / "signed"


def history_of(repository: AuthorityRepository) -> ReleaseHistory:
    """The releases made so far."""
    return ReleaseHistory(repository.root / "releases")
