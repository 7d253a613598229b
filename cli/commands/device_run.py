"""The commands of `strongroom device` that run a simulated device: install, boot, status, events."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bootloader.reference.codes import Refused
from bootloader.reference.crypto import key_id
from bootloader.simulation.device import ApplicationRuns, Dead, InUpdateMode, PowerOn
from cli.device_session import (
    CutOptions,
    FlashUse,
    TearChoice,
    enter_update_mode,
    load_device,
    locked_device,
    run_with_cut,
    running_report,
    send_package,
)
from cli.device_words import (
    code_in_words,
    event_in_words,
    explanation,
    lifecycle_in_words,
    protection_in_words,
    step_in_words,
    trial_in_words,
    version_in_words,
)
from cli.exit_codes import ExitCode
from cli.options import JsonOption
from cli.output import emit, progress, read_input, say
from pki.errors import InputRefused

if TYPE_CHECKING:
    from bootloader.reference.head import Head
    from bootloader.reference.status import Status
    from bootloader.simulation.device import Running, SimulatedDevice

ImageArgument = Annotated[Path, typer.Argument(metavar="IMG", help="The simulated device's file.")]
CutOption = Annotated[
    int | None, typer.Option("--cut-at-op", min=0, help="Cut the power during this flash operation, counted from 0.")
]
TearOption = Annotated[TearChoice, typer.Option("--tear", help="What the cut leaves of that operation.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="What is left to chance follows from it.")]
EntryPinOption = Annotated[bool, typer.Option("--entry-pin", help="Hold the entry pin: it asks for update mode.")]


def install(
    image: ImageArgument,
    package: Annotated[Path, typer.Argument(metavar="PKG", help="The package to send.")],
    block_size: Annotated[int, typer.Option(min=1, max=65536, help="Bytes sent at once.")] = 1024,
    confirm_with: Annotated[
        Path | None,
        typer.Option(metavar="BUNDLE", help="After a bootloader: send the device's trust bundle, so that it confirms."),
    ] = None,
    entry_pin: EntryPinOption = False,
    cut_at_op: CutOption = None,
    tear: TearOption = TearChoice.TORN,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Ask for update mode as an application would, send the package, and reset. Exit code 11 if refused, 12 if cut."""
    bundle = None if confirm_with is None else read_input(confirm_with, "trust bundle", 64 * 1024)
    with locked_device(image) as device, _open(package) as stream:
        try:
            enter_update_mode(device, entry_pin=entry_pin)
            with progress("sending", 100) as bar:

                def action() -> Running:
                    running = send_package(device, stream, block_size, lambda done, total: bar(done * 100 // total))
                    return _send_bundle(device, bundle) if bundle and isinstance(running, InUpdateMode) else running

                result, use = run_with_cut(device, action, cut_options(cut_at_op, tear, seed))
        except Refused as error:
            result, use = error, FlashUse(0, 0, 0)
        report = _install_report(device, package, result, use)
    note_missed_cut(cut_at_op, use, report)
    emit(report, as_json, _install_text(report))
    if isinstance(result, Refused):
        raise typer.Exit(ExitCode.REFUSED_BY_DEVICE)
    if result is None:
        raise typer.Exit(ExitCode.POWER_CUT)


def boot(
    image: ImageArgument,
    warm: Annotated[
        bool, typer.Option("--warm/--cold", help="A reset that leaves RAM alone, or power from nothing.")
    ] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="The application then says that it works, and resets.")
    ] = False,
    entry_pin: EntryPinOption = False,
    cut_at_op: CutOption = None,
    tear: TearOption = TearChoice.TORN,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Power on, and say what runs: which application, or update mode and why. Exit code 12 if the power is cut."""
    with locked_device(image) as device:
        device.entry_pin_is_active = entry_pin

        def action() -> Running:
            running = device.power_on(PowerOn.WARM if warm else PowerOn.COLD)
            if confirm and isinstance(running, ApplicationRuns):
                return device.application_confirms()
            return running

        result, use = run_with_cut(device, action, cut_options(cut_at_op, tear, seed))
        device.entry_pin_is_active = False
        report = _boot_report(device, result, use)
    note_missed_cut(cut_at_op, use, report)
    emit(report, as_json, str(report["text"]))
    if result is None:
        raise typer.Exit(ExitCode.POWER_CUT)
    if isinstance(result, (Refused, Dead)):
        raise typer.Exit(ExitCode.REFUSED_BY_DEVICE)
    if confirm and not report.get("confirmed"):
        say("note: no application runs, so nothing was confirmed")


def status(image: ImageArgument, as_json: JsonOption = False) -> None:
    """Show what the device's flash says: identity, versions, trials, floors, trust bundle, journal. Changes nothing."""
    device = load_device(image)
    report = _status_report(_status(device, image), device)
    emit(report, as_json, _status_text(report))


def events(image: ImageArgument, as_json: JsonOption = False) -> None:
    """Show the device's event log, the oldest first. Changes nothing."""
    found = [
        {"number": event.count, "kind": event.kind, "code": event.code, "text": event_in_words(event.kind, event.code)}
        for event in _status(load_device(image), image).events
    ]
    emit(found, as_json, "\n".join(f"{item['number']:4} {item['text']}" for item in found) or "no events")


def _send_bundle(device: SimulatedDevice, bundle: bytes) -> Running:
    """Send the bundle to a device in update mode, and reset it. Raises Refused."""
    device.receive_trust_bundle(bundle)
    return device.power_on(PowerOn.WARM)


def _open(package: Path) -> Any:
    try:
        return package.open("rb")
    except OSError as error:
        raise InputRefused(f"package {package}: cannot be read ({error.strerror})") from None


def cut_options(operation: int | None, tear: TearChoice, seed: int) -> CutOptions | None:
    """What the options of a cut ask for; None if for none."""
    return None if operation is None else CutOptions(operation, tear.tear, seed)


def note_missed_cut(cut_at_op: int | None, use: FlashUse, report: dict[str, Any]) -> None:
    """Say on stderr that the action was over before the cut that was asked for."""
    if cut_at_op is not None and not report["power_cut"]:
        say(f"note: there were only {use.operation_count} flash operations, so the power was not cut")


def _head(package: Path) -> Head | None:
    """The head of a package, if it has one that can be read: for explanations only."""
    from bootloader.reference.head import parse_head
    from bootloader.reference.sizes import HEAD_SIZE_BYTES

    with package.open("rb") as stream:
        try:
            return parse_head(stream.read(HEAD_SIZE_BYTES))
        except Refused:
            return None


def _install_report(
    device: SimulatedDevice, package: Path, result: Running | Refused | None, use: FlashUse
) -> dict[str, Any]:
    report: dict[str, Any] = {"power_cut": result is None, "accepted": None, **use.as_json()}
    if result is None:
        return report
    if isinstance(result, Refused):
        return {**report, "accepted": False, **refusal_report(result, _head(package), device.uid)}
    return {**report, "accepted": True, **running_report(device, result)}


def _install_text(report: dict[str, Any]) -> str:
    if report["power_cut"]:
        return "POWER CUT during the installation; the device is off, and its flash is as the cut left it"
    use = f"{report['flash_operations']} flash operations, {report['sectors_erased']} sectors erased"
    if report["accepted"]:
        return f"installed ({use})\nthen runs: {report['text']}"
    unharmed = "nothing but the event log was written" if not report["flash_operations_outside_journal"] else use
    return f"REFUSED, {report['name']} ({report['code']}): {report['text']}\nrefused by: {report['step']}; {unharmed}"


def refusal_report(refusal: Refused, head: Head | None, uid: bytes) -> dict[str, Any]:
    """A refusal of the device, as data."""
    return {
        "code": int(refusal.code),
        "name": refusal.code.name,
        "step": step_in_words(refusal.code),
        "text": explanation(refusal, head, uid),
    }


def _boot_report(device: SimulatedDevice, result: Running | Refused | None, use: FlashUse) -> dict[str, Any]:
    report: dict[str, Any] = {"power_cut": result is None, **use.as_json()}
    if result is None:
        return {**report, "runs": "nothing", "text": "POWER CUT during the start; the device is off"}
    if isinstance(result, Refused):
        return {**report, "runs": "nothing", **refusal_report(result, None, device.uid)}
    return {**report, **running_report(device, result)}


def _status(device: SimulatedDevice, image: Path) -> Status:
    try:
        return device.status()
    except Refused as refusal:
        raise InputRefused(f"device file {image}: {code_in_words(refusal.code)}") from None


def _activation_report(found: Status) -> dict[str, str] | None:
    activated = found.activated
    if activated is None:
        return None
    return {
        "order_id": activated.order_id.hex(),
        "serial": activated.serial.rstrip(b"\0").decode("ascii", "replace"),
        "activation_digest": activated.activation_digest.hex(),
        "certificate_digest": activated.certificate_digest.hex(),
    }


def _status_report(found: Status, device: SimulatedDevice) -> dict[str, Any]:
    installed = found.installed
    return {
        "board": found.board,
        "uid": found.uid.hex(),
        "product_id": str(uuid.UUID(bytes=found.device.product_id)),
        "hardware_revision": found.device.hardware_revision,
        "lot": found.device.lot.hex(),
        "lifecycle": lifecycle_in_words(found.device.lifecycle),
        "simulation_only": found.device.is_simulation_only,
        "bootloaders": [
            {
                "copy": part.copy.name,
                "verifies": part.version is not None,
                "version": None if part.version is None else version_in_words(part.version),
                "security_version": part.security_version,
                "confirmed": part.is_confirmed,
            }
            for part in found.copies
        ],
        "bootloader_trial": None
        if found.boot_trial is None
        else {"copy": found.boot_trial.copy.name, "attempts": found.boot_trial.attempts},
        "application": None
        if installed is None
        else {
            "type": installed.package_type.name.lower().replace("_", "-"),
            "version": version_in_words(installed.image_version),
            "security_version": installed.security_version,
            "confirmed": found.application_is_confirmed,
            "attempts": found.application_attempts,
            "upload_hash": installed.upload_hash.hex(),
            "signer_key_id": key_id(installed.signer).hex(),
        },
        "floors": {
            "application": found.floors.application,
            "bootloader": found.floors.bootloader,
            "factory-test": found.floors.factory_test,
        },
        "trust_bundle": {"version": found.trust_bundle_version, "digest": found.trust_bundle_digest.hex()},
        "activation": _activation_report(found),
        "pending_grant": None if found.pending_grant is None else found.pending_grant.head_hash.hex(),
        "service_order": None if found.service_started is None else found.service_started.order_digest.hex(),
        "protection": list(protection_in_words(device.platform.protection)),
        "identity_public_key": _hex(found.identity_public_key),
        "agreement_public_key": _hex(found.agreement_public_key),
        "group_public_key": _hex(found.group_public_key),
        "journal": {"free_bytes": found.journal_free_bytes, "size_bytes": found.journal_size_bytes},
        "events": len(found.events),
    }


def _status_text(report: dict[str, Any]) -> str:
    mark = " (SIMULATION ONLY)" if report["simulation_only"] else ""
    lines = [
        f"{report['board']}, UID {report['uid']}, hardware revision {report['hardware_revision']}",
        f"product {report['product_id']}, {report['lifecycle']}{mark}",
    ]
    for part in report["bootloaders"]:
        state = "confirmed" if part["confirmed"] else "not the confirmed one"
        what = f"{part['version']}, security version {part['security_version']}, {state}"
        lines.append(f"bootloader {part['copy']}: {what if part['verifies'] else 'does not verify'}")
    if (trial := report["bootloader_trial"]) is not None:
        lines.append(f"bootloader {trial['copy']} is {trial_in_words(trial['attempts'])}")
    application = report["application"]
    if application is None:
        lines.append("application: none is installed")
    else:
        state = "confirmed" if application["confirmed"] else trial_in_words(application["attempts"])
        version = f"{application['version']}, security version {application['security_version']}"
        lines.append(f"{application['type']}: {version}, {state}")
    lines += _life_lines(report)
    floors, bundle, journal = report["floors"], report["trust_bundle"], report["journal"]
    lines += [
        f"floors of the security version: application {floors['application']}, bootloader {floors['bootloader']}",
        f"trust bundle version {bundle['version']}, digest {bundle['digest']}",
        f"journal: {journal['free_bytes']} of {journal['size_bytes']} bytes free; {report['events']} events kept",
    ]
    return "\n".join(lines)


def _life_lines(report: dict[str, Any]) -> list[str]:
    """Protection, keys, activation, grant and service order, as far as there is one."""
    lines = [f"hardware protection: {', '.join(report['protection']) or 'none is set'}"]
    if (identity := report["identity_public_key"]) is None:
        lines.append("keys: none; a locked device makes them at its first challenge")
    else:
        lines.append(f"keys: identity {key_id(bytes.fromhex(identity)).hex()}")
    if (activation := report["activation"]) is not None:
        serial = f", serial number {activation['serial']}" if activation["serial"] else ""
        lines.append(f"activated by order {uuid.UUID(activation['order_id'])}{serial}")
    if (grant := report["pending_grant"]) is not None:
        lines.append(f"a grant is pending for the package with head {grant}")
    if report["service_order"] is not None:
        lines.append("A SERVICE ORDER IS BEING CARRIED OUT: the next start destroys keys and application")
    return lines


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()
