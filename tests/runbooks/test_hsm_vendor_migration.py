"""Drill of docs/runbooks/hsm-vendor-migration.md: from SoftHSM to NSS softokn, which is another module altogether."""

from __future__ import annotations

from tests.runbooks.conftest import Drill


def test_a_migration_to_another_makers_tokens(drill: Drill) -> None:
    drill.hold("hsm-vendor-migration")
    text = (drill.world.root / "sites" / "main.toml").read_text(encoding="utf-8")
    assert 'module = "new-hsm"' in text
