"""What earlier calls of one request left on shelf and in log (docs/spec/signing-service.md, "After a crash")."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pki.errors import AuditError, FormatError, PolicyViolation, SignatureInvalid
from pki.values import Signature
from signer.log.values import AuditLog, EventKind, LoggedEntry
from signer.packages.layout import HEAD_SIZE_BYTES, SIGNATURE_OFFSETS, SIGNATURE_SIZE_BYTES
from signer.packages.manifest import tbs_digest
from signer.service.admission import Admitted
from signer.service.shelf import Shelf, file_digest
from signer.service.values import SignedRelease
from signer.signing_key import verify_signature


class EarlierCalls:
    """Log and shelf, compared. Used while the lock is held."""

    def __init__(self, log: AuditLog, shelf: Shelf) -> None:
        self._log = log
        self._shelf = shelf

    def released(self, request_digest: bytes) -> SignedRelease | None:
        """What the log says was signed, if the shelf has it; it gets its name where a crash left it without.

        Raises PolicyViolation SV-31 if the shelf has something else, OutputError, AuditError.
        """
        result = self.newest(request_digest, EventKind.SIGN_RESULT)
        path = self._shelf.released(request_digest)
        package = file_digest(path)
        if package is None:
            if not self._waits_for_its_name(request_digest, result):
                return None
            path = self._shelf.unjudged(request_digest)
            package = file_digest(path)
        if package is None or result is None or result.event.details["package_digest"] != package[0].hex():
            raise PolicyViolation(
                "SV-31",
                f"{path.name} on the shelf is not what the log says was signed for this request; find out who wrote "
                "it, then remove it",
            )
        if path != self._shelf.released(request_digest):
            self._shelf.publish(request_digest)
        return self.described(request_digest, repeated=True)

    def _waits_for_its_name(self, request_digest: bytes, result: LoggedEntry | None) -> bool:
        """Whether a result was logged and its package not yet published: no intent is newer than the result."""
        if result is None or not self._shelf.unjudged(request_digest).exists():
            return False
        intent = self.newest(request_digest, EventKind.SIGN_INTENT)
        return intent is None or intent.index < result.index

    def finished(
        self, request_digest: bytes, intent_details: dict[str, Any], is_signed: Callable[[Path], bool]
    ) -> bool:
        """Whether a call that did not end left a signed artefact of this very order, decided as it is now.

        Anything else that stands in its place is removed. Raises OutputError, AuditError.
        """
        path = self._shelf.unjudged(request_digest)
        if not path.exists():
            return False
        intent = self.newest(request_digest, EventKind.SIGN_INTENT)
        if intent is not None and _details(intent) == intent_details and is_signed(path):
            return True
        self._shelf.drop_unjudged(request_digest)
        return False

    def newest(self, request_digest: bytes, kind: EventKind) -> LoggedEntry | None:
        """The newest entry of a kind about this request. Raises AuditError."""
        entries = self._log.find("request_digest", request_digest.hex())
        return next((entry for entry in reversed(entries) if entry.event.kind is kind), None)

    def intent_index(self, request_digest: bytes) -> int:
        """The newest intent's. Raises AuditError if there is none."""
        intent = self.newest(request_digest, EventKind.SIGN_INTENT)
        if intent is None:
            raise AuditError("the log has no intent of a package that was signed; nothing was released")
        return intent.index

    def described(self, request_digest: bytes, *, repeated: bool) -> SignedRelease:
        """What was released, as the log has it. Raises AuditError if it has not."""
        entries = {entry.index: entry for entry in self._log.find("request_digest", request_digest.hex())}
        result = self.newest(request_digest, EventKind.SIGN_RESULT)
        intent = entries.get(result.event.details["intent"]) if result is not None else None
        if result is None or intent is None:
            raise AuditError(
                "the log does not have intent and result of a package that was signed; nothing was released"
            )
        details = result.event.details
        return SignedRelease(
            path=self._shelf.released(request_digest),
            request_digest=request_digest,
            head_digest=bytes.fromhex(details["head_digest"]),
            package_digest=bytes.fromhex(details["package_digest"]),
            package_size_bytes=details["package_size_bytes"],
            intent_index=intent.index,
            result_index=result.index,
            policy_ids=tuple(intent.event.details["policy_ids"]),
            repeated=repeated,
        )


def _details(intent: LoggedEntry) -> dict[str, Any]:
    return {name: value for name, value in intent.event.details.items() if name != "resumed"}


def is_signed_package(path: Path, admitted: Admitted) -> bool:
    """Whether a package's head is the one to be signed, and every signature in it verifies."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_SIZE_BYTES)
        digest = tbs_digest(head)
        if digest.value != admitted.request.request.head_digest:
            return False
        for key, offset in zip(admitted.keys, SIGNATURE_OFFSETS, strict=False):
            verify_signature(key.public_key, digest, Signature(head[offset : offset + SIGNATURE_SIZE_BYTES]))
    except (OSError, ValueError, FormatError, SignatureInvalid):
        return False
    return True
