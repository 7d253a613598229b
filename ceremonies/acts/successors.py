"""The next version of a trust bundle: new role keys or roots, keys taken out, keys revoked; not signed yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from ceremonies.acts.base import Act, Foreseen, Outcome
from ceremonies.rules import PRECONDITION
from pki.errors import CeremonyAborted, InputRefused
from pki.key_states import KeyState
from pki.roles import Role
from pki.values import PublicKey

if TYPE_CHECKING:
    from ceremonies.workplace import Workplace

Labels = Annotated[tuple[str, ...], msgspec.Meta(max_length=12)]


class MakeSuccessorBundle(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What follows `previous`. `roots`: all roots of the new version. `accept`: dangers, TB-…, that are meant."""

    NAME: ClassVar[str] = "make-successor-bundle"

    product: str
    previous: str
    artefact: str
    add: Labels = ()
    remove: Labels = ()
    revoke: Labels = ()
    stop: bool = False
    roots: Labels | None = None
    accept: Labels = ()

    def text(self) -> str:
        """For the script: every change in words."""
        parts = [f"The trust bundle of {self.product} that follows {self.previous} is made as {self.artefact}."]
        parts += [f"New: {label}." for label in self.add]
        parts += [f"Taken out: {label}." for label in self.remove]
        with_stop = ", and what it signed stops" if self.stop else ""
        parts += [f"Revoked for ever: {label}{with_stop}." for label in self.revoke]
        if self.roots is not None:
            parts.append(f"Its roots: {', '.join(self.roots)}.")
        parts += [f"Accepted danger: {rule}." for rule in self.accept]
        return " ".join(parts)

    def files(self) -> tuple[str, ...]:
        """The version before."""
        return (self.previous,)

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """Every key that it names exists then, and those that become current can sign. Raises CeremonyAborted CE-15."""
        for label in (*self.add, *(self.roots or ())):
            if foreseen.key(label).state not in {KeyState.PRE_ACTIVATION, KeyState.ACTIVE}:
                raise CeremonyAborted(PRECONDITION, f"key {label} is {foreseen.key(label).state}; it cannot be current")
        for label in self.roots or ():
            if foreseen.key(label).role is not Role.ROOT:
                raise CeremonyAborted(PRECONDITION, f"key {label} is no root")
        for label in (*self.remove, *self.revoke):
            foreseen.key(label)
        return foreseen.with_artefact(self.artefact)

    def perform(self, place: Workplace, _step: str) -> Outcome:
        """Encode it; the same keys give the same bytes. Raises PolicyViolation TB-…"""
        from signer.trust_bundles.content import RevokedKey, RoleKey
        from signer.trust_bundles.encoding import bundle_digest, decode_bundle, unsigned_bundle
        from signer.trust_bundles.succession import BundleChanges, successor_content

        def key(label: str) -> PublicKey:
            return _public_key(place, label)

        previous = place.reviewed_file(self.previous)
        current = {entry.key.key_id for entry in decode_bundle(previous)[0].role_keys}
        gone = {key(label).key_id for label in (*self.remove, *self.revoke)}
        changes = BundleChanges(
            roots=None if self.roots is None else tuple(key(label) for label in self.roots),
            added=tuple(RoleKey(place.store.key(label).role, key(label)) for label in self.add),
            removed=tuple(sorted(gone & current)),
            revoked=tuple(RevokedKey(key(label).key_id, self.stop) for label in self.revoke),
        )
        content = successor_content(previous, changes, place.succession_facts(self.product), self.accept)
        data = unsigned_bundle(content)
        place.artefacts.write(self.artefact, data)
        return Outcome(
            {
                "product": self.product,
                "artefact": self.artefact,
                "version": content.version,
                "added": list(self.add),
                "removed": list(self.remove),
                "revoked": list(self.revoke),
                "stop": self.stop,
            },
            {"bundle_digest": bundle_digest(data).value.hex(), "previous_digest": content.previous_digest.hex()},
        )


def _public_key(place: Workplace, label: str) -> PublicKey:
    public_key = place.store.key(label).public_key
    if public_key is None:
        raise InputRefused(f"key {label} is a secret key; no trust bundle names it")
    return public_key
