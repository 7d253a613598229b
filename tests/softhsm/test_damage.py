"""Tokens damaged from outside while a process uses them: a clear error each, no retry of a PIN, no crash."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pki.values import Digest, Scheme
from signer.tokens import KeyRef
from signer.tokens.errors import KeyInconsistent, KeyNotFound, ModuleError, TokenError, TokenLost, TokenNotFound
from tests.softhsm.fault_rig import counted
from tests.softhsm_fixtures import TokenRig, close_all

RAW = Scheme.ECDSA_P256_SHA256_RAW
LABEL = "sr:application-release:pump-x2:0001"


def object_files(rig: TokenRig) -> list[Path]:
    return sorted(path for path in (rig.folder / "tokens").glob("*/*.object") if path.name != "token.object")


def assert_one_line_or_success(action: Callable[[], object]) -> None:
    """Both are sound after damage from outside; a crash, a stray exception or many lines are not."""
    try:
        action()
    except TokenError as error:
        message = str(error)
    else:
        return
    assert message
    assert "\n" not in message


def test_a_removed_token_folder(softhsm: TokenRig) -> None:
    with softhsm.open() as session:
        handle = softhsm.generate(session)
        shutil.rmtree(softhsm.folder / "tokens")
        with counted(session.module, "C_Login") as logins:
            for _ in range(3):
                with pytest.raises(TokenError) as failure:
                    handle.sign(Digest.of(b"x"), RAW)
                assert "\n" not in str(failure.value)
            with pytest.raises(TokenError):
                session.find(KeyRef("another"))
        assert len(logins) == 0
    close_all(softhsm.module)
    with pytest.raises(ModuleError, match=r"SOFTHSM2_CONF"):
        softhsm.open()
    (softhsm.folder / "tokens").mkdir()
    with pytest.raises(TokenNotFound, match=r"token list"):
        softhsm.open()


@pytest.mark.parametrize("keep_bytes", [0, 1, 40, 200])
def test_a_truncated_object_file(softhsm: TokenRig, keep_bytes: int) -> None:
    with softhsm.open() as session:
        softhsm.generate(session)
    public_or_private = object_files(softhsm)
    assert len(public_or_private) == 2
    for path in public_or_private:
        whole = path.read_bytes()
        path.write_bytes(whole[:keep_bytes])
        softhsm.module.reinitialize()
        with softhsm.open() as session:
            with pytest.raises((KeyNotFound, KeyInconsistent, TokenLost)) as failure:
                session.find(KeyRef(LABEL)).sign(Digest.of(b"x"), RAW)
            assert "\n" not in str(failure.value)
        path.write_bytes(whole)
        softhsm.module.reinitialize()
        with softhsm.open() as session:
            session.find(KeyRef(LABEL)).sign(Digest.of(b"x"), RAW)


def test_an_object_file_truncated_under_a_running_session(softhsm: TokenRig) -> None:
    with softhsm.open() as session:
        handle = softhsm.generate(session)
        for path in object_files(softhsm):
            path.write_bytes(path.read_bytes()[:20])
        # SoftHSM may have the key in memory: then the signature is good, as `sign` has checked.
        assert_one_line_or_success(lambda: handle.sign(Digest.of(b"x"), RAW))
    softhsm.module.reinitialize()
    with softhsm.open() as session, pytest.raises((KeyNotFound, KeyInconsistent, TokenLost)):
        session.find(KeyRef(LABEL)).sign(Digest.of(b"x"), RAW)


def test_an_nss_database_removed_under_a_running_session(nss: TokenRig) -> None:
    with nss.open() as session:
        handle = nss.generate(session)
        (nss.folder / "key4.db").unlink()
        assert_one_line_or_success(lambda: handle.sign(Digest.of(b"x"), RAW))
    nss.module.reinitialize()
    with pytest.raises(TokenError):
        nss.open()
