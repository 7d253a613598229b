"""`strongroom station backup` and `restore`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.station_make import FolderArgument
from cli.context import now, open_session, repository_of, site_of
from cli.options import JsonOption
from cli.output import emit
from cli.station_open import find_keys, read_order
from pki.errors import InputRefused
from provisioning.station.folder import ORDER_FILE, StationFolder

if TYPE_CHECKING:
    from provisioning.station.births_file import BirthsReader
    from signer.device_objects.work_order import SignedWorkOrder
    from signer.tokens.session import Session


def backup(
    folder: FolderArgument,
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="The folder to make; it must not exist.")],
    as_json: JsonOption = False,
) -> None:
    """Copy the station's folder, the ledger as one consistent state. It may run while the station works.

    A copy is of use until the next record: what is made later comes from exported births files.
    """
    from provisioning.station.backup import copy_station, new_folder

    with new_folder(copy) as path:
        copy_station(StationFolder(folder), path)
    emit({"copy": str(copy)}, as_json, f"wrote {copy}")


def restore(
    context: typer.Context,
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="What `station backup` wrote.")],
    folder: FolderArgument,
    births: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Exported records that the copy lacks, oldest first.")
    ] = None,
    evidence_from_ledger: Annotated[
        bool,
        typer.Option(
            "--evidence-from-ledger", help="The token lost its newest writes in a power cut (ST-21): write them anew."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a station back, exactly as far as its token has evidence of; anything older is refused (ST-20)."""
    from provisioning.station.backup import copy_station, new_folder

    repository = repository_of(context)
    source = StationFolder(copy)
    order = read_order(source.content(ORDER_FILE))
    with (
        open_session(repository, site_of(context, repository), source.config.token, writable=True) as session,
        new_folder(folder) as path,
    ):
        copy_station(source, path)
        fields = _bring_up(session, order, path, births or [], renews=evidence_from_ledger)
    emit(
        {"folder": str(folder), **fields},
        as_json,
        f"restored {folder}: {fields['records']} records, {fields['added']} of them added",
    )


def _bring_up(
    session: Session, order: SignedWorkOrder, path: Path, births: list[Path], *, renews: bool
) -> dict[str, Any]:
    """Make ledger and evidence agree by what is permitted, and check that they do. Raises PolicyViolation."""
    from provisioning.station.backup import add_births, evidence_from_ledger
    from provisioning.station.evidence import newest_evidence
    from provisioning.station.ledger import Ledger
    from provisioning.station.ledger_file import LedgerFile
    from provisioning.station.token_evidence import TokenEvidence

    key, store = find_keys(session, order).station, TokenEvidence(session)
    ledger_path = StationFolder(path).ledger_path
    found = newest_evidence(store.read(order.order.order_id), order.order.order_id, key.public_key)
    added = 0
    with ExitStack() as files:
        if found is not None and births:
            added = add_births(ledger_path, [_reader(file, files) for file in births], order, found, key)
    if renews:
        file = LedgerFile(ledger_path)
        try:
            evidence_from_ledger(file, store, order, key)
        finally:
            file.close()

    ledger = Ledger(LedgerFile(ledger_path), store, order, key, now)
    try:
        return {
            "records": ledger.boards.number,
            "begun": ledger.boards.begun,
            "added": added,
            "evidence_renewed": renews,
        }
    finally:
        ledger.close()


def _reader(path: Path, files: ExitStack) -> BirthsReader:
    from provisioning.station.births_file import BirthsReader

    try:
        return BirthsReader(files.enter_context(path.open("rb")))
    except OSError as error:
        raise InputRefused(f"births file {path}: cannot be read ({error.strerror})") from None
