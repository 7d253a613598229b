"""One token of a module, pinned by its serial number."""

from __future__ import annotations

from pki.errors import ConfigurationError
from signer.tokens.module import Module
from signer.tokens.pin_sources import PinSource
from signer.tokens.pkcs11_uri import Pkcs11Uri
from signer.tokens.session import Session


class Token:
    """A token named by a URI with `serial`. Nothing is asked of it until it is opened."""

    def __init__(self, module: Module, uri: Pkcs11Uri) -> None:
        """Raises ConfigurationError for a URI without a serial number, or for another library than the module's."""
        if uri.serial is None:
            raise ConfigurationError(
                "a token is pinned by its serial number: add serial=... to the URI; `strongroom token list` shows it"
            )
        _check_library(module, uri)
        self.module = module
        self.uri = uri

    def open(self, pin_source: PinSource, *, writable: bool = False) -> Session:
        """Open a session and log the user in. One session per token and process.

        Raises TokenNotFound, TokenAmbiguous, TokenBusy, TokenUnfinished, PinIncorrect, PinLocked, PinRejected,
        PinSourceError, TokenLost, ForkedProcess.
        """
        return Session(self.module, self.uri, pin_source, writable=writable)


def _check_library(module: Module, uri: Pkcs11Uri) -> None:
    major, minor = module.library.library_version
    wanted = uri.library_version
    if wanted is not None and "." not in wanted:
        wanted += ".0"
    for name, asked, found in (
        ("library-manufacturer", uri.library_manufacturer, module.library.manufacturer_id),
        ("library-description", uri.library_description, module.library.library_description),
        ("library-version", wanted, f"{major}.{minor}"),
    ):
        if asked is not None and asked != found:
            raise ConfigurationError(f"the module's {name} is {found!r}, the URI wants {asked!r}")
