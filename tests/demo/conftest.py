"""One run of the demonstration for all its tests, also when several workers share them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SECONDS_MAX = 600


@dataclass(frozen=True, slots=True)
class DemoRun:
    """What the demonstration printed, and the folder that it left. Tests change nothing in it but for one."""

    folder: Path
    printed: str


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, output = shared / "demo", shared / "demo.txt"
    with (shared / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.exists():
            run = [sys.executable, str(ROOT / "demo" / "run.py"), "--out", str(folder)]
            done = subprocess.run(run, cwd=shared, capture_output=True, text=True, check=False, timeout=_SECONDS_MAX)
            output.write_text(f"{done.returncode}\n{done.stdout}{done.stderr}", encoding="utf-8")
    exit_code, _, printed = output.read_text(encoding="utf-8").partition("\n")
    assert exit_code == "0", printed
    return DemoRun(folder, printed)
