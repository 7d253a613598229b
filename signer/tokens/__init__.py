"""Tokens over PKCS#11. This is the whole interface for other rooms:

    module = load_module(ModuleConfig(find_module("softhsm2")))
    list_tokens(module), init_token(module, ...)
    with open_token("pkcs11:serial=...?module-name=softhsm2", PinFile(path)) as session:
        handle = session.find(KeyRef(label="sr:application-release:pump-x2:0001"))
        signature = handle.sign(Digest.of(message), Scheme.ECDSA_P256_SHA256_RAW)

Importing it is cheap: python-pkcs11 and `cryptography` are loaded with the first module. Rules: docs/spec/tokens.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from signer.tokens.errors import TokenError
from signer.tokens.module_paths import find_module, module_of_uri
from signer.tokens.pin_sources import (
    PinCommand,
    PinFile,
    PinSource,
    PromptedPin,
    ProtectedPath,
    pin_source_from_text,
)
from signer.tokens.pkcs11_uri import Pkcs11Uri, format_pkcs11_uri, parse_pkcs11_uri
from signer.tokens.values import KeyRef, ModuleConfig, TokenInfo

if TYPE_CHECKING:
    from multiprocessing.context import SpawnContext

    from signer.tokens.module import Module
    from signer.tokens.session import Session

__all__ = [
    "KeyRef",
    "ModuleConfig",
    "PinCommand",
    "PinFile",
    "PinSource",
    "Pkcs11Uri",
    "PromptedPin",
    "ProtectedPath",
    "TokenError",
    "TokenInfo",
    "find_module",
    "format_pkcs11_uri",
    "init_token",
    "list_tokens",
    "load_module",
    "module_of_uri",
    "open_token",
    "parse_pkcs11_uri",
    "pin_source_from_text",
    "worker_context",
]


def load_module(config: ModuleConfig) -> Module:
    """Load and initialise a PKCS#11 module, once per process. Raises ModuleError."""
    from signer.tokens import module

    return module.load_module(config)


def list_tokens(module: Module) -> tuple[TokenInfo, ...]:
    """Every token of the module, initialised or not; the module looks anew if no session is open."""
    if not module.sessions:
        module.reinitialize()
    return module.tokens()


def open_token(
    uri: str | Pkcs11Uri,
    pin_source: PinSource | None = None,
    *,
    writable: bool = False,
    ask: Callable[[str], str] | None = None,
) -> Session:
    """Open the token that a URI names (module and serial are required in it) and log in.

    Without `pin_source`, the URI's `pin-source` says where the PIN comes from, in the words of `pin_source_from_text`;
    `ask` is called for `prompt`. Raises ConfigurationError for the URI, and whatever `Token.open` raises.
    """
    from signer.tokens.errors import PinSourceError
    from signer.tokens.token import Token

    parsed = parse_pkcs11_uri(uri) if isinstance(uri, str) else uri
    config = module_of_uri(parsed)
    if pin_source is None:
        if parsed.pin_source is None:
            raise PinSourceError("no PIN source: give one, or add pin-source=file:/path/to/pin to the token's URI")
        prompt = f"PIN of token {parsed.token or parsed.serial}: "
        pin_source = pin_source_from_text(parsed.pin_source, ask or _cannot_ask, prompt)
    return Token(load_module(config), parsed).open(pin_source, writable=writable)


def init_token(
    module: Module,
    label: str,
    so_pin_source: PinSource | None,
    user_pin_source: PinSource,
    *,
    serial: str | None = None,
    dangerously_erase: bool = False,
) -> TokenInfo:
    """Initialise a token and set its user PIN; see `signer.tokens.initialisation.initialise_token`."""
    from signer.tokens.initialisation import initialise_token

    return initialise_token(
        module, label, so_pin_source, user_pin_source, serial=serial, dangerously_erase=dangerously_erase
    )


def worker_context() -> SpawnContext:
    """The only multiprocessing context for workers that use tokens: spawn. A forked child shares its parent's state."""
    import multiprocessing

    return multiprocessing.get_context("spawn")


def _cannot_ask(_prompt: str) -> str:
    from signer.tokens.errors import PinSourceError

    raise PinSourceError("there is no terminal to ask for the PIN; use pin-source=file:PATH or command:PROGRAM")
