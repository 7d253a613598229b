"""Commands that change keys: generate, state, destroy; and the upgrade of the key store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.key_custody import remaining_of, remaining_text
from cli.context import change_by_operator, now, open_session, open_store, repository_of, site_of
from cli.key_events import KeyEvents, LoggedIntents, key_events, role_of_label
from cli.options import JsonOption, TokenOption
from cli.output import emit
from pki.errors import InputRefused
from pki.key_audit import ObjectClass
from pki.key_specs import KEY_SPECS, KeySpec
from pki.key_states import KeyState
from pki.roles import Role
from signer.authority.repository import AuthorityRepository
from signer.inventory.key_rows import key_rows
from signer.log.values import EventKind
from signer.store.values import Change, KeyRecord
from signer.tokens import KeyRef
from signer.tokens.errors import KeyNotFound

if TYPE_CHECKING:
    from signer.custody.destruction import Destroyed
    from signer.store.key_store import KeyStore
    from signer.tokens.session import Session

LabelArgument = Annotated[str, typer.Argument(help="The key's label, as `strongroom key list` shows it.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it stays in the key's history.")]


def generate(
    context: typer.Context,
    role: Annotated[Role, typer.Argument(help="What the key is for.", show_default=False)],
    token: TokenOption,
    product: Annotated[
        str | None, typer.Option("--product", "-p", help="The product; leave out for a key that serves all of them.")
    ] = None,
    sequence: Annotated[int | None, typer.Option(help="Number in the label; by default the next free one.")] = None,
    activate: Annotated[bool, typer.Option("--activate", help="Activate the key at once.")] = False,
    valid_days: Annotated[
        int | None, typer.Option(min=1, help="With --activate: days of use; by default the role's maximum.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Generate a key in a token and record it. After an interruption, the same command continues."""
    from signer.authority.key_generation import KeyRequest, generate_key
    from signer.inventory.audit import findings_as_json

    if valid_days is not None and not activate:
        raise typer.BadParameter("--valid-days goes with --activate")
    repository = repository_of(context)
    site = site_of(context, repository)
    if product is not None:
        repository.product(product)
    _check_valid_days(KEY_SPECS[role], valid_days)
    with (
        key_events(repository, role) as events,
        open_store(repository) as store,
        open_session(repository, site, token, writable=True) as session,
    ):
        request = KeyRequest(role, product, sequence)
        intents = LoggedIntents(repository, events)
        made = generate_key(intents, store, session, request, lambda: _change("generated"))
        record = made.record
        events.is_done(EventKind.KEY_GENERATED, record.label, outcome=made.outcome.name.lower(), **_key_id(record))
        if activate and record.state is KeyState.PRE_ACTIVATION:
            record = _activate(store, record, valid_days, _change("activated when generated"), events)
    findings = findings_as_json(made.findings)
    data = {**key_rows([record], now())[0], "outcome": made.outcome.name.lower(), "findings": findings}
    emit(data, as_json, f"{made.outcome}: {record.label} on token {record.token.label!r}\n{_summary(record)}")


