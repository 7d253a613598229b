"""The contract of the token layer, on every module that we support."""

from __future__ import annotations

from pki.values import Digest, Scheme
from signer.tokens.values import KeyRef
from tests.softhsm_fixtures import TokenRig

RAW = Scheme.ECDSA_P256_SHA256_RAW


def test_generate_find_and_sign(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)


        handle.sign(Digest.of(b"x"), RAW)
