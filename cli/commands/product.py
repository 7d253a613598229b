"""`strongroom product`: add and list products."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from cli.context import repository_of
from cli.options import JsonOption
from cli.output import emit, table, write_new_file
from pki.errors import InputRefused
from signer.authority.product_template import product_template

app = typer.Typer(no_args_is_help=True, add_completion=False, epilog="Example: strongroom product list")


@app.callback()
def product() -> None:
    """Add and list products: one checked file for each."""


@app.command("new", epilog="Example: strongroom product new pump-x2 --board stm32f405-full")
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and inner hyphens; it stands in key labels.")],
    board: Annotated[str, typer.Option(help="The board, by the name of its file.")],
    product_id: Annotated[
        str | None, typer.Option("--id", metavar="UUID", help="The product's id for life; by default a random one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a commented products/NAME.toml to start from. An existing product is never touched."""
    repository = repository_of(context)
    repository.board_path(board)
    identifier = uuid.uuid4() if product_id is None else _uuid(product_id)
    for other in repository.product_names():
        if other != name and uuid.UUID(repository.product(other).id) == identifier:
            raise InputRefused(f"product {other!r} has the id {identifier}: an id is never used again; choose another")
    path = repository.root / "products" / f"{name}.toml"
    text = product_template(name, identifier, board)
    write_new_file(path, text.encode("utf-8"))
    data = {"name": name, "id": str(identifier), "board": board, "file": str(path)}
    emit(data, as_json, f"wrote {path}\nproduct id {identifier}\nNext: edit it, generate its keys, `strongroom doctor`")


@app.command("list", epilog="Example: strongroom product list --json")
def list_products(context: typer.Context, as_json: JsonOption = False) -> None:
    """List every product with its id, board and number of keys."""
    repository = repository_of(context)
    products = [repository.product(name) for name in repository.product_names()]
    rows = [
        {
            "name": item.name,
            "id": item.id,
            "board": item.board,
            "hardware_revision_min": item.hardware_revision_min,
            "hardware_revision_max": item.hardware_revision_max,
            "recipient": item.encryption.recipient.value,
        }
        for item in products
    ]
    text = table(
        ("PRODUCT", "ID", "BOARD", "HARDWARE FROM", "TO", "ENCRYPTED FOR"),
        [tuple(str(value) for value in row.values()) for row in rows],
    )
    emit(rows, as_json, text if rows else "no products yet; add one with `strongroom product new NAME --board BOARD`")


def _uuid(text: str) -> uuid.UUID:
    try:
        identifier = uuid.UUID(text)
    except ValueError:
        raise InputRefused(f"--id {text!r} is not a UUID; leave it out for a random one") from None
    if str(identifier) != text.lower() or not identifier.int:
        raise InputRefused(f"--id {text!r}: use the form 01234567-89ab-cdef-0123-456789abcdef, not all zero")
    return identifier
