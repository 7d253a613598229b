"""The order of work of the signing service, for packages and every other object (docs/spec/signing-service.md).

What differs is an `Act`: what is read, which policies decide, what the HSM signs, who judges the result.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pki.errors import (
    AuditError,
    ConfigurationError,
    FormatError,
    InputRefused,
    PolicyViolation,
    StrongroomError,
    VerificationError,
)
from signer.log.clock import entry_time
from signer.log.values import AuditLog, Event, EventKind, LoggedEntry
from signer.service.earlier_calls import EarlierCalls
from signer.service.events import failure_event, intent_event, refusal_event, result_event
from signer.service.shelf import Shelf, file_digest
from signer.service.values import Clock, Reviewed, SignedRelease

_REFUSALS = (FormatError, InputRefused, ConfigurationError, VerificationError, PolicyViolation)


class Admission(Protocol):
    """An order that may be signed: everything was decided, and no token was asked yet."""

    @property
    def subject(self) -> dict[str, Any]:
        """What every entry of the log about it says."""

    @property
    def intent_details(self) -> dict[str, Any]:
        """The details of `sign-intent`, but for `resumed`."""

    def is_signed(self, path: Path) -> bool:
        """Whether a file is this very artefact with every signature."""

    def at_hand(self) -> None:
        """Find every key on its token. Raises TokenError, PolicyViolation KS-…"""

    def sign(self, path: Path) -> None:
        """Let the HSM sign, and write the finished artefact to this new file."""

    def judge(self, path: Path) -> str:
        """Who accepts the finished artefact. Raises PolicyViolation SV-30."""

    def record(self, artefact: tuple[bytes, int], intent_index: int) -> bytes:
        """The record for the shelf. `artefact`: SHA-256 and size in bytes of the finished file."""


class SigningFlow:
    """Serves one order at a time, under the lock of the whole authority, and says in the log what came of it."""

    def __init__(self, reviewed: Reviewed, log: AuditLog, shelf: Shelf, clock: Clock, actor: str) -> None:
        self._reviewed = reviewed
        self._log = log
        self._shelf = shelf
        self._earlier = EarlierCalls(log, shelf)
        self._clock = clock
        self._actor = actor

    def serve(self, request_digest: bytes, statement: bytes, admit: Callable[[], Admission]) -> SignedRelease:
        """Decide, log, sign, verify, log, release; or return what an earlier call of the same request released.

        `admit` does steps 3 to 6. Raises Rollback AL-01 (clock), PolicyViolation SV-02 (busy), whatever refuses the
        order (logged before it is raised), TokenError, OutputError, and AuditError where the log fails. Then nothing
        was released.
        """
        with self._shelf.exclusively():
            entry_time(self._clock(), self._log.newest_time())
            try:
                released = self._earlier.released(request_digest)
                if released is not None:
                    return released
                admitted = admit()
                finished = self._earlier.finished(request_digest, admitted.intent_details, admitted.is_signed)
                if not finished:
                    admitted.at_hand()
            except _REFUSALS as refusal:
                self._refuse(request_digest, statement, refusal)
                raise
            if finished:
                index = self._earlier.intent_index(request_digest)
                return self._release(request_digest, admitted, index, resumed=True)
            return self._sign(request_digest, admitted)

    def _refuse(self, request_digest: bytes, statement: bytes, refusal: StrongroomError) -> None:
        if getattr(refusal, "rule_id", None) != "SV-31":
            self._shelf.drop_unjudged(request_digest)
        policy_digest = self._reviewed.policy_set.digest
        self._append(refusal_event(self._actor, request_digest, statement, policy_digest, refusal))

    def _sign(self, request_digest: bytes, admitted: Admission) -> SignedRelease:
        """Intent, HSM, judgement, result."""
        self._shelf.drop_unjudged(request_digest)
        resumed = self._earlier.newest(request_digest, EventKind.SIGN_INTENT) is not None
        intent = self._append(intent_event(self._actor, admitted.intent_details, resumed))
        path = self._shelf.unjudged(request_digest)
        self._or_failed(request_digest, admitted, intent.index, lambda: admitted.sign(path))
        return self._release(request_digest, admitted, intent.index, resumed=resumed)

    def _release(
        self, request_digest: bytes, admitted: Admission, intent_index: int, *, resumed: bool
    ) -> SignedRelease:
        """From a signed artefact on the shelf to one that callers are given."""
        path = self._shelf.unjudged(request_digest)
        verdicts: list[str] = []
        self._or_failed(request_digest, admitted, intent_index, lambda: verdicts.append(admitted.judge(path)))
        artefact = file_digest(path)
        if artefact is None:
            raise PolicyViolation("SV-31", f"{path.name} vanished from the shelf; call again")
        self._shelf.write(self._shelf.record(request_digest), admitted.record(artefact, intent_index))
        self._append(result_event(self._actor, admitted.subject, artefact, intent_index, verdicts[0], resumed))
        self._shelf.publish(request_digest)
        return self._earlier.described(request_digest, repeated=False)

    def _or_failed(
        self, request_digest: bytes, admitted: Admission, intent_index: int, step: Callable[[], None]
    ) -> None:
        """Do a step after the intent; if it fails, nothing signed stays, the log says so, and the error goes on."""
        try:
            step()
        except AuditError:
            raise
        except StrongroomError as failure:
            self._shelf.drop_unjudged(request_digest)
            self._append(failure_event(self._actor, admitted.subject, intent_index, failure))
            raise

    def _append(self, event: Event) -> LoggedEntry:
        (entry,) = self._log.append([event], self._clock())
        return entry
