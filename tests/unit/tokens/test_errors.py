"""The mapping of PKCS#11 return codes, against python-pkcs11's own and against the numbers of the standard."""

from __future__ import annotations

import inspect

import pkcs11
import pytest
from pkcs11 import exceptions

from signer.tokens import errors, return_codes
from signer.tokens.errors import TokenError, TokenLost
from signer.tokens.return_codes import ckr_of_exception, error_from_ckr, error_from_exception

# Made by python-pkcs11 itself; no module returns them.
NOT_FROM_A_MODULE = {"NoSuchKey", "NoSuchToken", "MultipleObjectsReturned", "MultipleTokensReturned", "NoEvent"}


def library_exceptions() -> list[type[pkcs11.PKCS11Error]]:
    return [
        kind
        for _, kind in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(kind, pkcs11.PKCS11Error) and kind is not pkcs11.PKCS11Error
    ]


def test_every_exception_of_the_library_has_a_row() -> None:
    unmapped = {kind.__name__ for kind in library_exceptions() if ckr_of_exception(kind()) is None}
    assert unmapped == NOT_FROM_A_MODULE


def test_no_code_and_no_exception_is_in_the_table_twice() -> None:
    rows = return_codes._ROWS
    assert len({row.code for row in rows}) == len({row.name for row in rows}) == len(rows)
    named = [row.exception_name for row in rows if row.exception_name]
    assert len(set(named)) == len(named)
    assert all(row.advice and "\n" not in row.advice for row in rows)


@pytest.mark.parametrize(
    ("code", "kind", "name"),
    [
        (0xA0, errors.PinIncorrect, "CKR_PIN_INCORRECT"),
        (0xA4, errors.PinLocked, "CKR_PIN_LOCKED"),
        (0x70, errors.MechanismUnsupported, "CKR_MECHANISM_INVALID"),
        (0x32, errors.TokenLost, "CKR_DEVICE_REMOVED"),
        (0x1B, errors.ActionRefused, "CKR_ACTION_PROHIBITED"),
        (0x68, errors.ActionRefused, "CKR_KEY_FUNCTION_NOT_PERMITTED"),
        (0x102, errors.TokenUnfinished, "CKR_USER_PIN_NOT_INITIALIZED"),
    ],
)
def test_codes_of_the_standard(code: int, kind: type[TokenError], name: str) -> None:
    error = error_from_ckr(code, "signing")
    assert type(error) is kind
    assert error.ckr == code
    assert str(error).startswith("signing: ")
    assert str(error).endswith(f"({name})")


def test_unknown_codes_and_stray_exceptions_are_errors_of_ours_too() -> None:
    error = error_from_exception(pkcs11.PKCS11Error("Unmapped error code 0x1b"), "copying")
    assert (type(error), error.ckr) == (errors.ActionRefused, 0x1B)
    error = error_from_exception(pkcs11.PKCS11Error("Unmapped error code 0x80000042"), "copying")
    assert (type(error), error.ckr) == (TokenLost, 0x80000042)
    assert "0x80000042" in str(error)
    error = error_from_exception(pkcs11.NoSuchKey("nothing there"), "looking")
    assert (type(error), error.ckr) == (TokenLost, None)
