"""Worlds of the command line, for the attacks on what it signs."""

from __future__ import annotations

from tests.cli.conftest import *  # noqa: F403
