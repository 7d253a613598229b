"""Fixtures of the key store: `from tests.unit.store.store_fixtures import *` in a conftest.py."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from signer.store.key_store import KeyStore, open_key_store
from signer.store.maintenance import create_key_store

__all__ = ["empty_key_store", "store", "store_path"]


@pytest.fixture(scope="session")
def empty_key_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, copied per test."""
    path = tmp_path_factory.mktemp("template") / "keys.sqlite"
    create_key_store(path)
    return path


@pytest.fixture
def store_path(tmp_path: Path, empty_key_store: Path) -> Path:
    return Path(shutil.copy2(empty_key_store, tmp_path / "keys.sqlite"))


@pytest.fixture
def store(store_path: Path) -> Iterator[KeyStore]:
    with open_key_store(store_path) as opened:
        yield opened
