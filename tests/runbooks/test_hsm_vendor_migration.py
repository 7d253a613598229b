"""Drills of docs/runbooks/hsm-vendor-migration.md: from SoftHSM to NSS softokn, which is another module altogether."""

from __future__ import annotations

import pytest

from tests.runbooks.conftest import Drill
from tests.runbooks.runbook import cases

RUNBOOK = "hsm-vendor-migration"
ROLE_KEY, ROOTS = cases(RUNBOOK)


def test_a_role_key_goes_to_another_makers_token(drill: Drill) -> None:
    drill.hold(RUNBOOK, ROLE_KEY)
    text = (drill.world.root / "sites" / "main.toml").read_text(encoding="utf-8")
    assert 'module = "new-hsm"' in text


@pytest.mark.campaign
def test_the_roots_go_to_new_tokens(drill: Drill) -> None:
    drill.hold(RUNBOOK, ROOTS)
