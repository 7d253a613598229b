"""Rules of the key store about time windows and dates: pure decisions, each with an ID (docs/spec/key-store.md)."""

from __future__ import annotations

from datetime import datetime, timedelta

from pki.errors import PolicyViolation
from pki.key_specs import KeySpec


def require_window(spec: KeySpec, not_before: datetime, not_after: datetime, now: datetime) -> None:
    """Raise PolicyViolation KS-30 unless the window is one in which a key of this role may be activated at `now`."""
    if not_before >= not_after:
        raise PolicyViolation("KS-30", "the time window of a key ends after it begins; exchange the two")
    if not_after <= now:
        raise PolicyViolation("KS-30", f"the time window would be over already, on {not_after.isoformat()}")
    if not_after - not_before > timedelta(days=spec.max_validity_days):
        raise PolicyViolation(
            "KS-30",
            f"a key of role {spec.role} is used for {spec.max_validity_days} days at most; end its window sooner",
        )


def require_not_backdated(newest: datetime, now: datetime) -> None:
    """Raise PolicyViolation KS-31 for a change that would be dated before the key's newest one."""
    if now < newest:
        raise PolicyViolation(
            "KS-31",
            f"the change would be dated {now.isoformat()}, before the key's newest one of {newest.isoformat()}; "
            "check the clock of this machine",
        )
