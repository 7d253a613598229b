"""Drills of docs/runbooks/lost-custodian.md: the share of one custodian is really gone."""

from __future__ import annotations

import pytest

from tests.runbooks.conftest import DRILL, PRODUCT, Drill
from tests.runbooks.runbook import cases

RUNBOOK = "lost-custodian"
SHARE, APPROVER, PIN = cases(RUNBOOK)
BACKED_UP = f"sr:application-release:{PRODUCT}:0002"


def make_key_with_backup(drill: Drill) -> None:
    """The product's release key is one with a backup, whose custodians are cy, dee and eve."""
    world = drill.world
    answers = world.root / "desk" / "drill.yaml"
    answers.write_text(f"{DRILL}shares: fake/shares\n", encoding="utf-8")
    values = {
        "product": PRODUCT,
        "label": BACKED_UP,
        "token": "release",
        "second-token": "ca",
        "backup": "release-2.backup",
    }
    people = ("operator=ada", "witness=bob", "custodian=cy", "custodian=dee", "custodian=eve")
    options = [word for name, value in values.items() for word in ("--value", f"{name}={value}")]
    options += [word for person in people for word in ("--person", person)]
    world.ok("ceremony", "new", "first", "--plan", "backup", *options)
    digest = world.ok("ceremony", "rehearse", "first", "--json").json["digest"]
    made = drill.process("ceremony", "run", "first", "--digest", digest, "--answers", answers)
    assert made.code == 0, made.err
    backup = world.root / "ceremonies" / "first" / "artefacts" / "release-2.backup"
    (world.root / "public" / backup.name).write_bytes(backup.read_bytes())
    text = world.product_file.read_text(encoding="utf-8")
    world.product_file.write_text(text.replace(f"sr:application-release:{PRODUCT}:0001", BACKED_UP), encoding="utf-8")


@pytest.mark.campaign
def test_a_custodian_with_a_share_is_gone(drill: Drill) -> None:
    make_key_with_backup(drill)
    (drill.world.root / "fake" / "shares" / "custodian-1.share").unlink()
    drill.hold(RUNBOOK, SHARE)


def test_somebody_who_approved_is_gone(drill: Drill) -> None:
    drill.hold(RUNBOOK, APPROVER)
