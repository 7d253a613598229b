"""What can go wrong with the key store."""

from __future__ import annotations

from typing import ClassVar

from pki.errors import StrongroomError


class KeyStoreError(StrongroomError):
    """The root of every error of the key store. Whatever failed, nothing was changed."""

    exit_code_name: ClassVar[str] = "KEY_STORE"


class KeyStoreMissing(KeyStoreError):
    """There is no file at the path."""


class KeyStoreUnsafe(KeyStoreError):
    """The file's permissions let others change it."""


class KeyStoreForeign(KeyStoreError):
    """The file is something else than a key store."""


class KeyStoreOutdated(KeyStoreError):
    """Its schema is older than this program's; it is upgraded only when asked."""


class KeyStoreTooNew(KeyStoreError):
    """Its schema was written by a newer program."""


class KeyStoreBusy(KeyStoreError):
    """Another process held it for longer than the time limit."""


class KeyStoreUnwritable(KeyStoreError):
    """The disk is full, the file or folder is read-only, or writing failed."""


class KeyStoreDamaged(KeyStoreError):
    """The file contradicts itself; restore a backup."""


class KeyUnknown(KeyStoreError):
    """No key of this label or CKA_ID is recorded."""


class KeyConflict(KeyStoreError):
    """A key or certificate to record clashes with what is recorded already."""
