"""The rules that can stop a ceremony (docs/spec/ceremony-plans.md). One rule, one ID, here and in every message."""

from __future__ import annotations

from typing import Final

PLAN_NOT_STRICT: Final = "CE-01"
PLAN_NOT_AS_FORMED: Final = "CE-02"
VALUE_REFUSED: Final = "CE-03"
PERSON_NOT_FIT: Final = "CE-04"
PERSON_TWICE: Final = "CE-05"
TOO_FEW_ASSIGNED: Final = "CE-06"
STEPS_DO_NOT_FIT: Final = "CE-07"

DIGEST_DIFFERS: Final = "CE-10"
NOT_REHEARSED: Final = "CE-11"
NO_QUORUM: Final = "CE-12"
OUTPUT_EXISTS: Final = "CE-13"
BEGUN_BEFORE: Final = "CE-14"
PRECONDITION: Final = "CE-15"
ANSWERS_IN_PRODUCTION: Final = "CE-16"
CHANGED_MEANWHILE: Final = "CE-17"

DRIFT: Final = "CE-20"
NOT_CONFIRMED: Final = "CE-21"
STOPPED_BY_PEOPLE: Final = "CE-22"
NOT_THIS_CEREMONYS: Final = "CE-23"
TRANSCRIPT_DAMAGED: Final = "CE-24"
