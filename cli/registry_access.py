"""What the registry's commands share: its address, and how products and devices are named."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import repository_of
from pki.errors import ConfigurationError, InputRefused

if TYPE_CHECKING:
    from provisioning.registry.registry import Registry
    from signer.authority.repository import AuthorityRepository

DEFAULT_URL = "sqlite:///registry.sqlite"
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")

RegistryOption = Annotated[
    str,
    typer.Option(
        "--registry",
        metavar="URL",
        envvar="STRONGROOM_REGISTRY",
        help="sqlite:///PATH, or postgresql://USER@HOST/DATABASE without a password.",
    ),
]
BundlesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--bundle", metavar="FILE", help="A trust bundle of the product (repeat for more); by default those in public/."
    ),
]
CaOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--ca-certificates",
        metavar="PEM",
        help="Certificates of lot CA, production CA, root CA (repeat for more); by default those in public/.",
    ),
]
ProductFilter = Annotated[
    str | None, typer.Option("--product", "-p", metavar="NAME|ID", help="The product, by its file's name or its id.")
]


def open_registry_at(url: str) -> Registry:
    """Open the registry. Raises ConfigurationError RG-01, RG-02; RegistryError."""
    refuse_password_in_environment()
    from provisioning.registry.registry import open_registry

    return open_registry(url)


def refuse_password_in_environment() -> None:
    """RG-02: libpq would take it."""
    if "PGPASSWORD" in os.environ:
        raise ConfigurationError(
            "[RG-02] PGPASSWORD is set, and a password in the environment is seen by every program started from here: "
            "unset it, and use the file that PGPASSFILE names"
        )


def repository_or_none(context: typer.Context) -> AuthorityRepository | None:
    """The authority repository, if there is one around; one that --authority names must be there."""
    try:
        return repository_of(context)
    except ConfigurationError:
        if (context.obj or {}).get("authority") is not None:
            raise
        return None


def product_id_of(context: typer.Context, product: str | None) -> bytes | None:
    """The id of a product that is named by its id, or by the name of its file. Raises ConfigurationError."""
    if product is None:
        return None
    try:
        return uuid.UUID(product).bytes
    except ValueError:
        return repository_of(context).product(product).id_bytes


def hexadecimal(text: str | None, what: str, size_bytes: int) -> bytes | None:
    """So many bytes from hexadecimal digits. Raises InputRefused."""
    if text is None:
        return None
    if not _HEX.fullmatch(text) or len(text) != 2 * size_bytes:
        raise InputRefused(f"{what} is {size_bytes} bytes in hexadecimal digits, not {text[:40]!r}")
    return bytes.fromhex(text)


def uid_of(text: str) -> bytes:
    """A UID of 4 to 16 bytes from hexadecimal digits. Raises InputRefused."""
    if not _HEX.fullmatch(text) or not 8 <= len(text) <= 32:
        raise InputRefused(f"a UID is 4 to 16 bytes in hexadecimal digits, not {text[:40]!r}")
    return bytes.fromhex(text)


def uuid_of(text: str, what: str) -> bytes:
    """A UUID. Raises InputRefused."""
    try:
        return uuid.UUID(text).bytes
    except ValueError:
        raise InputRefused(f"{what} is a UUID, as 0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9, not {text[:40]!r}") from None
