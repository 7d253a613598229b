"""Drills of docs/runbooks/lost-token.md: the token's folder is really gone."""

from __future__ import annotations

import shutil

import pytest

from signer.tokens import ModuleConfig, find_module, list_tokens, load_module
from tests.runbooks.conftest import Drill
from tests.runbooks.runbook import cases

RUNBOOK = "lost-token"
ROLE_KEYS, ROOT = cases(RUNBOOK)


def lose(drill: Drill, label: str) -> None:
    """Remove a SoftHSM token as if it had been carried off."""
    module = load_module(ModuleConfig(find_module("softhsm2")))
    (serial,) = (info.serial for info in list_tokens(module) if info.label == label)
    for folder in (drill.world.folder / "tokens").iterdir():
        # SoftHSM names a token's folder by its UUID, which ends with the serial number.
        if folder.name.replace("-", "").endswith(serial):
            shutil.rmtree(folder)
            module.reinitialize()
            return
    raise AssertionError(f"no folder of token {label}")


@pytest.mark.campaign
def test_a_lost_token_with_role_keys(drill: Drill) -> None:
    lose(drill, "release")
    drill.hold(RUNBOOK, ROLE_KEYS)


def test_a_lost_token_with_a_root(drill: Drill) -> None:
    lose(drill, "root-2")
    drill.hold(RUNBOOK, ROOT)
