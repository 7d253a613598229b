"""Sessions: one PIN, one attempt; after a failure a fresh session; nothing unverified is released."""

from __future__ import annotations

import ctypes
import threading

import pytest

from pki.errors import ConfigurationError
from pki.values import Digest, PublicKey, Scheme, Signature
from signer.signing_key import verify_signature
from signer.tokens import (
    KeyRef,
    Pkcs11Uri,
    PromptedPin,
    ProtectedPath,
    open_token,
    parse_pkcs11_uri,
    return_codes,
    worker_context,
)
from signer.tokens.errors import (
    ForkedProcess,
    KeyNotFound,
    PinIncorrect,
    PinSourceError,
    SignatureRefused,
    TokenBusy,
    TokenError,
    TokenLost,
    TokenNotFound,
)
from signer.tokens.token import Token
from signer.tokens.verifier import verifier_of
from tests.softhsm.fault_rig import changed_signatures, counted, failing
from tests.softhsm.workers import outcome_in_child, sign_many
from tests.softhsm_fixtures import USER_PIN, TokenRig

RAW = Scheme.ECDSA_P256_SHA256_RAW
LABEL = "sr:application-release:pump-x2:0001"
WRONG_PIN = "wrong-9999"


def test_a_wrong_pin_is_tried_exactly_once(token_rig: TokenRig) -> None:
    source = token_rig.pin_file("wrong.pin", WRONG_PIN)
    with counted(token_rig.module, "C_Login") as logins, counted(token_rig.module, "C_CloseSession") as closes:
        with pytest.raises(PinIncorrect) as first:
            token_rig.token().open(source)
        assert len(logins) == 1
        assert len(closes) == 1
        with pytest.raises(PinIncorrect, match="already"):
            token_rig.token().open(source)
        assert len(logins) == 1
    assert WRONG_PIN not in str(first.value)
    with token_rig.open() as session:
        assert session.objects() == ()


def test_every_pin_that_a_person_types_is_one_attempt(token_rig: TokenRig) -> None:
    answers = iter([WRONG_PIN, USER_PIN])
    source = PromptedPin(lambda _prompt: next(answers), "PIN: ")
    with counted(token_rig.module, "C_Login") as logins:
        with pytest.raises(PinIncorrect):
            token_rig.token().open(source)
        with token_rig.token().open(source):
            pass
    assert len(logins) == 2


def test_a_pin_source_that_fails_never_reaches_the_token(token_rig: TokenRig) -> None:
    with counted(token_rig.module, "C_Login") as logins:
        with pytest.raises(PinSourceError):
            token_rig.token().open(PromptedPin(lambda _prompt: "", "PIN: "))
        with pytest.raises(PinSourceError, match="keypad"):
            token_rig.token().open(ProtectedPath())
    assert logins == []
    assert not token_rig.module.sessions


