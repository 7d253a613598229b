"""Initialising tokens with our own command."""

from __future__ import annotations

import shutil

import pytest

from signer.tokens import ModuleConfig, PinFile, ProtectedPath, init_token, list_tokens, load_module
from signer.tokens.errors import (
    PinIncorrect,
    PinRejected,
    PinSourceError,
    TokenAlreadyInitialised,
    TokenAmbiguous,
    TokenBusy,
    TokenError,
    TokenNotFound,
    TokenUnfinished,
)
from tests.softhsm.fault_rig import counted, failing
from tests.softhsm_fixtures import TokenRig, nss_arguments, write_pin


def so_pin(rig: TokenRig) -> PinFile:
    return PinFile(rig.folder / "fake" / "so.pin")


def test_a_new_token_has_a_serial_a_label_and_a_user_pin(softhsm: TokenRig) -> None:
    info = init_token(softhsm.module, "second", so_pin(softhsm), softhsm.pin_source)
    assert info.label == "second"
    assert len(info.serial) == 16
    assert (info.initialised, info.user_pin_set, info.login_required) == (True, True, True)
    listed = {token.serial: token for token in list_tokens(softhsm.module) if token.initialised}
    assert set(listed) == {info.serial, softhsm.info.serial}
    assert listed[info.serial] == info


def test_an_initialised_token_is_not_erased_by_accident(softhsm: TokenRig) -> None:
    with softhsm.open() as session:
        softhsm.generate(session)
    with counted(softhsm.module, "C_InitToken") as calls, pytest.raises(TokenAlreadyInitialised, match="destroy"):
        init_token(softhsm.module, "again", so_pin(softhsm), softhsm.pin_source, serial=softhsm.info.serial)
    assert calls == []
    with softhsm.open() as session:
        assert len(session.objects()) == 2


def test_erasing_on_purpose_needs_the_officers_pin(softhsm: TokenRig) -> None:
    with softhsm.open() as session:
        softhsm.generate(session)
    serial = softhsm.info.serial
    wrong = softhsm.pin_file("wrong-so.pin", "not-the-officer")
    with counted(softhsm.module, "C_InitToken") as calls, pytest.raises(PinIncorrect):
        init_token(softhsm.module, "again", wrong, softhsm.pin_source, serial=serial, dangerously_erase=True)
    assert len(calls) == 1
    with softhsm.open() as session:
        assert len(session.objects()) == 2
    info = init_token(
        softhsm.module, "again", so_pin(softhsm), softhsm.pin_source, serial=serial, dangerously_erase=True
    )
    assert info.label == "again"
    erased = TokenRig("softhsm", softhsm.folder, softhsm.config, info)
    with erased.open() as session:
        assert session.objects() == ()


@pytest.mark.parametrize("short_one", ["so", "user"])
def test_pins_of_a_wrong_length_change_nothing(softhsm: TokenRig, short_one: str) -> None:
    short = softhsm.pin_file("short.pin", "123")
    so_source, user_source = (short, softhsm.pin_source) if short_one == "so" else (so_pin(softhsm), short)
    before = list_tokens(softhsm.module)
    with counted(softhsm.module, "C_InitToken") as calls, pytest.raises(PinRejected, match="4 to 255"):
        init_token(softhsm.module, "second", so_source, user_source)
    assert calls == []
    assert list_tokens(softhsm.module) == before


def test_what_is_refused_before_anything_is_asked(softhsm: TokenRig) -> None:
    module, pins = softhsm.module, (so_pin(softhsm), softhsm.pin_source)
    with counted(module, "C_InitToken") as calls:
        with pytest.raises(TokenAmbiguous, match="label"):
            init_token(module, "hsm-one", *pins)
        for label in ("", "x" * 33, "tab\there"):
            with pytest.raises(TokenError, match="printable"):
                init_token(module, label, *pins)
        with pytest.raises(TokenNotFound):
            init_token(module, "second", *pins, serial="0123")
        with pytest.raises(PinSourceError, match="security officer"):
            init_token(module, "second", None, softhsm.pin_source)
        with pytest.raises(PinSourceError, match="prompt"):
            init_token(module, "second", ProtectedPath(), softhsm.pin_source)
        with softhsm.open(), pytest.raises(TokenBusy):
            init_token(module, "second", *pins)
    assert calls == []


def test_an_unfinished_token_says_so(softhsm: TokenRig) -> None:
    """The user PIN could not be set: the token is there, and says what is missing."""
    with failing(softhsm.module, "C_Login", 0x30), pytest.raises(TokenError, match="CKR_DEVICE_ERROR"):
        init_token(softhsm.module, "second", so_pin(softhsm), softhsm.pin_source)
    (unfinished,) = [token for token in list_tokens(softhsm.module) if token.label == "second"]
    assert (unfinished.initialised, unfinished.user_pin_set) == (True, False)
    rig = TokenRig("softhsm", softhsm.folder, softhsm.config, unfinished)
    with pytest.raises(TokenUnfinished, match="token init"):
        rig.open()
    info = init_token(
        softhsm.module,
        "second",
        so_pin(softhsm),
        softhsm.pin_source,
        serial=unfinished.serial,
        dangerously_erase=True,
    )
    assert info.user_pin_set


def test_nss_has_no_officer_and_keeps_its_own_label(nss: TokenRig) -> None:
    folder = nss.folder / "another"
    folder.mkdir()
    write_pin(folder / "fake" / "user.pin", "user-1234")
    config = ModuleConfig(nss.config.path, nss_arguments(folder, "nss-two"))
    module = load_module(config)
    user_pin = PinFile(folder / "fake" / "user.pin")
    with pytest.raises(PinSourceError, match="no security officer"):
        init_token(module, "nss-two", user_pin, user_pin)
    with pytest.raises(TokenError, match="dbTokenDescription"):
        init_token(module, "other", None, user_pin)
    info = init_token(module, "nss-two", None, user_pin)
    rig = TokenRig("nss", folder, config, info)
    with rig.open() as session:
        rig.generate(session)
    with pytest.raises(TokenNotFound, match="not initialised"):
        init_token(module, "nss-three", None, user_pin)
    shutil.rmtree(folder)
