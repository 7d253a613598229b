"""How many at a time, and how many at all: apart from the rest, so that a command line can name them cheaply."""

from __future__ import annotations

from typing import Final

PARALLEL: Final = 64
DEVICES_MAX: Final = 4_096
