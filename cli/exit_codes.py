"""One documented exit code per branch of the error taxonomy (docs/spec/exit-codes.md)."""

from __future__ import annotations

from enum import IntEnum

from pki.errors import (
    AuditError,
    CeremonyAborted,
    ConfigurationError,
    FormatError,
    InputRefused,
    OutputError,
    PolicyViolation,
    StrongroomError,
    VerificationError,
)


class ExitCode(IntEnum):
    """What the process ends with. Numbers are never changed or used again."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    INPUT = 3
    VERIFICATION = 4
    POLICY = 5
    TOKEN = 6
    CONFIGURATION = 7
    OUTPUT = 8
    KEY_STORE = 9
    FINDINGS = 10
    REFUSED_BY_DEVICE = 11
    POWER_CUT = 12
    AUDIT_LOG = 13
    CEREMONY = 14
    LINK = 15
    REGISTRY = 17


_BY_ERROR: tuple[tuple[type[StrongroomError], ExitCode], ...] = (
    (FormatError, ExitCode.INPUT),
    (InputRefused, ExitCode.INPUT),
    (VerificationError, ExitCode.VERIFICATION),
    (PolicyViolation, ExitCode.POLICY),
    (ConfigurationError, ExitCode.CONFIGURATION),
    (OutputError, ExitCode.OUTPUT),
    (AuditError, ExitCode.AUDIT_LOG),
    (CeremonyAborted, ExitCode.CEREMONY),
)


def exit_code_of(error: StrongroomError) -> ExitCode:
    """The exit code of an error: its own `exit_code_name` where its room sets one, else its branch's."""
    own = getattr(error, "exit_code_name", None)
    if isinstance(own, str):
        return ExitCode[own]
    for error_type, code in _BY_ERROR:
        if isinstance(error, error_type):
            return code
    return ExitCode.INTERNAL
