"""Tokens and worlds for the tests of stations."""

from __future__ import annotations

from tests.cli.conftest import *  # noqa: F403
from tests.softhsm_fixtures import *  # noqa: F403
from tests.stations.station_world import *  # noqa: F403
