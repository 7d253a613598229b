"""The end of a key: recorded first, so that nothing signs with it from then on; then destroyed on its token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from ceremonies.acts.base import Act, Foreseen, Outcome
from ceremonies.acts.keys import require_own
from ceremonies.rules import PRECONDITION
from pki.errors import CeremonyAborted
from pki.key_states import KeyState
from signer.log.values import EventKind

if TYPE_CHECKING:
    from ceremonies.workplace import Workplace


class DestroyKey(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key destroyed for ever, on every token named. `label_again` says it twice, in the reviewed plan."""

    NAME: ClassVar[str] = "destroy-key"

    label: str
    label_again: str
    on_tokens: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=8)]

    def text(self) -> str:
        """For the script."""
        return f"THE KEY {self.label} IS DESTROYED FOR EVER, ON {' AND '.join(self.on_tokens)}."

    def tokens(self) -> tuple[str, ...]:
        """Those that have it."""
        return self.on_tokens

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """It is there, and named twice alike. Raises CeremonyAborted CE-15."""
        if self.label_again != self.label:
            raise CeremonyAborted(PRECONDITION, f"`label_again` is {self.label_again!r}, not {self.label!r}")
        for token in self.on_tokens:
            foreseen.require_unlocked(token)
            foreseen.require_on(self.label, token)
        fact = foreseen.key(self.label)
        if fact.state is KeyState.DESTROYED:
            raise CeremonyAborted(PRECONDITION, f"key {self.label} is destroyed already")
        return foreseen.with_key(self.label, msgspec.structs.replace(fact, state=KeyState.DESTROYED))

    def perform(self, place: Workplace, step: str) -> Outcome:
        """Record it, unless an interrupted run of this step did; then destroy whatever the tokens still have of it."""
        from signer.custody.destruction import destroy_everywhere

        record = place.store.key(self.label)
        if record.state is KeyState.DESTROYED:
            require_own(place, record, step, -1)
        sessions = [place.session(token) for token in self.on_tokens]
        destroyed = destroy_everywhere(place.store, self.label, sessions, place.change(step))
        place.log(EventKind.KEY_DESTROYED, step, {"key_label": self.label, "cka_id": record.cka_id.hex()})
        return Outcome(
            {"label": self.label, "on_tokens": list(self.on_tokens)},
            {
                "cka_id": record.cka_id.hex(),
                "remaining_tokens": [f"{serial} ({label})" for serial, label in destroyed.tokens],
                "remaining_backups": [digest.hex() for digest in destroyed.backups],
            },
        )
