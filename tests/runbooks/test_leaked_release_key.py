"""Drill of docs/runbooks/leaked-release-key.md, and what the report of its ceremony says."""

from __future__ import annotations

from tests.runbooks.conftest import Drill


def test_a_leaked_release_key_is_replaced_and_revoked(drill: Drill) -> None:
    drill.hold("leaked-release-key")
    folder = drill.world.root / "ceremonies" / "leaked-release-1"
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-")
    document = (folder / "report.html").read_text(encoding="utf-8")
    assert "RUN FROM PREPARED ANSWERS" in document
    assert "NOT VERIFIED" not in document
    assert "NOT AS LISTED" not in document
    assert "trust bundle version 2" in document
    assert "Dee Example" in document
