"""Signatures per second through our session, against python-pkcs11 alone and against a loop in C, on SoftHSM.

Processor time of the signing thread is compared: signing waits for nothing, so on an idle machine it is the same as
elapsed time, and on a busy one other programs do not count.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.authority import SIGNING_KEY_LABEL, Authority
from bench.figures import Bound, Figure
from bench.interleaved import Measurement, Rounds, interleave, timed

if TYPE_CHECKING:
    from signer.tokens.key_handle import KeyHandle

_SLICE_SIGNATURES = 25
_ROUNDS = 300
_DIGEST = bytes([0xA5]) * 32


def measure_signatures(authority: Authority) -> list[Figure]:
    os.environ["SOFTHSM2_CONF"] = authority.environment["SOFTHSM2_CONF"]
    from signer.tokens import KeyRef, ModuleConfig, PinFile, find_module, load_module, parse_pkcs11_uri
    from signer.tokens.token import Token

    module_path = find_module("softhsm2")
    uri = parse_pkcs11_uri(authority.token_uri)
    if uri.serial is None:
        raise RuntimeError("the site file pins no serial")
    module = load_module(ModuleConfig(module_path))
    with (
        _c_loop(authority, module_path, uri.serial) as loop_in_c,
        Token(module, uri).open(PinFile(authority.pin_file)) as session,
    ):
        handle = session.find(KeyRef(SIGNING_KEY_LABEL))
        # A session of python-pkcs11's own; the login counts for the whole process.
        with module.library.get_token(token_serial=uri.serial.encode()).open() as bare_session:
            contestants = _contestants(handle, _bare_private_key(bare_session))
            rounds = interleave({**contestants, "C": loop_in_c}, _ROUNDS, warm_up_count=20)
    return _figures(rounds)


def _contestants(handle: KeyHandle, private: object) -> Mapping[str, Measurement]:
    from pki.values import Digest, Scheme

    digest, scheme = Digest(_DIGEST), Scheme.ECDSA_P256_SHA256_RAW
    sign_bare = _bare_sign(private)
    verify_bare = _bare_verify(handle.public_key.point)
    return {
        "bare": _slice(sign_bare),
        "bare, verified": _slice(lambda: verify_bare(sign_bare())),
        "session, unverified": _slice(lambda: handle.sign_unverified(digest, scheme)),
        "session, verified": _slice(lambda: handle.sign(digest, scheme)),
    }


def _slice(sign: Callable[[], object]) -> Measurement:
    def several() -> None:
        for _ in range(_SLICE_SIGNATURES):
            sign()

    return lambda: timed(several, time.thread_time)


def _bare_private_key(session: object) -> object:
    from pkcs11 import ObjectClass, Session

    assert isinstance(session, Session)
    return session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=SIGNING_KEY_LABEL)


def _bare_sign(private: object) -> Callable[[], bytes]:
    """The plainest use of python-pkcs11."""
    from pkcs11 import Mechanism, SignMixin

    assert isinstance(private, SignMixin)
    return lambda: private.sign(_DIGEST, mechanism=Mechanism.ECDSA)


def _bare_verify(point: bytes) -> Callable[[bytes], None]:
    """The plainest use of `cryptography`, with everything prepared that can be; it takes signatures only as DER."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

    public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
    algorithm = ec.ECDSA(Prehashed(hashes.SHA256()))

    def verify(raw: bytes) -> None:
        encoded = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        public_key.verify(encoded, _DIGEST, algorithm)

    return verify


@contextmanager
def _c_loop(authority: Authority, module_path: str, serial: str) -> Iterator[Measurement]:
    """The loop in C, compiled now, running beside us and asked for a slice at a time."""
    program = authority.folder / "sign_loop"
    source = Path(__file__).with_name("sign_loop.c")
    subprocess.run(["gcc", "-O2", "-o", str(program), str(source), "-ldl"], check=True, timeout=60)
    command = [str(program), module_path, serial, SIGNING_KEY_LABEL, str(authority.pin_file)]
    with subprocess.Popen(
        command, env=authority.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to_loop, from_loop = process.stdin, process.stdout

        def measure() -> float:
            to_loop.write(f"{_SLICE_SIGNATURES}\n")
            to_loop.flush()
            answer = from_loop.readline()
            if not answer:
                raise RuntimeError("the loop in C ended; what it printed above says why")
            return int(answer) / 1e9

        yield measure
        to_loop.close()


def _figures(rounds: Rounds) -> list[Figure]:
    def rate(contestant: str) -> float:
        return _SLICE_SIGNATURES / rounds.seconds(contestant)

    unverified, verified = "session, unverified", "session, verified"
    against_c = "speed against the loop in C"
    return [
        Figure(
            "Session.sign_unverified: speed against bare python-pkcs11",
            rounds.ratio("bare", unverified), "ratio", Bound.AT_LEAST, 0.95,
        ),
        Figure(
            "Session.sign (verified): speed against bare sign plus bare verify",
            rounds.ratio("bare, verified", verified), "ratio", Bound.AT_LEAST, 0.9,
        ),
        Figure(f"Session.sign_unverified: {against_c}", rounds.ratio("C", unverified), "ratio"),
        Figure(f"Session.sign (verified): {against_c}, which verifies nothing", rounds.ratio("C", verified), "ratio"),
        Figure(f"bare python-pkcs11: {against_c}", rounds.ratio("C", "bare"), "ratio"),
        Figure("Session.sign_unverified", rate(unverified), "signatures/s"),
        Figure("Session.sign (verified)", rate(verified), "signatures/s"),
        Figure("bare python-pkcs11", rate("bare"), "signatures/s"),
        Figure("loop in C", rate("C"), "signatures/s"),
    ]  # fmt: skip
