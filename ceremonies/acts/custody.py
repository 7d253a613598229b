"""Acts of custody: a key made with copies and a backup file, a key restored, a key that proves it signs.

A key can be backed up only while it is generated (docs/spec/key-backup.md). Shares go from the token's host to one
custodian at a time and back, by the workplace's callbacks; acts and transcripts see digests and check values only.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from ceremonies.acts.base import Act, Foreseen, KeyFact, Outcome
from ceremonies.acts.keys import public_half, recorded, require_own
from ceremonies.rules import PRECONDITION
from ceremonies.workplace import reason_of
from pki.errors import CeremonyAborted, FormatError
from pki.key_specs import KEY_SPECS, parse_key_label
from pki.key_states import KeyState
from signer.log.values import EventKind

if TYPE_CHECKING:
    from ceremonies.workplace import Workplace
    from signer.custody.backup_file import BackupFile
    from signer.custody.kek import Kek
    from signer.custody.plan import KeyWithBackup
    from signer.custody.restore import SignCheck as Signed
    from signer.custody.shares import ShareScheme
    from signer.store.values import KeyRecord

Parts = Annotated[tuple[str, ...], msgspec.Meta(max_length=16)]


class GenerateBackedUpKey(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new key with copies on further tokens, and a backup file under a key that custodians hold in shares.

    `custodians` are parts of the plan (custodian-1 …), each gets one share; `needed` of them recombine the key. They
    read back `read_back` words of their share, from 1 to all 33.
    """

    NAME: ClassVar[str] = "generate-backed-up-key"

    label: str
    token: str
    copies_on: Annotated[tuple[str, ...], msgspec.Meta(max_length=4)] = ()
    artefact: str | None = None
    custodians: Parts = ()
    needed: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2
    read_back: Annotated[int, msgspec.Meta(ge=1, le=33)] = 33

    def text(self) -> str:
        """For the script."""
        parts = [f"The key {self.label} is generated on token {self.token}."]
        if self.copies_on:
            parts.append(f"It is copied, wrapped, to {' and '.join(self.copies_on)}.")
        if self.artefact is not None:
            parts.append(
                f"Its backup file is {self.artefact}; {', '.join(self.custodians)} get a share each, one after the "
                f"other, alone before the screen; any {self.needed} of them can restore it."
            )
        return " ".join(parts)

    def tokens(self) -> tuple[str, ...]:
        """The key's own, and those of its copies."""
        return (self.token, *self.copies_on)

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """The label is free, and the role may have a backup. Raises CeremonyAborted CE-15, PolicyViolation KB-03."""
        parts = parse_key_label(self.label)
        for token in self.tokens():
            foreseen.require_unlocked(token)
        if not KEY_SPECS[parts.role].backup_permitted:
            raise CeremonyAborted(PRECONDITION, f"keys of role {parts.role} have no backup and no copy (KB-01)")
        if self.artefact is not None and not KEY_SPECS[parts.role].backup_file_permitted:
            raise CeremonyAborted(PRECONDITION, f"keys of role {parts.role} have copies, and no backup file (KB-01)")
        if len(set(self.tokens())) != len(self.tokens()) or not (self.copies_on or self.artefact):
            raise CeremonyAborted(PRECONDITION, "a backup is copies on other tokens, or a file, or both (KB-02)")
        if (self.artefact is not None) != bool(self.custodians):
            raise CeremonyAborted(PRECONDITION, "a backup file goes with custodians, and custodians with a file")
        fact = KeyFact(parts.role, parts.product, self.tokens(), KeyState.PRE_ACTIVATION)
        foreseen = foreseen.with_new_key(self.label, fact)
        if self.artefact is None:
            return foreseen
        self._scheme()
        return foreseen.with_artefact(self.artefact)

    def perform(self, place: Workplace, step: str) -> Outcome:
        """Generate and record it with all its copies, or end what an interrupted run of this step began."""
        record = recorded(place, self.label)
        if record is not None and place.custody_intents.of(self.label) is None:
            require_own(place, record, step, 0)
            outcome = "recorded before the interruption"
        else:
            made = self._made(place, step)
            record, outcome = made.record, str(made.outcome)
        if self.artefact is not None:
            place.artefacts.adopt(self.artefact)
        place.log(EventKind.KEY_GENERATED, step, {"key_label": self.label, "cka_id": record.cka_id.hex()})
        backups = [
            {"digest": backup.digest.hex(), "key_check_value": backup.kek_kcv.hex()} for backup in record.backups
        ]
        copies = [{"serial": copy.token.serial, "token_label": copy.token.label} for copy in record.copies]
        details = {"key_label": self.label, "backups": backups, "copies": copies}
        place.log(EventKind.KEY_BACKED_UP, step, details)
        return Outcome(
            {
                "label": self.label,
                "role": record.role.value,
                "product": record.product,
                "token": self.token,
                "copies_on": list(self.copies_on),
                "custodians": list(self.custodians),
                "needed": self.needed if self.custodians else None,
            },
            {**public_half(record), "outcome": outcome, "copies": copies, "backups": backups},
        )

    def _made(self, place: Workplace, step: str) -> KeyWithBackup:
        from signer.authority.key_generation import KeyRequest
        from signer.custody.generation import generate_with_backup
        from signer.custody.kek import split_kek
        from signer.custody.plan import BackupPlan, FileBackup

        parts = parse_key_label(self.label)
        source = place.session(self.token)
        with ExitStack() as stack:

            def kek() -> Kek:
                split = split_kek((source,), self._scheme(), place.share_sink(), words_read_back=self.read_back)
                return stack.enter_context(split)

            file = None if self.artefact is None else FileBackup(place.artefacts.path(self.artefact), kek)
            copies = tuple(place.session(token) for token in self.copies_on)
            return generate_with_backup(
                place.custody_intents,
                place.store,
                source,
                KeyRequest(parts.role, parts.product, parts.sequence),
                BackupPlan(copies, file, bytes.fromhex(place.digest)),
                lambda: place.change(step),
            )

    def _scheme(self) -> ShareScheme:
        from signer.custody.shares import ShareScheme

        return ShareScheme.of(self.needed, self.custodians)


