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
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pki.errors import ConfigurationError, OutputError
from signer.authority.durable import sync_folder, write_new_text
from signer.authority.model import SLUG_PATTERN, Authority, Environment, KeyConfig, People, Product, Site, TokenConfig
from signer.authority.toml_files import load_toml, toml_string

AUTHORITY_FILE = "strongroom.toml"
KEY_STORE = "store/keys.sqlite"
_PRODUCTS_MAX = 1000


@dataclass(frozen=True, slots=True)
class NewAuthority:
    """What a new repository starts with: texts of shipped board files and paths of PKCS#11 modules, each by name."""

    name: str
    environment: Environment
    boards: Mapping[str, str]
    modules: Mapping[str, str]


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

    @property
    def key_intents_path(self) -> Path:
        """Where intents to generate keys are written: beside the key store."""
        return self.key_store_path.parent / "intents"

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

    def board_names(self) -> list[str]:
        """Names of all boards, in order."""
        return _names(self.root / "boards")

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


def scaffold(root: Path, settings: NewAuthority, make_key_store: Callable[[Path], None]) -> list[Path]:
    """Make a new authority repository, whole or not at all, and return its files in order.

    `make_key_store` makes the key store at the path it is given. Raises OutputError, with nothing left behind, if
    `root` exists and is not an empty folder, or cannot be written; ConfigurationError for a name that does not fit.
    """
    _check_new(root, settings)
    files = _initial_files(settings)
    work = root.parent / f".{root.name}.{os.getpid()}.part"
    try:
        work.mkdir()
        try:
            (work / "store").mkdir(mode=0o700)
            for relative, text in files.items():
                (work / relative).parent.mkdir(exist_ok=True)
                write_new_text(work / relative, text)
            make_key_store(work / KEY_STORE)
            for folder in (*(path for path in work.iterdir() if path.is_dir()), work):
                sync_folder(folder)
            work.rename(root)
            sync_folder(root.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{root}: cannot be written ({error.strerror}); nothing was left behind") from None
    return [root / relative for relative in (*files, KEY_STORE)]


def _check_new(root: Path, settings: NewAuthority) -> None:
    if os.path.lexists(root) and (root.is_symlink() or not root.is_dir() or any(root.iterdir())):
        raise OutputError(f"{root} exists and is not an empty folder: choose a new one")
    if not 1 <= len(settings.name) <= 100 or not settings.name.isprintable():
        raise ConfigurationError("the authority's name must have 1 to 100 printable characters")


def _initial_files(settings: NewAuthority) -> dict[str, str]:
    return {
        AUTHORITY_FILE: _AUTHORITY.format(
            name=toml_string(settings.name), environment=settings.environment.value, key_store=KEY_STORE
        ),
        "people.toml": _PEOPLE,
        "sites/main.toml": _SITE.format(modules=_module_lines(settings.modules)),
        "products/README.md": _PRODUCTS_README,
        "public/README.md": _PUBLIC_README,
        ".gitignore": "store/\n",
        **{f"boards/{board}.toml": text for board, text in sorted(settings.boards.items())},
    }


def _module_lines(modules: Mapping[str, str]) -> str:
    if not modules:
        return '# softhsm = { path = "/usr/lib/softhsm/libsofthsm2.so" }'
    return "\n".join(f"{name} = {{ path = {toml_string(path)} }}" for name, path in sorted(modules.items()))


def _names(folder: Path) -> list[str]:
    names = sorted(path.stem for path in folder.glob("*.toml")) if folder.is_dir() else []
    if len(names) > _PRODUCTS_MAX:
        raise ConfigurationError(f"{folder} holds more than {_PRODUCTS_MAX} files")
    return names


_AUTHORITY = """\
# The authority. `environment`: "development" or "production"; production refuses test keys and simulated devices.
format = 1
name = {name}
environment = "{environment}"
default_site = "main"
key_store = "{key_store}"
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
{modules}

[tokens]
# [tokens.release]
# module = "softhsm"
# uri = "pkcs11:token=release;serial=0123456789abcdef"
# pin = {{ source = "prompt" }}                                  # or:
# pin = {{ source = "file", path = "/run/pins/release" }}        # mode 0600, owned by you
# pin = {{ source = "command", argv = ["pass", "show", "hsm/release"] }}
# pin = {{ source = "protected-path" }}                          # the token's own keypad
"""

_PRODUCTS_README = """\
# Products
One TOML file per product; `strongroom product new NAME` writes a commented start. `strongroom doctor` checks them all.
"""

_PUBLIC_README = """\
# Public artefacts
Certificates, public keys and trust bundles. Nothing here is secret.
"""
