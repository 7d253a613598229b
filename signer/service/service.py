"""The signing service: the one place where release keys sign in production (docs/spec/signing-service.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pki.errors import (
    AuditError,
    ConfigurationError,
    FormatError,
    InputRefused,
    PolicyViolation,
    StrongroomError,
    VerificationError,
)
from pki.values import Digest
from signer.log.clock import entry_time
from signer.log.values import AuditLog, Event, EventKind, LoggedEntry
from signer.packages.progress import Progress, no_progress
from signer.packages.sign import sign_package
from signer.service.admission import Admitted, admit
from signer.service.earlier_calls import EarlierCalls
from signer.service.events import failure_event, intent_details, intent_event, refusal_event, result_event
from signer.service.facts import Past
from signer.service.record import record_of
from signer.service.shelf import Shelf, file_digest
from signer.service.values import (
    Clock,
    OneDigestKey,
    PackageJudge,
    ReleaseKeys,
    Reviewed,
    SignedRelease,
    SignOrder,
)

_REFUSALS = (FormatError, InputRefused, ConfigurationError, VerificationError, PolicyViolation)


class SigningService:
    """Turns an order into a released package, once, and says in the log what it did and what it refused.

    Everything it works with is handed in; it opens nothing but the files of the order and those of its shelf.
    """

    def __init__(
        self,
        *,
        reviewed: Reviewed,
        keys: ReleaseKeys,
        log: AuditLog,
        judge: PackageJudge,
        shelf: Shelf,
        past: Past,
        clock: Clock,
        actor: str,
    ) -> None:
        self._reviewed = reviewed
        self._keys = keys
        self._log = log
        self._judge = judge
        self._shelf = shelf
        self._earlier = EarlierCalls(log, shelf)
        self._past = past
        self._clock = clock
        self._actor = actor

    def sign(self, order: SignOrder, progress: Progress = no_progress) -> SignedRelease:
        """Decide, log, sign, verify, log, release; or return what an earlier call of the same request released.

        Raises Rollback AL-01 (clock), PolicyViolation SV-02 (busy), whatever refuses the order (logged before it is
        raised), TokenError, OutputError, and AuditError where the log fails. Then nothing was released.
        """
        request_digest = hashlib.sha256(order.request.statement).digest()
        with self._shelf.exclusively():
            entry_time(self._clock(), self._log.newest_time())
            try:
                released = self._earlier.released(request_digest)
                if released is not None:
                    return released
                admitted = admit(order, self._reviewed, self._keys, self._past, self._clock())
                finished = self._earlier.finished(admitted)
                if not finished:
                    for key in (*admitted.keys, self._keys.compat(admitted.request.request.product)):
                        key.at_hand()
            except _REFUSALS as refusal:
                self._refuse(request_digest, order, refusal)
                raise
            if finished:
                return self._release(order, admitted, self._earlier.intent_index(request_digest), resumed=True)
            return self._sign(request_digest, order, admitted, progress)

    def _refuse(self, request_digest: bytes, order: SignOrder, refusal: StrongroomError) -> None:
        if getattr(refusal, "rule_id", None) != "SV-31":
            self._shelf.drop_unjudged(request_digest)
        self._append(
            refusal_event(
                self._actor, request_digest, order.request.statement, self._reviewed.policy_set.digest, refusal
            )
        )

    def _sign(self, request_digest: bytes, order: SignOrder, admitted: Admitted, progress: Progress) -> SignedRelease:
        """Intent, HSM, judgement, result."""
        self._shelf.drop_unjudged(request_digest)
        resumed = self._earlier.newest(request_digest, EventKind.SIGN_INTENT) is not None
        intent = self._append(intent_event(self._actor, intent_details(admitted), resumed))
        request = admitted.request.request
        wanted = Digest(request.head_digest)

        def sign() -> None:
            keys = [OneDigestKey(key, wanted) for key in admitted.keys]
            sign_package(
                order.prepared,
                self._shelf.unjudged(request_digest),
                keys,
                self._keys.compat(request.product),
                progress=progress,
            )

        self._or_failed(request_digest, admitted, intent.index, sign)
        return self._release(order, admitted, intent.index, resumed=resumed)

    def _release(self, order: SignOrder, admitted: Admitted, intent_index: int, *, resumed: bool) -> SignedRelease:
        """From a signed package on the shelf to one that callers are given."""
        request = admitted.request.request
        path = self._shelf.unjudged(request.digest)
        verdicts: list[str] = []

        def judge() -> None:
            verdict = self._judge.judge(request.product, path)
            if not verdict.accepted:
                raise PolicyViolation("SV-30", f"{verdict.judge} refuses the finished package: {verdict.text}")
            verdicts.append(verdict.judge)

        self._or_failed(request.digest, admitted, intent_index, judge)
        package = file_digest(path)
        if package is None:
            raise PolicyViolation("SV-31", f"{path.name} vanished from the shelf; call again")
        lines = self._reviewed.lines_of({request.requester, *admitted.approvers})
        record = record_of(order, admitted, lines, package, intent_index)
        self._shelf.write(self._shelf.record(request.digest), record.encode())
        self._append(result_event(self._actor, admitted, package, intent_index, verdicts[0], resumed))
        self._shelf.publish(request.digest)
        return self._earlier.described(request.digest, repeated=False)

    def _or_failed(
        self, request_digest: bytes, admitted: Admitted, intent_index: int, step: Callable[[], None]
    ) -> None:
        """Do a step after the intent; if it fails, nothing signed stays, the log says so, and the error goes on."""
        try:
            step()
        except AuditError:
            raise
        except StrongroomError as failure:
            self._shelf.drop_unjudged(request_digest)
            self._append(failure_event(self._actor, admitted, intent_index, failure))
            raise

    def _append(self, event: Event) -> LoggedEntry:
        (entry,) = self._log.append([event], self._clock())
        return entry