class RestoreKey(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key out of its backup file, onto a token, by custodians with their shares; it signs before it is recorded."""

    NAME: ClassVar[str] = "restore-key"

    label: str
    backup: str
    token: str

    def text(self) -> str:
        """For the script."""
        return (
            f"The key {self.label} is restored from {self.backup} to token {self.token}: the custodians enter their "
            "shares one after the other, alone before the screen; then the key signs a test message."
        )

    def tokens(self) -> tuple[str, ...]:
        """The token that gets it."""
        return (self.token,)

    def files(self) -> tuple[str, ...]:
        """The backup file."""
        return (self.backup,)

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """The key is recorded, alive, and not on this token. Raises CeremonyAborted CE-15."""
        foreseen.require_unlocked(self.token)
        fact = foreseen.key(self.label)
        if fact.state in {KeyState.DESTROYED, KeyState.COMPROMISED}:
            raise CeremonyAborted(PRECONDITION, f"key {self.label} is {fact.state}; it is not restored (KB-10)")
        if self.token in fact.tokens:
            raise CeremonyAborted(PRECONDITION, f"key {self.label} is on token {self.token} already (KB-11)")
        return foreseen.with_key(self.label, msgspec.structs.replace(fact, tokens=(*fact.tokens, self.token)))

    def perform(self, place: Workplace, step: str) -> Outcome:
        """Restore and record it, or end what an interrupted run of this step began; it signs either way."""
        from signer.custody.backup_file import decode_backup
        from signer.custody.kek import combine_kek
        from signer.custody.restore import restore_key, sign_check

        target = place.session(self.token)
        data = place.reviewed_file(self.backup)
        file = decode_backup(data)
        if file.label != self.label:
            raise FormatError("label", 0, f"{self.backup} is the backup of {file.label}, not of {self.label}")
        record = place.store.key(self.label)
        if self._is_restored(place, record, step) and place.custody_intents.of(self.label) is None:
            check, outcome = sign_check(target, record), "recorded before the interruption"
        else:
            with ExitStack() as stack:

                def kek() -> Kek:
                    return stack.enter_context(combine_kek((target,), file.kek, place.share_source()))

                restored = restore_key(
                    place.custody_intents, place.store, target, data, kek, lambda: place.change(step)
                )
            record, check, outcome = restored.record, restored.check, str(restored.outcome)
        details = {"key_label": self.label, "backup_digest": file.digest.hex()}
        place.log(EventKind.KEY_RESTORED, step, details)
        return Outcome(
            {"label": self.label, "token": self.token},
            {**_backup_facts(file), **public_half(record), **_signature(check), "outcome": outcome},
        )

    def _is_restored(self, place: Workplace, record: KeyRecord, step: str) -> bool:
        here = (place.session(self.token).token.serial, place.session(self.token).token.label)
        reason = reason_of(place.ceremony, step)
        return any(copy.token.identity == here and copy.made.reason == reason for copy in record.copies)


class SignCheck(Act, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key on a token signs a test message, verified under its recorded public key."""

    NAME: ClassVar[str] = "sign-check"

    label: str
    token: str

    def text(self) -> str:
        """For the script."""
        return f"The key {self.label} on token {self.token} signs a test message, which is verified."

    def tokens(self) -> tuple[str, ...]:
        """The one token."""
        return (self.token,)

    def foresee(self, foreseen: Foreseen) -> Foreseen:
        """The key is on the token then."""
        foreseen.require_unlocked(self.token)
        foreseen.require_on(self.label, self.token)
        return foreseen

    def perform(self, place: Workplace, _step: str) -> Outcome:
        """Sign and verify; nothing changes. Raises PolicyViolation KB-09."""
        from signer.custody.restore import sign_check

        record = place.store.key(self.label)
        check = sign_check(place.session(self.token), record)
        return Outcome({"label": self.label, "token": self.token}, {**public_half(record), **_signature(check)})


def _signature(check: Signed) -> dict[str, str]:
    return {"signed_digest": check.digest.value.hex(), "signature": check.signature.value.hex()}


def _backup_facts(file: BackupFile) -> dict[str, str]:
    return {"backup_digest": file.digest.hex(), "key_check_value": file.kek.kcv.hex()}
