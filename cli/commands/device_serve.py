"""`strongroom device serve`: simulated devices as real processes, for hosts, tests and demonstrations."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.device_run import SeedOption, TearOption
from cli.device_session import TearChoice
from cli.options import JsonOption
from cli.output import say
from cli.served.topology_names import Confirmation, Topology
from pki.errors import InputRefused

if TYPE_CHECKING:
    from cli.served.options import FaultOptions

_SERVED_MAX = 256

OnOption = Annotated[
    list[str],
    typer.Option(
        "--on",
        metavar="LINK",
        help="serial, serial:PATH (a name for the pseudo-terminal), udp:PORT or tcp:PORT; several for point and star.",
    ),
]
ShareOption = Annotated[str, typer.Option(metavar="SHARE", help="Of the frames, this share: 5% or 0.05.")]


def serve(
    devices: Annotated[list[Path], typer.Argument(metavar="DEVICE…", help="Device files; one process each.")],
    topology: Annotated[Topology, typer.Option(help="Each its own link, one chain, one star, or one bus.")] = (
        Topology.POINT
    ),
    on: OnOption = ["serial"],  # noqa: B006 (typer copies it)
    confirm: Annotated[
        Confirmation, typer.Option(help="Whether a new application says that it works, at its first start.")
    ] = Confirmation.AUTO,
    unsafe_for: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="So long after its start an application is not in its safe state."),
    ] = 0.0,
    erase_ms: Annotated[int, typer.Option(min=0, max=60_000, help="How long the erase of one sector takes.")] = 0,
    detailed_codes: Annotated[
        bool, typer.Option("--detailed-codes", help="Answer device codes as they are, as test builds do.")
    ] = False,
    lose: ShareOption = "0",
    corrupt: ShareOption = "0",
    duplicate: ShareOption = "0",
    reorder: ShareOption = "0",
    seed: SeedOption = 0,
    cut_at_op: Annotated[
        int | None,
        typer.Option(min=0, help="Cut the power of each device during this flash operation, counted from its start."),
    ] = None,
    tear: TearOption = TearChoice.TORN,
    restart: Annotated[
        bool, typer.Option("--restart", help="Power a device on again whose process was killed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Serve simulated devices over serial lines (pseudo-terminals), UDP and TCP until SIGTERM or Ctrl-C.

    Prints one line for each link: the address that a host's --via takes. Device files are kept up to date: a device
    that is killed has what its flash had.
    """
    from cli.served.endpoints import EndpointOption
    from cli.served.options import CutAt, ServeOptions
    from cli.served.supervisor import Supervisor
    from cli.served.topology import wire

    if len(devices) > _SERVED_MAX or len(set(devices)) != len(devices):
        raise InputRefused(f"give each device once, and at most {_SERVED_MAX}")
    faults = _faults(lose, corrupt, duplicate, reorder, seed)
    options = ServeOptions(
        confirms=confirm is Confirmation.AUTO,
        unsafe_for_seconds=unsafe_for,
        erase_seconds=erase_ms / 1000,
        detailed_codes=detailed_codes,
        faults=faults,
        cut=None if cut_at_op is None else CutAt(cut_at_op, tear.tear, seed),
    )
    wiring = wire(topology, [EndpointOption.parse(text) for text in on], len(devices), faults)
    supervisor = Supervisor(devices, wiring, options, restarts=restart)
    supervisor.begin()
    for via in wiring.vias:
        report = {"via": via, "topology": str(topology), "uids": supervisor.uids, "pids": supervisor.pids}
        sys.stdout.write((json.dumps(report) if as_json else via) + "\n")
    sys.stdout.flush()
    supervisor.run(lambda number, status: say(f"{devices[number]}: its process ended with status {status}"))


def _faults(lose: str, corrupt: str, duplicate: str, reorder: str, seed: int) -> FaultOptions:
    from cli.served.options import FaultOptions

    return FaultOptions(
        lose=_share("--lose", lose),
        corrupt=_share("--corrupt", corrupt),
        duplicate=_share("--duplicate", duplicate),
        reorder=_share("--reorder", reorder),
        seed=seed,
    )


def _share(option: str, text: str) -> float:
    """5% or 0.05; raises InputRefused."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputRefused(f"{option} {text}: write a share from 0% to 100%")
    return share
