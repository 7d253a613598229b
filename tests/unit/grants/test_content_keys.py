"""Content keys at rest, with a fake token: what is written, what is read back, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pki.errors import OutputError
from signer.grants.content_keys import ContentKeyFolder, unwrapped
from signer.grants.grantable import grantable_head
from signer.grants.rules import RULES, GrantInvalid, GrantRefused
from tests.unit.grants import rig
from tests.unit.reference import builders

PRODUCT = "pump-x2"
KEY = rig.PACKAGE_PLAN.content_key


class FakeWrappingKey:
    """RFC 3394 by `cryptography`, as a token does it."""

    def __init__(self, label: str = "sr:package-wrap:pump-x2:0001") -> None:
        self.label = label
        self.cka_id = builders.sha256(label.encode())[:20]
        self._secret = builders.sha256(b"fake wrapping key", label.encode())

    def wrap_content_key(self, content_key: bytes) -> bytes:
        from cryptography.hazmat.primitives.keywrap import aes_key_wrap

        return aes_key_wrap(self._secret, content_key)

    def unwrap_content_key(self, wrapped: bytes) -> bytes:
        from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

        return aes_key_unwrap(self._secret, wrapped)


@pytest.fixture
def folder(tmp_path: Path) -> ContentKeyFolder:
    return ContentKeyFolder(tmp_path / "content-keys")


def keep(folder: ContentKeyFolder, content_key: bytes = KEY) -> Path:
    commitment = rig.package().cek_commitment
    folder.keep(PRODUCT, commitment, content_key, FakeWrappingKey())
    return folder.path(commitment)


def rule_of(folder: ContentKeyFolder, product: str = PRODUCT) -> str:
    with pytest.raises(GrantRefused) as caught:
        folder.read(product, rig.package())
    return caught.value.rule_id


def test_what_is_kept_unwraps_again(folder: ContentKeyFolder) -> None:
    path = keep(folder)
    kept = folder.read(PRODUCT, rig.package())
    assert unwrapped(kept, rig.package(), FakeWrappingKey()) == KEY
    assert path.name == f"{rig.HEAD[216:248].hex()}.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "format": "strongroom-content-key-1",
        "product": PRODUCT,
        "cek_commitment": rig.HEAD[216:248].hex(),
        "wrapping_label": "sr:package-wrap:pump-x2:0001",
        "wrapping_cka_id": FakeWrappingKey().cka_id.hex(),
        "wrapped_key": FakeWrappingKey().wrap_content_key(KEY).hex(),
    }


def test_the_file_holds_no_key_in_the_clear(folder: ContentKeyFolder) -> None:
    content = keep(folder).read_bytes()
    assert KEY not in content
    assert KEY.hex().encode() not in content


def test_a_kept_key_is_never_replaced(folder: ContentKeyFolder) -> None:
    before = keep(folder).read_bytes()
    with pytest.raises(GrantRefused, match="GR-20"):
        keep(folder, bytes(32))
    assert folder.path(rig.package().cek_commitment).read_bytes() == before


def test_what_is_not_kept_is_refused(folder: ContentKeyFolder) -> None:
    assert rule_of(folder) == "GR-20"


def test_another_products_key_is_refused(folder: ContentKeyFolder) -> None:
    keep(folder)
    assert rule_of(folder, "pump-x3") == "GR-21"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "strongroom-content-key-2"},
        {"cek_commitment": "00" * 32},
        {"wrapped_key": "00" * 39},
        {"wrapped_key": "ZZ" * 40},
        {"wrapping_cka_id": "00" * 19},
        {"product": None},
        {"more": 1},
    ],
    ids=str,
)
def test_another_content_is_refused(folder: ContentKeyFolder, changes: dict[str, Any]) -> None:
    path = keep(folder)
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}, indent=2) + "\n")
    assert rule_of(folder) == "GR-21"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"{}" + b" " * 5000])
def test_what_is_no_such_file_is_refused(folder: ContentKeyFolder, content: bytes) -> None:
    keep(folder).write_bytes(content)
    assert rule_of(folder) == "GR-21"


def test_another_spelling_of_the_same_is_refused(folder: ContentKeyFolder) -> None:
    path = keep(folder)
    path.write_bytes(path.read_bytes() + b"\n")
    assert rule_of(folder) == "GR-21"


def test_another_wrapping_key_is_refused(folder: ContentKeyFolder) -> None:
    keep(folder)
    kept = folder.read(PRODUCT, rig.package())
    with pytest.raises(GrantRefused, match="GR-21"):
        unwrapped(kept, rig.package(), FakeWrappingKey("sr:package-wrap:pump-x2:0002"))


def test_another_content_key_than_the_head_commits_to_is_refused(folder: ContentKeyFolder) -> None:
    keep(folder, bytes(32))
    kept = folder.read(PRODUCT, rig.package())
    with pytest.raises(GrantRefused, match="GR-22"):
        unwrapped(kept, rig.package(), FakeWrappingKey())


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        keep(ContentKeyFolder(tmp_path / "file" / "content-keys"))


# --- which packages can be granted ---


def test_only_signed_packages_that_need_a_grant_are_granted() -> None:
    for plan, rule in (
        (builders.PackagePlan(), "GR-10"),
        (builders.bootloader_plan(), "GR-10"),
        (builders.factory_test_plan(), "GR-10"),
    ):
        with pytest.raises(GrantRefused) as caught:
            grantable_head(builders.build_head(plan))
        assert caught.value.rule_id == rule
    for unsigned in (448,):
        with pytest.raises(GrantRefused, match="GR-11"):
            grantable_head(rig.HEAD[:unsigned] + bytes(64) + rig.HEAD[512:])
    bootloader = builders.build_head(builders.bootloader_plan(target=2, recipient_mode=3))
    assert grantable_head(bootloader).product_id == builders.PRODUCT_ID
    with pytest.raises(GrantRefused, match="GR-11"):
        grantable_head(bootloader[:512] + bytes(64) + bootloader[576:])


def test_every_rule_is_in_the_document_and_refuses_under_its_own_id() -> None:
    document = (Path(__file__).resolve().parents[3] / "docs" / "spec" / "grant.md").read_text(encoding="utf-8")
    in_document = [line.split("|")[1].strip() for line in document.splitlines() if line.startswith("| GR-")]
    assert in_document == list(RULES)
    for error in (GrantRefused, GrantInvalid):
        assert str(error("GR-33", "why")) == "[GR-33] why"
        with pytest.raises(ValueError, match="no rule"):
            error("GR-99", "why")
