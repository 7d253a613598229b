"""`strongroom station status`, `export` and `scrap`: what was made, and handing it on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.station_make import FolderArgument
from cli.context import now
from cli.options import JsonOption, OutputOption
from cli.output import emit
from cli.station_open import open_station, read_order
from cli.station_words import count_fields, order_fields
from pki.errors import InputRefused
from provisioning.station.folder import ORDER_FILE, StationFolder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from signer.new_file import NewFile

_UID_SIZE_BYTES = 16


def status(
    folder: FolderArgument,
    verify: Annotated[bool, typer.Option("--verify", help="Verify every signature in the ledger, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Count what the ledger holds. Needs no token, and may run while the station works.

    Whether the ledger is the newest is not said here: only the token knows (`station run`, `station export`).
    """
    from provisioning.station.boards import Boards
    from provisioning.station.ledger import read_ledger, sub_quota
    from provisioning.station.ledger_file import LedgerFile
    from provisioning.station.record_proofs import verify_proofs
    from provisioning.station.records import SignedRecord, parse_record

    station = StationFolder(folder)
    order, key = read_order(station.content(ORDER_FILE)), station.config.station_key
    boards = Boards(order.order.order_id, order.digest.value, key.spki_sha256, sub_quota(order, key))
    file = LedgerFile(station.ledger_path)
    try:
        read_ledger(file, boards, key, 0)
        for row in file.rows() if verify else ():
            verify_proofs(SignedRecord(parse_record(row.record), row.signature), order, key)
    finally:
        file.close()
    fields = {"folder": str(folder), **order_fields(order, key), **count_fields(boards), "verified": verify}
    emit(fields, as_json, "\n".join(f"{name:<12}{value}" for name, value in fields.items()))


def export(
    context: typer.Context,
    folder: FolderArgument,
    out: OutputOption,
    first: Annotated[
        int, typer.Option("--from", min=1, metavar="NUMBER", help="The first record: 1, or what the registry lacks.")
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Write the birth records to a file for the registry, signed; nothing is sent, and it can be done again."""
    from provisioning.station.births_file import write_births
    from signer.new_file import NewFile

    with open_station(context, folder, to_work=False) as opened:
        ledger = opened.station.ledger
        evidence = ledger.evidence
        if first > evidence.number + 1:
            raise InputRefused(f"--from {first}: the ledger has {evidence.number} records")
        lines = write_births(opened.order, opened.keys.station, first, ledger.records(first), evidence, now())
        with NewFile(out) as file:
            _write(file, lines)
            file.publish()
    fields = {"file": str(out), "first": first, "last": evidence.number, "head": evidence.head.hex()}
    emit(fields, as_json, f"wrote {out}: records {first} to {evidence.number}")


def _write(file: NewFile, lines: Iterable[bytes]) -> None:
    offset = 0
    for line in lines:
        file.write_at(offset, line)
        offset += len(line)


def scrap(
    context: typer.Context,
    folder: FolderArgument,
    uid: Annotated[str, typer.Argument(help="The board's UID, in hexadecimal digits.")],
    reason: Annotated[str, typer.Option(help="Why, in up to 200 characters, for the record.")],
    as_json: JsonOption = False,
) -> None:
    """Record that a board is gone for good. What it was counted for stays counted; it is never made again here."""
    padded = _uid(uid)
    with open_station(context, folder, to_work=False) as opened:
        opened.station.scrap(padded, reason)
        boards = opened.station.ledger.boards
        board = boards.board(padded)
    sequence = board.sequence if board is not None else None
    fields = {"uid": padded.hex(), "sequence": sequence, **count_fields(boards)}
    counted = "was never counted" if sequence is None else f"was number {sequence}, which stays counted"
    emit(fields, as_json, f"scrapped {padded.hex()}: it {counted}")


def _uid(text: str) -> bytes:
    try:
        uid = bytes.fromhex(text)
    except ValueError:
        raise InputRefused(f"{text!r} is not a UID in hexadecimal digits") from None
    if not 1 <= len(uid) <= _UID_SIZE_BYTES or not any(uid):
        raise InputRefused(f"a UID has 1 to {_UID_SIZE_BYTES} bytes, and is not zero")
    return uid.ljust(_UID_SIZE_BYTES, b"\0")
