"""Release evidence: one canonical document that anybody can check offline (docs/spec/release-evidence.md)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from pki.canonical_json import encode_canonical, parse_canonical
from pki.errors import PolicyViolation

EVIDENCE_TYPE: Final = "strongroom-release-evidence-1"
EVIDENCE_SIZE_BYTES_MAX = 1024 * 1024
APPROVALS_MAX = 16
_PROOF_HASHES_MAX = 63

Sha256Hex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
KeyIdHex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
SpkiHex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{182}\Z")]
ProductIdHex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Utc = Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Kind = Literal["application", "bootloader", "factory-test"]


class SignedText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The exact bytes that were signed, as text, and the armored SSH signature over them."""

    statement: str
    signature: str


class SignerFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that signed the head: its id in device formats, and its SubjectPublicKeyInfo."""

    key_id: KeyIdHex
    public_key: SpkiHex


class PackageFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The package: its file, and what its head says."""

    sha256: Sha256Hex
    size_bytes: Count
    head_digest: Sha256Hex
    kind: Kind
    product: str
    product_id: ProductIdHex
    version: str
    security_version: Count
    target: str
    signers: Annotated[tuple[SignerFacts, ...], msgspec.Meta(min_length=1, max_length=2)]


class SbomFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The SBOM or provenance file, which goes along as a file of its own."""

    sha256: Sha256Hex


class DecisionFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decided: the policy set in force, and the policies that allowed it."""

    policy_digest: Sha256Hex
    policy_ids: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)]


class ProvenEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A log entry's exact bytes as text, and the hashes from its leaf to the checkpoint's root."""

    index: Count
    entry: str
    proof: Annotated[tuple[Sha256Hex, ...], msgspec.Meta(max_length=_PROOF_HASHES_MAX)]


class LogFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Intent and result of the signature, in the tree of one signed checkpoint."""

    checkpoint: str
    entries: Annotated[tuple[ProvenEntry, ...], msgspec.Meta(min_length=2, max_length=2)]


class ReleaseEvidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document of one release. Names are the JSON keys."""

    type: Literal["strongroom-release-evidence-1"] = EVIDENCE_TYPE
    made_at: Utc
    package: PackageFacts
    sbom: SbomFacts | None
    request: SignedText
    approvals: Annotated[tuple[SignedText, ...], msgspec.Meta(max_length=APPROVALS_MAX)]
    allowed_signers: str
    decision: DecisionFacts
    log: LogFacts

    def encode(self) -> bytes:
        """The canonical bytes. ValueError above 1 MiB."""
        data = encode_canonical(msgspec.to_builtins(self))
        if len(data) > EVIDENCE_SIZE_BYTES_MAX:
            raise ValueError(f"release evidence has at most {EVIDENCE_SIZE_BYTES_MAX} bytes, not {len(data)}")
        return data


def decode_evidence(data: bytes) -> ReleaseEvidence:
    """Read evidence. Raises FormatError for what is not canonical JSON, PolicyViolation EV-01 for another shape.

    Nothing in it is verified: that is `verifiers/release_evidence.py`.
    """
    value = parse_canonical(data, "release evidence", EVIDENCE_SIZE_BYTES_MAX)
    if "type" not in value:
        raise PolicyViolation("EV-01", "no release evidence: it has no `type`")
    try:
        return msgspec.convert(value, ReleaseEvidence)
    except msgspec.ValidationError as error:
        raise PolicyViolation("EV-01", f"not release evidence of this format: {error}") from None
