"""kill -9 at the durable writes of the log: it opens, verifies, and has every entry that was acknowledged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
STRIDE = 9


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shim") / "cut_shim.so"
    source = Path(__file__).with_name("cut_shim.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", path, source, "-ldl"], check=True, timeout=60)
    return path


def rig(shim: Path, stride: int, control: str = "none") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.log.crash_rig", str(stride), control],
        cwd=ROOT,
        env={**os.environ, "LD_PRELOAD": str(shim), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["finished"], "the log's life has more durable writes than the rig allows for"
    return found


def test_a_kill_at_durable_writes_loses_nothing_acknowledged(shim: Path) -> None:
    found = rig(shim, STRIDE)
    assert found["broken"] == []
    assert found["cuts"] > 40


def test_the_rig_finds_an_acknowledgement_that_comes_too_early(shim: Path) -> None:
    """The positive control: promised before it is durable."""
    found = rig(shim, 4 * STRIDE, "early")
    assert any("entries of" in text for text in found["broken"])


@pytest.mark.campaign
def test_a_kill_at_every_durable_write_loses_nothing(
    shim: Path, record_property: Callable[[str, object], None]
) -> None:
    found = rig(shim, 1)
    assert found["broken"] == []
    record_property("campaign", ("audit log: kill -9 at a durable write", found["cuts"]))
