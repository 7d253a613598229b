"""What can go wrong with a token, as errors of ours, and the one table that maps PKCS#11 return codes to them.

Return codes: PKCS#11 v2.40 base specification, section 5.1 and pkcs11t.h. This module imports nothing of python-pkcs11:
its exceptions are recognised by the name of their class.
"""

from __future__ import annotations

from typing import ClassVar

from pki.errors import StrongroomError


class TokenError(StrongroomError):
    """The root of every token error. `ckr` is the PKCS#11 return code where there was one."""

    exit_code_name: ClassVar[str] = "TOKEN"

    def __init__(self, message: str, ckr: int | None = None) -> None:
        super().__init__(message)
        self.ckr = ckr


class ModuleError(TokenError):
    """The PKCS#11 module cannot be loaded or initialised."""


class ForkedProcess(TokenError):
    """Used in a child made by fork, which would share its parent's sessions."""


class TokenNotFound(TokenError):
    """No token of the module matches."""


class TokenAmbiguous(TokenError):
    """More than one token matches, or a label would be used twice."""


class TokenBusy(TokenError):
    """The token is in use in this process, or has no session left."""


class TokenLost(TokenError):
    """The token, its session or its module failed. The session was discarded."""


class TokenAlreadyInitialised(TokenError):
    """Initialisation would erase a token."""


class TokenUnfinished(TokenError):
    """The token has no user PIN: its initialisation was not finished."""


class PinSourceError(TokenError):
    """The PIN could not be obtained safely. Nothing was sent to the token."""


class PinIncorrect(TokenError):
    """The token refused the PIN. It is not tried again."""


class PinLocked(TokenError):
    """The token refuses every PIN."""


class PinRejected(TokenError):
    """The PIN has a form or an age that the token does not take."""


class KeyNotFound(TokenError):
    """No such key on the token."""


class KeyAmbiguous(TokenError):
    """More than one key matches."""


class KeyInconsistent(TokenError):
    """The objects of one key contradict each other, or what was asked for."""


class LabelTaken(TokenError):
    """An object of this label exists already."""


class MechanismUnsupported(TokenError):
    """The module or the key cannot do this operation."""


class ActionRefused(TokenError):
    """The token's rules forbid the operation on this object."""


class WrappedKeyRefused(TokenError):
    """A wrapped key did not unwrap: it was changed, or belongs to another wrapping key. Nothing was made."""


class SignatureRefused(TokenError):
    """The token returned a signature that does not verify; it was not released."""
