"""Initialising a token: C_InitToken, then the security officer sets the user PIN (PKCS#11 v2.40 base, section 5.5).

python-pkcs11 has no C_InitToken; the calls go through the function list. What can be checked is checked before the
first of them, since C_InitToken erases.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from signer.tokens.errors import (
    PinRejected,
    PinSourceError,
    TokenAlreadyInitialised,
    TokenAmbiguous,
    TokenBusy,
    TokenError,
    TokenNotFound,
)
from signer.tokens.login import CKU_SO, handle_of, log_in_once
from signer.tokens.module import Module, token_info
from signer.tokens.pin_sources import Pin, PinSource
from signer.tokens.return_codes import error_from_ckr
from signer.tokens.values import TokenInfo

_LABEL_SIZE_BYTES = 32
_CKF_SERIAL_RW_SESSION = 0x6
_NSS_MANUFACTURER = "Mozilla Foundation"


class _TokenLimits(ctypes.Structure):
    """CK_TOKEN_INFO (PKCS#11 v2.40 base, section 3.2): python-pkcs11 does not show the PIN lengths."""

    _fields_ = (
        ("label", ctypes.c_char * 32),
        ("manufacturer_id", ctypes.c_char * 32),
        ("model", ctypes.c_char * 16),
        ("serial_number", ctypes.c_char * 16),
        ("flags", ctypes.c_ulong),
        ("session_counts", ctypes.c_ulong * 4),
        ("max_pin_length", ctypes.c_ulong),
        ("min_pin_length", ctypes.c_ulong),
        ("memory", ctypes.c_ulong * 4),
        ("versions", ctypes.c_ubyte * 4),
        ("utc_time", ctypes.c_char * 16),
    )


class _FixedPin:
    """A PIN that was read already, handed out once."""

    repeatable = False

    def __init__(self, pin: Pin, description: str) -> None:
        self._pin = pin
        self.description = description

    def read(self) -> Pin:
        return self._pin


def initialise_token(
    module: Module,
    label: str,
    so_pin_source: PinSource | None,
    user_pin_source: PinSource,
    *,
    serial: str | None = None,
    dangerously_erase: bool = False,
) -> TokenInfo:
    """Initialise one token and set its user PIN; returns what it then says about itself, its new serial included.

    Without `serial` it takes the first token that is not initialised; with `serial`, that one, and if it is initialised
    only with `dangerously_erase`, which destroys every key on it. `so_pin_source` is None for NSS softokn only, which
    has no security officer PIN. Raises TokenAlreadyInitialised, TokenAmbiguous for a label in use, TokenNotFound,
    TokenBusy, PinRejected, PinSourceError, PinIncorrect.
    """
    label_bytes = label.encode("utf-8")
    if not 1 <= len(label_bytes) <= _LABEL_SIZE_BYTES or not label.isprintable():
        raise TokenError(f"a token label has 1 to {_LABEL_SIZE_BYTES} printable bytes")
    module.check_process()
    with module.lock:
        if module.sessions:
            raise TokenBusy("a session is open on this module; close it first: initialising would end it")
        module.reinitialize()
        target = _choose(module, label, serial, dangerously_erase=dangerously_erase)
        _check_so_pin_source(target, label, so_pin_source)
        with _pins(module, target, so_pin_source, user_pin_source) as (so_pin, user_pin):
            _initialise(module, target, label_bytes, so_pin, user_pin)
        made = _info_of_slot(module, target.slot_id)
        module.reinitialize()
        return _info_of_serial(module, made)


def _choose(module: Module, label: str, serial: str | None, *, dangerously_erase: bool) -> TokenInfo:
    tokens = module.tokens()
    if any(token.label == label and token.initialised and token.serial != serial for token in tokens):
        raise TokenAmbiguous(f"another token has the label {label!r} already; choose another label")
    if serial is None:
        free = [token for token in tokens if not token.initialised]
        if not free:
            raise TokenNotFound("the module has no token that is not initialised; name one by its serial")
        return free[0]
    named = [token for token in tokens if token.serial == serial]
    if len(named) != 1:
        raise TokenNotFound(f"{len(named)} tokens have serial {serial}; `strongroom token list` shows them")
    if named[0].initialised and not dangerously_erase:
        raise TokenAlreadyInitialised(
            f"token {named[0].label!r} (serial {serial}) is initialised already; initialising it would destroy its keys"
        )
    return named[0]


def _check_so_pin_source(target: TokenInfo, label: str, so_pin_source: PinSource | None) -> None:
    is_nss = target.manufacturer == _NSS_MANUFACTURER
    if is_nss and so_pin_source is not None:
        raise PinSourceError("NSS softokn has no security officer PIN; give none")
    if is_nss and target.label != label:
        raise TokenError(
            f"NSS softokn takes its label from dbTokenDescription in its initialisation string: it is {target.label!r}"
        )
    if not is_nss and so_pin_source is None:
        raise PinSourceError("the token needs a security officer PIN")


@contextmanager
def _pins(
    module: Module, target: TokenInfo, so_pin_source: PinSource | None, user_pin_source: PinSource
) -> Iterator[tuple[Pin, Pin]]:
    """Read both PINs and check their lengths before anything is changed; wipe them at the end."""
    so_pin = Pin(bytearray()) if so_pin_source is None else _read(so_pin_source)
    try:
        user_pin = _read(user_pin_source)
        try:
            shortest, longest = _pin_limits(module, target.slot_id)
            for pin, who in ((so_pin, "security officer PIN"), (user_pin, "user PIN")):
                if so_pin_source is None and pin is so_pin:
                    continue
                if not shortest <= len(pin) <= longest:
                    raise PinRejected(f"the {who} must have {shortest} to {longest} bytes for this token")
            yield so_pin, user_pin
        finally:
            user_pin.wipe()
    finally:
        so_pin.wipe()


def _read(source: PinSource) -> Pin:
    pin = source.read()
    if pin is None:
        raise PinSourceError("a token is initialised with PINs from a prompt, a file or a command")
    return pin


def _pin_limits(module: Module, slot_id: int) -> tuple[int, int]:
    limits = _TokenLimits()
    get_token_info = module.functions.call("C_GetTokenInfo", ctypes.c_ulong, ctypes.c_void_p)
    _demand(get_token_info(slot_id, ctypes.addressof(limits)), "reading the token's PIN lengths")
    return limits.min_pin_length, limits.max_pin_length


def _initialise(module: Module, target: TokenInfo, label_bytes: bytes, so_pin: Pin, user_pin: Pin) -> None:
    init_token = module.functions.call("C_InitToken", ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_char_p)
    so_buffer = so_pin.take()
    so_view = (ctypes.c_char * len(so_buffer)).from_buffer(so_buffer)
    try:
        padded_label = label_bytes.ljust(_LABEL_SIZE_BYTES)
        _demand(init_token(target.slot_id, ctypes.addressof(so_view), len(so_buffer), padded_label), "initialising")
        _set_user_pin(module, target.slot_id, Pin(bytearray(so_buffer)), user_pin)
    finally:
        del so_view


def _set_user_pin(module: Module, slot_id: int, so_pin: Pin, user_pin: Pin) -> None:
    init_pin = module.functions.call("C_InitPIN", ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong)
    token = next(token for token in module.slots_with_tokens() if token.slot.slot_id == slot_id)
    session = token.open(rw=True)
    try:
        ckr = log_in_once(module, session, CKU_SO, _FixedPin(so_pin, "the security officer PIN"))
        _demand(ckr, "logging in as security officer of the new token")
        buffer = user_pin.take()
        view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        try:
            _demand(init_pin(handle_of(session), ctypes.addressof(view), len(buffer)), "setting the user PIN")
        finally:
            del view
    finally:
        module.functions.call("C_Logout", ctypes.c_ulong)(handle_of(session))
        session.close()


def _info_of_slot(module: Module, slot_id: int) -> TokenInfo:
    return next(token_info(token) for token in module.slots_with_tokens() if token.slot.slot_id == slot_id)


def _info_of_serial(module: Module, made: TokenInfo) -> TokenInfo:
    """The token again after the module was initialised anew: SoftHSM then gives it another slot."""
    found = [token for token in module.tokens() if (token.serial, token.label) == (made.serial, made.label)]
    if len(found) != 1 or not found[0].user_pin_set:
        raise TokenError(f"the new token {made.label!r} (serial {made.serial}) did not come up as it was made")
    return found[0]


def _demand(ckr: int, doing: str) -> None:
    if ckr != 0:
        raise error_from_ckr(ckr, doing)
