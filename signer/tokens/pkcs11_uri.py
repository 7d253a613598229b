"""PKCS#11 URIs (RFC 7512), strictly: parsing, formatting and matching. Pure.

Stricter than the RFC: unknown and repeated attributes, `slot-id` (it changes when tokens are added) and `pin-value`
(a secret in an argument or a configuration file) are refused. One attribute of our own is taken in the query,
`strongroom-init-args`, since some modules (NSS softokn) need a parameter string to be initialised.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from pki.errors import ConfigurationError

MAX_URI_LENGTH = 2048

_UNRESERVED = frozenset(string.ascii_letters + string.digits + "._~-")
# pk11-pchar and pk11-qchar of section 2.3, and the percent sign that begins an escape.
_PATH_CHARACTERS = _UNRESERVED | frozenset(":[]@!$'()*+,=&%")
_QUERY_CHARACTERS = _UNRESERVED | frozenset(":[]@!$'()*+,=/?|%")
_HEX_DIGITS = frozenset(string.hexdigits)

# Largest value in bytes after decoding. Tokens have shorter labels (32) and serials (16), but not the RFC's examples.
_MAX_VALUE_BYTES: Mapping[str, int] = MappingProxyType(
    {
        "token": 255,
        "manufacturer": 255,
        "serial": 255,
        "model": 255,
        "library-manufacturer": 255,
        "library-description": 255,
        "library-version": 7,
        "slot-manufacturer": 255,
        "slot-description": 255,
        "object": 255,
        "type": 16,
        "id": 64,
        "pin-source": 1024,
        "module-name": 64,
        "module-path": 1024,
        "strongroom-init-args": 1024,
    }
)
_QUERY_NAMES = frozenset({"pin-source", "module-name", "module-path", "strongroom-init-args"})
_REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "slot-id": "slot numbers change when tokens are added or removed; pin the token by serial=",
        "pin-value": "a PIN in a URI ends up in logs and process lists; use pin-source=file:/path/to/pin instead",
    }
)
OBJECT_TYPES = ("public", "private", "cert", "secret-key", "data")


class Pkcs11Uri(msgspec.Struct, frozen=True):
    """The attributes of a PKCS#11 URI; None is "not given". `id` is bytes, everything else text."""

    token: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    library_manufacturer: str | None = None
    library_description: str | None = None
    library_version: str | None = None
    slot_manufacturer: str | None = None
    slot_description: str | None = None
    object: str | None = None
    type: str | None = None
    id: bytes | None = None
    pin_source: str | None = None
    module_name: str | None = None
    module_path: str | None = None
    strongroom_init_args: str | None = None

    def __post_init__(self) -> None:
        for field_name in _FIELD_NAMES:
            value = getattr(self, field_name)
            if value is not None:
                _check_value(field_name.replace("_", "-"), value)
        if self.module_name is not None and self.module_path is not None:
            raise ConfigurationError("a PKCS#11 URI names its module once: give module-name or module-path, not both")

    def __str__(self) -> str:
        return format_pkcs11_uri(self)


_FIELD_NAMES = Pkcs11Uri.__struct_fields__
"""In canonical order."""


def parse_pkcs11_uri(text: str) -> Pkcs11Uri:
    """Parse a PKCS#11 URI (RFC 7512, section 2.3). Raises ConfigurationError, in one line, for anything not strict."""
    if len(text) > MAX_URI_LENGTH:
        raise ConfigurationError(f"a PKCS#11 URI has at most {MAX_URI_LENGTH} characters, not {len(text)}")
    if text[:7].lower() != "pkcs11:":
        raise ConfigurationError("a PKCS#11 URI begins with pkcs11:, for example pkcs11:serial=0123456789abcdef")
    path, question_mark, query = text[7:].partition("?")
    values: dict[str, str | bytes] = {}
    for attribute in path.split(";") if path else ():
        _take(attribute, _PATH_CHARACTERS, in_query=False, values=values)
    if question_mark and not query:
        raise ConfigurationError("the PKCS#11 URI ends with a question mark: remove it")
    for attribute in query.split("&") if query else ():
        _take(attribute, _QUERY_CHARACTERS, in_query=True, values=values)
    return Pkcs11Uri(**values)  # type: ignore[arg-type]


def _take(attribute: str, characters: frozenset[str], *, in_query: bool, values: dict[str, str | bytes]) -> None:
    name, equals, raw = attribute.partition("=")
    if name in _REFUSED:
        raise ConfigurationError(f"PKCS#11 URI: {name} is refused: {_REFUSED[name]}")
    if name not in _MAX_VALUE_BYTES:
        raise ConfigurationError(f"PKCS#11 URI: unknown attribute {name[:40]!r}")
    if not equals:
        raise ConfigurationError(f"PKCS#11 URI: {name} has no value")
    if (name in _QUERY_NAMES) is not in_query:
        place = "after the question mark" if name in _QUERY_NAMES else "before the question mark"
        raise ConfigurationError(f"PKCS#11 URI: {name} belongs {place}")
    key = name.replace("-", "_")
    if key in values:
        raise ConfigurationError(f"PKCS#11 URI: {name} is given twice")
    if set(raw) - characters:
        raise ConfigurationError(f"PKCS#11 URI: {name} has a character that must be written as %XX")
    values[key] = _decoded(name, raw)


def _decoded(name: str, raw: str) -> str | bytes:
    first, *escaped = raw.split("%")
    data = bytearray(first, "ascii")
    for part in escaped:
        if len(part) < 2 or set(part[:2]) - _HEX_DIGITS:
            raise ConfigurationError(f"PKCS#11 URI: {name} has a percent sign that does not begin %XX")
        data += bytes.fromhex(part[:2]) + part[2:].encode("ascii")
    if name == "id":
        return bytes(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"PKCS#11 URI: {name} is not UTF-8") from None


def _check_value(name: str, value: str | bytes) -> None:
    size_bytes = len(value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass"))
    if size_bytes == 0:
        raise ConfigurationError(f"PKCS#11 URI: {name} is empty")
    if size_bytes > _MAX_VALUE_BYTES[name]:
        raise ConfigurationError(f"PKCS#11 URI: {name} is longer than {_MAX_VALUE_BYTES[name]} bytes")
    if isinstance(value, bytes):
        return
    if not value.isprintable():
        raise ConfigurationError(f"PKCS#11 URI: {name} has a control character")
    if name == "type" and value not in OBJECT_TYPES:
        raise ConfigurationError(f"PKCS#11 URI: type is one of {', '.join(OBJECT_TYPES)}")
    if name == "library-version" and not _is_version(value):
        raise ConfigurationError("PKCS#11 URI: library-version is major or major.minor")


def _is_version(value: str) -> bool:
    parts = value.split(".")
    return len(parts) <= 2 and all(1 <= len(part) <= 3 and not set(part) - frozenset(string.digits) for part in parts)


def format_pkcs11_uri(uri: Pkcs11Uri) -> str:
    """Write a URI in its one canonical form: attributes in the order of the class, all but unreserved bytes escaped."""
    path: list[str] = []
    query: list[str] = []
    for field_name in _FIELD_NAMES:
        value = getattr(uri, field_name)
        if value is None:
            continue
        name = field_name.replace("_", "-")
        data = value if isinstance(value, bytes) else value.encode("utf-8")
        escaped = "".join(chr(byte) if chr(byte) in _UNRESERVED and name != "id" else f"%{byte:02X}" for byte in data)
        (query if name in _QUERY_NAMES else path).append(f"{name}={escaped}")
    return "pkcs11:" + ";".join(path) + ("?" + "&".join(query) if query else "")
