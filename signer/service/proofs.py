"""Inclusion proofs for evidence: all under one checkpoint, which a witness has cosigned where that is demanded."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pki.errors import AuditError, PolicyViolation, SignatureInvalid
from signer.log.audit_log import TileLog
from signer.log.checkpoint import Checkpoint
from signer.log.cosignature import WitnessKey, verify_cosignature
from signer.log.values import AuditLog, InclusionProof

_ATTEMPTS_MAX = 10


class ProvenTogether(msgspec.Struct, frozen=True):
    """Proofs in the order of their entries, the checkpoint's note, and who has cosigned it."""

    proofs: tuple[InclusionProof, ...]
    checkpoint: bytes
    witnesses: tuple[str, ...] = ()


def prove_together(log: AuditLog, indices: Sequence[int]) -> ProvenTogether:
    """Sign a checkpoint over everything so far and prove the entries under it. Raises AuditError, TokenError."""
    for _ in range(_ATTEMPTS_MAX):
        log.checkpoint()
        proofs = tuple(log.prove(index) for index in indices)
        # Another process may have signed a newer one between two proofs.
        if len({proof.checkpoint for proof in proofs}) == 1:
            return ProvenTogether(proofs, proofs[0].checkpoint)
    raise AuditError("checkpoints are being signed faster than entries can be proved; try again")


def prove_witnessed(log: TileLog, indices: Sequence[int], witnesses: Sequence[WitnessKey]) -> ProvenTogether:
    """Prove the entries under the newest witnessed checkpoint.

    Where that does not cover them, a checkpoint is signed for a witness to take, and PolicyViolation SV-42 is raised.
    Raises AuditError, TokenError.
    """
    checkpoint = log.witnessed_checkpoint()
    cosigned_by = tuple(item.name for item in witnesses if checkpoint is not None and _has_seen(item, checkpoint))
    if checkpoint is None or not cosigned_by or checkpoint.head.size <= max(indices):
        log.checkpoint()
        raise PolicyViolation(
            "SV-42",
            "no witness has seen this signature in the log yet: let one cosign the checkpoint that was just signed "
            "(`strongroom audit witness cosign`), bring it back (`strongroom audit witness add`), and call again",
        )
    proofs = tuple(log.prove_under(index, checkpoint) for index in indices)
    return ProvenTogether(proofs, checkpoint.note, cosigned_by)


def _has_seen(witness: WitnessKey, checkpoint: Checkpoint) -> bool:
    try:
        verify_cosignature(checkpoint, witness)
    except SignatureInvalid:
        return False
    return True
