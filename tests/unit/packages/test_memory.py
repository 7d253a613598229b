"""Large images pass through in constant memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.packages.builders import left_in

ROOT = Path(__file__).parents[3]
LIMIT_KB = 64 * 1024

# VmHWM, the peak of this process alone; ru_maxrss would begin with the peak of the process that started it.
_PEAK = "next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))"

_BUILD = f"""
import sys
from pathlib import Path
from signer.packages.build import build_package
from signer.packages.sign import sign_package
from signer.packages.prepare import prepare_package
from tests.unit.packages.builders import APP_KEY, COMPAT_KEY, open_binary, random_means, request
folder, step = Path(sys.argv[1]), sys.argv[2]
if step == "sign":
    sign_package(folder / "prepare.srp", folder / "sign.srp", [APP_KEY], COMPAT_KEY)
else:
    with open_binary(folder / "image.bin") as firmware:
        if step == "build":
            build_package(request(), firmware, folder / "build.srp", random_means(), [APP_KEY], COMPAT_KEY)
        else:
            prepare_package(request(), firmware, folder / "prepare.srp", random_means())
print({_PEAK})
"""


def peak_kb(script: str, *arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return int(done.stdout)


@pytest.mark.parametrize("size_mib", [16, 64])
def test_build_prepare_and_sign_need_less_than_64_mb_over_the_interpreter(tmp_path: Path, size_mib: int) -> None:
    with (tmp_path / "image.bin").open("wb") as stream:
        stream.truncate(size_mib << 20)
    interpreter_kb = peak_kb(f"print({_PEAK})")
    for step in ("build", "prepare", "sign"):
        assert peak_kb(_BUILD, str(tmp_path), step) - interpreter_kb < LIMIT_KB
    assert left_in(tmp_path) == {"image.bin", "build.srp", "prepare.srp", "sign.srp"}
