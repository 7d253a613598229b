"""`[[trust.revoked]]` of a product's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.errors import ConfigurationError
from signer.authority.model import Product, RevokedConfig
from signer.authority.toml_files import load_toml
from tests.unit.authority.texts import PRODUCT_TEXT

LABEL = "sr:application-release:pump-x2:0007"


def product(folder: Path, *entries: str) -> Product:
    path = folder / "pump-x2.toml"
    path.write_text(PRODUCT_TEXT + "".join(f"\n[[trust.revoked]]\n{entry}\n" for entry in entries), encoding="utf-8")
    return load_toml(path, Product)


def test_nothing_is_revoked_unless_it_is_said(tmp_path: Path) -> None:
    assert product(tmp_path).trust.revoked == []


def test_a_key_is_revoked_by_label_or_by_id(tmp_path: Path) -> None:
    found = product(tmp_path, f'label = "{LABEL}"', 'key_id = "00112233aabbccdd"\nstop = true').trust.revoked
    assert found == [RevokedConfig(label=LABEL), RevokedConfig(key_id="00112233aabbccdd", stop=True)]


@pytest.mark.parametrize(
    "entry",
    [
        "stop = true",
        f'label = "{LABEL}"\nkey_id = "00112233aabbccdd"',
        'key_id = "00112233AABBCCDD"',
        'key_id = "0011"',
        f'label = "{LABEL}"\nstop = "yes"',
        f'label = "{LABEL}"\nwhy = "leaked"',
    ],
)
def test_anything_else_is_refused(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ConfigurationError, match="revoked"):
        product(tmp_path, entry)


def test_no_more_than_a_bundle_has_room_for(tmp_path: Path) -> None:
    entries = [f'key_id = "{number:016x}"' for number in range(1, 26)]
    assert len(product(tmp_path, *entries[:24]).trust.revoked) == 24
    with pytest.raises(ConfigurationError):
        product(tmp_path, *entries)
