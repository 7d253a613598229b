"""The end of a key: recorded first, so that nothing signs with it from then on; then destroyed on its token."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from ceremonies.acts.base import Act, Foreseen, Outcome
from ceremonies.acts.keys import require_own
from ceremonies.rules import PRECONDITION
from pki.errors import CeremonyAborted
from pki.key_audit import ObjectClass
from pki.key_states import KeyState
from signer.log.values import EventKind

if TYPE_CHECKING:
    from ceremonies.workplace import Workplace


class DestroyKey(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key destroyed for ever. `label_again` says it twice, in the reviewed plan."""

    NAME: ClassVar[str] = "destroy-key"

    label: str
    label_again: str
    token: str

    def text(self) -> str:
        """For the script."""
        return f"THE KEY {self.label} ON TOKEN {self.token} IS DESTROYED FOR EVER."

    def tokens(self) -> tuple[str, ...]:
        """The token that has it."""
        return (self.token,)

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """It is there, and named twice alike. Raises CeremonyAborted CE-15."""
        if self.label_again != self.label:
            raise CeremonyAborted(PRECONDITION, f"`label_again` is {self.label_again!r}, not {self.label!r}")
        foreseen.require_unlocked(self.token)
        foreseen.require_on(self.label, self.token)
        fact = foreseen.key(self.label)
        if fact.state is KeyState.DESTROYED:
            raise CeremonyAborted(PRECONDITION, f"key {self.label} is destroyed already")
        return foreseen.with_key(self.label, msgspec.structs.replace(fact, state=KeyState.DESTROYED))

    def perform(self, place: Workplace, step: str) -> Outcome:
        """Record it, unless an interrupted run of this step did; then destroy whatever the token still has of it."""
        from signer.tokens import KeyRef

        record = place.store.key(self.label)
        if record.state is KeyState.DESTROYED:
            require_own(place, record, step, -1)
        else:
            record = place.store.change_state(record.cka_id, KeyState.DESTROYED, place.change(step))
        session = place.session(self.token)
        secret_classes = {ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY}
        left = [item for item in session.objects() if item.cka_id == record.cka_id]
        if any(item.object_class in secret_classes for item in left):
            session.dangerously_destroy_key(KeyRef(self.label, record.cka_id))
        elif left:
            # A public object alone: the interrupted run had destroyed the private one.
            session.dangerously_destroy_unfinished(self.label)
        remaining = [item for item in session.objects() if item.cka_id == record.cka_id]
        if remaining:
            raise CeremonyAborted(PRECONDITION, f"the token still shows {len(remaining)} objects of key {self.label}")
        place.log(EventKind.KEY_DESTROYED, step, {"key_label": self.label, "cka_id": record.cka_id.hex()})
        return Outcome({"label": self.label, "token": self.token}, {"cka_id": record.cka_id.hex()})
