"""What the audit commands share: the log that strongroom.toml names, its public key, and its witnesses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.context import open_store
from pki.errors import ConfigurationError
from signer.authority.repository import AUTHORITY_FILE, AuthorityRepository

if TYPE_CHECKING:
    from pki.values import PublicKey
    from signer.authority.model import LogConfig


def configured_log(repository: AuthorityRepository) -> tuple[LogConfig, Path]:
    """[log] and the folder it names. Raises ConfigurationError if the authority has none."""
    config, path = repository.authority.log, repository.log_path
    if config is None or path is None:
        raise ConfigurationError(
            f"{repository.root / AUTHORITY_FILE} has no [log]: add it as the comment there shows, "
            "then `strongroom audit init`"
        )
    return config, path


def log_public_key(repository: AuthorityRepository, key_store: Path | None = None) -> PublicKey:
    """The log key's public half, as recorded in the key store, or in the copy of one. Raises KeyStoreError."""
    config, _ = configured_log(repository)
    if key_store is None:
        with open_store(repository) as store:
            key = store.key(config.label).public_key
    else:
        from signer.store.key_store import open_key_store

        with open_key_store(key_store) as store:
            key = store.key(config.label).public_key
    if key is None:
        raise ConfigurationError(f"key {config.label} of [log] has no public key; name the log's key")
    return key
