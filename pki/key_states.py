"""Key states of NIST SP 800-57 Part 1 Rev 5, section 7, and what may be done in each: pure decisions with a rule ID."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

import msgspec

from pki.errors import PolicyViolation


class KeyState(StrEnum):
    """The states of section 7. The value is the name in the store and on the command line."""

    PRE_ACTIVATION = "pre-activation"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


_P, _A, _S, _D, _C, _X = KeyState

ALLOWED_TRANSITIONS: Mapping[KeyState, frozenset[KeyState]] = MappingProxyType(
    {
        _P: frozenset({_A, _C, _X}),
        _A: frozenset({_S, _D, _C, _X}),
        _S: frozenset({_A, _D, _C, _X}),
        _D: frozenset({_C, _X}),
        _C: frozenset({_X}),
        _X: frozenset(),
    }
)
"""From each state, the states that may follow (sections 7.1 to 7.6, figure 3). Destroyed is final."""


class KeyDecision(msgspec.Struct, frozen=True):
    """The answer to "may this key …?", with the rule that decided and a reason for people."""

    allowed: bool
    rule_id: str
    reason: str

    def require(self) -> None:
        """Raise PolicyViolation unless allowed."""
        if not self.allowed:
            raise PolicyViolation(self.rule_id, self.reason)


def may_change_state(current: KeyState, wanted: KeyState) -> KeyDecision:
    """Decide on a state change. Rules: KS-10 allowed, KS-11 no such transition."""
    if wanted in ALLOWED_TRANSITIONS[current]:
        return KeyDecision(True, "KS-10", f"a key may go from {current} to {wanted}")
    following = ", ".join(sorted(ALLOWED_TRANSITIONS[current])) or "nothing"
    return KeyDecision(
        False,
        "KS-11",
        f"a key cannot go from {current} to {wanted}; from {current} it may go to {following}",
    )


def may_sign(
    state: KeyState,
    not_before: datetime | None,
    not_after: datetime | None,
    now: datetime,
) -> KeyDecision:
    """Decide whether a private key may sign at `now`; `not_before` and `not_after` bound its use, both inclusive.

    Rules: KS-01 allowed, KS-02 state is not active, KS-03 no window recorded, KS-04 before it, KS-05 after it.
    All times carry a time zone; a naive one raises ValueError.
    """
    _require_time_zone(now, not_before, not_after)
    if state is not KeyState.ACTIVE:
        return KeyDecision(False, "KS-02", f"the key is {state}; only an active key signs")
    if not_before is None or not_after is None:
        return KeyDecision(False, "KS-03", "the key has no recorded time window; activate it with one")
    if now < not_before:
        return KeyDecision(
            False,
            "KS-04",
            f"the key may sign from {not_before.isoformat()} on, and it is {now.isoformat()}",
        )
    if now > not_after:
        return KeyDecision(
            False,
            "KS-05",
            f"the key could sign until {not_after.isoformat()}, and it is {now.isoformat()}",
        )
    return KeyDecision(True, "KS-01", "the key is active and within its time window")


def may_prove_possession(state: KeyState) -> KeyDecision:
    """Decide whether a key may sign a certification request for itself (section 7.1 allows this before activation).

    Rules: KS-06 allowed, KS-07 state forbids it.
    """
    if state in (KeyState.PRE_ACTIVATION, KeyState.ACTIVE):
        return KeyDecision(True, "KS-06", f"a key that is {state} may prove possession")
    return KeyDecision(
        False,
        "KS-07",
        f"the key is {state}; only a pre-activation or active key proves possession",
    )


def may_unwrap(state: KeyState) -> KeyDecision:
    """Decide whether a secret key may unwrap what it wrapped when it was active (section 7.4: processing goes on).

    Rules: KS-08 allowed, KS-09 state forbids it. Its time window bounds wrapping only.
    """
    if state in (KeyState.ACTIVE, KeyState.DEACTIVATED):
        return KeyDecision(True, "KS-08", f"a key that is {state} may unwrap")
    return KeyDecision(False, "KS-09", f"the key is {state}; only an active or deactivated key unwraps")


def _require_time_zone(*times: datetime | None) -> None:
    for time in times:
        if time is not None and time.tzinfo is None:
            raise ValueError("times of keys carry a time zone")
