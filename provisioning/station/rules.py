"""Every rule by which a station refuses, with the words that tell an operator what to do (docs/spec/station.md)."""

from __future__ import annotations

from enum import StrEnum

from pki.errors import PolicyViolation


class Rule(StrEnum):
    """Rule IDs of a station. Numbers are never used again for another rule."""

    FOLDER = "ST-01"
    FOLDER_BUSY = "ST-02"
    ORDER_SIGNER = "ST-03"
    NOT_THIS_STATION = "ST-04"
    LOT_KEY = "ST-05"
    ISSUING_CA = "ST-06"
    TOO_EARLY = "ST-07"
    TOO_LATE = "ST-08"
    LOT_KEY_REVOKED = "ST-09"
    OTHER_PRODUCT = "ST-10"
    GROUP_KEY = "ST-11"
    CLOCK_SET_BACK = "ST-12"
    BUNDLE_TOO_OLD = "ST-13"
    ORDER_TOO_LARGE = "ST-14"

    LEDGER_BEHIND = "ST-20"
    EVIDENCE_BEHIND = "ST-21"
    LEDGER_DIFFERS = "ST-22"
    NO_EVIDENCE = "ST-23"
    LEDGER_DAMAGED = "ST-24"
    QUOTA_USED_UP = "ST-25"
    STATION_STOPPED = "ST-26"
    EVIDENCE_EXISTS = "ST-27"
    TWO_AT_WORK = "ST-28"

    FOREIGN_FLASH = "ST-30"
    FLASH_NOT_WRITTEN = "ST-31"
    OPTION_BYTES = "ST-32"
    CHALLENGE_INVALID = "ST-34"
    NO_KEYS = "ST-35"
    WRONG_BOARD = "ST-36"
    SIMULATION_ONLY = "ST-37"
    UID_DIFFERS = "ST-38"
    SERIAL_NUMBER = "ST-39"
    CLONED_IDENTITY = "ST-40"
    OTHER_IDENTITY = "ST-41"
    FOREIGN_ACTIVATION = "ST-42"
    LOCKED_AGAIN = "ST-43"
    SCRAPPED = "ST-44"
    STATE_OF_LIFE = "ST-45"
    BUNDLE_NEWER = "ST-46"
    BUNDLE_REFUSED = "ST-47"
    ACTIVATION_REFUSED = "ST-48"
    RECEIPT_INVALID = "ST-49"
    STATUS_INVALID = "ST-50"
    LINK_LOST = "ST-51"
    PROTECTION_MISSING = "ST-52"
    FIXTURE_FAILED = "ST-53"


def refused(rule: Rule, reason: str) -> PolicyViolation:
    """The error of a rule; `reason` is one line that says what to do."""
    return PolicyViolation(rule.value, reason)
