"""`strongroom device grant`: give a simulated device its grant, out of a file of any number."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bootloader.reference.codes import Refused
from bootloader.simulation.device import PowerOn
from cli.commands.device_run import (
    CutOption,
    ImageArgument,
    SeedOption,
    TearOption,
    cut_options,
    note_missed_cut,
    refusal_report,
)
from cli.device_session import (
    FlashUse,
    TearChoice,
    enter_update_mode,
    load_device,
    locked_device,
    run_with_cut,
    running_report,
)
from cli.exit_codes import ExitCode
from cli.options import JsonOption
from cli.output import emit, read_input

_GRANT_SIZE_BYTES_MAX = 1312


def grant(
    image: ImageArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of grants, or one grant from `grant extract`.")],
    extracted: Annotated[bool, typer.Option("--extracted", help="FILE is one grant: send it as it is.")] = False,
    cut_at_op: CutOption = None,
    tear: TearOption = TearChoice.TORN,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Ask for update mode as an application would, send the device's grant, and reset. Exit code 11 if refused, 12 cut.

    The device keeps it until its package is installed, or a newer grant comes.
    """
    data = _grant(image, file, extracted=extracted)
    with locked_device(image) as device:

        def action() -> Any:
            device.receive_grant(data)
            return device.power_on(PowerOn.WARM)

        try:
            enter_update_mode(device)
            result, use = run_with_cut(device, action, cut_options(cut_at_op, tear, seed))
        except Refused as error:
            result, use = error, FlashUse(0, 0, 0)
        report: dict[str, Any] = {"power_cut": result is None, "accepted": None, "size_bytes": len(data)}
        report |= use.as_json()
        if isinstance(result, Refused):
            report |= {"accepted": False, **refusal_report(result, None, device.uid)}
        elif result is not None:
            report |= {"accepted": True, **running_report(device, result)}
    note_missed_cut(cut_at_op, use, report)
    emit(report, as_json, _text(report))
    if isinstance(result, Refused):
        raise typer.Exit(ExitCode.REFUSED_BY_DEVICE)
    if result is None:
        raise typer.Exit(ExitCode.POWER_CUT)


def _grant(image: Path, file: Path, *, extracted: bool) -> bytes:
    from signer.grants.lookup import grant_of

    if extracted:
        return read_input(file, "grant", _GRANT_SIZE_BYTES_MAX)
    return grant_of(file, load_device(image).uid)


def _text(report: dict[str, Any]) -> str:
    if report["power_cut"]:
        return "POWER CUT while the grant was sent; the device is off, and its flash is as the cut left it"
    if report["accepted"]:
        return f"the grant is kept ({report['flash_operations']} flash operations); then runs: {report['text']}"
    return f"REFUSED, {report['name']} ({report['code']}): {report['text']}; the grant before it stays"
