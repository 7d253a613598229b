"""The signing service for prepared objects other than packages (docs/spec/object-requests.md).

Work orders, service orders and batches of grants are read from their own files, compared with the request, decided,
logged, signed and verified in the same order and under the same lock as packages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pki.errors import FormatError, OutputError, PolicyViolation, VerificationError
from pki.roles import Role
from pki.values import Digest, PublicKey, Signature
from policies.authentication import SignedStatement
from policies.object_request import Fact, ObjectKind
from signer.log.values import AuditLog
from signer.service.facts import Past
from signer.service.flow import SigningFlow
from signer.service.object_admission import AdmittedObject, admit_object
from signer.service.object_record import object_record
from signer.service.shelf import OBJECT_SUFFIX, Shelf
from signer.service.values import Clock, OneDigestKey, ReleaseKeys, Reviewed, SignedRelease
from signer.signing_key import sign_verified, verify_signature


class SignableObject(Protocol):
    """A prepared object, read from its file: what is signed, by whom, and what people must know of it."""

    @property
    def kind(self) -> ObjectKind:
        """The kind of request."""

    @property
    def role(self) -> Role:
        """The role whose keys sign it."""

    @property
    def product_id(self) -> bytes:
        """16 bytes."""

    @property
    def digest(self) -> Digest:
        """What is signed, context included."""

    @property
    def signer_key_id(self) -> bytes:
        """8 bytes: whom the object names as its signer."""

    @property
    def facts(self) -> Mapping[str, Fact]:
        """Exactly the facts that requests of this kind have."""

    def with_signature(self, signature: Signature) -> bytes:
        """The signed object: what is kept on the shelf, at most a megabyte. Of grants that is the batch alone."""


class ObjectReader(Protocol):
    """How objects of one kind are read, strictly, from the files of an order."""

    def prepared(self, files: Sequence[Path]) -> SignableObject:
        """The prepared object; verifies all that it holds. Raises FormatError, InputRefused, VerificationError."""

    def accepted(self, data: bytes, key: PublicKey) -> None:
        """Read the signed object anew, as whoever takes it would. Raises FormatError, SignatureInvalid."""


class ObjectOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One call: the signed request, the signed approvals, and the object's files: itself first, then what it needs."""

    request: SignedStatement
    approvals: tuple[SignedStatement, ...]
    files: tuple[Path, ...]


class ObjectSigningService:
    """Turns an order into a signed object, once. The counterpart of `SigningService`, by the same flow and shelf.

    `readers` are the kinds that can be signed; everything it works with is handed in.
    """

    def __init__(
        self,
        *,
        reviewed: Reviewed,
        keys: ReleaseKeys,
        log: AuditLog,
        readers: Mapping[ObjectKind, ObjectReader],
        folder: Path,
        past: Past,
        clock: Clock,
        actor: str,
    ) -> None:
        """`folder` is the shelf's, `store/signed/`."""
        self._reviewed = reviewed
        self._keys = keys
        self._readers = readers
        self._past = past
        self._clock = clock
        self._flow = SigningFlow(reviewed, log, Shelf(folder, suffix=OBJECT_SUFFIX), clock, actor)

    def sign(self, order: ObjectOrder) -> SignedRelease:
        """Decide, log, sign, verify, log, release; or return what an earlier call of the same request released.

        Raises what `SigningService.sign` raises, and PolicyViolation OB-….
        """

        def admitted() -> _ObjectAct:
            return _ObjectAct(
                order,
                admit_object(order, self._reviewed, self._keys, self._readers, self._past, self._clock()),
                self._reviewed,
                self._readers,
            )

        statement = order.request.statement
        return self._flow.serve(hashlib.sha256(statement).digest(), statement, admitted)


class _ObjectAct:
    """One admitted order, as the flow carries it out."""

    def __init__(
        self,
        order: ObjectOrder,
        admitted: AdmittedObject,
        reviewed: Reviewed,
        readers: Mapping[ObjectKind, ObjectReader],
    ) -> None:
        self._order = order
        self._admitted = admitted
        self._reviewed = reviewed
        self._reader = readers[admitted.request.request.kind]

    @property
    def subject(self) -> dict[str, Any]:
        return self._admitted.subject

    @property
    def intent_details(self) -> dict[str, Any]:
        return self._admitted.intent_details

    def is_signed(self, path: Path) -> bool:
        """What a killed call left: the object that is wanted, with a signature of the key that is wanted."""
        try:
            self._require_accepted(path)
        except (OutputError, ValueError, FormatError, VerificationError, PolicyViolation):
            return False
        return True

    def at_hand(self) -> None:
        self._admitted.key.at_hand()

    def sign(self, path: Path) -> None:
        digest = self._admitted.prepared.digest
        signature = sign_verified(OneDigestKey(self._admitted.key, digest), digest)
        Shelf(path.parent).write(path, self._admitted.prepared.with_signature(signature))

    def judge(self, path: Path) -> str:
        try:
            self._require_accepted(path)
        except (OutputError, ValueError, FormatError, VerificationError) as error:
            raise PolicyViolation(
                "OB-09", f"the finished {self._admitted.request.request.kind} is refused: {error}"
            ) from None
        return "its reader"

    def record(self, artefact: tuple[bytes, int], intent_index: int) -> bytes:
        lines = self._reviewed.lines_of({self._admitted.request.requester.id, *self._admitted.approvers})
        return object_record(self._order, self._admitted, lines, artefact, intent_index)

    def _require_accepted(self, path: Path) -> None:
        """Read as its taker would; and it is the prepared object, with another signature and nothing else changed."""
        data = Shelf(path.parent).read(path) or b""
        key = self._admitted.key.public_key
        self._reader.accepted(data, key)
        signature = Signature(data[-64:])
        verify_signature(key, self._admitted.prepared.digest, signature)
        if self._admitted.prepared.with_signature(signature) != data:
            raise PolicyViolation("OB-09", "the finished object is not the prepared one with its signature")
