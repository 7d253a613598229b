"""The commands of `strongroom registry` that change it: init, upgrade, import, status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import now, operator
from cli.exit_codes import ExitCode
from cli.options import JsonOption
from cli.output import emit, progress, read_input, say
from cli.registry_access import (
    DEFAULT_URL,
    BundlesOption,
    CaOption,
    RegistryOption,
    hexadecimal,
    open_registry_at,
    refuse_password_in_environment,
)
from pki.errors import InputRefused

if TYPE_CHECKING:
    from provisioning.registry.registry import Registry
    from provisioning.registry.trust import Trust

_MAGIC_SIZE_BYTES = 4
_STATUS_SIZE_BYTES = 576
_NONCE_SIZE_BYTES = 32
_OBJECT_SIZE_BYTES_MAX = 4096


def init(url: RegistryOption = DEFAULT_URL, as_json: JsonOption = False) -> None:
    """Make an empty registry: a new SQLite file, or the tables in an empty PostgreSQL database."""
    from provisioning.registry.address import parse_address
    from provisioning.registry.maintenance import create_registry
    from provisioning.registry.revisions import CURRENT_REVISION

    refuse_password_in_environment()
    address = parse_address(url)
    create_registry(address)
    emit({"registry": str(address), "schema": CURRENT_REVISION}, as_json, f"made {address}")


def upgrade(url: RegistryOption = DEFAULT_URL, as_json: JsonOption = False) -> None:
    """Bring the schema of an older registry up to date, all of it or nothing. Make a backup first."""
    from provisioning.registry.address import parse_address
    from provisioning.registry.maintenance import upgrade_registry

    refuse_password_in_environment()
    before, after = upgrade_registry(parse_address(url))
    text = f"the schema is {after} already" if before == after else f"upgraded from {before} to {after}"
    emit({"before": before, "after": after}, as_json, text)


def import_(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            help="Births, work orders, service orders, grants, update reports; in the order to take them.",
        ),
    ],
    url: RegistryOption = DEFAULT_URL,
    bundle: BundlesOption = None,
    ca_certificates: CaOption = None,
    receipt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With a service order: the device's receipt of 320 bytes.")
    ] = None,
    until: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="With births: take no record above this number; the rest stays refused."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify files and take what is new in them, each whole or not at all. What is known changes nothing."""
    from cli.registry_trust import trust_from

    trust = trust_from(context, bundle, ca_certificates)
    taken = []
    with open_registry_at(url) as registry:
        for path in files:
            taken.append(_take(registry, path, trust, receipt, until))
            say(f"{path}: {taken[-1]['text']}")
    emit(taken, as_json, f"{len(taken)} file{'s' if len(taken) != 1 else ''} taken")