def test_a_failed_signature_discards_the_session_and_the_next_use_opens_another(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        with counted(session.module, "C_Login") as logins, counted(session.module, "C_CloseSession") as closes:
            with failing(session.module, "C_Sign", 0x30), pytest.raises(TokenLost, match="CKR_DEVICE_ERROR"):
                handle.sign(Digest.of(b"x"), RAW)
            assert (len(closes), len(logins)) == (1, 0)
            verify_signature(handle.public_key, Digest.of(b"y"), handle.sign(Digest.of(b"y"), RAW))
            handle.sign(Digest.of(b"z"), RAW)
            assert (len(closes), len(logins)) == (1, 1)


def test_a_typed_pin_is_not_asked_for_again_behind_the_users_back(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        token_rig.generate(session)
    asked = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return USER_PIN

    with token_rig.token().open(PromptedPin(ask, "PIN: ")) as session:
        handle = session.find(KeyRef(LABEL))
        with failing(session.module, "C_Sign", 0x05), pytest.raises(TokenLost):
            handle.sign(Digest.of(b"x"), RAW)
        with pytest.raises(TokenLost, match="open the token again"):
            handle.sign(Digest.of(b"x"), RAW)
    assert asked == ["PIN: "]


@pytest.mark.parametrize("ckr", [0x82, 0x60])
def test_a_stale_handle_is_found_again_without_another_login(token_rig: TokenRig, ckr: int) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        with counted(session.module, "C_Login") as logins:
            with failing(session.module, "C_SignInit", ckr):
                handle.sign(Digest.of(b"x"), RAW)
            with failing(session.module, "C_SignInit", ckr, times=2), pytest.raises(TokenLost, match="vanished"):
                handle.sign(Digest.of(b"x"), RAW)
        assert logins == []


def test_an_unknown_return_code_is_named(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        with failing(session.module, "C_Sign", 0x80000123), pytest.raises(TokenLost, match="0x80000123"):
            handle.sign(Digest.of(b"x"), RAW)


def flip_last_bit(buffer: ctypes.Array[ctypes.c_ubyte]) -> int:
    buffer[len(buffer) - 1] ^= 1
    return len(buffer)


def zero_r(buffer: ctypes.Array[ctypes.c_ubyte]) -> int:
    for index in range(32):
        buffer[index] = 0
    return len(buffer)


def cut_short(buffer: ctypes.Array[ctypes.c_ubyte]) -> int:
    return len(buffer) - 1


@pytest.mark.parametrize("change", [flip_last_bit, zero_r, cut_short])
def test_a_wrong_signature_is_refused_before_release(token_rig: TokenRig, change: object) -> None:
    assert callable(change)
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        with counted(session.module, "C_CloseSession") as closes:
            with changed_signatures(session.module, change), pytest.raises(SignatureRefused):
                handle.sign(Digest.of(b"x"), RAW)
            assert len(closes) == 1
        verify_signature(handle.public_key, Digest.of(b"x"), handle.sign(Digest.of(b"x"), RAW))


def test_the_fault_rig_itself_reaches_the_signature(softhsm: TokenRig) -> None:
    """Negative control: without our check the changed signature would have come out."""
    with softhsm.open() as session:
        handle = softhsm.generate(session)
        with changed_signatures(session.module, flip_last_bit):
            unchecked = handle.sign_unverified(Digest.of(b"x"), RAW)
        with pytest.raises(Exception, match="does not verify"):
            verify_signature(handle.public_key, Digest.of(b"x"), unchecked)


def test_only_a_digest_is_signed(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        for wrong in (b"\x00" * 32, Signature(bytes(64)), "text"):
            with pytest.raises(TokenError, match="signs a Digest"):
                handle.sign(wrong, RAW)  # type: ignore[arg-type]


def test_one_session_per_token_and_process(token_rig: TokenRig) -> None:
    with token_rig.open():
        with pytest.raises(TokenBusy, match="open in this process"):
            token_rig.open()
        with pytest.raises(TokenBusy):
            token_rig.module.reinitialize()
    with token_rig.open() as session:
        pass
    with pytest.raises(TokenLost, match="closed"):
        session.objects()
    session.close()


def test_handles_die_with_their_session(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)
    with pytest.raises(TokenLost, match="closed"):
        handle.sign(Digest.of(b"x"), RAW)


def test_two_tokens_side_by_side(softhsm: TokenRig, second_token: object) -> None:
    assert callable(second_token)
    other: TokenRig = second_token("hsm-two")
    with softhsm.open() as first_session, other.open() as second_session:
        first, second = softhsm.generate(first_session), other.generate(second_session)
        assert first.public_key != second.public_key
        for handle in (first, second, first):
            handle.sign(Digest.of(b"x"), RAW)
        with failing(softhsm.module, "C_Sign", 0x30), pytest.raises(TokenLost):
            first.sign(Digest.of(b"x"), RAW)
        second.sign(Digest.of(b"x"), RAW)
        first.sign(Digest.of(b"x"), RAW)


def test_a_token_is_pinned_by_serial(softhsm: TokenRig) -> None:
    uri = softhsm.uri
    with pytest.raises(ConfigurationError, match="serial"):
        Token(softhsm.module, Pkcs11Uri(token="hsm-one"))
    for other in (Pkcs11Uri(serial="0000000000000001"), Pkcs11Uri(serial=uri.serial, token="other")):
        with pytest.raises(TokenNotFound):
            Token(softhsm.module, other).open(softhsm.pin_source)
    for wrong in ("library-version=9.9", "library-manufacturer=x", "library-description=x"):
        with pytest.raises(ConfigurationError, match="the URI wants"):
            Token(softhsm.module, parse_pkcs11_uri(f"pkcs11:serial={uri.serial};{wrong}"))
    right = Pkcs11Uri(serial=uri.serial, library_version="2.6", library_manufacturer="SoftHSM", model="SoftHSM v2")
    Token(softhsm.module, right).open(softhsm.pin_source).close()


def test_open_token_takes_everything_from_the_uri(token_rig: TokenRig) -> None:
    uri = str(token_rig.uri)
    with pytest.raises(PinSourceError, match="no PIN source"):
        open_token(uri)
    with open_token(f"{uri}&pin-source=file:{token_rig.pin_source.path}") as session:
        assert session.token.serial == token_rig.info.serial
    with pytest.raises(PinSourceError, match="no terminal"):
        open_token(f"{uri}&pin-source=prompt")
    with open_token(f"{uri}&pin-source=prompt", ask=lambda _prompt: USER_PIN) as session:
        assert session.objects() == ()


def test_a_forked_child_is_refused(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        assert outcome_in_child(lambda: handle.sign(Digest.of(b"x"), RAW)) == ForkedProcess.__name__
        assert outcome_in_child(session.objects) == ForkedProcess.__name__
        assert outcome_in_child(lambda: session.find(KeyRef(LABEL))) == ForkedProcess.__name__
        assert outcome_in_child(token_rig.module.tokens) == ForkedProcess.__name__
        assert outcome_in_child(lambda: open_token(token_rig.uri, token_rig.pin_source)) == ForkedProcess.__name__
        handle.sign(Digest.of(b"x"), RAW)


def test_workers_in_parallel(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        public_key = token_rig.generate(session).public_key
    arguments = (str(token_rig.uri), str(token_rig.pin_source.path), LABEL, 5)
    with worker_context().Pool(4) as pool:
        results = pool.starmap(sign_many, [arguments] * 24, chunksize=1)
    assert len(results) == 24
    for signatures in results:
        for index, signature in enumerate(signatures):
            verify_signature(public_key, Digest.of(index.to_bytes(4, "big")), Signature(signature))


def test_threads_take_turns(token_rig: TokenRig) -> None:
    made: list[tuple[int, Signature]] = []
    with token_rig.open() as session:
        handle = token_rig.generate(session)

        def work(start: int) -> None:
            made.extend((n, handle.sign(Digest.of(n.to_bytes(4, "big")), RAW)) for n in range(start, start + 50))

        threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(made) == 150
    for number, signature in made:
        verify_signature(handle.public_key, Digest.of(number.to_bytes(4, "big")), signature)


@pytest.mark.parametrize("function", ["C_OpenSession", "C_GetTokenInfo"])
def test_opening_is_retried_a_bounded_number_of_times(softhsm: TokenRig, function: str) -> None:
    with failing(softhsm.module, function, 0x05, times=3):
        softhsm.open().close()
    with (
        counted(softhsm.module, "C_Login") as logins,
        failing(softhsm.module, function, 0x05, times=1000),
        pytest.raises(TokenError, match="CKR_GENERAL_ERROR"),
    ):
        softhsm.open()
    assert logins == []


def test_a_login_without_a_verdict_is_repeated_with_a_fresh_pin_only(softhsm: TokenRig) -> None:
    with failing(softhsm.module, "C_Login", 0x05, times=2):
        softhsm.open().close()
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return USER_PIN

    with failing(softhsm.module, "C_Login", 0x05, times=2), pytest.raises(TokenLost):
        softhsm.token().open(PromptedPin(ask, "PIN: "))
    assert len(asked) == 1


@pytest.mark.parametrize("ckr", [0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0x100, 0x30])
def test_a_login_with_any_other_answer_is_never_repeated(softhsm: TokenRig, ckr: int) -> None:
    calls: list[int] = []
    with failing(softhsm.module, "C_Login", ckr, times=1000):
        original = softhsm.module.functions.call("C_Login", *[ctypes.c_ulong] * 2, ctypes.c_void_p, ctypes.c_ulong)

        def count(*arguments: int) -> int:
            calls.append(ckr)
            return original(*arguments)

        softhsm.module.functions.replace(
            "C_Login", count, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong
        )
        with pytest.raises(TokenError):
            softhsm.open()
    assert len(calls) == 1


def test_a_verifier_is_only_made_for_a_point_of_the_curve() -> None:
    with pytest.raises(TokenError, match="not a point"):
        verifier_of(PublicKey(b"\x02" * 64))


def test_a_missing_key_does_not_cost_the_session(token_rig: TokenRig) -> None:
    with token_rig.open() as session, counted(session.module, "C_Login") as logins:
        with pytest.raises(KeyNotFound):
            session.find(KeyRef(LABEL))
        assert session.objects() == ()
        assert logins == []


@pytest.mark.parametrize("code", sorted(return_codes._BY_CODE))
def test_every_return_code_arrives_as_its_own_error(softhsm: TokenRig, code: int) -> None:
    """python-pkcs11 maps the number to an exception, we map the exception back: the numbers must agree."""
    with (
        softhsm.open() as session,
        failing(session.module, "C_GenerateRandom", code),
        pytest.raises(TokenError) as failure,
    ):
        session.random(8)
    assert failure.value.ckr == code
    assert type(failure.value) is type(return_codes.error_from_ckr(code, ""))
