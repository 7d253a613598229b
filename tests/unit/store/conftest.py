"""The key store's fixtures."""

from tests.unit.store.store_fixtures import *  # noqa: F403
