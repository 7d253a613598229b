"""Content keys at rest, wrapped by real tokens, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.key_specs import KEY_SPECS, key_label
from pki.roles import Role
from signer.grants.content_keys import ContentKeyFolder, unwrapped
from signer.grants.rules import GrantRefused
from signer.tokens.errors import TokenError
from signer.tokens.secret_keys import SecretKeyHandle
from signer.tokens.session import Session
from tests.softhsm_fixtures import TokenRig
from tests.unit.grants import rig

PRODUCT = "pump-x2"
KEY = rig.PACKAGE_PLAN.content_key


def wrapping_key(session: Session, sequence: int = 1) -> SecretKeyHandle:
    spec = KEY_SPECS[Role.PACKAGE_WRAP]
    handle = session.generate(spec, key_label(spec, PRODUCT, sequence))
    assert isinstance(handle, SecretKeyHandle)
    return handle


def test_a_kept_key_comes_back_and_is_the_one_of_the_head(token_rig: TokenRig, tmp_path: Path) -> None:
    folder = ContentKeyFolder(tmp_path / "content-keys")
    with token_rig.open() as session:
        key = wrapping_key(session)
        folder.keep(PRODUCT, rig.package().cek_commitment, KEY, key)
    with token_rig.open(writable=False) as session:  # another session, which may write nothing
        kept = folder.read(PRODUCT, rig.package())
        found = session.find_secret(key.ref)
        assert unwrapped(kept, rig.package(), found) == KEY
    content = folder.path(rig.package().cek_commitment).read_bytes()
    assert KEY.hex().encode() not in content
    assert len(bytes.fromhex(kept.wrapped_key)) == 40


def test_another_key_of_the_token_does_not_unwrap_it(token_rig: TokenRig, tmp_path: Path) -> None:
    folder = ContentKeyFolder(tmp_path / "content-keys")
    with token_rig.open() as session:
        key, other = wrapping_key(session), wrapping_key(session, 2)
        folder.keep(PRODUCT, rig.package().cek_commitment, KEY, key)
        kept = folder.read(PRODUCT, rig.package())
        with pytest.raises(GrantRefused, match="GR-21"):
            unwrapped(kept, rig.package(), other)
        with pytest.raises(TokenError):
            other.unwrap_content_key(bytes.fromhex(kept.wrapped_key))


def test_a_content_key_of_another_package_is_not_used(softhsm: TokenRig, tmp_path: Path) -> None:
    folder = ContentKeyFolder(tmp_path / "content-keys")
    with softhsm.open() as session:
        key = wrapping_key(session)
        folder.keep(PRODUCT, rig.package().cek_commitment, bytes(31) + b"\1", key)
        kept = folder.read(PRODUCT, rig.package())
        with pytest.raises(GrantRefused, match="GR-22"):
            unwrapped(kept, rig.package(), key)
