"""Acts on one key: generating it, changing its state, writing its public half."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

import msgspec

from ceremonies.acts.base import Act, Foreseen, KeyFact, Outcome
from ceremonies.rules import NOT_THIS_CEREMONYS, PRECONDITION
from ceremonies.transcript import time_text
from ceremonies.workplace import reason_of
from pki.errors import CeremonyAborted, InputRefused, PolicyViolation
from pki.key_specs import KEY_SPECS, parse_key_label
from pki.key_states import KeyState, may_change_state
from signer.authority.public_key_files import public_key_to_pem
from signer.log.values import EventKind

if TYPE_CHECKING:
    from ceremonies.workplace import Workplace
    from signer.store.values import KeyRecord


class GenerateKey(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new key on a token. The plan chooses its label, so that a rerun after a crash knows its own key."""

    NAME: ClassVar[str] = "generate-key"

    label: str
    token: str

    def text(self) -> str:
        """For the script."""
        return f"The key {self.label} is generated on token {self.token}."

    def tokens(self) -> tuple[str, ...]:
        """The one token."""
        return (self.token,)

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """The label is free, and will be taken."""
        foreseen.require_unlocked(self.token)
        parts = parse_key_label(self.label)
        fact = KeyFact(parts.role, parts.product, (self.token,), KeyState.PRE_ACTIVATION)
        return foreseen.with_new_key(self.label, fact)

    def perform(self, place: Workplace, step: str) -> Outcome:
        """Generate and record it, or end an interrupted generation. Raises CE-23 for a key that another made."""
        from signer.authority.key_generation import KeyRequest, generate_key

        record = recorded(place, self.label)
        if record is not None and not _generation_is_pending(place, self.label):
            require_own(place, record, step, 0)
            outcome, findings = "recorded before the interruption", []
        else:
            parts = parse_key_label(self.label)
            request = KeyRequest(parts.role, parts.product, parts.sequence)
            made = generate_key(
                place.intents, place.store, place.session(self.token), request, lambda: place.change(step)
            )
            record, outcome = made.record, str(made.outcome)
            findings = [finding.rule_id for finding in made.findings]
        place.log(EventKind.KEY_GENERATED, step, {"key_label": self.label, "cka_id": record.cka_id.hex()})
        return Outcome(
            {
                "label": self.label,
                "role": record.role.value,
                "product": record.product,
                "algorithm": record.algorithm.value,
                "token": self.token,
            },
            {**public_half(record), "outcome": outcome, "findings": findings},
        )


class ChangeKeyState(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another state of a key's life. The first activation sets its time window: `valid_days`, or the role's maximum."""

    NAME: ClassVar[str] = "change-key-state"

    label: str
    state: KeyState
    valid_days: int | None = None

    def text(self) -> str:
        """For the script."""
        days = f" for {self.valid_days} days" if self.valid_days is not None else ""
        return f"The key {self.label} becomes {self.state.value}{days} in the key store."

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """The state can be reached. Raises CeremonyAborted CE-15."""
        fact = foreseen.key(self.label)
        if self.state is KeyState.DESTROYED:
            raise CeremonyAborted(PRECONDITION, "a key is destroyed by the act destroy-key, on its tokens as well")
        try:
            may_change_state(fact.state, self.state).require()
            _days(self.label, self.valid_days)
        except (PolicyViolation, InputRefused) as error:
            raise CeremonyAborted(PRECONDITION, f"key {self.label}: {error}") from None
        return foreseen.with_key(self.label, msgspec.structs.replace(fact, state=self.state))

    def perform(self, place: Workplace, step: str) -> Outcome:
        """Change it, unless an interrupted run of this step has done so."""
        record = place.store.key(self.label)
        history = place.store.state_history(record.cka_id)
        if history[-1].change.reason != reason_of(place.ceremony, step):
            change = place.change(step)
            if self.state is KeyState.ACTIVE and record.not_before is None:
                until = change.now + timedelta(days=_days(self.label, self.valid_days))
                record = place.store.activate(record.cka_id, change.now, until, change)
            else:
                record = place.store.change_state(record.cka_id, self.state, change)
        elif record.state is not self.state:
            raise _not_own(self.label)
        place.log(EventKind.KEY_STATE_CHANGED, step, {"key_label": self.label, "state": self.state.value})
        window = {
            "not_before": None if record.not_before is None else time_text(record.not_before),
            "not_after": None if record.not_after is None else time_text(record.not_after),
        }
        return Outcome(
            {"label": self.label, "state": self.state.value}, {"since": time_text(record.state_since), **window}
        )


class ExportPublicKey(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The public half of a key as a PEM file."""

    NAME: ClassVar[str] = "export-public-key"

    label: str
    artefact: str

    def text(self) -> str:
        """For the script."""
        return f"The public key of {self.label} is written as {self.artefact}."

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """The key exists then."""
        foreseen.key(self.label)
        return foreseen.with_artefact(self.artefact)

    def perform(self, place: Workplace, _step: str) -> Outcome:
        """From the key store: what was audited when the key was made."""
        record = place.store.key(self.label)
        if record.public_key is None:
            raise InputRefused(f"key {self.label} is a secret key and has no public half")
        place.artefacts.write(self.artefact, public_key_to_pem(record.public_key))
        return Outcome({"label": self.label, "artefact": self.artefact}, public_half(record))


def recorded(place: Workplace, label: str) -> KeyRecord | None:
    """The key of this label, if the store has it."""
    from signer.store.errors import KeyUnknown

    try:
        return place.store.key(label)
    except KeyUnknown:
        return None


def require_own(place: Workplace, record: KeyRecord, step: str, change: int) -> None:
    """That this step made a change to a key: the one at this place of its history. Raises CeremonyAborted CE-23."""
    history = place.store.state_history(record.cka_id)
    if history[change].change.reason != reason_of(place.ceremony, step):
        raise _not_own(record.label)


def _not_own(label: str) -> CeremonyAborted:
    return CeremonyAborted(
        NOT_THIS_CEREMONYS, f"key {label} was changed meanwhile, not by this step; see `strongroom key show {label}`"
    )


def _generation_is_pending(place: Workplace, label: str) -> bool:
    return any(intent.label == label for intent in place.intents.all())


def _days(label: str, valid_days: int | None) -> int:
    most = KEY_SPECS[parse_key_label(label).role].max_validity_days
    days = most if valid_days is None else valid_days
    if not 1 <= days <= most:
        raise InputRefused(f"a key of this role is used for 1 to {most} days, not {days}")
    return days


def public_half(record: KeyRecord) -> dict[str, str | None]:
    """What a transcript says of a key."""
    key = record.public_key
    return {
        "cka_id": record.cka_id.hex(),
        "key_id": None if key is None else key.key_id.hex(),
        "public_key": None if key is None else base64.b64encode(key.spki).decode("ascii"),
    }
