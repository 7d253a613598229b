"""What every act is, and what the acts before it let it count on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from ceremonies.rules import OUTPUT_EXISTS, PRECONDITION, STEPS_DO_NOT_FIT
from pki.errors import CeremonyAborted, ConfigurationError
from pki.key_states import KeyState
from pki.roles import Role

if TYPE_CHECKING:
    from ceremonies.workplace import Workplace
    from signer.authority.model import Product


class KeyFact(msgspec.Struct, frozen=True):
    """What is known of a key. `tokens`: the site's names of those that have it; empty where the site has none."""

    role: Role
    product: str | None
    tokens: tuple[str, ...]
    state: KeyState


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """What will be, when the steps before have been done: the key store, the artefacts, the unlocked tokens."""

    keys: dict[str, KeyFact]
    artefacts: frozenset[str] = frozenset()
    unlocked: frozenset[str] = frozenset()
    product: Product | None = None

    def key(self, label: str) -> KeyFact:
        """A key that exists then. Raises CeremonyAborted CE-15."""
        if label not in self.keys:
            raise CeremonyAborted(PRECONDITION, f"there is no key {label}; correct the plan's values")
        return self.keys[label]

    def with_key(self, label: str, fact: KeyFact) -> Foreseen:
        """After a key was made or changed."""
        return msgspec.structs.replace(self, keys={**self.keys, label: fact})

    def with_new_key(self, label: str, fact: KeyFact) -> Foreseen:
        """After a key was made. Raises CeremonyAborted CE-13 if there is one of that label."""
        if label in self.keys:
            raise CeremonyAborted(OUTPUT_EXISTS, f"key {label} exists already; take the next number")
        return self.with_key(label, fact)

    def with_artefact(self, name: str) -> Foreseen:
        """After an artefact was written. Raises CeremonyAborted CE-13 if there is one of that name."""
        if name in self.artefacts:
            raise CeremonyAborted(OUTPUT_EXISTS, f"the artefact {name} exists already; remove it, or name another")
        return msgspec.structs.replace(self, artefacts=self.artefacts | {name})

    def require_artefact(self, name: str) -> None:
        """Raises ConfigurationError CE-07 if no step before makes it."""
        if name not in self.artefacts:
            raise ConfigurationError(f"[{STEPS_DO_NOT_FIT}] no step before makes the artefact {name!r}")

    def require_unlocked(self, token: str) -> None:
        """Raises ConfigurationError CE-07 if no step before unlocks it."""
        if token not in self.unlocked:
            raise ConfigurationError(f"[{STEPS_DO_NOT_FIT}] no step before unlocks token {token!r}")

    def require_signing(self, label: str, role: Role | None, token: str) -> None:
        """A key that can sign then, on an unlocked token. Raises CeremonyAborted CE-15."""
        self.require_unlocked(token)
        fact = self.key(label)
        if role is not None and fact.role is not role:
            raise CeremonyAborted(PRECONDITION, f"key {label} has the role {fact.role}, not {role}")
        if fact.state is not KeyState.ACTIVE:
            raise CeremonyAborted(PRECONDITION, f"key {label} is {fact.state}, not active, when it should sign")
        self.require_on(label, token)

    def require_on(self, label: str, token: str) -> None:
        """A key that is recorded on a token. Raises CeremonyAborted CE-15."""
        fact = self.key(label)
        if token not in fact.tokens:
            where = ", ".join(fact.tokens) or "no token of this site"
            raise CeremonyAborted(PRECONDITION, f"key {label} is on {where}, not on {token}; correct the plan's values")


class Outcome(msgspec.Struct, frozen=True):
    """What an act did: `fixed` is the same in every run of the plan, `varying` may differ. Public values only."""

    fixed: dict[str, Any]
    varying: dict[str, Any]


class Act(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operation with its parameters. `NAME` is what plans call it."""

    NAME: ClassVar[str]

    def text(self) -> str:
        """What it will do, for the script."""
        raise NotImplementedError

    def tokens(self) -> tuple[str, ...]:
        """The site's names of the tokens that must be unlocked."""
        return ()

    def files(self) -> tuple[str, ...]:
        """The files of the authority repository that it reads: the reviewed digest covers them."""
        return ()

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """What will be after it. Raises CeremonyAborted, ConfigurationError if it could not be done then."""
        raise NotImplementedError

    def perform(self, place: Workplace, step: str) -> Outcome:
        """Do it, or end what an interrupted run of this step began. Raises StrongroomError."""
        raise NotImplementedError

    def public_parameters(self) -> dict[str, Any]:
        """The parameters as the transcript has them; those left at None are left out."""
        values = msgspec.to_builtins(self)
        return {name: value for name, value in values.items() if value is not None}
