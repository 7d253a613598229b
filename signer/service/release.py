"""Releasing what the service has signed: evidence is made, the release logged, and then both are handed out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from pki.errors import PolicyViolation
from signer.log.entry import time_text
from signer.log.values import AuditLog, Event, EventKind
from signer.service.earlier_calls import EarlierCalls
from signer.service.evidence import (
    DecisionFacts,
    LogFacts,
    PackageFacts,
    ProvenEntry,
    ReleaseEvidence,
    SbomFacts,
    decode_evidence,
)
from signer.service.outputs import hand_out, hand_out_copy, require_free
from signer.service.proofs import ProvenTogether
from signer.service.record import SigningRecord, decode_record
from signer.service.releases import ReleaseHistory
from signer.service.shelf import Shelf
from signer.service.values import Clock, SignedRelease

Prove = Callable[[Sequence[int]], ProvenTogether]
"""Proves entries of the log by their indices; raises PolicyViolation SV-42 where a witness is demanded and missing."""


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """What was released. `kept` is the evidence in the authority repository; digests have 32 bytes."""

    signed: SignedRelease
    product: str
    kind: str
    version: str
    package: Path
    evidence: Path
    kept: Path
    evidence_digest: bytes
    witnesses: tuple[str, ...]
    repeated: bool


class ReleaseDesk:
    """Hands out packages that the signing service has signed, each with its evidence, once and the same each time."""

    def __init__(
        self, *, log: AuditLog, shelf: Shelf, history: ReleaseHistory, prove: Prove, clock: Clock, actor: str
    ) -> None:
        self._log = log
        self._shelf = shelf
        self._history = history
        self._prove = prove
        self._clock = clock
        self._actor = actor

    def release(self, request_digest: bytes, package: Path, evidence: Path) -> Released:
        """Write the package and its evidence to these new files, and the evidence into the history of releases.

        Raises PolicyViolation SV-41 (nothing was signed for this request), SV-31, SV-42; OutputError, AuditError,
        TokenError. The same call again ends what was interrupted.
        """
        with self._shelf.exclusively():
            signed, record = self._signed(request_digest)
            require_free(package, signed.package_digest)
            content = self._released_before(request_digest)
            repeated = content is not None
            witnesses: tuple[str, ...] = ()
            if content is None:
                proven = self._prove([signed.intent_index, signed.result_index])
                witnesses = proven.witnesses
                content = evidence_of(signed, record, proven, self._clock()).encode()
                require_free(evidence, hashlib.sha256(content).digest())
                self._shelf.write(self._shelf.evidence(request_digest), content)
                self._log.append([self._event(signed, record, content)], self._clock())
            kept = self._history.path_for(decode_evidence(content), request_digest)
            hand_out(content, kept)
            hand_out_copy(signed.path, signed.package_digest, package)
            hand_out(content, evidence)
        return Released(
            signed=signed,
            product=record.product,
            kind=record.kind,
            version=record.version,
            package=package,
            evidence=evidence,
            kept=kept,
            evidence_digest=hashlib.sha256(content).digest(),
            witnesses=witnesses,
            repeated=repeated,
        )

    def _signed(self, request_digest: bytes) -> tuple[SignedRelease, SigningRecord]:
        signed = EarlierCalls(self._log, self._shelf).released(request_digest)
        data = self._shelf.read(self._shelf.record(request_digest))
        if signed is None or data is None:
            raise PolicyViolation(
                "SV-41", "nothing was signed for this request here; `strongroom package sign --request` comes first"
            )
        record = decode_record(data)
        if (record.package_digest, record.intent_index) != (signed.package_digest.hex(), signed.intent_index):
            raise PolicyViolation("SV-31", "the record on the shelf is of another signature than the log's; restore it")
        return signed, record

    def _released_before(self, request_digest: bytes) -> bytes | None:
        """The evidence, if the log says that this very file was released."""
        content = self._shelf.read(self._shelf.evidence(request_digest))
        released = EarlierCalls(self._log, self._shelf).newest(request_digest, EventKind.RELEASED)
        if content is None or released is None:
            return None
        if released.event.details["evidence_digest"] != hashlib.sha256(content).hexdigest():
            return None
        return content

    def _event(self, signed: SignedRelease, record: SigningRecord, content: bytes) -> Event:
        details = {
            "request_digest": signed.request_digest.hex(),
            "head_digest": record.head_digest,
            "product": record.product,
            "kind": record.kind,
            "version": record.version,
            "security_version": record.security_version,
            "package_digest": record.package_digest,
            "evidence_digest": hashlib.sha256(content).hexdigest(),
        }
        return Event(kind=EventKind.RELEASED, actor=self._actor, details=details)


def evidence_of(
    signed: SignedRelease, record: SigningRecord, proven: ProvenTogether, made_at: datetime
) -> ReleaseEvidence:
    """The evidence of one release (docs/spec/release-evidence.md)."""
    return ReleaseEvidence(
        made_at=time_text(made_at.replace(microsecond=0)),
        package=PackageFacts(
            sha256=signed.package_digest.hex(),
            size_bytes=signed.package_size_bytes,
            head_digest=record.head_digest,
            kind=record.kind,
            product=record.product,
            product_id=record.product_id,
            version=record.version,
            security_version=record.security_version,
            target=record.target,
            signers=record.signers,
        ),
        sbom=None if record.sbom_digest is None else SbomFacts(record.sbom_digest),
        request=record.request,
        approvals=record.approvals,
        allowed_signers=record.allowed_signers,
        decision=DecisionFacts(record.policy_digest, record.policy_ids),
        log=LogFacts(
            proven.checkpoint.decode("utf-8"),
            tuple(
                ProvenEntry(proof.index, proof.entry.decode("utf-8"), tuple(item.hex() for item in proof.hashes))
                for proof in proven.proofs
            ),
        ),
    )
