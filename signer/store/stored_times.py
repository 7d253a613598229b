"""Times as the key store writes them: UTC text of fixed width, so that their order as text is their order in time."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_STORED_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


def time_to_text(time: datetime) -> str:
    """`YYYY-MM-DDThh:mm:ss.ffffffZ`; a time without a zone raises ValueError."""
    if time.tzinfo is None:
        raise ValueError("times in the key store carry a time zone")
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def text_to_time(text: str) -> datetime:
    """The time in UTC; ValueError for anything that `time_to_text` does not write."""
    if not _STORED_TIME.fullmatch(text):
        raise ValueError(f"not a time of the key store: {text!r}")
    return datetime.fromisoformat(text)