def state(
    context: typer.Context,
    label: LabelArgument,
    new_state: Annotated[KeyState, typer.Argument(metavar="STATE", help="The state to enter.", show_default=False)],
    reason: ReasonOption,
    valid_days: Annotated[
        int | None, typer.Option(min=1, help="For the first activation: days of use; by default the role's maximum.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Change a key's state (SP 800-57): activate, suspend, deactivate, or mark as compromised.

    Only a suspension can be taken back.
    """
    if new_state is KeyState.DESTROYED:
        raise typer.BadParameter("a key is destroyed with `strongroom key destroy`, on its token as well")
    repository = repository_of(context)
    with key_events(repository, role_of_label(label)) as events, open_store(repository) as store:
        record = store.key(label)
        first_activation = new_state is KeyState.ACTIVE and record.state is KeyState.PRE_ACTIVATION
        if valid_days is not None and not first_activation:
            raise typer.BadParameter("--valid-days goes with the first activation: the time window never changes")
        if first_activation:
            record = _activate(store, record, valid_days, _change(reason), events)
        else:
            record = _change_state(store, record, new_state, _change(reason), events)
    emit(key_rows([record], now())[0], as_json, f"{record.label} is {record.state}\n{_summary(record)}")


def destroy(
    context: typer.Context,
    label: LabelArgument,
    token: TokenOption,
    yes_destroy_this_key: Annotated[
        str, typer.Option(metavar="LABEL", help="The label again: the key is lost for ever.")
    ],
    reason: ReasonOption = "destroyed by the operator",
    unrecorded: Annotated[
        bool, typer.Option("--unrecorded", help="A key that the token has and the key store does not know.")
    ] = False,
    token_is_lost: Annotated[
        bool, typer.Option("--token-is-lost", help="Only record it: the token is gone, and the key with it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Destroy a key for ever, in the key store and on its token. An interrupted destruction is continued."""
    if yes_destroy_this_key != label:
        raise typer.BadParameter(
            f"--yes-destroy-this-key says {yes_destroy_this_key!r}, not {label!r}; nothing was done"
        )
    if unrecorded and token_is_lost:
        raise typer.BadParameter("--unrecorded and --token-is-lost exclude each other")
    repository = repository_of(context)
    destroyed: Destroyed | None = None
    with key_events(repository, role_of_label(label)) as events:
        if token_is_lost:
            _record_destroyed(repository, label, reason, events)
        else:
            site = site_of(context, repository)
            with open_session(repository, site, token, writable=True) as session:
                if unrecorded:
                    _destroy_unrecorded(repository, session, label, events)
                else:
                    destroyed = _destroy_recorded(repository, session, label, reason, events)
        events.is_done(EventKind.KEY_DESTROYED, label, reason=reason)
    remaining = remaining_of(destroyed)
    data: dict[str, Any] = {"label": label, "token": token, "recorded": not unrecorded, "on_token": False, **remaining}
    emit(data, as_json, f"{label} is destroyed{remaining_text(remaining)}")


def upgrade_store(
    context: typer.Context,
    backup: Annotated[Path, typer.Option(help="Where to write a backup first; it must not exist yet.")],
    as_json: JsonOption = False,
) -> None:
    """Bring the key store's schema up to date, after a backup. Does nothing when it is."""
    from signer.store.maintenance import upgrade_key_store

    before, after = upgrade_key_store(repository_of(context).key_store_path, backup)
    text = f"upgraded from {before} to {after}; the backup is {backup}" if before != after else f"{after} is current"
    emit({"before": before, "after": after}, as_json, text)


# What they share


def _change(reason: str) -> Change:
    return change_by_operator(reason, now())


def _check_valid_days(spec: KeySpec, valid_days: int | None) -> None:
    if valid_days is not None and valid_days > spec.max_validity_days:
        raise InputRefused(f"a key of role {spec.role} is used for at most {spec.max_validity_days} days")


def _activate(
    store: KeyStore, record: KeyRecord, valid_days: int | None, change: Change, events: KeyEvents
) -> KeyRecord:
    _check_valid_days(record.spec, valid_days)
    days = record.spec.max_validity_days if valid_days is None else valid_days
    with _state_change_logged(events, record, KeyState.ACTIVE, change):
        return store.activate(record.cka_id, change.now, change.now + timedelta(days=days), change)


def _change_state(
    store: KeyStore, record: KeyRecord, new_state: KeyState, change: Change, events: KeyEvents
) -> KeyRecord:
    with _state_change_logged(events, record, new_state, change):
        return store.change_state(record.cka_id, new_state, change)


@contextmanager
def _state_change_logged(events: KeyEvents, record: KeyRecord, to: KeyState, change: Change) -> Iterator[None]:
    """The intent in the log before the change, and after it that it was made."""
    details = {"from": record.state.value, "to": to.value, "reason": change.reason}
    events.begins(EventKind.KEY_STATE_CHANGED, record.label, **details)
    yield
    events.is_done(EventKind.KEY_STATE_CHANGED, record.label, **details)


def _destroy_recorded(
    repository: AuthorityRepository, session: Session, label: str, reason: str, events: KeyEvents
) -> Destroyed:
    """Record first: from then on nothing signs with it, and a rerun ends what a crash left on the token."""
    from signer.custody.destruction import destroy_everywhere

    here = (session.token.serial, session.token.label)
    with open_store(repository) as store:
        record = store.key(label)
        is_recorded_here = record.origin_on(here) is not None
        if not is_recorded_here and not (record.state is KeyState.DESTROYED and record.token.identity == here):
            recorded = ", ".join(f"{token.serial} ({token.label!r})" for token in record.tokens) or "none"
            raise InputRefused(f"key {label} is recorded on token {recorded}, not on this one; nothing was destroyed")
        if not _is_on_token(session, record):
            if record.state is not KeyState.DESTROYED:
                raise KeyNotFound(
                    f"key {label} is not on token {session.token.label!r}; `strongroom key audit` shows what is. If "
                    "the key is gone for good, record that with --token-is-lost"
                )
            if not is_recorded_here:
                raise InputRefused(f"key {label} is destroyed already, and gone from its token")
        events.begins(EventKind.KEY_DESTROYED, label, reason=reason, **_key_id(record))
        return destroy_everywhere(store, label, [session], _change(reason))


def _is_on_token(session: Session, record: KeyRecord) -> bool:
    secret_classes = (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY)
    return any(item.cka_id == record.cka_id and item.object_class in secret_classes for item in session.objects())


def _destroy_unrecorded(repository: AuthorityRepository, session: Session, label: str, events: KeyEvents) -> None:
    from signer.authority.key_intents import KeyIntents
    from signer.store.errors import KeyUnknown

    with open_store(repository) as store:
        try:
            store.key(label)
        except KeyUnknown:
            pass
        else:
            raise InputRefused(f"key {label} is recorded; leave --unrecorded out")
    intents = KeyIntents(repository.key_intents_path)
    with intents.exclusively():
        events.begins(EventKind.KEY_DESTROYED, label, reason="not recorded")
        session.dangerously_destroy_key(KeyRef(label=label))
        intents.remove(label)


def _record_destroyed(repository: AuthorityRepository, label: str, reason: str, events: KeyEvents) -> None:
    with open_store(repository) as store:
        record = store.key(label)
        if len(record.tokens) > 1 or any(backup.ended is None for backup in record.backups):
            raise InputRefused(
                f"key {label} has copies or backups: record the loss of this one token with `strongroom key lost`"
            )
        events.begins(EventKind.KEY_DESTROYED, label, reason=f"token lost: {reason}", **_key_id(record))
        store.change_state(record.cka_id, KeyState.DESTROYED, _change(f"token lost: {reason}"))


def _key_id(record: KeyRecord) -> dict[str, str]:
    return {} if record.public_key is None else {"key_id": record.public_key.key_id.hex()}


def _summary(record: KeyRecord) -> str:
    lines = [f"state {record.state}"]
    if record.public_key is not None:
        lines.append(f"key id {record.public_key.key_id.hex()}")
    if record.not_after is not None:
        lines.append(f"may be used until {_date(record.not_after)}")
    return ", ".join(lines)


def _date(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC")
