"""The process of one served device: waits for its links, and serves one request at a time."""

from __future__ import annotations

import select
from collections.abc import Sequence

from cli.served.machine import Machine
from cli.served.ports import Port


def serve_until_stopped(machine: Machine, ports: Sequence[Port], stop: int) -> None:
    """Serve until `stop`, a pipe's end, is closed by whoever began this."""
    while True:
        filenos = [fileno for port in ports for fileno in port.filenos()]
        ready, _, _ = select.select([stop, *filenos], [], [])
        if stop in ready:
            return
        for port in ports:
            if any(fileno in ready for fileno in port.filenos()):
                starts = machine.starts
                port.serve()
                machine.reset_if_wanted()
                if machine.starts != starts:
                    for each in ports:
                        each.restart()
