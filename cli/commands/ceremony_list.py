"""`strongroom ceremony list`; a module of its own, since its function has the name of a builtin."""

from __future__ import annotations

import typer

from ceremonies.transcript import EntryType
from ceremonies.transcript_file import read_transcript
from cli.ceremony_files import CeremonyFolder, ceremony_folder, ceremony_names, shipped_plans
from cli.context import repository_of
from cli.options import JsonOption
from cli.output import emit, table
from pki.errors import CeremonyAborted, InputRefused


def list(context: typer.Context, as_json: JsonOption = False) -> None:  # noqa: A001 (the name of the command)
    """List the ceremonies of the authority and how far each is, and the plans that are shipped."""
    repository = repository_of(context)
    rows = [(name, _state(ceremony_folder(repository, name))) for name in ceremony_names(repository)]
    plans = [*shipped_plans()]
    data = {"ceremonies": [{"name": name, "state": state} for name, state in rows], "plans": plans}
    text = table(("ceremony", "state"), rows) if rows else "no ceremonies"
    emit(data, as_json, f"{text}\n\nshipped plans: {', '.join(plans)}")


def _state(folder: CeremonyFolder) -> str:
    if not folder.transcript.is_file():
        return "rehearsed" if folder.rehearsal.is_file() else "planned"
    try:
        entries = read_transcript(folder.transcript)
    except (CeremonyAborted, InputRefused):
        return "interrupted or damaged"
    kinds = {entry.type for entry in entries}
    if EntryType.ABORTED in kinds:
        return "aborted"
    return "complete" if EntryType.ENDED in kinds else "interrupted: resume it"
