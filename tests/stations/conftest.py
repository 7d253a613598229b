"""Tokens for the tests of stations."""

from __future__ import annotations

from tests.softhsm_fixtures import *  # noqa: F403
