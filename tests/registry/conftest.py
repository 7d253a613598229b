"""The registry's contract runs on SQLite and on a real PostgreSQL."""

from tests.postgres_fixtures import *  # noqa: F403
from tests.registry.registry_fixtures import *  # noqa: F403
