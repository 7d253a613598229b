"""Where PKCS#11 modules are installed: from a name in a URI to a file."""

from __future__ import annotations

import string
import sys
from pathlib import Path

from pki.errors import ConfigurationError
from signer.tokens.errors import ModuleError
from signer.tokens.pkcs11_uri import Pkcs11Uri
from signer.tokens.values import ModuleConfig

_MAX_NAME_LENGTH = 64
_NAME_CHARACTERS = frozenset(string.ascii_letters + string.digits + "._-")
_LIBRARY_FOLDERS = ("/usr/local/lib", "/usr/lib", "/usr/lib64")
_SUBFOLDERS = ("", "softhsm", "nss", "pkcs11")


def find_module(module_name: str) -> str:
    """The path of the module called `module_name` (no folder, no `lib`, no suffix: RFC 7512), as `softhsm2`.

    Local folders win over the system's, plain folders over subfolders. Raises ModuleError when there is none.
    """
    if not 1 <= len(module_name) <= _MAX_NAME_LENGTH or module_name[0] in "._-" or set(module_name) - _NAME_CHARACTERS:
        raise ConfigurationError(f"{module_name[:64]!r} is not a module name; give a path with module-path instead")
    for folder in _search_folders():
        for file_name in (f"lib{module_name}.so", f"{module_name}.so"):
            candidate = folder / file_name
            if candidate.is_file():
                return str(candidate)
    raise ModuleError(
        f"PKCS#11 module {module_name!r} is not installed in the system's library folders; "
        "install it, or give its path with module-path"
    )


def module_of_uri(uri: Pkcs11Uri) -> ModuleConfig:
    """The module that a URI names by module-path or module-name; raises ConfigurationError when it names none."""
    if uri.module_path is not None:
        return ModuleConfig(uri.module_path, uri.strongroom_init_args)
    if uri.module_name is not None:
        return ModuleConfig(find_module(uri.module_name), uri.strongroom_init_args)
    raise ConfigurationError("the token's URI names no module: add ?module-name=softhsm2 or ?module-path=...")


def _search_folders() -> list[Path]:
    # sysconfig knows it too, but takes 10 ms to say so.
    multiarch: str = getattr(sys.implementation, "_multiarch", "")
    folders = []
    for base in _LIBRARY_FOLDERS:
        for architecture in (multiarch, "") if multiarch else ("",):
            folders += [Path(base, architecture, subfolder) for subfolder in _SUBFOLDERS]
    return folders
