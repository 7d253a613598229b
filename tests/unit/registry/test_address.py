"""Addresses of registries: RG-01 and RG-02."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.errors import ConfigurationError
from provisioning.registry.address import PostgresAddress, SqliteAddress, parse_address

REQUIRED = {"dbname": "r", "host": "db.example", "port": "5433", "sslmode": "require"}


@pytest.mark.parametrize(
    ("text", "path"),
    [("sqlite:///registry.sqlite", "registry.sqlite"), ("sqlite:////var/lib/r.sqlite", "/var/lib/r.sqlite")],
)
def test_a_file(text: str, path: str) -> None:
    assert parse_address(text) == SqliteAddress(Path(path))


@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        ("postgresql:///registry", {"dbname": "registry"}),
        ("postgres://maker@/r?host=/run/pg", {"dbname": "r", "user": "maker", "host": "/run/pg"}),
        ("postgresql://db.example/r", {"dbname": "r", "host": "db.example", "sslmode": "verify-full"}),
        ("postgresql://db.example:5433/r?sslmode=require", REQUIRED),
        ("postgresql://localhost/r?sslmode=disable", {"dbname": "r", "host": "localhost", "sslmode": "disable"}),
    ],
)  # fmt: skip
def test_a_server(text: str, keywords: dict[str, str]) -> None:
    found = parse_address(text)
    assert isinstance(found, PostgresAddress)
    assert dict(found.keywords) == keywords


@pytest.mark.parametrize(
    "text",
    [
        "",
        "registry.sqlite",
        "sqlite://registry.sqlite",
        "sqlite:///",
        "sqlite:///r.sqlite?mode=ro",
        "mysql://host/r",
        "postgresql://host",
        "postgresql://host/",
        "postgresql://host:x/r",
        "postgresql://host/r#part",
        "postgresql://host/r?options=-c%20fsync=off",
        "postgresql://host/r?host=other",
        "postgresql://host/r?port=0",
        "postgresql://host/r; DROP",
        "postgresql://a b@host/r",
        "postgresql://host/r\n",
        "sqlite:///" + "x" * 1100,
    ],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^\[RG-01\] ") as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://maker:s3cret@host/r",
        "postgresql://maker:@host/r",
        "postgresql://maker@host/r?password=s3cret",
        "postgresql://maker@host/r?sslpassword=s3cret",
    ],
)
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^\[RG-02\] .*PGPASSFILE") as caught:
        parse_address(text)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_an_open_line_to_another_machine_is_refused(mode: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^\[RG-02\] "):
        parse_address(f"postgresql://db.example/r?sslmode={mode}")
