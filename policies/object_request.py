"""The request for an object other than a package: a work order, a service order, a batch of grants.

The statement's form and rules RQ-01 to RQ-03: docs/spec/object-requests.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, get_args

import msgspec

from pki.canonical_json import encode_canonical
from policies.names import is_slug
from policies.refusals import Malformed
from policies.request import KEY_ID_SIZE_BYTES, EnvironmentName, version_parts
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

OBJECT_REQUEST_TYPE = "strongroom-object-request-1"

ObjectKind = Literal["work-order", "service-order", "grant-batch"]
OBJECT_KINDS: tuple[ObjectKind, ...] = get_args(ObjectKind)

SERVICE_ACTIONS = ("return-for-repair", "decommission", "re-provision", "permit-reinstallation")
INJECTIONS = ("none", "group-key", "agreement-key", "both")

Fact = str | int
"""A readable value of the object."""

_ENVIRONMENTS = ("development", "production")
_ID_SIZE_BYTES = 16
_QUOTA_MAX = 10_000_000
_STATIONS_MAX = 8
_DEVICES_MAX = 1 << 31
_LOT_LENGTH_MAX = 16


class ObjectRequest(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A request to sign one prepared object. Everything but policy, people and time is read from the object.

    `object_digest` is the digest that the signer signs; `facts` what people and policies must know of the object, by
    kind (docs/spec/object-requests.md). Constructing one that its encoding could not carry is a ValueError.
    """

    environment: EnvironmentName
    kind: ObjectKind
    object_digest: bytes
    product: str
    product_id: str
    key_ids: tuple[bytes, ...]
    facts: dict[str, Fact]
    not_after: datetime
    policy_digest: bytes
    requester: str

    def __post_init__(self) -> None:
        if self.environment not in _ENVIRONMENTS:
            raise ValueError("`environment` must be development or production")
        if self.kind not in OBJECT_KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(OBJECT_KINDS)}")
        for name in ("object_digest", "policy_digest"):
            require_size(getattr(self, name), DIGEST_SIZE_BYTES, name)
        for name in ("product", "requester"):
            if not is_slug(getattr(self, name)):
                raise ValueError(f"`{name}` must be a name: lower-case letters, digits and inner hyphens")
        require_size(parse_hex(self.product_id, "product_id"), _ID_SIZE_BYTES, "product_id")
        if len(self.key_ids) != 1:
            raise ValueError("`key_ids` must be one key id")
        require_size(self.key_ids[0], KEY_ID_SIZE_BYTES, "key_ids")
        check_facts(self.kind, self.facts)
        require_time(self.not_after, "not_after")

    @property
    def words(self) -> str:
        """What an approver types: the product, and what makes this object this object."""
        return " ".join([self.product, *(str(self.facts[name]) for name in _WORDS_OF_KIND[self.kind])])

    def fields(self) -> dict[str, Any]:
        """The statement as a JSON object; digests and ids in lower-case hexadecimal digits."""
        return {
            "type": OBJECT_REQUEST_TYPE,
            "environment": self.environment,
            "kind": self.kind,
            "object_digest": self.object_digest.hex(),
            "product": self.product,
            "product_id": self.product_id,
            "key_ids": [key_id.hex() for key_id in self.key_ids],
            "facts": dict(self.facts),
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


FIELD_NAMES = ("type", *ObjectRequest.__struct_fields__)


def is_object_request(statement: bytes) -> bool:
    """Whether a statement says that it is one; it may still be malformed."""
    return f'"type":"{OBJECT_REQUEST_TYPE}"'.encode() in statement


def decode_object_request(data: bytes) -> ObjectRequest:
    """Read a request strictly; nothing in it has been verified yet. Raises Malformed RQ-01, RQ-02, RQ-03."""
    fields = parse_statement(data, "RQ", OBJECT_REQUEST_TYPE, FIELD_NAMES)
    try:
        request = _request_of(fields)
    except ValueError as error:
        raise Malformed("RQ-03", "request", str(error)) from None
    if request.fields() != fields:
        raise Malformed("RQ-03", "request", "a value is not in its one form")
    return request


def _request_of(fields: dict[str, Any]) -> ObjectRequest:
    key_ids, facts = fields["key_ids"], fields["facts"]
    if not isinstance(key_ids, list):
        raise ValueError("`key_ids` must be a list")
    if not isinstance(facts, dict):
        raise ValueError("`facts` must be an object")
    texts: dict[str, Any] = {
        name: parse_text(fields[name], name) for name in ("environment", "kind", "product", "product_id", "requester")
    }
    return ObjectRequest(
        **texts,
        object_digest=parse_hex(fields["object_digest"], "object_digest"),
        key_ids=tuple(parse_hex(item, "key_ids") for item in key_ids),
        facts=facts,
        not_after=parse_time(fields["not_after"], "not_after"),
        policy_digest=parse_hex(fields["policy_digest"], "policy_digest"),
    )


def check_facts(kind: ObjectKind, facts: Mapping[str, Fact]) -> None:
    """Exactly the facts of the kind, each in its one form; ValueError."""
    checks = _FACTS_OF_KIND[kind]
    if facts.keys() != checks.keys():
        raise ValueError(f"`facts` of a {kind} must be {', '.join(checks)}")
    for name, check in checks.items():
        check(name, facts[name])


Check = Callable[[str, Fact], None]


def _number(lowest: int, highest: int) -> Check:
    def check(name: str, value: Fact) -> None:
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError(f"`{name}` must be an integer from {lowest} to {highest}")

    return check


def _hex(size_bytes: int) -> Check:
    return lambda name, value: require_size(parse_hex(value, name), size_bytes, name)


def _one_of(*values: str) -> Check:
    def check(name: str, value: Fact) -> None:
        if value not in values:
            raise ValueError(f"`{name}` must be one of {', '.join(values)}")

    return check


def _lot(name: str, value: Fact) -> None:
    text = parse_text(value, name)
    if not 1 <= len(text) <= _LOT_LENGTH_MAX or not (text.isascii() and text.isprintable()):
        raise ValueError(f"`{name}` must be 1 to {_LOT_LENGTH_MAX} printable ASCII characters")


def _version(name: str, value: Fact) -> None:
    version_parts(parse_text(value, name))


def _time(name: str, value: Fact) -> None:
    parse_time(value, name)


_FACTS_OF_KIND: Mapping[str, Mapping[str, Check]] = MappingProxyType(
    {
        "work-order": MappingProxyType(
            {
                "inject": _one_of(*INJECTIONS),
                "lot": _lot,
                "order_id": _hex(_ID_SIZE_BYTES),
                "order_not_after": _time,
                "quota": _number(1, _QUOTA_MAX),
                "stations": _number(1, _STATIONS_MAX),
            }
        ),
        "service-order": MappingProxyType({"action": _one_of(*SERVICE_ACTIONS), "uid": _hex(_ID_SIZE_BYTES)}),
        "grant-batch": MappingProxyType(
            {
                "batch_id": _hex(_ID_SIZE_BYTES),
                "devices": _number(1, _DEVICES_MAX),
                "head_hash": _hex(DIGEST_SIZE_BYTES),
                "version": _version,
            }
        ),
    }
)

_WORDS_OF_KIND: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"work-order": ("lot", "quota"), "service-order": ("action",), "grant-batch": ("version", "devices")}
)
