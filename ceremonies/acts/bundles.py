"""Acts on trust bundles: making one, and signing it root by root."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ceremonies.acts.base import Act, Foreseen, Outcome
from ceremonies.rules import NOT_THIS_CEREMONYS, PRECONDITION, STEPS_DO_NOT_FIT
from pki.errors import CeremonyAborted, ConfigurationError
from pki.key_states import KeyState
from pki.roles import ROLES, Role

if TYPE_CHECKING:
    from ceremonies.workplace import Workplace

_USABLE = (KeyState.PRE_ACTIVATION, KeyState.ACTIVE)


class MakeGenesisBundle(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Version 1 of a product's trust bundle, from its file and the key store; not signed yet."""

    NAME: ClassVar[str] = "make-genesis-bundle"

    product: str
    artefact: str

    def text(self) -> str:
        """For the script."""
        return f"The genesis trust bundle of {self.product} is made, not yet signed, as {self.artefact}."

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """Every key of the product exists then, and each root has a token of its own. Raises CeremonyAborted CE-15."""
        product = foreseen.product
        if product is None or product.name != self.product:
            raise ConfigurationError(f"[{STEPS_DO_NOT_FIT}] the plan has no product {self.product!r}")
        on_devices = [role for role, facts in ROLES.items() if facts.device_role_number is not None]
        for role in (Role.ROOT, *on_devices):
            for config in product.keys.of_role(role):
                fact = foreseen.key(config.label)
                if fact.state not in _USABLE:
                    raise CeremonyAborted(PRECONDITION, f"key {config.label} is {fact.state}; no bundle may name it")
        tokens = [config.token for config in product.keys.root]
        if len(set(tokens)) != len(tokens):
            raise CeremonyAborted(PRECONDITION, "two roots share a token: each root needs one of its own")
        return foreseen.with_artefact(self.artefact)

    def perform(self, place: Workplace, _step: str) -> Outcome:
        """Encode it; the same keys give the same bytes, so a rerun writes the same."""
        from signer.trust_bundles.encoding import bundle_digest, unsigned_bundle

        data = unsigned_bundle(place.genesis_content(self.product))
        place.artefacts.write(self.artefact, data)
        return Outcome(
            {"product": self.product, "artefact": self.artefact, "version": 1},
            {"bundle_digest": bundle_digest(data).value.hex()},
        )


class SignBundle(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One root's signature on a trust bundle. A root of both versions signs once and counts for both."""

    NAME: ClassVar[str] = "sign-bundle"

    bundle: str
    key: str
    token: str
    artefact: str
    previous: str | None = None
    complete: bool = False
    """Whether the bundle must be complete with this signature."""

    def text(self) -> str:
        """For the script."""
        end = " The bundle is then complete." if self.complete else ""
        return f"Root {self.key} on token {self.token} signs {self.bundle}; the result is {self.artefact}.{end}"

    def tokens(self) -> tuple[str, ...]:
        """The root's token."""
        return (self.token,)

    def files(self) -> tuple[str, ...]:
        """The version before, for a successor."""
        return () if self.previous is None else (self.previous,)

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """The bundle is there, and the root can sign."""
        foreseen.require_artefact(self.bundle)
        foreseen.require_signing(self.key, Role.ROOT, self.token)
        return foreseen.with_artefact(self.artefact)

    def perform(self, place: Workplace, _step: str) -> Outcome:
        """Sign, or take what an interrupted run had signed, after verifying it."""
        from signer.trust_bundles.encoding import bundle_digest
        from signer.trust_bundles.signing import add_signature, signature_status

        begun = place.artefacts.read(self.bundle)
        previous = None if self.previous is None else place.reviewed_file(self.previous)
        record = place.store.key(self.key)
        if place.artefacts.has(self.artefact):
            signed = place.artefacts.read(self.artefact)
            if bundle_digest(signed) != bundle_digest(begun):
                raise CeremonyAborted(NOT_THIS_CEREMONYS, f"{self.artefact} is there, and is another bundle")
        else:
            key = place.signing_key(self.key, Role.ROOT, record.product, self.token)
            signed = add_signature(begun, key, previous)
        status = signature_status(signed, previous)
        if record.public_key not in (*status.own_signers, *status.previous_signers):
            raise CeremonyAborted(NOT_THIS_CEREMONYS, f"{self.artefact} is there, without the signature of {self.key}")
        if status.complete is not self.complete:
            state = "complete" if status.complete else "not complete"
            raise CeremonyAborted(PRECONDITION, f"the bundle is {state} with this signature, which the plan denies")
        place.artefacts.write(self.artefact, signed)
        return Outcome(
            {
                "bundle": self.bundle,
                "key": self.key,
                "artefact": self.artefact,
                "signatures": len(status.own_signers),
                "previous_signatures": len(status.previous_signers),
                "complete": status.complete,
            },
            {"bundle_digest": bundle_digest(signed).value.hex()},
        )
