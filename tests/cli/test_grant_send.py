"""`strongroom grant send`: each served device gets its own grant, and one that has none is told and left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from tests.links.served import device_in, serving, write_devices
from tests.updates.fleet import device, granted_application, write_grants


def test_a_device_gets_its_grant_and_one_without_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_devices(tmp_path, [device(0), device(1)])
    _, plan = granted_application(2)
    grants = write_grants(tmp_path / "grants.srg", plan, [0])
    with serving(paths, links=2) as served:
        words = [word for via in served.vias for word in ("--via", via)]
        assert run(["grant", "send", str(grants), *words]) == ExitCode.INPUT
        told = capsys.readouterr().out.splitlines()
        assert "has its grant" in told[0]
        assert "[GR-37]" in told[1]
        served.stop()
    first, second = (device_in(path).status() for path in paths)
    assert first.pending_grant is not None
    assert second.pending_grant is None
