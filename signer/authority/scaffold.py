"""Scaffolding a new authority repository: its first files, the boards that are shipped, and an empty key store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pki.errors import ConfigurationError, OutputError
from signer.authority.model import Environment
from signer.authority.policy_folder import POLICY_FOLDER
from signer.authority.repository import ALLOWED_SIGNERS_FILE, AUTHORITY_FILE
from signer.authority.toml_files import toml_string
from signer.durable import sync_folder, write_new_text

KEY_STORE = "store/keys.sqlite"


@dataclass(frozen=True, slots=True)
class NewAuthority:
    """What a new repository starts with.

    Texts of shipped board files, paths of PKCS#11 modules, and texts of shipped policy files, each by name.
    """

    name: str
    environment: Environment
    boards: Mapping[str, str]
    modules: Mapping[str, str]
    policies: Mapping[str, str] = field(default_factory=dict)


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
        ALLOWED_SIGNERS_FILE: _ALLOWED_SIGNERS,
        "sites/main.toml": _SITE.format(modules=_module_lines(settings.modules)),
        "products/README.md": _PRODUCTS_README,
        "public/README.md": _PUBLIC_README,
        ".gitignore": "store/\nlog/\n",
        **{f"boards/{board}.toml": text for board, text in sorted(settings.boards.items())},
        **{f"{POLICY_FOLDER}/{name}": text for name, text in sorted(settings.policies.items())},
    }


def _module_lines(modules: Mapping[str, str]) -> str:
    if not modules:
        return '# softhsm = { path = "/usr/lib/softhsm/libsofthsm2.so" }'
    return "\n".join(f"{name} = {{ path = {toml_string(path)} }}" for name, path in sorted(modules.items()))


_AUTHORITY = """\
# The authority. `environment`: "development" or "production"; production refuses test keys and simulated devices.
format = 1
name = {name}
environment = "{environment}"
default_site = "main"
key_store = "{key_store}"

# The audit log; production demands it. `strongroom key generate log --token TOKEN --activate` makes its key, and then
# `strongroom audit init` the log. `witnesses` are the keys that `strongroom audit witness new` prints.
# [log]
# token = "release"
# label = "sr:log:-:0001"
# witnesses = []
"""

_PEOPLE = """\
# Who may request, approve, or hold a role in a ceremony. Their SSH keys are in allowed_signers.
format = 1

# [[people]]
# id = "ada"
# name = "Ada Example"
# roles = ["approver", "custodian"]   # requester, approver, custodian, operator, witness, auditor
# groups = ["quality"]                # what policies count quorums of
"""

_ALLOWED_SIGNERS = """\
# Which SSH key speaks for whom: an allowed-signers file as in ssh-keygen(1). The first word is an id of people.toml;
# times end with Z (UTC); no patterns, no certificate authorities. `strongroom doctor` checks it.
# ada namespaces="strongroom-request-v1,strongroom-approval-v1" sk-ssh-ed25519@openssh.com AAAA…
# bob namespaces="strongroom-approval-v1",valid-before="20270101Z" ecdsa-sha2-nistp256 AAAA…
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
