"""Fixtures of custody: tokens, a key store, and a place that has both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.softhsm_fixtures import *  # noqa: F403
from tests.softhsm_fixtures import TokenRig
from tests.unit.custody.places import Place
from tests.unit.store.store_fixtures import *  # noqa: F403


@pytest.fixture
def place(
    tmp_path: Path, store_path: Path, softhsm: TokenRig, second_token: Callable[[str], TokenRig]
) -> Iterator[Place]:
    """Two SoftHSM tokens, a home and a spare, open and writable."""
    with Place.open(tmp_path, store_path, softhsm, second_token("spare")) as opened:
        yield opened