def status(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The signed status, 576 bytes.")],
    nonce: Annotated[str, typer.Option(metavar="HEX", help="The nonce it was asked with, 32 bytes.")],
    url: RegistryOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Take a device's signed status: firmware, trust bundle, life. Exit code 10 if it shows what should not be."""
    data = read_input(file, "signed status", _STATUS_SIZE_BYTES)
    with open_registry_at(url) as registry:
        asked = hexadecimal(nonce, "a nonce", _NONCE_SIZE_BYTES) or b""
        taken = registry.take_status(data, asked, now(), who=operator())
    findings = [{"rule": finding.rule_id, "text": finding.text} for finding in taken.findings]
    lines = [f"status of {taken.uid.hex()} {'taken' if taken.is_new else 'known already'}"]
    lines += [f"[{finding['rule']}] {finding['text']}" for finding in findings]
    emit({"uid": taken.uid.hex(), "new": taken.is_new, "findings": findings}, as_json, "\n".join(lines))
    if findings:
        raise typer.Exit(ExitCode.FINDINGS)


_Taken = dict[str, Any]


def _take(registry: Registry, path: Path, trust: Trust, receipt: Path | None, until: int | None) -> _Taken:
    """Take one file, by what it begins with."""
    beginning = _beginning(path)
    if beginning.startswith(b"{"):
        return _take_report(registry, path) if _is_report(path) else _take_births(registry, path, trust, until)
    if beginning == b"SRG1":
        return _take_grants(registry, path, trust)
    if beginning == b"SRW1":
        data = read_input(path, "work order", _OBJECT_SIZE_BYTES_MAX)
        is_new = registry.take_order(data, now(), who=operator(), trust=trust)
        return {"kind": "order", "new": is_new, "text": "work order taken" if is_new else "known already"}
    if beginning == b"SRV1":
        data = read_input(path, "service order", _OBJECT_SIZE_BYTES_MAX)
        answer = None if receipt is None else read_input(receipt, "receipt", _OBJECT_SIZE_BYTES_MAX)
        is_new = registry.take_service(data, answer, now(), who=operator(), trust=trust)
        return {"kind": "service", "new": is_new, "text": "service order taken" if is_new else "known already"}
    raise InputRefused(
        f"{path}: is none of births (.births), work order (.srw), service order (.srv), grants (.srg), update report; "
        "`strongroom registry status` takes a signed status"
    )


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAGIC_SIZE_BYTES)
    except OSError as error:
        raise InputRefused(f"{path}: cannot be read ({error.strerror})") from None


def _is_report(path: Path) -> bool:
    from provisioning.registry.reports import is_report

    with path.open("rb") as stream:
        return is_report(stream.read(1024))


def _take_report(registry: Registry, path: Path) -> _Taken:
    from provisioning.registry.reports import REPORT_SIZE_BYTES_MAX

    taken = registry.take_report(read_input(path, "update report", REPORT_SIZE_BYTES_MAX), now(), who=operator())
    findings = [{"rule": finding.rule_id, "text": finding.text} for finding in taken.findings]
    text = f"{taken.added} new statuses, {taken.known} known, {taken.unknown} of devices that are on no record"
    return {
        "kind": "report",
        "new": taken.added > 0,
        "added": taken.added,
        "known": taken.known,
        "unknown": taken.unknown,
        "findings": findings,
        "text": "; ".join([text, *(f"[{finding['rule']}] {finding['text']}" for finding in findings)]),
    }


def _take_births(registry: Registry, path: Path, trust: Trust, until: int | None) -> _Taken:
    try:
        with path.open("rb") as stream, progress(f"verifying {path.name}", _lines_about(path)) as bar:
            taken = registry.take_births(stream, now(), who=operator(), trust=trust, until=until, advance=bar)
    except OSError as error:
        raise InputRefused(f"{path}: cannot be read ({error.strerror})") from None
    text = f"{taken.added} new records of station {taken.station[:16]}, order {taken.order_id}"
    counts = ", ".join(f"{count} {event}" for event, count in sorted(taken.events.items()))
    return {
        "kind": "births",
        "new": taken.added > 0,
        "order_id": taken.order_id,
        "station": taken.station,
        "last_number": taken.last_number,
        "added": taken.added,
        "events": taken.events,
        "text": f"{text} ({counts})" if counts else f"nothing new: records until {taken.last_number} are known",
    }


def _lines_about(path: Path) -> int:
    """For the progress bar: two records of a device have about 9 KiB."""
    return max(1, path.stat().st_size // 4_500)


def _take_grants(registry: Registry, path: Path, trust: Trust) -> _Taken:
    from signer.grants.file import GrantFile

    with GrantFile(path) as file, progress(f"taking {path.name}", file.layout.tree_size) as bar:
        taken = registry.take_grants(file, now(), who=operator(), trust=trust, advance=bar)
    text = f"batch {taken.batch_id.hex()} of {taken.device_count} devices"
    return {
        "kind": "grants",
        "new": taken.is_new,
        "batch_id": taken.batch_id.hex(),
        "devices": taken.device_count,
        "text": f"{text} taken" if taken.is_new else f"{text} known already",
    }
