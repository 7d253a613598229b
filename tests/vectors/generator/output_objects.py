"""The signed objects among the vectors, as files: one binary for each, and `objects.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from tests.vectors.generator import (
    cases_activation,
    cases_activation_shape,
    cases_device_made,
    cases_grants,
    cases_service,
)
from tests.vectors.generator.object_case import ObjectCase

FAMILIES = (cases_activation, cases_activation_shape, cases_service, cases_grants, cases_device_made)


def object_entries() -> list[tuple[dict[str, object], bytes]]:
    """What `objects.json` says of each case, and the bytes of its file, which a challenge request does not have."""
    cases = [case for family in FAMILIES for case in family.cases()]
    return [(_entry(case), case.file) for case in cases]


def _entry(case: ObjectCase) -> dict[str, object]:
    expected: dict[str, object] = {"code": case.code, "stage": case.stage}
    if case.fields:
        expected["fields"] = _shown(case.fields)
    if case.answer is not None:
        expected["answer_without_signature"] = case.answer.hex()
    entry: dict[str, object] = {"name": case.name, "description": case.description, "kind": case.kind}
    if case.kind == "challenge-request":
        entry["point"] = case.file.hex()
    else:
        entry |= {"file": f"objects/{case.name}.bin", "sha256": hashlib.sha256(case.file).hexdigest()}
    if case.device is not None:
        entry |= {"device": case.device, "nonce": case.outstanding_nonce.hex() if case.outstanding_nonce else None}
    if case.given:
        entry["given"] = dict(case.given)
    return entry | {"expected": expected}


def _shown(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {name: _shown(part) for name, part in value.items()}
    return list(value) if isinstance(value, tuple) else value
