"""The rules stand in the specification, once each; the example of the Python API runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rpc.update.planner import Action
from tests.links.served import ROOT
from tests.updates.desk import DeskLink
from tests.updates.fleet import application, device, identity_of, world

SPECIFICATION = (ROOT / "docs" / "spec" / "update.md").read_text()
SOURCES = "".join(path.read_text() for path in sorted((ROOT / "rpc" / "update").glob("*.py")))
RULES = {f"UP-{number:02}" for number in (*range(1, 5), *range(10, 30), *range(40, 48))}


def test_every_rule_is_in_the_document_and_in_the_code_and_no_other() -> None:
    for text in (SPECIFICATION, SOURCES):
        found = set(re.findall(r"UP-\d\d", text))
        # "UP-01 to UP-03" names the ends of a range; what is between them is named where it is raised.
        assert found <= RULES
    assert set(re.findall(r"UP-\d\d", SPECIFICATION)) == RULES
    raised = set(re.findall(r'"(UP-\d\d)"', SOURCES))
    assert raised == RULES


def test_every_step_is_in_the_document() -> None:
    for action in Action:
        assert action.name in SPECIFICATION


def test_the_example_of_the_python_api_updates_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands in the page, against a device of this process."""
    page = (ROOT / "docs" / "integration" / "update-api.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, "update-api.md", "exec"), names)  # noqa: S102 - it is our own page
    link = DeskLink(device(0), name="udp://192.0.2.1:1337")

    class Node:
        name = link.name

    Node.link = link  # type: ignore[attr-defined]
    monkeypatch.setattr("rpc.update.fleet.open_links", lambda _via: [Node])
    monkeypatch.setattr("rpc.update.fleet.NodeLink", type)
    package, bundle = tmp_path / "app.srp", tmp_path / "trust.srb"
    package.write_bytes(application(2))
    bundle.write_bytes(world(0).genesis)
    keys = {world(0).uid: identity_of(0).public}
    assert names["update_pumps"](package, [bundle], keys, [link.name]) is True
    assert "updated None None" in capsys.readouterr().out
    assert link.machine.device.status().application_is_confirmed
