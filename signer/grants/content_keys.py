"""Content keys at rest: wrapped by a key inside the HSM, one file for each package (docs/spec/grant.md, section 5).

So a package that needs grants is made once, and granted as often as devices come.
"""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec

from pki.errors import InputRefused, OutputError
from signer.durable import sync_folder
from signer.grants.grantable import GrantablePackage
from signer.grants.rules import GrantRefused
from signer.new_file import NewFile
from signer.packages.encryption import cek_commitment

FOLDER_NAME = "content-keys"

_SIZE_BYTES_MAX = 4096
_DIGEST = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class WrappingKey(Protocol):
    """An AES key on a token that wraps content keys; `signer.tokens.secret_keys.SecretKeyHandle` is one."""

    @property
    def label(self) -> str:
        """`key-roles.md`."""

    @property
    def cka_id(self) -> bytes:
        """The key's CKA_ID, 20 bytes."""

    def wrap_content_key(self, content_key: bytes) -> bytes:
        """RFC 3394; raises TokenError."""

    def unwrap_content_key(self, wrapped: bytes) -> bytes:
        """The way back; raises TokenError, ActionRefused for what this key did not wrap."""


class KeptContentKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of one content key: nothing in it opens anything without the token."""

    format: Literal["strongroom-content-key-1"] = "strongroom-content-key-1"
    product: str
    cek_commitment: _DIGEST
    wrapping_label: str
    wrapping_cka_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}$")]
    wrapped_key: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{80}$")]

    def encode(self) -> bytes:
        """The file."""
        return (json.dumps(msgspec.to_builtins(self), indent=2) + "\n").encode("utf-8")


class ContentKeyFolder:
    """`store/content-keys/`: the kept content keys of an authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, commitment: bytes) -> Path:
        """The file of the package with this `cek_commitment`."""
        return self._folder / f"{commitment.hex()}.json"

    def keep(self, product: str, commitment: bytes, content_key: bytes, wrapping_key: WrappingKey) -> None:
        """Wrap a content key, and store it durably under its commitment.

        Raises GrantRefused GR-20 if the commitment has a file already, OutputError, TokenError.
        """
        path = self.path(commitment)
        if path.exists():
            raise GrantRefused("GR-20", f"{path} keeps a content key already; it is not replaced")
        kept = KeptContentKey(
            product=product,
            cek_commitment=commitment.hex(),
            wrapping_label=wrapping_key.label,
            wrapping_cka_id=wrapping_key.cka_id.hex(),
            wrapped_key=wrapping_key.wrap_content_key(content_key).hex(),
        )
        self._make_folder()
        with NewFile(path, mode=0o600) as file:
            file.write_at(0, kept.encode())
            file.publish()

    def read(self, product: str, package: GrantablePackage) -> KeptContentKey:
        """What is kept for a package of this product. Raises GrantRefused GR-20, GR-21, InputRefused."""
        path = self.path(package.cek_commitment)
        try:
            with path.open("rb") as stream:
                content = stream.read(_SIZE_BYTES_MAX + 1)
        except FileNotFoundError:
            raise GrantRefused(
                "GR-20", f"the content key of this package is not kept in {self._folder}: work where it was built"
            ) from None
        except OSError as error:
            raise InputRefused(f"{path}: cannot be read ({error.strerror})") from None
        kept = _decoded(path, content)
        if kept.cek_commitment != package.cek_commitment.hex():
            raise GrantRefused("GR-21", f"{path}: it says that it is of another package; restore a backup")
        if kept.product != product:
            raise GrantRefused("GR-21", f"{path}: it is of product {kept.product!r}, not of {product!r}")
        return kept

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._folder.parent)
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be made ({error.strerror}); no package was made") from None


def unwrapped(kept: KeptContentKey, package: GrantablePackage, wrapping_key: WrappingKey) -> bytes:
    """The content key, checked against the package's head. Raises GrantRefused GR-21, GR-22, TokenError."""
    if (wrapping_key.label, wrapping_key.cka_id.hex()) != (kept.wrapping_label, kept.wrapping_cka_id):
        raise GrantRefused("GR-21", f"the content key was wrapped by {kept.wrapping_label}, not {wrapping_key.label}")
    content_key = wrapping_key.unwrap_content_key(bytes.fromhex(kept.wrapped_key))
    require_committed(package, content_key)
    return content_key


def require_committed(package: GrantablePackage, content_key: bytes) -> None:
    """Raises GrantRefused GR-22 unless the content key is the one that the package's head commits to."""
    if not hmac.compare_digest(cek_commitment(package.image_salt, content_key), package.cek_commitment):
        raise GrantRefused("GR-22", "the content key is not the one that the package's head commits to")


def _decoded(path: Path, content: bytes) -> KeptContentKey:
    """Strictly: it is, byte for byte, what `encode` writes of its content."""
    try:
        kept = msgspec.json.decode(content, type=KeptContentKey, strict=True)
        if len(content) > _SIZE_BYTES_MAX or kept.encode() != content:
            raise ValueError("not as it was written")
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        raise GrantRefused("GR-21", f"{path}: is damaged; restore a backup") from None
    return kept
