"""The time of an entry: never earlier than the newest one (rule AL-01)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pki.errors import Rollback

# Entries carry whole seconds, and a caller reads its clock before another's entry is made: two callers within one
# second of each other are in no order that anybody could tell.
_SAME_MOMENT = timedelta(seconds=1)


def entry_time(now: datetime, newest: datetime | None) -> datetime:
    """The time that an entry made `now` carries, in whole seconds of UTC.

    Raises Rollback (AL-01) if the clock is a second or more earlier than the newest entry.
    """
    at = now.astimezone(UTC).replace(microsecond=0)
    if newest is None or at >= newest:
        return at
    if now + _SAME_MOMENT <= newest:
        raise Rollback(
            f"[AL-01] the clock says {at:%Y-%m-%d %H:%M:%S} UTC, earlier than the newest entry of the audit log "
            f"({newest:%Y-%m-%d %H:%M:%S}); set the clock right, nothing was released"
        )
    return newest
