"""Opening a session and logging in: bounded retries for what several processes at one token provoke, none for a PIN.

C_Login is called through the function list: a failed login then leaks no session, and the PIN stays in one buffer that
is wiped (docs/adr/0012).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pkcs11

from signer.tokens.attributes import make_attribute_mapper
from signer.tokens.errors import (
    ModuleError,
    PinSourceError,
    TokenAmbiguous,
    TokenError,
    TokenNotFound,
)
from signer.tokens.module import MAX_ATTEMPTS, Module, pause_before_retry, token_info
from signer.tokens.pin_sources import PinSource
from signer.tokens.pkcs11_uri import Pkcs11Uri
from signer.tokens.return_codes import error_from_ckr, error_from_exception
from signer.tokens.values import TokenInfo

CKU_SO = 0
CKU_USER = 1

# What C_Login answers when a SoftHSM object file is being rewritten by another process. None is a verdict on the PIN.
_CKR_GENERAL_ERROR = 0x05
_CKR_FUNCTION_FAILED = 0x06
_CKR_USER_PIN_NOT_INITIALIZED = 0x102
_NO_VERDICT = frozenset({_CKR_GENERAL_ERROR, _CKR_FUNCTION_FAILED, _CKR_USER_PIN_NOT_INITIALIZED})

_MAPPER = make_attribute_mapper()

_URI_TO_INFO = {
    "token": "label",
    "serial": "serial",
    "manufacturer": "manufacturer",
    "model": "model",
    "slot_description": "slot_description",
    "slot_manufacturer": "slot_manufacturer",
}


def matches(uri: Pkcs11Uri, info: TokenInfo) -> bool:
    """Whether every token and slot attribute that the URI gives is exactly the token's."""
    return all(
        getattr(uri, uri_field) in (None, getattr(info, info_field)) for uri_field, info_field in _URI_TO_INFO.items()
    )


def handle_of(session: pkcs11.Session) -> int:
    """The CK_SESSION_HANDLE; python-pkcs11 has it, its type declarations do not."""
    return int(session.handle)  # type: ignore[attr-defined]


def find_token(module: Module, uri: Pkcs11Uri) -> pkcs11.Token:
    """The one initialised token that the URI names.

    Raises TokenNotFound, TokenAmbiguous, ModuleError, or pkcs11.PKCS11Error. The caller holds the module's lock.
    """
    found = [token for token in module.slots_with_tokens() if matches(uri, token_info(token))]
    if not found:
        raise TokenNotFound(f"no token with serial {uri.serial}; `strongroom token list` shows those that are there")
    if len(found) > 1:
        raise TokenAmbiguous(f"{len(found)} tokens have serial {uri.serial}; add token=<label> to the URI")
    return found[0]


def open_session(
    module: Module, uri: Pkcs11Uri, *, writable: bool, revive: Callable[[], None]
) -> tuple[pkcs11.Session, TokenInfo]:
    """Open a session without logging in. `revive` is called before each retry, to initialise the module anew if it may.

    Raises TokenNotFound, TokenAmbiguous, TokenError. The caller holds the module's lock.
    """
    for attempt in range(MAX_ATTEMPTS):
        try:
            token = find_token(module, uri)
            return token.open(rw=writable, attribute_mapper=_MAPPER), token_info(token)
        except (TokenNotFound, ModuleError) as error:
            failure: TokenError = error
        except pkcs11.PKCS11Error as error:
            failure = error_from_exception(error, f"opening token {uri.serial}")
        pause_before_retry(attempt)
        revive()
    raise failure


def log_in(module: Module, session: pkcs11.Session, uri: Pkcs11Uri, source: PinSource) -> None:
    """Log the user in; each PIN that the source gives is used for one C_Login.

    Another PIN is read, and only from a repeatable source, when the token gave no verdict on the last one and does not
    show a wrong PIN since. Raises PinIncorrect, PinLocked, PinRejected, PinSourceError, TokenError.
    """
    for attempt in range(MAX_ATTEMPTS):
        ckr = log_in_once(module, session, CKU_USER, source)
        if ckr == 0:
            return
        failure = error_from_ckr(ckr, f"logging in to token {uri.serial} with {source.description}")
        if ckr not in _NO_VERDICT or not source.repeatable or _shows_wrong_pin(module, uri):
            break
        pause_before_retry(attempt)
    raise failure


def log_in_once(module: Module, session: pkcs11.Session, user_type: int, source: PinSource) -> int:
    """One C_Login with one fresh PIN, which is wiped whatever happens. Returns the PKCS#11 return code."""
    c_login = module.functions.call("C_Login", ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong)
    pin = source.read()
    if pin is None:
        if not token_info(session.token).protected_authentication_path:
            raise PinSourceError("this token has no keypad of its own; give another PIN source")
        return c_login(handle_of(session), user_type, None, 0)
    try:
        buffer = pin.take()
        view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        try:
            return c_login(handle_of(session), user_type, ctypes.addressof(view), len(buffer))
        finally:
            del view
    finally:
        pin.wipe()


def close_quietly(module: Module, session: pkcs11.Session) -> None:
    """Log out and close, ignoring errors: the session may be broken, and nothing depends on it any more."""
    for name in ("C_Logout", "C_CloseSession"):
        module.functions.call(name, ctypes.c_ulong)(handle_of(session))


def _shows_wrong_pin(module: Module, uri: Pkcs11Uri) -> bool:
    try:
        info = token_info(find_token(module, uri))
    except (TokenError, pkcs11.PKCS11Error):
        return False
    return info.user_pin_count_low or info.user_pin_final_try or info.user_pin_locked
