"""The choices of `strongroom device serve`, apart from what they need: help must come up fast."""

from __future__ import annotations

from enum import StrEnum


class Topology(StrEnum):
    """How devices are wired."""

    POINT = "point"
    CHAIN = "chain"
    STAR = "star"
    BUS = "bus"


class Confirmation(StrEnum):
    """What an application does at its first start."""

    AUTO = "auto"
    NEVER = "never"
