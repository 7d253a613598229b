"""The token fixtures for this folder."""

from tests.softhsm_fixtures import *  # noqa: F403
