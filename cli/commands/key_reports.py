"""Commands that report on keys and write what was found; none of them changes a key."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from cli.commands.key_custody import backups_of, copies_of
from cli.context import now, open_session, open_store, repository_of, site_of
from cli.exit_codes import ExitCode
from cli.options import JsonOption, OutputOption
from cli.output import emit, write_new_file
from pki.errors import InputRefused
from pki.roles import Role
from signer.authority.public_key_files import public_key_to_pem
from signer.inventory import key_rows as rows
from signer.store.stored_times import time_to_text
from signer.store.values import StateChange


def list_keys(
    context: typer.Context,
    role: Annotated[Role | None, typer.Option(help="Only this role.", show_default=False)] = None,
    product: Annotated[str | None, typer.Option("--product", "-p", help="Only this product.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every column as CSV (RFC 4180).")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the recorded keys: state, whether they may sign now, end of use, token."""
    if as_csv and as_json:
        raise typer.BadParameter("give one of --csv and --json, not both")
    with open_store(repository_of(context)) as store:
        records = [record for record in store.keys(role=role) if product in (None, record.product)]
    found = rows.key_rows(records, now())
    if as_csv:
        emit(None, as_json=False, text=rows.rows_as_csv(rows.KEY_COLUMNS, found))
        return
    emit(found, as_json, rows.rows_as_text(found) if found else "no keys; `strongroom key generate` makes one")


def show(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="The key's label, as `strongroom key list` shows it.")],
    as_json: JsonOption = False,
) -> None:
    """Show everything recorded of one key: identifiers, time window, certificates, and its whole history."""
    with open_store(repository_of(context)) as store:
        record = store.key(label)
        history = [_history_row(change) for change in store.state_history(record.cka_id)]
        certificates = [
            {
                "serial_number": item.serial_number,
                "subject": item.subject,
                "issuer": item.issuer,
                "not_after": time_to_text(item.not_after),
                "ended_at": "" if item.ended_at is None else time_to_text(item.ended_at),
            }
            for item in store.certificate_history(record.cka_id)
        ]
    row = rows.key_rows([record], now())[0]
    copies, backups = copies_of(record), backups_of(record)
    data: dict[str, Any] = {
        **row,
        "history": history,
        "certificates": certificates,
        "copies": copies,
        "key_backups": backups,
    }
    lines = [f"{name}: {value}" for name, value in row.items() if value]
    lines += [f"history: {item['at']} {item['state']} by {item['who']}: {item['reason']}" for item in history]
    lines += [f"certificate: {item['serial_number']} {item['subject']} by {item['issuer']}" for item in certificates]
    lines += [f"copy: {item['origin']} on {item['token']}, {item['since']}{item['end']}" for item in copies]
    lines += [f"backup: {item['digest']}, {item['since']}{item['end']}" for item in backups]
    emit(data, as_json, "\n".join(lines))


def audit(
    context: typer.Context,
    token: Annotated[str, typer.Argument(help="The token, by its name in the site file.")],
    as_json: JsonOption = False,
) -> None:
    """Check every object on a token against its role's demands and the key store. Exit code 10 if there are errors."""
    from signer.inventory.audit import audit_token, findings_as_json, findings_as_text, has_errors, unavoidable_rules

    repository = repository_of(context)
    site = site_of(context, repository)
    with open_store(repository) as store, open_session(repository, site, token) as session:
        observed = session.objects()
        records = store.keys(token=(session.token.serial, session.token.label))
        unavoidable = unavoidable_rules(session.probe_profile())
        findings = audit_token(observed, records, now(), unavoidable, (session.token.serial, session.token.label))
    text = f"{len(observed)} objects on token {token}\n{findings_as_text(findings)}"
    emit({"token": token, "objects": len(observed), "findings": findings_as_json(findings)}, as_json, text)
    if has_errors(findings):
        raise typer.Exit(ExitCode.FINDINGS)


def expiring(
    context: typer.Context,
    within: Annotated[str, typer.Option(metavar="DAYS", help="How far to look ahead, as 90d.")] = "90d",
    as_json: JsonOption = False,
) -> None:
    """List the keys and certificates that end soon, or have ended. Exit code 10 if there are any."""
    from signer.inventory.expiring import EXPIRING_COLUMNS
    from signer.inventory.expiring import expiring as find_expiring

    days = _days(within)
    with open_store(repository_of(context)) as store:
        found = find_expiring(store.keys(), days, now())
    emit(found, as_json, rows.rows_as_text(found, EXPIRING_COLUMNS) if found else f"nothing ends within {days} days")
    if found:
        raise typer.Exit(ExitCode.FINDINGS)


def cbom(context: typer.Context, out: OutputOption, as_json: JsonOption = False) -> None:
    """Write the cryptography bill of materials: keys, certificates and algorithms as CycloneDX 1.6 JSON."""
    import uuid
    from importlib.metadata import version

    from signer.inventory.cbom import BomHeader, cbom_json

    repository = repository_of(context)
    header = BomHeader(repository.authority.name, version("strongroom"), uuid.uuid4(), now())
    with open_store(repository) as store:
        records = store.keys()
    write_new_file(out, cbom_json(records, header).encode("utf-8"))
    emit({"file": str(out), "keys": len(records)}, as_json, f"wrote {out}: {len(records)} keys")


def export(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="The key's label, as `strongroom key list` shows it.")],
    out: OutputOption,
    as_json: JsonOption = False,
) -> None:
    """Write a key's public half as PEM (SubjectPublicKeyInfo), from the key store. Private halves never leave."""
    with open_store(repository_of(context)) as store:
        record = store.key(label)
    if record.public_key is None:
        raise InputRefused(f"key {label} is a secret key: it has no public half")
    write_new_file(out, public_key_to_pem(record.public_key))
    data = {"label": label, "file": str(out), "spki_sha256": record.public_key.spki_sha256.hex()}
    emit(data, as_json, f"wrote {out}\nSHA-256 of the SubjectPublicKeyInfo: {record.public_key.spki_sha256.hex()}")


def backup_store(context: typer.Context, out: OutputOption, as_json: JsonOption = False) -> None:
    """Write a checked copy of the key store; works while it is in use."""
    from signer.store.maintenance import backup_key_store

    backup_key_store(repository_of(context).key_store_path, out)
    emit({"file": str(out)}, as_json, f"wrote {out}")


def _days(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,5})d", text)
    if match is None:
        raise InputRefused(f"--within {text!r}: give a number of days, as 90d")
    return int(match[1])


def _history_row(change: StateChange) -> dict[str, str]:
    return {
        "at": time_to_text(change.change.now),
        "state": change.to_state.value,
        "who": change.change.who,
        "reason": change.change.reason,
    }
