"""Finding, opening and scaffolding an authority repository on disk.

strongroom.toml   the authority: name, environment, where its key store is
people.toml       who may request, approve, or hold a role in a ceremony
products/         one file per product
sites/            one file per site: modules, tokens, PIN sources
boards/           board files: flash regions of the microcontrollers
store/            the key store
public/           certificates, public keys, trust bundles: what anyone may have
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pki.errors import ConfigurationError, OutputError
from signer.authority.model import SLUG_PATTERN, Authority, Environment, KeyConfig, People, Product, Site, TokenConfig
from signer.authority.toml_files import load_toml

AUTHORITY_FILE = "strongroom.toml"
_PRODUCTS_MAX = 1000


@dataclass(frozen=True)
class AuthorityRepository:
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

    @cached_property
    def people(self) -> People:
        """Who is who. Raises ConfigurationError."""
        return load_toml(self.root / "people.toml", People)

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

    def _named_file(self, folder: str, name: str) -> Path:
        if not re.fullmatch(SLUG_PATTERN, name):
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


def scaffold(root: Path, name: str, environment: Environment, boards: dict[str, str]) -> list[Path]:
    """Write a new authority repository and return the files made. `boards` are shipped board files by name.

    Raises OutputError, before anything is written, if `root` exists and is not an empty folder.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise OutputError(f"{root} exists and is not empty: choose a new folder")
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise ConfigurationError("the authority's name must have 1 to 100 printable characters")
    files = {
        AUTHORITY_FILE: _AUTHORITY.format(name=_toml_string(name), environment=environment.value),
        "people.toml": _PEOPLE,
        "sites/main.toml": _SITE,
        "products/README.md": _PRODUCTS_README,
        "public/README.md": _PUBLIC_README,
        ".gitignore": "store/\n",
        **{f"boards/{board}.toml": text for board, text in boards.items()},
    }
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / "store").mkdir(mode=0o700)
        for relative, text in files.items():
            path = root / relative
            path.parent.mkdir(exist_ok=True)
            _write_new(path, text)
    except OSError as error:
        raise OutputError(f"{error.filename or root}: cannot be written ({error.strerror})") from None
    return [root / relative for relative in files]


def _write_new(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _names(folder: Path) -> list[str]:
    names = sorted(path.stem for path in folder.glob("*.toml")) if folder.is_dir() else []
    if len(names) > _PRODUCTS_MAX:
        raise ConfigurationError(f"{folder} holds more than {_PRODUCTS_MAX} files")
    return names


def _toml_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_AUTHORITY = """\
# The authority. `environment`: "development" or "production"; production refuses test keys and simulated devices.
format = 1
name = {name}
environment = "{environment}"
default_site = "main"
key_store = "store/keys.sqlite"
"""

_PEOPLE = """\
# Who may request, approve, or hold a role in a ceremony.
format = 1

# [[people]]
# id = "ada"
# name = "Ada Example"
# roles = ["approver", "custodian"]
# ssh_public_keys = ["sk-ssh-ed25519@openssh.com AAAA…"]
"""

_SITE = """\
# The modules and tokens of this site. Tokens are pinned by serial, which `strongroom token init|list` tells.
format = 1
name = "main"

[modules]
# softhsm = { path = "/usr/lib/softhsm/libsofthsm2.so" }

[tokens]
# [tokens.release]
# module = "softhsm"
# uri = "pkcs11:serial=0123456789abcdef"
# pin = { source = "prompt" }                        # or:
# pin = { source = "file", path = "/run/pins/release" }      # mode 0600, owned by you
# pin = { source = "command", argv = ["pass", "show", "hsm/release"] }
# pin = { source = "protected-path" }                # the token's own keypad
"""

_PRODUCTS_README = """\
# Products
One TOML file per product; `strongroom product new NAME` writes a commented start. `strongroom doctor` checks them all.
"""

_PUBLIC_README = """\
# Public artefacts
Certificates, public keys and trust bundles. Nothing here is secret.
"""
