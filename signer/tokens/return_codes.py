"""The one table that maps PKCS#11 return codes, and python-pkcs11's exceptions for them, to our errors.

Codes: PKCS#11 v2.40 base specification, section 5.1, and pkcs11t.h. Nothing of python-pkcs11 is imported here: its
exceptions are recognised by the name of their class. Loaded with the first failure only.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from signer.tokens.errors import (
    ActionRefused,
    KeyInconsistent,
    MechanismUnsupported,
    ModuleError,
    PinIncorrect,
    PinLocked,
    PinRejected,
    SignatureRefused,
    TokenBusy,
    TokenError,
    TokenLost,
    TokenUnfinished,
)


class _CkrRow(NamedTuple):
    code: int
    name: str
    exception_name: str | None
    error: type[TokenError]
    advice: str


_LOST = "the token or its session failed; check that it is connected, then try again"
_BAD_CALL = "the module refused the parameters; report this with the module's name and version"
_UNSUPPORTED = "the module cannot do this; `strongroom token info` shows what it can"
_VANISHED = "the key vanished from the token"
_WRONG_TYPE = "this is not a key for this operation"
_FORBIDDEN = "the token's rules forbid this on this object"

_ROWS = (
    _CkrRow(0x01, "CKR_CANCEL", None, TokenLost, "the token cancelled the operation"),
    _CkrRow(0x02, "CKR_HOST_MEMORY", "HostMemory", TokenLost, "the module ran out of memory"),
    _CkrRow(0x03, "CKR_SLOT_ID_INVALID", "SlotIDInvalid", TokenLost, _LOST),
    _CkrRow(0x05, "CKR_GENERAL_ERROR", "GeneralError", TokenLost, _LOST),
    _CkrRow(0x06, "CKR_FUNCTION_FAILED", "FunctionFailed", TokenLost, _LOST),
    _CkrRow(0x07, "CKR_ARGUMENTS_BAD", "ArgumentsBad", MechanismUnsupported, _BAD_CALL),
    _CkrRow(0x0A, "CKR_CANT_LOCK", None, ModuleError, "the module cannot lock"),
    _CkrRow(0x10, "CKR_ATTRIBUTE_READ_ONLY", "AttributeReadOnly", ActionRefused, _FORBIDDEN),
    _CkrRow(0x11, "CKR_ATTRIBUTE_SENSITIVE", "AttributeSensitive", ActionRefused, _FORBIDDEN),
    _CkrRow(0x12, "CKR_ATTRIBUTE_TYPE_INVALID", "AttributeTypeInvalid", MechanismUnsupported, _BAD_CALL),
    _CkrRow(0x13, "CKR_ATTRIBUTE_VALUE_INVALID", "AttributeValueInvalid", MechanismUnsupported, _BAD_CALL),
    _CkrRow(0x1B, "CKR_ACTION_PROHIBITED", None, ActionRefused, _FORBIDDEN),
    _CkrRow(0x20, "CKR_DATA_INVALID", "DataInvalid", MechanismUnsupported, _BAD_CALL),
    _CkrRow(0x21, "CKR_DATA_LEN_RANGE", "DataLenRange", MechanismUnsupported, _BAD_CALL),
    _CkrRow(0x30, "CKR_DEVICE_ERROR", "DeviceError", TokenLost, _LOST),
    _CkrRow(0x31, "CKR_DEVICE_MEMORY", "DeviceMemory", TokenLost, "the token is full; destroy what is not needed"),
    _CkrRow(0x32, "CKR_DEVICE_REMOVED", "DeviceRemoved", TokenLost, _LOST),
    _CkrRow(0x40, "CKR_ENCRYPTED_DATA_INVALID", "EncryptedDataInvalid", ActionRefused, "the data is not authentic"),
    _CkrRow(0x41, "CKR_ENCRYPTED_DATA_LEN_RANGE", "EncryptedDataLenRange", ActionRefused, "the data is not authentic"),
    _CkrRow(0x50, "CKR_FUNCTION_CANCELED", "FunctionCancelled", TokenLost, "the operation was cancelled"),
    _CkrRow(0x54, "CKR_FUNCTION_NOT_SUPPORTED", "FunctionNotSupported", MechanismUnsupported, _UNSUPPORTED),
    _CkrRow(0x60, "CKR_KEY_HANDLE_INVALID", "KeyHandleInvalid", TokenLost, _VANISHED),
    _CkrRow(0x62, "CKR_KEY_SIZE_RANGE", "KeySizeRange", MechanismUnsupported, _UNSUPPORTED),
    _CkrRow(0x63, "CKR_KEY_TYPE_INCONSISTENT", "KeyTypeInconsistent", MechanismUnsupported, _WRONG_TYPE),
    _CkrRow(0x64, "CKR_KEY_NOT_NEEDED", "KeyNotNeeded", MechanismUnsupported, _BAD_CALL),
    _CkrRow(0x66, "CKR_KEY_NEEDED", "KeyNeeded", MechanismUnsupported, _BAD_CALL),
    _CkrRow(0x67, "CKR_KEY_INDIGESTIBLE", "KeyIndigestible", ActionRefused, _FORBIDDEN),
    _CkrRow(0x68, "CKR_KEY_FUNCTION_NOT_PERMITTED", None, ActionRefused, "the key has no right to this operation"),
    _CkrRow(0x69, "CKR_KEY_NOT_WRAPPABLE", "KeyNotWrappable", ActionRefused, _FORBIDDEN),
    _CkrRow(0x6A, "CKR_KEY_UNEXTRACTABLE", "KeyUnextractable", ActionRefused, _FORBIDDEN),
    _CkrRow(0x70, "CKR_MECHANISM_INVALID", "MechanismInvalid", MechanismUnsupported, _UNSUPPORTED),
    _CkrRow(0x71, "CKR_MECHANISM_PARAM_INVALID", "MechanismParamInvalid", MechanismUnsupported, _UNSUPPORTED),
    _CkrRow(0x82, "CKR_OBJECT_HANDLE_INVALID", "ObjectHandleInvalid", TokenLost, "the object vanished from the token"),
    _CkrRow(0x90, "CKR_OPERATION_ACTIVE", "OperationActive", TokenLost, _LOST),
    _CkrRow(0x91, "CKR_OPERATION_NOT_INITIALIZED", "OperationNotInitialized", TokenLost, _LOST),
    _CkrRow(
        0xA0,
        "CKR_PIN_INCORRECT",
        "PinIncorrect",
        PinIncorrect,
        "the PIN is wrong; it was tried once and is not tried again, since tokens lock after a few wrong PINs",
    ),
    _CkrRow(0xA1, "CKR_PIN_INVALID", "PinInvalid", PinRejected, "the PIN has characters that the token does not take"),
    _CkrRow(0xA2, "CKR_PIN_LEN_RANGE", "PinLenRange", PinRejected, "the PIN is too short or too long for this token"),
    _CkrRow(0xA3, "CKR_PIN_EXPIRED", "PinExpired", PinRejected, "the PIN has expired; set a new one"),
    _CkrRow(
        0xA4,
        "CKR_PIN_LOCKED",
        "PinLocked",
        PinLocked,
        "the PIN is locked after too many wrong ones; the security officer must reset it",
    ),
    _CkrRow(0xB0, "CKR_SESSION_CLOSED", "SessionClosed", TokenLost, _LOST),
    _CkrRow(0xB1, "CKR_SESSION_COUNT", "SessionCount", TokenBusy, "the token has no session left; close another"),
    _CkrRow(0xB3, "CKR_SESSION_HANDLE_INVALID", "SessionHandleInvalid", TokenLost, _LOST),
    _CkrRow(0xB5, "CKR_SESSION_READ_ONLY", "SessionReadOnly", ActionRefused, "open the token writable for this"),
    _CkrRow(0xB6, "CKR_SESSION_EXISTS", "SessionExists", TokenBusy, "a session is open on this token; close it first"),
    _CkrRow(0xB7, "CKR_SESSION_READ_ONLY_EXISTS", "SessionReadOnlyExists", TokenBusy, "close the other session first"),
    _CkrRow(
        0xB8, "CKR_SESSION_READ_WRITE_SO_EXISTS", "SessionReadWriteSOExists", TokenBusy, "close the other session first"
    ),
    _CkrRow(0xC0, "CKR_SIGNATURE_INVALID", "SignatureInvalid", SignatureRefused, "the signature does not verify"),
    _CkrRow(0xC1, "CKR_SIGNATURE_LEN_RANGE", "SignatureLenRange", SignatureRefused, "the signature does not verify"),
    _CkrRow(0xD0, "CKR_TEMPLATE_INCOMPLETE", "TemplateIncomplete", MechanismUnsupported, _BAD_CALL),
    _CkrRow(0xD1, "CKR_TEMPLATE_INCONSISTENT", "TemplateInconsistent", MechanismUnsupported, _BAD_CALL),
    _CkrRow(0xE0, "CKR_TOKEN_NOT_PRESENT", "TokenNotPresent", TokenLost, "there is no token in the slot; insert it"),
    _CkrRow(0xE1, "CKR_TOKEN_NOT_RECOGNIZED", "TokenNotRecognised", TokenLost, "the module does not know this token"),
    _CkrRow(0xE2, "CKR_TOKEN_WRITE_PROTECTED", "TokenWriteProtected", ActionRefused, "the token is write-protected"),
    _CkrRow(0xF0, "CKR_UNWRAPPING_KEY_HANDLE_INVALID", "UnwrappingKeyHandleInvalid", TokenLost, _VANISHED),
    _CkrRow(0xF1, "CKR_UNWRAPPING_KEY_SIZE_RANGE", "UnwrappingKeySizeRange", MechanismUnsupported, _UNSUPPORTED),
    _CkrRow(
        0xF2, "CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT", "UnwrappingKeyTypeInconsistent", MechanismUnsupported, _WRONG_TYPE
    ),
    _CkrRow(0x100, "CKR_USER_ALREADY_LOGGED_IN", "UserAlreadyLoggedIn", TokenBusy, "this process is logged in already"),
    _CkrRow(0x101, "CKR_USER_NOT_LOGGED_IN", "UserNotLoggedIn", TokenLost, "the token logged us out; open it again"),
    _CkrRow(
        0x102,
        "CKR_USER_PIN_NOT_INITIALIZED",
        "UserPinNotInitialized",
        TokenUnfinished,
        "the token has no user PIN; initialise it with `strongroom token init`",
    ),
    _CkrRow(0x103, "CKR_USER_TYPE_INVALID", None, MechanismUnsupported, _BAD_CALL),
    _CkrRow(
        0x104,
        "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
        "AnotherUserAlreadyLoggedIn",
        TokenBusy,
        "another user is logged in",
    ),
    _CkrRow(0x105, "CKR_USER_TOO_MANY_TYPES", "UserTooManyTypes", TokenBusy, "another user is logged in"),
    _CkrRow(0x110, "CKR_WRAPPED_KEY_INVALID", "WrappedKeyInvalid", ActionRefused, "the wrapped key is not authentic"),
    _CkrRow(
        0x112, "CKR_WRAPPED_KEY_LEN_RANGE", "WrappedKeyLenRange", ActionRefused, "the wrapped key is not authentic"
    ),
    _CkrRow(0x113, "CKR_WRAPPING_KEY_HANDLE_INVALID", "WrappingKeyHandleInvalid", TokenLost, _VANISHED),
    _CkrRow(0x114, "CKR_WRAPPING_KEY_SIZE_RANGE", "WrappingKeySizeRange", MechanismUnsupported, _UNSUPPORTED),
    _CkrRow(
        0x115, "CKR_WRAPPING_KEY_TYPE_INCONSISTENT", "WrappingKeyTypeInconsistent", MechanismUnsupported, _WRONG_TYPE
    ),
    _CkrRow(0x120, "CKR_RANDOM_SEED_NOT_SUPPORTED", "RandomSeedNotSupported", MechanismUnsupported, _UNSUPPORTED),
    _CkrRow(0x121, "CKR_RANDOM_NO_RNG", "RandomNoRNG", MechanismUnsupported, "the token has no random generator"),
    _CkrRow(0x130, "CKR_DOMAIN_PARAMS_INVALID", "DomainParamsInvalid", MechanismUnsupported, _UNSUPPORTED),
    _CkrRow(0x140, "CKR_CURVE_NOT_SUPPORTED", None, MechanismUnsupported, _UNSUPPORTED),
    _CkrRow(0x150, "CKR_BUFFER_TOO_SMALL", None, TokenLost, _LOST),
    _CkrRow(0x190, "CKR_CRYPTOKI_NOT_INITIALIZED", None, TokenLost, "the module was finalised by other code"),
    _CkrRow(0x191, "CKR_CRYPTOKI_ALREADY_INITIALIZED", None, ModuleError, "other code in this process uses the module"),
    _CkrRow(0x1A0, "CKR_MUTEX_BAD", None, TokenLost, _LOST),
    _CkrRow(0x1A1, "CKR_MUTEX_NOT_LOCKED", None, TokenLost, _LOST),
    _CkrRow(0x1B5, "CKR_EXCEEDED_MAX_ITERATIONS", "ExceededMaxIterations", TokenLost, _LOST),
    _CkrRow(0x1B6, "CKR_FIPS_SELF_TEST_FAILED", None, TokenLost, "the token's self-test failed; do not use it"),
    _CkrRow(0x1B7, "CKR_LIBRARY_LOAD_FAILED", None, ModuleError, "the module could not load a library that it needs"),
    _CkrRow(0x1B8, "CKR_PIN_TOO_WEAK", "PinTooWeak", PinRejected, "the token wants a stronger PIN"),
    _CkrRow(0x1B9, "CKR_PUBLIC_KEY_INVALID", "PublicKeyInvalid", KeyInconsistent, "the public key is not valid"),
    _CkrRow(0x200, "CKR_FUNCTION_REJECTED", "FunctionRejected", ActionRefused, _FORBIDDEN),
)

_BY_CODE: Mapping[int, _CkrRow] = MappingProxyType({row.code: row for row in _ROWS})
_BY_EXCEPTION: Mapping[str, _CkrRow] = MappingProxyType(
    {row.exception_name: row for row in _ROWS if row.exception_name}
)

# python-pkcs11 0.10 raises its root class with one of these texts for codes that it knows but gives no class.
_BY_TEXT: Mapping[str, int] = MappingProxyType(
    {
        "Buffer was too small": 0x150,
        "Initialisation error (already initialized)": 0x191,
        "Initialisation error (not initialized)": 0x190,
        "User type invalid": 0x103,
    }
)
_UNMAPPED = "Unmapped error code "


def ckr_of_exception(error: Exception) -> int | None:
    """The PKCS#11 return code behind an exception of python-pkcs11; None when it came from no module call."""
    row = _BY_EXCEPTION.get(type(error).__name__)
    if row is not None:
        return row.code
    text = str(error)
    for beginning, code in _BY_TEXT.items():
        if text.startswith(beginning):
            return code
    return int(text.removeprefix(_UNMAPPED), 16) if text.startswith(_UNMAPPED) else None


def error_from_ckr(ckr: int, doing: str) -> TokenError:
    """The error of ours for return code `ckr`; `doing` begins the message ("signing with key 'x'")."""
    row = _BY_CODE.get(ckr)
    if row is None:
        return TokenLost(f"{doing}: the module failed with return code 0x{ckr:x}; see its manual", ckr)
    return row.error(f"{doing}: {row.advice} ({row.name})", ckr)


def error_from_exception(error: Exception, doing: str) -> TokenError:
    """The error of ours for an exception of python-pkcs11."""
    ckr = ckr_of_exception(error)
    if ckr is None:
        return TokenLost(f"{doing}: {type(error).__name__}: {error}".rstrip(": "))
    return error_from_ckr(ckr, doing)
