"""The registry's contract runs on SQLite and on a real PostgreSQL."""

from tests.cli.conftest import *  # noqa: F403
from tests.postgres_fixtures import *  # noqa: F403
from tests.registry.registry_fixtures import *  # noqa: F403
from tests.softhsm_fixtures import *  # noqa: F403
from tests.stations.station_world import *  # noqa: F403
