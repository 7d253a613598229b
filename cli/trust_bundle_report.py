"""A trust bundle for people: every field in words, read by the bootloader's own parser."""

from __future__ import annotations

import uuid
from typing import Any

from bootloader.reference.crypto import key_id
from bootloader.reference.head import PackageType
from bootloader.reference.trust_bundle import SignatureSet, TrustBundle
from cli.output import table


def bundle_fields(bundle: TrustBundle) -> dict[str, Any]:
    """Every field, keys by their 8-byte id and in full."""
    return {
        "version": bundle.version,
        "product_id": str(uuid.UUID(bytes=bundle.product_id)),
        "previous_digest": bundle.previous_digest.hex(),
        "digest": bundle.digest.hex(),
        "root_threshold": bundle.root_threshold,
        "roots": [_key(root) for root in bundle.roots],
        "role_keys": [{"role": _words(entry.role.name), **_key(entry.public_key)} for entry in bundle.role_keys],
        "revoked": [{"key_id": entry.key_id.hex(), "stop": entry.stop} for entry in bundle.revoked],
        "limits": [
            {
                "package_type": _words(package_type.name),
                "security_version_min": bundle.limits_of(package_type).minimum,
                "security_version_max": bundle.limits_of(package_type).maximum,
            }
            for package_type in PackageType
        ],
        "signatures": [
            {
                "by": "own root" if entry.signature_set is SignatureSet.OWN_ROOTS else "previous root",
                "root_index": entry.root_index,
            }
            for entry in bundle.signatures
        ],
    }


def bundle_text(fields: dict[str, Any]) -> str:
    """The same for a terminal."""
    stops = {True: "stop: what it signed starts no more", False: "signs nothing new"}
    rows = [("root", item["key_id"], f"one of {fields['root_threshold']} needed") for item in fields["roots"]]
    rows += [(item["role"], item["key_id"], "") for item in fields["role_keys"]]
    rows += [("revoked", item["key_id"], stops[item["stop"]]) for item in fields["revoked"]]
    limits = [
        f"security versions of {item['package_type']}: {item['security_version_min']} to {item['security_version_max']}"
        for item in fields["limits"]
    ]
    signatures = [f"{item['by']} {item['root_index']}" for item in fields["signatures"]]
    return "\n".join(
        [
            f"trust bundle version {fields['version']} of product {fields['product_id']}",
            f"digest {fields['digest']}",
            table(("ROLE", "KEY ID", ""), rows).rstrip(),
            *limits,
            f"signatures: {', '.join(signatures) or 'none'} ({fields['root_threshold']} roots must sign)",
        ]
    )


def _key(public_key: bytes) -> dict[str, str]:
    return {"key_id": key_id(public_key).hex(), "public_key": public_key.hex()}


def _words(name: str) -> str:
    return name.lower().replace("_", "-")
