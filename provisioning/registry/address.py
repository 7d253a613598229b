"""The address of a registry: `sqlite:///PATH` or `postgresql://…`, without any secret in it (docs/spec/registry.md, 1).

Rules RG-01 and RG-02. Nothing heavy is imported here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from pki.errors import ConfigurationError

ADDRESS_LENGTH_MAX = 1024

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_OPTIONS = frozenset({"host", "port", "sslmode", "sslrootcert", "sslcrl", "sslcert", "sslkey", "connect_timeout"})
_VERIFYING = frozenset({"verify-ca", "verify-full"})
_SSL_MODES = _VERIFYING | {"require", "disable"}
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,63}")


@dataclass(frozen=True, slots=True)
class SqliteAddress:
    """A file."""

    path: Path

    def __str__(self) -> str:
        return f"sqlite:///{self.path}"


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A database of a server, as libpq's keywords. Its password is libpq's business: PGPASSFILE or ~/.pgpass."""

    keywords: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        found = dict(self.keywords)
        place = found.get("host", "the default socket") + (f":{found['port']}" if "port" in found else "")
        return f"database {found['dbname']} at {place}"


RegistryAddress = SqliteAddress | PostgresAddress


def parse_address(text: str) -> RegistryAddress:
    """Read an address. Raises ConfigurationError: RG-01 for another form, RG-02 for a secret or an open line."""
    if not 0 < len(text) <= ADDRESS_LENGTH_MAX or not text.isprintable():
        raise _refused("RG-01", "the address is empty, too long, or has characters that do not print")
    scheme = text.partition(":")[0]
    if scheme == "sqlite":
        return _sqlite(text)
    if scheme in {"postgresql", "postgres"}:
        return _postgres(text)
    raise _refused("RG-01", f"{_shown(text)} is no address of a registry: write sqlite:///PATH or postgresql://…")


def _sqlite(text: str) -> SqliteAddress:
    path = text.removeprefix("sqlite:///")
    if path == text or not path or "?" in path or "\0" in path:
        raise _refused("RG-01", "a SQLite registry is sqlite:///PATH (sqlite:////var/… for an absolute path)")
    return SqliteAddress(Path(path))


def _postgres(text: str) -> PostgresAddress:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _refused("RG-01", "the PostgreSQL address cannot be read: postgresql://USER@HOST:PORT/DATABASE") from None
    if parts.password is not None:
        raise _refused(
            "RG-02",
            "the address carries a password, which everybody on this machine could read: leave it out, and put it into "
            "the file that PGPASSFILE names (or ~/.pgpass), mode 0600; or use peer or certificate authentication",
        )
    keywords: dict[str, str] = {}
    if parts.hostname:
        keywords["host"] = unquote(parts.hostname)
    if port is not None:
        keywords["port"] = str(port)
    if parts.username:
        keywords["user"] = unquote(parts.username)
    keywords["dbname"] = unquote(parts.path.removeprefix("/"))
    for name, value in _options(parts.query):
        if name in keywords:
            raise _refused("RG-01", f"the address says `{name}` twice")
        keywords[name] = value
    if parts.fragment:
        raise _refused("RG-01", "the address ends with a fragment (#…), which means nothing here")
    _check(keywords)
    return PostgresAddress(tuple(sorted(_with_safe_line(keywords).items())))


def _options(query: str) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=16)
    except ValueError:
        raise _refused("RG-01", "the options of the address cannot be read: ?name=value&name=value") from None
    for name, _ in pairs:
        if "password" in name:
            raise _refused("RG-02", f"`{name}` does not belong into an address; put it into PGPASSFILE or ~/.pgpass")
        if name not in _OPTIONS:
            known = ", ".join(sorted(_OPTIONS))
            raise _refused("RG-01", f"the address has an option {_shown(name)!r}; known are {known}")
    return pairs


def _check(keywords: dict[str, str]) -> None:
    for name in ("dbname", "user"):
        if name in keywords and not _NAME.fullmatch(keywords[name]):
            raise _refused("RG-01", f"the address's {name} must be 1 to 63 letters, digits, dots, hyphens, underscores")
    for name in ("port", "connect_timeout"):
        if name in keywords and not re.fullmatch(r"[1-9][0-9]{0,4}", keywords[name]):
            raise _refused("RG-01", f"the address's {name} is not a number")


def _with_safe_line(keywords: dict[str, str]) -> dict[str, str]:
    """Beyond this machine the server proves who it is, unless the address says `require` in so many words."""
    host = keywords.get("host", "")
    local = not host or host.startswith("/") or host in _LOCAL_HOSTS
    mode = keywords.get("sslmode")
    if mode is not None and mode not in _SSL_MODES:
        raise _refused("RG-02", f"sslmode={_shown(mode)}: use verify-full, verify-ca or require")
    if not local and mode == "disable":
        raise _refused("RG-02", f"sslmode=disable to {_shown(host)}: the line to another machine must be TLS")
    return keywords if local or mode is not None else keywords | {"sslmode": "verify-full"}


def _refused(rule_id: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"[{rule_id}] {reason}")


def _shown(text: str) -> str:
    """A short piece of what was given; never what may be a password."""
    return text.partition("@")[0][:40] if "@" not in text else "what was given"
