"""The request: what exactly is to be signed, for which product, under which policy, and who asks for it.

The statement's form and rules RQ-01 to RQ-03: docs/spec/requests-and-approvals.md.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import msgspec

from pki.canonical_json import encode_canonical
from policies.names import is_slug
from policies.refusals import Malformed
from policies.statement import (
    DIGEST_SIZE_BYTES,
    format_time,
    parse_hex,
    parse_statement,
    parse_text,
    parse_time,
    require_size,
    require_time,
)

REQUEST_TYPE = "strongroom-signing-request-1"
REQUEST_NAMESPACE = "strongroom-request-v1"

RequestKind = Literal["application", "bootloader", "factory-test"]
EnvironmentName = Literal["development", "production"]

KEY_ID_SIZE_BYTES = 8
_PRODUCT_ID_SIZE_BYTES = 16
_UID_SIZE_BYTES = 16
_KEYS_OF_KIND = {"application": 1, "bootloader": 2, "factory-test": 1}
_ENVIRONMENTS = ("development", "production")
_VERSION = re.compile(r"(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,4})(?:\+([1-9][0-9]{0,9}))?")
_VERSION_BITS = (8, 8, 16, 32)
_TARGET_UID = "uid:"


class SigningRequest(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A request to sign one package. Everything but policy, people and time is read from the prepared package.

    `head_digest` is the digest that the signers sign (docs/spec/package.md, section 3), `image_digest` the head's
    salted digest of the plaintext image. `sbom_digest` and `test_evidence_digest` are plain SHA-256 of those files,
    None where there is none. `target` is "any", "grant", or "uid:" and the head's 16 bytes of UID in hexadecimal
    digits. Constructing one that its encoding could not carry is a ValueError.
    """

    environment: EnvironmentName
    head_digest: bytes
    image_digest: bytes
    kind: RequestKind
    product: str
    product_id: str
    version: str
    security_version: int
    target: str
    key_ids: tuple[bytes, ...]
    sbom_digest: bytes | None
    test_evidence_digest: bytes | None
    not_after: datetime
    policy_digest: bytes
    requester: str

    def __post_init__(self) -> None:
        if self.environment not in _ENVIRONMENTS:
            raise ValueError("`environment` must be development or production")
        if self.kind not in _KEYS_OF_KIND:
            raise ValueError(f"`kind` must be one of {', '.join(_KEYS_OF_KIND)}")
        for name in ("head_digest", "image_digest", "policy_digest"):
            require_size(getattr(self, name), DIGEST_SIZE_BYTES, name)
        for name in ("sbom_digest", "test_evidence_digest"):
            digest: bytes | None = getattr(self, name)
            if digest is not None:
                require_size(digest, DIGEST_SIZE_BYTES, name)
        for name in ("product", "requester"):
            if not is_slug(getattr(self, name)):
                raise ValueError(f"`{name}` must be a name: lower-case letters, digits and inner hyphens")
        require_size(parse_hex(self.product_id, "product_id"), _PRODUCT_ID_SIZE_BYTES, "product_id")
        version_parts(self.version)
        if type(self.security_version) is not int or not 0 <= self.security_version < 1 << 32:
            raise ValueError("`security_version` must be an integer from 0 to 4294967295")
        self._check_target()
        self._check_key_ids()
        require_time(self.not_after, "not_after")

    def _check_target(self) -> None:
        if self.target in {"any", "grant"}:
            return
        if not self.target.startswith(_TARGET_UID):
            raise ValueError("`target` must be any, grant, or uid: and a UID")
        require_size(parse_hex(self.target.removeprefix(_TARGET_UID), "target"), _UID_SIZE_BYTES, "target")

    def _check_key_ids(self) -> None:
        needed = _KEYS_OF_KIND[self.kind]
        if len(self.key_ids) != needed or list(self.key_ids) != sorted(set(self.key_ids)):
            raise ValueError(f"`key_ids` must be {needed} different key id(s), in ascending order")
        for key_id in self.key_ids:
            require_size(key_id, KEY_ID_SIZE_BYTES, "key_ids")

    @property
    def version_parts(self) -> tuple[int, int, int, int]:
        """The version as numbers, compared in this order."""
        return version_parts(self.version)

    def fields(self) -> dict[str, Any]:
        """The statement as a JSON object; digests and ids in lower-case hexadecimal digits."""
        return {
            "type": REQUEST_TYPE,
            "environment": self.environment,
            "head_digest": self.head_digest.hex(),
            "image_digest": self.image_digest.hex(),
            "kind": self.kind,
            "product": self.product,
            "product_id": self.product_id,
            "version": self.version,
            "security_version": self.security_version,
            "target": self.target,
            "key_ids": [key_id.hex() for key_id in self.key_ids],
            "sbom_digest": None if self.sbom_digest is None else self.sbom_digest.hex(),
            "test_evidence_digest": None if self.test_evidence_digest is None else self.test_evidence_digest.hex(),
            "not_after": format_time(self.not_after),
            "policy_digest": self.policy_digest.hex(),
            "requester": self.requester,
        }

    def encode(self) -> bytes:
        """The bytes that the requester signs."""
        return encode_canonical(self.fields())

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the encoding, 32 bytes: what approvals name, and what the signing service knows a request by."""
        return hashlib.sha256(self.encode()).digest()


FIELD_NAMES = ("type", *SigningRequest.__struct_fields__)


def decode_request(data: bytes) -> SigningRequest:
    """Read a request strictly; nothing in it has been verified yet. Raises Malformed RQ-01, RQ-02, RQ-03."""
    fields = parse_statement(data, "RQ", REQUEST_TYPE, FIELD_NAMES)
    try:
        request = _request_of(fields)
    except ValueError as error:
        raise Malformed("RQ-03", "request", str(error)) from None
    if request.fields() != fields:
        raise Malformed("RQ-03", "request", "a value is not in its one form")
    return request


def version_parts(version: str) -> tuple[int, int, int, int]:
    """`1.2.3` or `1.2.3+4` as numbers within the head's fields, in no other form; ValueError."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ValueError("`version` must be written as 1.2.3 or 1.2.3+4")
    major, minor, revision, build = (int(part or "0") for part in match.groups())
    for number, bits in zip((major, minor, revision, build), _VERSION_BITS, strict=True):
        if number >= 1 << bits:
            raise ValueError(f"`version` has a part above {(1 << bits) - 1}")
    return major, minor, revision, build


def _request_of(fields: dict[str, Any]) -> SigningRequest:
    key_ids = fields["key_ids"]
    if not isinstance(key_ids, list):
        raise ValueError("`key_ids` must be a list")
    texts: dict[str, Any] = {
        name: parse_text(fields[name], name)
        for name in ("environment", "kind", "product", "product_id", "version", "target", "requester")
    }
    return SigningRequest(
        **texts,
        head_digest=parse_hex(fields["head_digest"], "head_digest"),
        image_digest=parse_hex(fields["image_digest"], "image_digest"),
        security_version=fields["security_version"],
        key_ids=tuple(parse_hex(item, "key_ids") for item in key_ids),
        sbom_digest=_optional(fields, "sbom_digest"),
        test_evidence_digest=_optional(fields, "test_evidence_digest"),
        not_after=parse_time(fields["not_after"], "not_after"),
        policy_digest=parse_hex(fields["policy_digest"], "policy_digest"),
    )


def _optional(fields: dict[str, Any], name: str) -> bytes | None:
    value = fields[name]
    return None if value is None else parse_hex(value, name)
