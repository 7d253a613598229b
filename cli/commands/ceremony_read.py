"""Commands that only read one ceremony: verify, show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ceremonies.transcript import EntryType
from ceremonies.transcript_file import read_transcript
from cli.ceremony_files import existing_folder
from cli.commands.ceremony_prepare import NameArgument
from cli.context import repository_of
from cli.options import JsonOption
from cli.output import emit
from pki.errors import InputRefused, VerificationError

if TYPE_CHECKING:
    from ceremonies.transcript import Entry


def verify(
    context: typer.Context,
    name: NameArgument,
    log_key: Annotated[
        Path | None, typer.Option("--log-key", help="Demand the signature of the log's key in this PEM file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify what a ceremony left: chain, order, rehearsal, digest, artefacts, signatures. Anyone can, at any time."""
    from verifiers.ceremony_transcript import NotVerified, verify_folder

    repository = repository_of(context)
    folder = existing_folder(repository, name)
    signers = repository.root / "allowed_signers"
    try:
        report = verify_folder(folder.path, log_key, signers if signers.is_file() else None)
    except NotVerified as error:
        raise VerificationError(str(error)) from None
    emit(report, as_json, "\n".join(f"{key.replace('_', ' ')}: {_text(value)}" for key, value in report.items()))


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def show(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Show what happened in a ceremony, entry by entry."""
    folder = existing_folder(repository_of(context), name)
    if not folder.transcript.is_file():
        raise InputRefused(f"ceremony {name} has not begun")
    entries = read_transcript(folder.transcript)
    lines = [f"{entry.at}  {_summary(entry)}" for entry in entries]
    emit([_entry_data(entry) for entry in entries], as_json, "\n".join(lines))


def _entry_data(entry: Entry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "at": entry.at,
        "type": entry.type.value,
        "step": entry.note.step,
        "fixed": entry.note.fixed,
        "varying": entry.note.varying,
    }


def _summary(entry: Entry) -> str:
    fixed, varying, step = entry.note.fixed, entry.note.varying, entry.note.step
    what = {
        EntryType.BEGUN: f"begun: {fixed.get('title')} ({varying.get('mode')})",
        EntryType.SAID: f"{step}: {fixed.get('who')} said: {fixed.get('text')}",
        EntryType.PRESENT: f"{step}: {'present' if varying.get('present') else 'ABSENT'}",
        EntryType.CONFIRMED: f"{step}: {fixed.get('who')} typed: {fixed.get('typed')}",
        EntryType.UNLOCKED: f"{step}: token {fixed.get('token')} unlocked, serial {varying.get('serial')}",
        EntryType.UNLOCKED_AGAIN: f"{step}: token {fixed.get('token')} unlocked again",
        EntryType.INTENT: f"{step}: about to {fixed.get('act')}",
        EntryType.RESULT: f"{step}: done: {fixed.get('act')} {_facts(fixed)}",
        EntryType.FAILED: f"{step}: FAILED: {varying.get('text')}",
        EntryType.RESUMED: f"RESUMED, next step {varying.get('interrupted_at')}",
        EntryType.ABORTED: f"ABORTED [{varying.get('rule')}]: {varying.get('reason')}",
        EntryType.ENDED: f"ended after {fixed.get('steps')} steps",
        EntryType.SIGNED: f"signed by {varying.get('key_label')}",
    }
    return what[entry.type]


def _facts(fixed: dict[str, Any]) -> str:
    return ", ".join(str(value) for name, value in fixed.items() if name != "act" and value is not None)
