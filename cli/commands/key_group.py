"""`strongroom key group-key`: a group's agreement key, as files that only the tokens they are for can open."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import now, open_session, open_store, repository_of, site_of
from cli.key_events import key_events
from cli.options import JsonOption, TokenOption
from cli.output import emit, read_input
from pki.errors import ConfigurationError, InputRefused
from pki.key_specs import parse_key_label
from pki.key_states import KeyState
from pki.roles import Role
from signer.log.values import EventKind
from signer.new_file import NewFile

if TYPE_CHECKING:
    from signer.custody.group_key import GroupKeyFile, GroupKeyPlace
    from signer.store.key_store import KeyStore
    from signer.tokens.session import Session

_FILE_SIZE_BYTES_MAX = 4096


def group_key(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="The group key's label, as sr:group-agreement:pump-x2:0001.")],
    token: TokenOption,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A new key: the maker's file, for --token.", show_default=False)
    ] = None,
    public_out: Annotated[
        Path | None, typer.Option(help="A new key: its public half, PEM, for the product's file.", show_default=False)
    ] = None,
    made_before: Annotated[
        Path | None,
        typer.Option("--from", help="A key made before: the maker's file, which --token opens.", show_default=False),
    ] = None,
    station: Annotated[
        list[str] | None,
        typer.Option(metavar="TOKEN=FILE", help="A station's token, and the file for it; repeat it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a group's agreement key, or bring one to a station's token. It stays on no token and is never in clear.

    Each token needs an active group-wrap key of the product: `key generate group-wrap`.
    """
    from signer.authority.public_key_files import public_key_to_pem
    from signer.custody.group_key import decode_group_key_file, generate_group_key, transfer_group_key

    parts = parse_key_label(label)
    if parts.role is not Role.GROUP_AGREEMENT:
        raise InputRefused(f"{label} is not the label of a group's key: sr:group-agreement:PRODUCT:NNNN")
    is_new = made_before is None
    if is_new is not (out is not None and public_out is not None) or (is_new and out == public_out):
        raise InputRefused("give --out and --public-out for a new key, or --from for one made before")
    stations = [_station(text) for text in station or ()]
    if not is_new and not stations:
        raise InputRefused("give --station TOKEN=FILE: where the key is to be brought")
    repository = repository_of(context)
    site = site_of(context, repository)
    paths = [path for path in (out, *(path for _, path in stations)) if path is not None]
    with ExitStack() as stack:
        files = [stack.enter_context(NewFile(path)) for path in paths]
        pem = None if public_out is None else stack.enter_context(NewFile(public_out))
        events = stack.enter_context(key_events(repository, parts.role))
        store = stack.enter_context(open_store(repository))
        places = [
            _place(store, stack.enter_context(open_session(repository, site, name)), parts.product, name)
            for name in (token, *(name for name, _ in stations))
        ]
        tokens = ", ".join(place.session.token.label for place in places)
        kind = EventKind.KEY_GENERATED if is_new else EventKind.KEY_BACKED_UP
        events.begins(kind, label, tokens=tokens)
        if made_before is None:
            made: tuple[GroupKeyFile, ...] = generate_group_key(places[0], places[1:])
        else:
            kept = decode_group_key_file(read_input(made_before, "group key's file", _FILE_SIZE_BYTES_MAX))
            made = transfer_group_key(kept, places[0], places[1:])
        public_key = made[0].group_public_key
        for file, content in zip(files, made, strict=True):
            file.write_at(0, content.encode())
        if pem is not None:
            pem.write_at(0, public_key_to_pem(public_key))
        events.is_done(kind, label, tokens=tokens, key_id=public_key.key_id.hex())
        for whole in (*files, *([] if pem is None else [pem])):
            whole.publish()
    data = {"label": label, "key_id": public_key.key_id.hex(), "files": [str(path) for path in paths]}
    emit(data, as_json, f"{label}: key {public_key.key_id.hex()}, wrapped in {', '.join(map(str, paths))}")


def _station(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not path:
        raise InputRefused(
            f"--station {text[:60]!r}: give the token's name and the file, as station=station.group.json"
        )
    return name, Path(path)


def _place(store: KeyStore, session: Session, product: str | None, name: str) -> GroupKeyPlace:
    """The token with its one active group-wrap key of the product. Raises ConfigurationError."""
    from signer.custody.group_key import GroupKeyPlace

    here = (session.token.serial, session.token.label)
    found = [
        record
        for record in store.keys(token=here, role=Role.GROUP_WRAP)
        if record.product in {None, product} and record.state is KeyState.ACTIVE
        and record.not_after is not None and now() <= record.not_after
    ]  # fmt: skip
    if len(found) != 1:
        raise ConfigurationError(
            f"token {name!r} has {len(found)} active group-wrap keys of product {product!r}, and one is needed: "
            "`strongroom key generate group-wrap`"
        )
    return GroupKeyPlace(session, found[0].cka_id)
