"""The artefact itself against the request: the prepared package is read, and every field compared (rules SV-10 …)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pki.errors import PolicyViolation
from policies.request import SigningRequest
from signer.packages.file_blocks import blocks_of
from signer.packages.layout import (
    CHUNK_SIZE_BYTES,
    HEAD_SIZE_BYTES,
    LINK_SIZE_BYTES,
    SIGNED_SIZE_BYTES,
    WIRE_CHUNK_SIZE_BYTES,
    chunk_count,
    context,
)
from signer.packages.manifest import Manifest, tbs_digest
from signer.packages.payload import verify_chunk
from signer.packages.prepare import SBOM_SIZE_BYTES_MAX
from signer.packages.prepared_file import PreparedFile
from signer.packages.terms import PackageTerms, Target
from signer.service.values import TYPE_OF_KIND, SignOrder

_SBOM_CONTEXT = context("SR-sbom-v1")
TEST_EVIDENCE_SIZE_BYTES_MAX = 256 * 1024 * 1024


def compare(request: SigningRequest, order: SignOrder, product_id: Callable[[str], bytes | None]) -> Manifest:
    """Read the files of the order and compare them with the request; the manifest of what is to be signed.

    Raises PolicyViolation SV-10 to SV-20 and SV-23, InputRefused and FormatError for files that cannot be read as what
    they should be.
    """
    with PreparedFile(order.prepared) as prepared:
        manifest, head = prepared.manifest, prepared.head
        compare_head(request, manifest, head, product_id)
        if any(head[SIGNED_SIZE_BYTES:]):
            raise PolicyViolation("SV-19", "the prepared package carries a signature already; prepare it again")
        _require_whole_payload(prepared)
    _compare_sbom(request, manifest, order.sbom)
    _compare_test_evidence(request, order.test_evidence)
    return manifest


def compare_head(
    request: SigningRequest, manifest: Manifest, head: bytes, product_id: Callable[[str], bytes | None]
) -> None:
    """Every field that request and head share, in the order of their rules. Raises PolicyViolation SV-10 to SV-17."""
    terms = manifest.terms
    _require("SV-10", "digest to be signed", request.head_digest, tbs_digest(head).value)
    _require("SV-11", "image digest", request.image_digest, manifest.image_digest)
    _require("SV-12", "kind", TYPE_OF_KIND[request.kind].name, terms.package_type.name)
    registered = product_id(request.product)
    if registered is None:
        raise PolicyViolation("SV-13", f"the request is for product {request.product!r}, which this authority has not")
    _require("SV-13", "product id", bytes.fromhex(request.product_id), terms.product_id)
    _require("SV-13", f"id of product {request.product!r}", registered, terms.product_id)
    _require("SV-14", "version", request.version, str(terms.image_version))
    _require("SV-15", "security version", request.security_version, terms.security_version)
    _require("SV-16", "target", request.target, target_text(terms))
    _require("SV-17", "signers", request.key_ids, manifest.signer_key_ids)


def target_text(terms: PackageTerms) -> str:
    """A head's target as requests write it."""
    if terms.target is Target.ONE_UID:
        return f"uid:{terms.target_uid.hex()}"
    return "grant" if terms.target is Target.GRANT_REQUIRED else "any"


def _require(rule_id: str, what: str, requested: object, found: object) -> None:
    if requested != found:
        raise PolicyViolation(
            rule_id, f"{what}: the request says {_shown(requested)}, the prepared package has {_shown(found)}"
        )


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return " and ".join(map(_shown, value))
    return str(value)


def _require_whole_payload(prepared: PreparedFile) -> None:
    """Follow the chain from the head through every chunk, in constant memory. Raises PolicyViolation SV-20."""
    manifest = prepared.manifest
    buffer = memoryview(bytearray(WIRE_CHUNK_SIZE_BYTES))
    link = manifest.first_link
    last = chunk_count(manifest.image_size_bytes) - 1
    for index in range(last + 1):
        data_size_bytes = CHUNK_SIZE_BYTES if index < last else (manifest.image_size_bytes - 1) % CHUNK_SIZE_BYTES + 1
        chunk = buffer[: data_size_bytes + LINK_SIZE_BYTES]
        prepared.read_into(HEAD_SIZE_BYTES + index * WIRE_CHUNK_SIZE_BYTES, chunk)
        if not verify_chunk(index, chunk, link):
            raise PolicyViolation("SV-20", f"chunk {index} of the prepared package was changed; prepare it again")
        link = bytes(chunk[-LINK_SIZE_BYTES:])
    if any(link):
        raise PolicyViolation("SV-20", "the last chunk does not end the chain; prepare the package again")


def _compare_sbom(request: SigningRequest, manifest: Manifest, sbom: Path | None) -> None:
    plain, salted = hashlib.sha256(), hashlib.sha256(_SBOM_CONTEXT + manifest.image_salt)
    if (sbom is None) is not (request.sbom_digest is None):
        raise PolicyViolation(
            "SV-18",
            "the request names an SBOM and none was given"
            if sbom is None
            else "the request names no SBOM, one was given",
        )
    if sbom is not None:
        for block in blocks_of(sbom, SBOM_SIZE_BYTES_MAX, "the SBOM"):
            plain.update(block)
            salted.update(block)
        if plain.digest() != request.sbom_digest:
            raise PolicyViolation("SV-18", f"{sbom.name} is not the SBOM that the request names")
    if salted.digest() != manifest.sbom_digest:
        raise PolicyViolation(
            "SV-18", "the package was prepared with another SBOM than the request names, or with none"
        )


def _compare_test_evidence(request: SigningRequest, evidence: Path | None) -> None:
    if (evidence is None) is not (request.test_evidence_digest is None):
        raise PolicyViolation("SV-23", "test evidence is named by the request and not given, or given and not named")
    if evidence is None:
        return
    state = hashlib.sha256()
    for block in blocks_of(evidence, TEST_EVIDENCE_SIZE_BYTES_MAX, "the test evidence"):
        state.update(block)
    if state.digest() != request.test_evidence_digest:
        raise PolicyViolation("SV-23", f"{evidence.name} is not the test evidence that the request names")
