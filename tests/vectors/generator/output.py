"""Turns the cases into files: one binary for each vector, and a JSON file for each family that says what to expect."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from tests.vectors.generator import (
    cases_authenticity,
    cases_bundle_shape,
    cases_bundle_trust,
    cases_granted,
    cases_journal,
    cases_journal_state,
    cases_payload,
    cases_rules,
    cases_shape,
    cases_ssh,
    cases_succession,
    cases_valid,
    keys,
)
from tests.vectors.generator.bundle import Bundle
from tests.vectors.generator.bundle_case import BundleCase
from tests.vectors.generator.journal import Record, remaining, state_after
from tests.vectors.generator.journal_case import JournalCase
from tests.vectors.generator.keys import ephemeral_key
from tests.vectors.generator.object_world import devices
from tests.vectors.generator.output_objects import object_entries
from tests.vectors.generator.package import FIELDS, Package, Value
from tests.vectors.generator.package_case import PackageCase

Files = dict[str, bytes]


def all_files() -> Files:
    """Every file that the generator answers for: path below tests/vectors, content."""
    files: Files = {}
    files |= _package_files()
    files |= _bundle_files()
    files |= _journal_files()
    files |= _object_files()
    files["ssh_signatures.json"] = _json(cases_ssh.entries())
    files["fake/test_keys.json"] = _json([_key_entry(keys.key(name)) for name in keys.NAMES])
    files["devices.json"] = _json([device.facts() for device in devices()])
    return files


def _package_files() -> Files:
    files: Files = {}
    entries: list[object] = []
    images = _image_files()
    families = (cases_valid, cases_shape, cases_authenticity, cases_rules, cases_payload, cases_granted)
    for case in (case for family in families for case in family.cases()):
        path = f"packages/{case.name}.srp"
        _add(files, path, case.file)
        entry: dict[str, object] = {
            "name": case.name,
            "description": case.description,
            "file": path,
            "sha256": _sha256_hex(case.file),
            "device": case.device,
            "expected": _expected_package(case),
        }
        if case.can_be_encoded:
            entry["made_from"] = _made_from(case.package, _path_of_image(case.package.plan.image, images))
        entries.append(entry)
    files["packages.json"] = _json(entries)
    return files | images


def _image_files() -> Files:
    """The images of packages that an encoder can make. One that begins another is not written again."""
    images = sorted({case.package.plan.image for case in cases_valid.cases() if case.can_be_encoded})
    longest = [image for image in images if not any(other != image and other.startswith(image) for other in images)]
    return {f"images/{_sha256_hex(image)[:16]}.bin": image for image in longest}


def _path_of_image(image: bytes, images: Files) -> str:
    return next(path for path, content in images.items() if content.startswith(image))


def _expected_package(case: PackageCase) -> dict[str, object]:
    expected: dict[str, object] = {"code": case.code, "stage": case.stage}
    if case.code == "OK":
        package = case.package
        expected["image_sha256"] = _sha256_hex(package.plan.image)
        expected["image_size_bytes"] = len(package.plan.image)
        expected["signed_digest"] = package.signed_digest.hex()
        expected["fields"] = {name: _shown(package.values[name]) for name, _, _ in FIELDS}
    return expected


def _made_from(package: Package, image_path: str) -> dict[str, object]:
    plan = package.plan
    has_recipient = plan.recipient_mode in {1, 2}
    return {
        "image": image_path,
        "sbom": plan.sbom.hex(),
        "content_key": plan.cek.hex() if plan.recipient_mode else None,
        "ephemeral_private_key": _scalar_hex(ephemeral_key(plan.name).private) if has_recipient else None,
        "recipient": plan.recipient,
        "signers": [signer.name for signer in package.signers],
    }


def _bundle_files() -> Files:
    files: Files = {}
    entries: list[object] = []
    for case in (
        case for family in (cases_bundle_trust, cases_succession, cases_bundle_shape) for case in family.cases()
    ):
        path = f"trust_bundles/{case.name}.srb"
        _add(files, path, case.file)
        entries.append(
            {
                "name": case.name,
                "description": case.description,
                "file": path,
                "sha256": _sha256_hex(case.file),
                "offered_as": case.offered_as,
                "previous": case.previous,
                "expected": _expected_bundle(case),
            }
        )
    files["trust_bundles.json"] = _json(entries)
    return files


def _expected_bundle(case: BundleCase) -> dict[str, object]:
    expected: dict[str, object] = {"code": case.code, "stage": case.stage}
    if case.code == "OK" and case.offered_as != "current":
        expected |= _bundle_content(case.bundle)
    return expected


def _bundle_content(bundle: Bundle) -> dict[str, object]:
    plan = bundle.plan
    return {
        "digest": bundle.digest.hex(),
        "content": {
            "version": plan.version,
            "product_id": plan.product_id.hex(),
            "previous_digest": plan.previous_digest.hex(),
            "root_threshold": plan.threshold,
            "roots": [root.public.hex() for root in plan.roots],
            "role_keys": [{"role": role, "public_key": entry.public.hex()} for role, entry in plan.role_keys],
            "revoked": [{"key_id": key_id.hex(), "flags": flags} for key_id, flags in plan.revoked],
            "limits": [list(limits) for limits in plan.limits],
            "signatures": [{"set": entry.set_number, "index": entry.index} for entry in plan.signatures],
        },
    }


def _journal_files() -> Files:
    files: Files = {}
    entries: list[object] = []
    for case in (case for family in (cases_journal, cases_journal_state) for case in family.cases()):
        paths = tuple(f"journals/{case.name}.half{number}.bin" for number in (0, 1))
        for path, half in zip(paths, case.halves, strict=True):
            if half:
                _add(files, path, half)
        entries.append(
            {
                "name": case.name,
                "description": case.description,
                "half_size_bytes": case.half_size_bytes,
                "halves": [path if half else None for path, half in zip(paths, case.halves, strict=True)],
                "expected": _expected_journal(case),
            }
        )
    files["journals.json"] = _json(entries)
    return files


def _expected_journal(case: JournalCase) -> dict[str, object]:
    if case.active is None or case.writer is None:
        return {"code": "NO_STATE", "active_half": None}
    left = remaining(case.writer.records)
    state = state_after(left)
    return {
        "code": "OK" if {"DEVICE", "TRUST_BUNDLE"} <= set(state) else "NO_STATE",
        "active_half": case.active,
        "half_sequence": case.writer.half_sequence,
        "end": case.writer.end,
        "is_settled": case.writer.is_settled,
        "records": [_shown_record(record, left) for record in case.writer.records],
        "state": state,
    }


def _shown_record(record: Record, left: Sequence[Record]) -> dict[str, object]:
    return {
        "offset": record.offset,
        "type": record.kind,
        "format": record.record_format,
        "number": record.number,
        "payload_sha256": _sha256_hex(record.payload),
        "remains": record in left or record.name == "SEAL",
    }


def _object_files() -> Files:
    files: Files = {}
    entries = object_entries()
    for entry, content in entries:
        if "file" in entry:
            _add(files, str(entry["file"]), content)
    files["objects.json"] = _json(entry for entry, _ in entries)
    return files


def _key_entry(key: keys.TestKey) -> Mapping[str, str]:
    return {
        "name": key.name,
        "worthless_private_key": _scalar_hex(key.private),
        "public_key": key.public.hex(),
        "key_id": key.key_id.hex(),
    }


def _add(files: Files, path: str, content: bytes) -> None:
    if path in files:
        raise ValueError(f"two vectors are called {path}")
    files[path] = content


def _shown(value: Value) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return list(value) if isinstance(value, tuple) else value


def _scalar_hex(scalar: int) -> str:
    return scalar.to_bytes(32, "big").hex()


def _sha256_hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _json(entries: Iterable[object]) -> bytes:
    """A JSON array with one line for each entry."""
    lines = (json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in entries)
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()
