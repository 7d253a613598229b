"""What the two modules do, as probed; and that the hot path asks for no profile."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pkcs11.constants import Attribute

from pki.errors import ConfigurationError, OutputError
from pki.values import Digest, Scheme
from signer.tokens import KeyRef
from signer.tokens.profile_cache import profile_of
from signer.tokens.profiles import ModuleProfile, PaddedWrap
from tests.softhsm.fault_rig import ULONG, counted, interposed
from tests.softhsm_fixtures import TokenRig

CKF_RW_SESSION = 0x2
LABEL = "sr:application-release:pump-x2:0001"
NOTHING: frozenset[str] = frozenset()
COPYABLE = frozenset({"COPYABLE"})

SOFTHSM = ModuleProfile(
    identity="",
    probed_on_token=True,
    raw_ecdsa=True,
    ecdsa_sha256=False,
    ecdh_null_kdf=True,
    random=True,
    aes_key_wrap=True,
    padded_wrap=PaddedWrap.RFC_5649_OF_WHOLE_BLOCKS,
    kwp_0x210b=False,
    extractable_enforced=True,
    reports_local=True,
    locks_by_copy=True,
    copy_forbids_copying=False,
    copies_are_exact=True,
    dropped_public=NOTHING,
    dropped_private=NOTHING,
    dropped_secret=NOTHING,
)
NSS = ModuleProfile(
    identity="",
    probed_on_token=True,
    raw_ecdsa=True,
    ecdsa_sha256=True,
    ecdh_null_kdf=True,
    random=True,
    aes_key_wrap=True,
    padded_wrap=PaddedWrap.PKCS7,
    kwp_0x210b=False,
    extractable_enforced=False,
    reports_local=False,
    locks_by_copy=False,
    copy_forbids_copying=False,
    copies_are_exact=False,
    dropped_public=COPYABLE,
    dropped_private=COPYABLE,
    dropped_secret=COPYABLE,
)


def test_the_probed_profile_is_what_was_measured(token_rig: TokenRig) -> None:
    token_rig.module.profile = None
    with token_rig.open() as session:
        profile = session.probe_profile(on_token=True)
        assert session.objects() == ()
    assert token_rig.config.path.rpartition("/")[2] in profile.identity
    assert replace(profile, identity="") == {"softhsm": SOFTHSM, "nss": NSS}[token_rig.kind]


def test_probing_writes_nothing_to_the_token_unless_told(token_rig: TokenRig) -> None:
    token_rig.module.profile = None
    on_token: list[bool] = []

    def record(original: Callable[..., int]) -> Callable[..., int]:
        def call(session: int, mechanism: int, template: int, count: int, *rest: int) -> int:
            on_token.append(is_for_token(template, count))
            return original(session, mechanism, template, count, *rest)

        return call

    with (
        token_rig.open(writable=False) as session,
        interposed(session.module, "C_GenerateKeyPair", record),
        interposed(session.module, "C_GenerateKey", record),
        counted(session.module, "C_OpenSession") as opened,
    ):
        light = session.probe_profile()
        assert on_token
        assert not any(on_token)
        assert opened[0][1] & CKF_RW_SESSION == 0
        assert session.probe_profile() is light
        full = session.probe_profile(on_token=True)
        assert any(on_token)
    expected = {"softhsm": SOFTHSM, "nss": NSS}[token_rig.kind]
    assert replace(full, identity="") == expected
    assert not light.probed_on_token
    assert (light.dropped_public, light.dropped_private, light.dropped_secret) == (NOTHING, NOTHING, NOTHING)
    as_if_full = replace(
        light,
        probed_on_token=True,
        dropped_public=full.dropped_public,
        dropped_private=full.dropped_private,
        dropped_secret=full.dropped_secret,
    )
    assert as_if_full == full


def is_for_token(template: int, count: int) -> bool:
    """CKA_TOKEN of an array of CK_ATTRIBUTE (type, pointer, length)."""
    for index in range(count):
        entry = template + 24 * index
        if ULONG.from_address(entry).value == Attribute.TOKEN:
            return ctypes.c_ubyte.from_address(ULONG.from_address(entry + 8).value).value == 1
    return False


def test_a_kept_profile_is_read_and_not_probed_again(token_rig: TokenRig, tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    with token_rig.open() as session:
        session.module.profile = None
        first = profile_of(session, folder)
        session.module.profile = None
        with counted(session.module, "C_GenerateKeyPair") as calls:
            assert profile_of(session, folder) == first
        assert calls == []
        (kept,) = folder.iterdir()
        for damage in ("", "{}", kept.read_text().replace("true", "1", 1), kept.read_text() * 2):
            kept.write_text(damage)
            with pytest.raises(ConfigurationError, match="delete"):
                profile_of(session, folder)
        kept.unlink()
        folder.rmdir()
        folder.write_text("a file in the way")
        with pytest.raises((OutputError, ConfigurationError)):
            profile_of(session, folder)


def test_opening_finding_and_signing_probe_nothing(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        token_rig.generate(session)
    module = token_rig.module
    with (
        counted(module, "C_GenerateKeyPair") as pairs,
        counted(module, "C_GenerateKey") as keys,
        counted(module, "C_CreateObject") as objects,
        counted(module, "C_OpenSession") as sessions,
        token_rig.open(writable=False) as session,
    ):
        session.find(KeyRef(LABEL)).sign(Digest.of(b"x"), Scheme.ECDSA_P256_SHA256_RAW)
    assert (pairs, keys, objects) == ([], [], [])
    assert len(sessions) == 1
