"""`strongroom device trust-bundle`: send trust bundles to a simulated device, link by link."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    locked_device,
    run_with_cut,
    running_report,
)
from cli.exit_codes import ExitCode
from cli.options import JsonOption
from cli.output import emit
from cli.trust_bundle_chain import read_bundle_file

if TYPE_CHECKING:
    from bootloader.simulation.device import Running, SimulatedDevice


def trust_bundle(
    image: ImageArgument,
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE…", help="The trust bundles to send, oldest first.")],
    cut_at_op: CutOption = None,
    tear: TearOption = TearChoice.TORN,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Ask for update mode as an application would, send each bundle, and reset. Exit code 11 if refused, 12 if cut.

    Only the one in force, or the next version, is taken; a device that missed versions is sent them all. The one in
    force changes nothing, but lets a bootloader copy on trial confirm itself.
    """
    contents = [(path, read_bundle_file(path)) for path in bundles]
    taken: list[dict[str, Any]] = []
    with locked_device(image) as device:
        report: dict[str, Any] = {"bundle_version_before": device.status().trust_bundle_version}
        try:
            enter_update_mode(device)
            result, use = run_with_cut(
                device, lambda: _send_all(device, contents, taken), cut_options(cut_at_op, tear, seed)
            )
        except Refused as error:
            result, use = error, FlashUse(0, 0, 0)
        report |= {"power_cut": result is None, "accepted": None, "taken": taken, **use.as_json()}
        report |= _outcome(device, result)
    note_missed_cut(cut_at_op, use, report)
    emit(report, as_json, _text(report))
    if isinstance(result, Refused):
        raise typer.Exit(ExitCode.REFUSED_BY_DEVICE)
    if result is None:
        raise typer.Exit(ExitCode.POWER_CUT)


def _send_all(device: SimulatedDevice, contents: list[tuple[Path, bytes]], taken: list[dict[str, Any]]) -> Running:
    """Send them in order; the first refusal ends it, and what was taken before it stays. Raises Refused."""
    for path, content in contents:
        before = device.status().trust_bundle_version
        device.receive_trust_bundle(content)
        version = device.status().trust_bundle_version
        taken.append({"file": str(path), "version": version, "changed": version != before})
    return device.power_on(PowerOn.WARM)


def _outcome(device: SimulatedDevice, result: Running | Refused | None) -> dict[str, Any]:
    if result is None:
        return {"taken": [], "text": "the device is off, and its flash is as the cut left it"}
    version = {"bundle_version": device.status().trust_bundle_version}
    if isinstance(result, Refused):
        return {**version, "accepted": False, **refusal_report(result, None, device.uid)}
    return {**version, "accepted": True, **running_report(device, result)}


def _text(report: dict[str, Any]) -> str:
    if report["power_cut"]:
        return f"POWER CUT while trust bundles were sent; {report['text']}"
    lines = [
        f"version {item['version']} is in force" + ("" if item["changed"] else " already: nothing changes")
        for item in report["taken"]
    ]
    if report["accepted"]:
        use = f"{report['flash_operations']} flash operations, {report['sectors_erased']} sectors erased"
        return "\n".join([*lines, f"then runs: {report['text']} ({use})"])
    return "\n".join(
        [
            *lines,
            f"REFUSED, {report['name']} ({report['code']}): {report['text']}; version {report['bundle_version']} stays",
        ]
    )
