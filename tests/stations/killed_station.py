"""`strongroom station run` in a process that kills itself (SIGKILL) at one moment: for campaigns on real lines.

    python -m tests.stations.killed_station MOMENT --authority … station run …

Moments are counted from 0 in the order in which they come: before each step, around each write of the ledger and of the
token, around each message to the board.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from cli.main import run
from cli.station_display import Lines
from provisioning.station.ledger_file import LedgerFile
from provisioning.station.token_evidence import TokenEvidence
from rpc.client import DeviceClient


class Moments:
    """Ends the process at moment `at`."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def __call__(self) -> None:
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def around(self, owner: Any, name: str) -> None:
        """Make `owner.name` a moment before and a moment after."""
        real: Callable[..., Any] = getattr(owner, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            self()
            result = real(*arguments, **named)
            self()
            return result

        setattr(owner, name, watched)


def main() -> int:
    moments = Moments(int(sys.argv[1]))
    moments.around(Lines, "does")
    moments.around(LedgerFile, "append")
    moments.around(TokenEvidence, "replace")
    for name in ("challenge", "send_activation", "signed_status", "send_trust_bundle"):
        moments.around(DeviceClient, name)
    return run(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
