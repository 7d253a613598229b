"""The key store's fixtures, and real tokens."""

from tests.softhsm_fixtures import *  # noqa: F403
from tests.unit.store.store_fixtures import *  # noqa: F403
