"""Finding and opening an authority repository on disk.

strongroom.toml   the authority: name, environment, where its key store is
people.toml       who may request, approve, or hold a role in a ceremony
allowed_signers   their SSH keys: a stock allowed-signers file of OpenSSH
policies/         who may have what signed, with whose agreement
products/         one file per product
sites/            one file per site: modules, tokens, PIN sources
boards/           board files: flash regions of the microcontrollers
store/            the key store
log/              the audit log: tiles, checkpoint, index
public/           certificates, public keys, trust bundles: what anyone may have
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pki.errors import ConfigurationError
from policies.names import is_slug
from signer.authority.model import Authority, KeyConfig, Product, Site, TokenConfig
from signer.authority.toml_files import load_toml

if TYPE_CHECKING:
    from policies.allowed_signers import AllowedSigners
    from policies.people import People
    from policies.policy_set import PolicySet

AUTHORITY_FILE = "strongroom.toml"
ALLOWED_SIGNERS_FILE = "allowed_signers"
_PRODUCTS_MAX = 1000


class AuthorityRepository(msgspec.Struct, frozen=True, dict=True):
    """An authority repository, its files read when asked for and checked as they are read."""

    root: Path

    @cached_property
    def authority(self) -> Authority:
        """The authority itself. Raises ConfigurationError."""
        return load_toml(self.root / AUTHORITY_FILE, Authority)

    @property
    def key_store_path(self) -> Path:
        """Where the key store is, made absolute against the repository."""
        return self.root / self.authority.key_store

    @property
    def key_intents_path(self) -> Path:
        """Where intents to generate keys are written: beside the key store."""
        return self.key_store_path.parent / "intents"

    @property
    def log_path(self) -> Path | None:
        """Where the audit log is, made absolute against the repository; None for an authority without [log]."""
        return None if self.authority.log is None else self.root / self.authority.log.path

    @cached_property
    def people(self) -> People:
        """Who is who. Raises ConfigurationError."""
        from policies.people import People

        return load_toml(self.root / "people.toml", People)

    def policy_files(self) -> dict[str, bytes]:
        """The files of `policies/`, by name, as they are now. Raises ConfigurationError."""
        from signer.authority.policy_folder import POLICY_FOLDER, read_policy_files

        return read_policy_files(self.root / POLICY_FOLDER)

    def policy_set(self) -> PolicySet:
        """The policies in force. Raises ConfigurationError (PO-10 to PO-15)."""
        from policies.policy_set import PolicySet

        return PolicySet.of(self.policy_files())

    def allowed_signers(self) -> AllowedSigners:
        """Which SSH key speaks for whom. Raises ConfigurationError, with line number and rule."""
        from policies.allowed_signers import FILE_SIZE_BYTES_MAX, parse_allowed_signers

        path = self.root / ALLOWED_SIGNERS_FILE
        try:
            with path.open("rb") as stream:
                return parse_allowed_signers(stream.read(FILE_SIZE_BYTES_MAX + 1).decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}") from None
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None

    def product_names(self) -> list[str]:
        """Names of all products, in order."""
        return _names(self.root / "products")

    def site_names(self) -> list[str]:
        """Names of all sites, in order."""
        return _names(self.root / "sites")

    def product(self, name: str) -> Product:
        """One product. Raises ConfigurationError if there is none, or its file does not pass."""
        product = load_toml(self._named_file("products", name), Product)
        if product.name != name:
            raise ConfigurationError(
                f"{self.root}/products/{name}.toml: `name` is {product.name!r}; make the two equal"
            )
        return product

    def site(self, name: str | None = None) -> Site:
        """One site; the authority's default if not named. Raises ConfigurationError."""
        wanted = name or self.authority.default_site
        site = load_toml(self._named_file("sites", wanted), Site)
        if site.name != wanted:
            raise ConfigurationError(f"{self.root}/sites/{wanted}.toml: `name` is {site.name!r}; make the two equal")
        return site

    def board_path(self, name: str) -> Path:
        """The board file of that name. Raises ConfigurationError if there is none."""
        return self._named_file("boards", name)

    def resolve(self, path: str) -> Path:
        """A path from a configuration file, relative to the repository."""
        return self.root / path

    def board_names(self) -> list[str]:
        """Names of all boards, in order."""
        return _names(self.root / "boards")

    def _named_file(self, folder: str, name: str) -> Path:
        if not is_slug(name):
            raise ConfigurationError(f"{name!r} is no name: use lower-case letters, digits and inner hyphens")
        path = self.root / folder / f"{name}.toml"
        if not path.is_file():
            have = ", ".join(_names(self.root / folder)) or "none"
            raise ConfigurationError(f"there is no {folder}/{name}.toml in {self.root} (there: {have})")
        return path


def token_of(site: Site, key: KeyConfig) -> TokenConfig:
    """The site's token that a key names. Raises ConfigurationError if the site has none of that name."""
    if key.token not in site.tokens:
        have = ", ".join(sorted(site.tokens)) or "none"
        raise ConfigurationError(f"site {site.name!r} has no token {key.token!r} for key {key.label!r} (there: {have})")
    return site.tokens[key.token]


def locate(start: Path) -> AuthorityRepository:
    """The repository at `start` or above it. Raises ConfigurationError with what to do if there is none."""
    for folder in (start, *start.parents):
        if (folder / AUTHORITY_FILE).is_file():
            return AuthorityRepository(folder)
    raise ConfigurationError(
        f"no {AUTHORITY_FILE} in {start} or above it: give --authority DIR, or make one with `strongroom init DIR`"
    )


def _names(folder: Path) -> list[str]:
    names = sorted(path.stem for path in folder.glob("*.toml")) if folder.is_dir() else []
    if len(names) > _PRODUCTS_MAX:
        raise ConfigurationError(f"{folder} holds more than {_PRODUCTS_MAX} files")
    return names
