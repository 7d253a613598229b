"""Generating a key so that a crash at any moment leaves something that the next run recognises and ends.

The order: intent (a file), token, key store, intent removed. What a crash leaves, and what the next run for the same
role and product does:
- an intent only: removes what the token may have of an unfinished key, and generates;
- intent and key on the token: audits the key as if new, and registers it;
- intent, key, and its record: removes the intent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pki.errors import ConfigurationError
from pki.key_audit import AuditFinding
from pki.key_specs import KEY_SPECS, KeyAlgorithm, KeySpec, key_label, parse_key_label
from pki.roles import Role
from signer.authority.key_intents import KeyIntent, KeyIntents
from signer.inventory.audit import unavoidable_rules
from signer.inventory.registration import register_key
from signer.store.errors import KeyConflict, KeyUnknown
from signer.store.key_store import KeyStore
from signer.store.stored_times import time_to_text
from signer.store.values import Change, KeyRecord, NewKey, TokenRecord
from signer.tokens import KeyRef
from signer.tokens.errors import ActionRefused, KeyInconsistent, KeyNotFound, LabelTaken, MechanismUnsupported
from signer.tokens.key_handle import KeyHandle
from signer.tokens.profiles import ModuleProfile
from signer.tokens.secret_keys import SecretKeyHandle
from signer.tokens.session import Session

_NOTHING_KEPT = (ActionRefused, KeyInconsistent, LabelTaken, MechanismUnsupported)
"""Errors of `Session.generate` after which the token has nothing of the new key."""


class Outcome(StrEnum):
    """What this run did."""

    GENERATED = "generated"
    CONTINUED = "continued after an interruption: generated anew"
    ADOPTED = "continued after an interruption: the key was on the token"
    RECORDED_BEFORE = "continued after an interruption: the key was recorded"


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What to generate; `sequence` None takes the next free number, or the one of an interrupted generation."""

    role: Role
    product: str | None
    sequence: int | None

    @property
    def spec(self) -> KeySpec:
        """What a key of the role must be."""
        return KEY_SPECS[self.role]


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """The key as recorded, what the audit found tolerable in it, and how it came about."""

    record: KeyRecord
    findings: tuple[AuditFinding, ...]
    outcome: Outcome


def generate_key(
    intents: KeyIntents, store: KeyStore, session: Session, request: KeyRequest, now_change: Callable[[], Change]
) -> GeneratedKey:
    """Generate and record one key, in state pre-activation, on the token of the writable `session`.

    Raises KeyConflict for a label in use, ConfigurationError if an interrupted generation was on another token,
    PolicyViolation KA-… for a key that is not what its role demands, TokenError, KeyStoreError, OutputError.
    """
    with intents.exclusively():
        pending = _pending(intents, request)
        label = pending.label if pending else fresh_label(store, request)
        intents.refuse_in_custody(label)
        record = recorded(store, label)
        if record is not None:
            if pending is None:
                raise KeyConflict(f"key {label} exists already; leave --sequence out for the next number")
            intents.remove(label)
            return GeneratedKey(record, (), Outcome.RECORDED_BEFORE)
        _require_same_token(intents, pending, session)
        if pending is None:
            intents.write(_intent(label, session, now_change()))
        handle, profile, outcome = _make(intents, session, request.spec, label, resumed=pending is not None)
        change = now_change()
        new = _new_key(handle, session, change)
        record, findings = register_key(store, session.objects(), new, change, unavoidable_rules(profile))
        intents.remove(label)
        return GeneratedKey(record, findings, outcome)


def _pending(intents: KeyIntents, request: KeyRequest) -> KeyIntent | None:
    """The interrupted generation that this request continues."""
    for intent in intents.all():
        parts = parse_key_label(intent.label)
        if (parts.role, parts.product) == (request.role, request.product) and request.sequence in (
            None,
            parts.sequence,
        ):
            return intent
    return None


def fresh_label(store: KeyStore, request: KeyRequest) -> str:
    """The label that a new key gets: of the number asked for, else of the next free one."""
    if request.sequence is None:
        return store.next_label(request.spec, request.product)
    return key_label(request.spec, request.product, request.sequence)


def recorded(store: KeyStore, label: str) -> KeyRecord | None:
    """The record of a key; None if there is none."""
    try:
        return store.key(label)
    except KeyUnknown:
        return None


def _require_same_token(intents: KeyIntents, pending: KeyIntent | None, session: Session) -> None:
    here = (session.token.serial, session.token.label)
    if pending is not None and (pending.token_serial, pending.token_label) != here:
        raise ConfigurationError(
            f"the generation of {pending.label} was interrupted on token {pending.token_serial} "
            f"({pending.token_label!r}): continue it there; if that token is lost, remove {intents.path(pending.label)}"
        )


def _intent(label: str, session: Session, change: Change) -> KeyIntent:
    token = session.token
    return KeyIntent(label, token.serial, token.label, time_to_text(change.now), change.who)


def _make(
    intents: KeyIntents, session: Session, spec: KeySpec, label: str, *, resumed: bool
) -> tuple[KeyHandle | SecretKeyHandle, ModuleProfile, Outcome]:
    profile = session.probe_profile()
    if resumed:
        try:
            return _find(session, spec, label), profile, Outcome.ADOPTED
        except KeyNotFound:
            session.dangerously_destroy_unfinished(label)
    try:
        handle = session.generate(spec, label, profile)
    except _NOTHING_KEPT:
        intents.remove(label)
        raise
    return handle, profile, Outcome.CONTINUED if resumed else Outcome.GENERATED


def _find(session: Session, spec: KeySpec, label: str) -> KeyHandle | SecretKeyHandle:
    ref = KeyRef(label=label)
    return session.find(ref) if spec.algorithm is KeyAlgorithm.EC_P256 else session.find_secret(ref)


def _new_key(handle: KeyHandle | SecretKeyHandle, session: Session, change: Change) -> NewKey:
    token = TokenRecord(session.token.serial, session.token.label, session.module.path)
    public_key = handle.public_key if isinstance(handle, KeyHandle) else None
    return NewKey(handle.label, handle.cka_id, public_key, token, change.now)
