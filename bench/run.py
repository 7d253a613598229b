"""`make bench`: measure every figure, print a table, write build/bench.json.

`python -m bench.run --strict` exits with code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.audit_log import measure_audit_log
from bench.authority import make_authority
from bench.figures import Figure, missed, table, write_json
from bench.grants import measure_grants
from bench.large_build import measure_large_build
from bench.policy_check import measure_policy_check
from bench.power_cuts import measure_power_cuts
from bench.provisioning import measure_provisioning
from bench.signatures import measure_signatures
from bench.start_up import measure_start_up
from bench.updates import measure_updates

_PROJECT = Path(__file__).parents[1]
_ROOMS = ("cli", "provisioning", "ceremonies", "signer", "policies", "rpc", "pki", "bootloader", "verifiers")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.run", description="Measure the figures of docs/figures.md.")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a target is missed")
    options = parser.parse_args()
    build = _PROJECT / "build"
    build.mkdir(exist_ok=True)
    _compile_ahead()
    # On the project's own file system, which has to make files durable; a file system in memory would not.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=build) as folder:
        figures = _measure(Path(folder))
    print(f"\n{table(figures)}\n")
    write_json(figures, build / "bench.json")
    print("written to build/bench.json")
    failed = missed(figures)
    for figure in failed:
        print(f"target missed: {figure.name}", file=sys.stderr)
    return 1 if failed and options.strict else 0


def _measure(folder: Path) -> list[Figure]:
    begun = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - begun:4.0f} s] {what}", flush=True)

    say("an authority with a token and keys")
    authority = make_authority(folder)
    say("signatures per second")
    figures = measure_signatures(authority)
    say("package build of a large image")
    figures += measure_large_build(authority)
    say("whole processes")
    figures += measure_start_up(authority)
    say("the audit log")
    figures += measure_audit_log(authority)
    say("policy and approval check")
    figures += measure_policy_check()
    say("power cuts")
    figures += measure_power_cuts()
    say("grants")
    figures += measure_grants(folder)
    say("provisioning")
    figures += measure_provisioning(folder)
    say("updates")
    figures += measure_updates(folder, rounds=1)
    say("done")
    return figures


def _compile_ahead() -> None:
    """As set-up does, so that neither side of a comparison compiles modules, wherever bytecode may not be written."""
    subprocess.run([sys.executable, "-m", "compileall", "-qq", *(str(_PROJECT / room) for room in _ROOMS)], check=True)


if __name__ == "__main__":
    sys.exit(main())
