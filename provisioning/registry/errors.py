"""What can go wrong with the registry. Whatever failed, nothing was changed."""

from __future__ import annotations

from typing import ClassVar

from pki.errors import PolicyViolation, StrongroomError, VerificationError


class RegistryError(StrongroomError):
    """The root of every error of the database itself."""

    exit_code_name: ClassVar[str] = "REGISTRY"


class RegistryMissing(RegistryError):
    """There is no database, or no registry in it."""


class RegistryExists(RegistryError):
    """There is one already, or something else, where a new one was to be made."""


class RegistryForeign(RegistryError):
    """What is there is no registry."""


class RegistryOutdated(RegistryError):
    """Its schema is older than this program's; it is upgraded only when asked."""


class RegistryTooNew(RegistryError):
    """Its schema was written by a newer program."""


class RegistryBusy(RegistryError):
    """Another process held it for longer than the time limit."""


class RegistryUnreachable(RegistryError):
    """The server does not answer, or does not let us in."""


class RegistryUnsafe(RegistryError):
    """Others can change the file, or the server would lose what it has confirmed."""


class RegistryUnwritable(RegistryError):
    """The disk is full, the file or folder is read-only, or writing failed."""


class RegistryDamaged(RegistryError):
    """It contradicts itself; restore a backup."""


class DeviceUnknown(RegistryError):
    """No device of this UID, order or station is recorded."""


class NotAuthentic(VerificationError):
    """A rule about who signed what. `rule_id` is the same in code, message, document and tests."""

    def __init__(self, rule_id: str, reason: str) -> None:
        super().__init__(f"[{rule_id}] {reason}")
        self.rule_id = rule_id


def refused(rule_id: str, reason: str) -> PolicyViolation:
    """A rule of birth records (BR-) or of the registry (RG-) said no."""
    return PolicyViolation(rule_id, reason)
