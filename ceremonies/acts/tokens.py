"""Looking at a token before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ceremonies.acts.base import Act, Foreseen, Outcome
from ceremonies.rules import PRECONDITION
from pki.errors import CeremonyAborted

if TYPE_CHECKING:
    from ceremonies.workplace import Workplace


class CheckToken(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is on a token, and with `empty`, that nothing is: no key of unknown origin lies beside the new ones."""

    NAME: ClassVar[str] = "check-token"

    token: str
    empty: bool = False

    def text(self) -> str:
        """For the script."""
        wanted = "It must be empty." if self.empty else "What is on it is counted."
        return f"The program looks at token {self.token}. {wanted}"

    def tokens(self) -> tuple[str, ...]:
        """The one token."""
        return (self.token,)

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """Unlocked, that is all."""
        foreseen.require_unlocked(self.token)
        return foreseen

    def perform(self, place: Workplace, _step: str) -> Outcome:
        """Count the token's objects. Raises CeremonyAborted CE-15 for a token that should be empty."""
        session = place.session(self.token)
        objects = session.objects()
        if self.empty and objects:
            raise CeremonyAborted(
                PRECONDITION, f"token {self.token} should be empty and has {len(objects)} objects; take a new one"
            )
        info = session.token
        varying = {
            "serial": info.serial,
            "token_label": info.label,
            "manufacturer": info.manufacturer,
            "model": info.model,
            "objects": len(objects),
        }
        return Outcome({"token": self.token, "empty": self.empty}, varying)
