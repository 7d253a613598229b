"""The examination of the keys that products name: in the key store, and on their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pki.errors import PolicyViolation, StrongroomError
from pki.key_specs import parse_key_label
from pki.key_states import KeyState, may_sign
from pki.roles import Role
from signer.authority.development_material import refuse_known_test_key
from signer.authority.doctor_rules import Finding, Surroundings, finding
from signer.authority.model import Environment, KeyConfig, Product, Site
from signer.store.errors import KeyStoreError, KeyUnknown
from signer.store.key_store import KeyStore
from signer.store.values import KeyRecord
from signer.tokens import KeyRef
from signer.tokens.errors import KeyAmbiguous, KeyInconsistent, KeyNotFound
from signer.tokens.session import Session

ENDS_SOON = timedelta(days=90)

_NEVER_AGAIN = (KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED)


@dataclass(frozen=True, slots=True)
class _NamedKey:
    """A key that a product file names, and its record."""

    place: str
    token_name: str
    record: KeyRecord


def examine_keys(
    products: list[Product],
    site: Site | None,
    environment: Environment,
    outside: Surroundings,
    now: datetime,
    *,
    offline: bool,
) -> Iterator[Finding]:
    """Every product's keys in the store; and, unless `offline`, those of this site on their tokens."""
    named: list[_NamedKey] = []
    try:
        with outside.open_store() as store:
            for product in products:
                yield from _look_up(product, store, named)
    except KeyStoreError as error:
        yield finding("DR-10", "store", str(error))
        return
    for key in named:
        yield from _examine_record(key, environment, now)
        if site is not None and key.token_name in site.tokens:
            yield from _examine_token_of_record(key, outside)
    if site is not None and not offline:
        for token_name in sorted({key.token_name for key in named} & set(site.tokens)):
            here = [key for key in named if key.token_name == token_name]
            yield from _examine_on_token(token_name, here, outside)


def _look_up(product: Product, store: KeyStore, named: list[_NamedKey]) -> Iterator[Finding]:
    place = f"products/{product.name}.toml"
    for role in Role:
        for key in product.keys.of_role(role):
            try:
                named.append(_NamedKey(place, key.token, store.key(key.label)))
            except KeyUnknown:
                yield finding("DR-11", place, f"key {key.label} is not recorded; `{_command(product, key)}` makes it")


def _command(product: Product, key: KeyConfig) -> str:
    parts = parse_key_label(key.label)
    for_product = f" --product {product.name}" if parts.product else ""
    return f"strongroom key generate {parts.role}{for_product} --token {key.token} --sequence {parts.sequence}"


def _examine_record(key: _NamedKey, environment: Environment, now: datetime) -> Iterator[Finding]:
    record = key.record
    decision = may_sign(record.state, record.not_before, record.not_after, now)
    if not decision.allowed:
        over = record.state in _NEVER_AGAIN or (record.not_after is not None and now > record.not_after)
        advice = "generate its successor" if over else "`strongroom key state` changes it"
        yield finding("DR-13" if over else "DR-14", key.place, f"key {record.label}: {decision.reason}; {advice}")
    elif record.not_after is not None and record.not_after - now < ENDS_SOON:
        days = (record.not_after - now).days
        yield finding("DR-15", key.place, f"key {record.label} ends in {days} days; generate its successor in time")
    if record.public_key is not None:
        try:
            refuse_known_test_key(environment, record.public_key)
        except PolicyViolation as error:
            yield finding("DR-18", key.place, str(error))


def _examine_token_of_record(key: _NamedKey, outside: Surroundings) -> Iterator[Finding]:
    try:
        uri = outside.pinned_uri(key.token_name)
    except StrongroomError:
        return
    token = key.record.token
    if uri.serial != token.serial or uri.token not in (None, token.label):
        yield finding(
            "DR-12",
            key.place,
            f"key {key.record.label} is recorded on token {token.serial} ({token.label!r}), not on {key.token_name!r}; "
            "correct the one or the other",
        )


def _examine_on_token(token_name: str, keys: list[_NamedKey], outside: Surroundings) -> Iterator[Finding]:
    try:
        with outside.open_session(token_name) as session:
            for key in keys:
                yield from _examine_object(session, key)
    except StrongroomError as error:
        yield finding("DR-16", f"token {token_name!r}", str(error))


def _examine_object(session: Session, key: _NamedKey) -> Iterator[Finding]:
    label = key.record.label
    try:
        if key.record.public_key is None:
            session.find_secret(KeyRef(label, key.record.cka_id))
            return
        handle = session.find(KeyRef(label=label))
    except (KeyNotFound, KeyAmbiguous, KeyInconsistent) as error:
        yield finding("DR-17", key.place, f"key {label}: {error}")
        return
    if handle.public_key != key.record.public_key:
        yield finding(
            "DR-17", key.place, f"key {label} on the token has another public key than recorded; do not use the token"
        )
