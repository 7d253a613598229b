"""The signing service: the one place where release keys sign in production (docs/spec/signing-service.md)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pki.errors import PolicyViolation
from pki.values import Digest
from signer.log.values import AuditLog
from signer.packages.progress import Progress, no_progress
from signer.packages.sign import sign_package
from signer.service.admission import Admitted, admit
from signer.service.earlier_calls import is_signed_package
from signer.service.events import intent_details, subject_of
from signer.service.facts import Past
from signer.service.flow import SigningFlow
from signer.service.record import record_of
from signer.service.shelf import Shelf
from signer.service.values import (
    Clock,
    OneDigestKey,
    PackageJudge,
    ReleaseKey,
    ReleaseKeys,
    Reviewed,
    SignedRelease,
    SignOrder,
)


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
        self._judge = judge
        self._past = past
        self._clock = clock
        self._flow = SigningFlow(reviewed, log, shelf, clock, actor)

    def sign(self, order: SignOrder, progress: Progress = no_progress) -> SignedRelease:
        """Decide, log, sign, verify, log, release; or return what an earlier call of the same request released.

        Raises Rollback AL-01 (clock), PolicyViolation SV-02 (busy), whatever refuses the order (logged before it is
        raised), TokenError, OutputError, and AuditError where the log fails. Then nothing was released.
        """

        def admitted() -> _PackageAct:
            found = admit(order, self._reviewed, self._keys, self._past, self._clock())
            return _PackageAct(order, found, self._reviewed, self._keys, self._judge, progress)

        statement = order.request.statement
        return self._flow.serve(hashlib.sha256(statement).digest(), statement, admitted)


class _PackageAct:
    """One admitted order, as the flow carries it out."""

    def __init__(
        self,
        order: SignOrder,
        admitted: Admitted,
        reviewed: Reviewed,
        keys: ReleaseKeys,
        judge: PackageJudge,
        progress: Progress,
    ) -> None:
        self._order = order
        self._admitted = admitted
        self._reviewed = reviewed
        self._keys = keys
        self._judge = judge
        self._progress = progress

    @property
    def subject(self) -> dict[str, Any]:
        return subject_of(self._admitted)

    @property
    def intent_details(self) -> dict[str, Any]:
        return intent_details(self._admitted)

    def is_signed(self, path: Path) -> bool:
        return is_signed_package(path, self._admitted)

    def at_hand(self) -> None:
        for key in (*self._admitted.keys, self._compat_key()):
            key.at_hand()

    def sign(self, path: Path) -> None:
        wanted = Digest(self._admitted.request.request.head_digest)
        keys = [OneDigestKey(key, wanted) for key in self._admitted.keys]
        sign_package(self._order.prepared, path, keys, self._compat_key(), progress=self._progress)

    def _compat_key(self) -> ReleaseKey:
        return self._keys.compat(self._admitted.request.request.product)

    def judge(self, path: Path) -> str:
        verdict = self._judge.judge(self._admitted.request.request.product, path)
        if not verdict.accepted:
            raise PolicyViolation("SV-30", f"{verdict.judge} refuses the finished package: {verdict.text}")
        return verdict.judge

    def record(self, artefact: tuple[bytes, int], intent_index: int) -> bytes:
        request = self._admitted.request.request
        lines = self._reviewed.lines_of({request.requester, *self._admitted.approvers})
        return record_of(self._order, self._admitted, lines, artefact, intent_index).encode()
