"""What the files may say: one row per field and class of mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.errors import ConfigurationError
from pki.roles import Role
from policies.people import People
from signer.authority.model import Authority, Environment, RecipientKind, Site
from signer.authority.toml_files import parse_toml
from tests.unit.authority.texts import PRODUCT_ID, PRODUCT_TEXT, product_of

AUTHORITY = 'format = 1\nname = "Example"\nenvironment = "production"\ndefault_site = "main"\n'
SITE = """\
format = 1
name = "main"
[modules]
softhsm = { path = "/usr/lib/softhsm/libsofthsm2.so" }
[tokens.release]
module = "softhsm"
uri = "pkcs11:serial=00"
pin = { source = "prompt" }
"""
PERSON = '[[people]]\nid = "ada"\nname = "Ada"\nroles = ["approver"]\n'


def test_a_new_product_file_passes() -> None:
    product = product_of(PRODUCT_TEXT)
    assert product.id_bytes == PRODUCT_ID.bytes
    assert product.encryption.recipient is RecipientKind.DEVICE
    assert [key.token for key in product.keys.of_role(Role.ROOT)] == ["root-1", "root-2", "root-3"]
    assert [key.label for key in product.keys.of_role(Role.COMPAT)] == ["sr:compat:pump-x2:0001"]
    assert product.keys.of_role(Role.LOG) == []
    assert product.trust.limits.application.maximum == 1000


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("format = 1", "format = 2", "format"),
        ("format = 1", "format = true", "format"),
        ("format = 1", "", "format"),
        ("format = 1", "format = 1\nspeed = 3", "speed"),
        ('name = "pump-x2"', 'name = "Pump"', "name"),
        ('name = "pump-x2"', 'name = "other"', "belongs to product"),
        (str(PRODUCT_ID), str(PRODUCT_ID).upper(), "UUID"),
        (str(PRODUCT_ID), "00000000-0000-0000-0000-000000000000", "UUID"),
        (str(PRODUCT_ID), "6f1a4b7e3c524d0e9b7d0a3c5e8f1d24", "UUID"),
        ("hardware_revision_min = 1", "hardware_revision_min = 2", "above"),
        ("hardware_revision_max = 1", "hardware_revision_max = 65536", "hardware_revision_max"),
        ("hardware_revision_max = 1", "hardware_revision_max = 1.0", "hardware_revision_max"),
        ("hardware_revision_max = 1", 'hardware_revision_max = "1"', "hardware_revision_max"),
        ('recipient = "device"', 'recipient = "none"', "recipient"),
        ('recipient = "device"', 'recipient = "group"', "group_public_key"),
        ('recipient = "device"', 'recipient = "grant"', "package-wrap"),
        ('recipient = "device"', 'recipient = "device"\ngroup_public_key = "x.pem"', "group_public_key"),
        ("root_threshold = 2", "root_threshold = 0", "root_threshold"),
        ("root_threshold = 2", "root_threshold = 4", "root_threshold"),
        ("root_threshold = 2", "root_threshold = 6", "root_threshold"),
        ("maximum = 1000", "maximum = 4294967296", "maximum"),
        ("minimum = 1,", "minimum = 1001,", "above maximum"),
        ("factory-test = {", "factory_test = {", "factory"),
        ("sr:root:pump-x2:0003", "sr:root:pump-x2:0002", "named twice"),
        ("sr:root:pump-x2:0003", "sr:grant:pump-x2:0003", "stands under"),
        ("sr:root:pump-x2:0003", "sr:root:pump-x3:0003", "belongs to product"),
        ("sr:root:pump-x2:0003", "root three", "not a key label"),
        ('{ token = "root-3", label = "sr:bootloader-release:pump-x2:0003" },', "", "bootloader-release"),
        ('compat = { token = "release"', 'compat = { token = "Release"', "token"),
    ],
)
def test_product_fields(old: str, new: str, text: str) -> None:
    assert old in PRODUCT_TEXT
    spoiled = PRODUCT_TEXT.replace(old, new)
    with pytest.raises(ConfigurationError, match=text):
        product_of(spoiled)


def test_two_roots_are_enough_for_a_threshold_of_two() -> None:
    third = '{ token = "root-3", label = "sr:root:pump-x2:0003" },'
    assert third in PRODUCT_TEXT
    assert len(product_of(PRODUCT_TEXT.replace(third, "")).keys.root) == 2


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('"production"', '"staging"', "environment"),
        ('"main"', '"Main"', "default_site"),
        ('name = "Example"', 'name = ""', "name"),
        ('name = "Example"', f'name = "{"x" * 101}"', "name"),
        ("format = 1", "format = 1\nkey_store = 7", "key_store"),
    ],
)
def test_authority_fields(old: str, new: str, text: str) -> None:
    assert parse_toml(Path("strongroom.toml"), AUTHORITY, Authority).environment is Environment.PRODUCTION
    with pytest.raises(ConfigurationError, match=rf"strongroom\.toml: .*{text}"):
        parse_toml(Path("strongroom.toml"), AUTHORITY.replace(old, new), Authority)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("[tokens.release]", "[tokens.Release]", "Release|pattern|tokens"),
        ('module = "softhsm"', 'module = "nss"', "does not have"),
        ('"pkcs11:serial=00"', '"serial=00"', "uri"),
        ('source = "prompt"', 'source = "argv"', "source"),
        ('source = "prompt"', 'source = "prompt", pin = "1234"', "pin"),
        ('source = "prompt"', 'source = "prompt", path = "x"', "path"),
        ('source = "prompt"', 'source = "file"', "path"),
        ('source = "prompt"', 'source = "command"', "argv"),
        ('source = "prompt"', 'source = "command", argv = []', "argv"),
        ('source = "prompt"', 'source = "command", argv = "cat x"', "argv"),
        ('path = "/usr/lib/softhsm/libsofthsm2.so"', "", "path"),
        ('path = "/usr', 'slot = 1, path = "/usr', "slot"),
    ],
)
def test_site_fields(old: str, new: str, text: str) -> None:
    parse_toml(Path("sites/main.toml"), SITE, Site)
    assert old in SITE
    with pytest.raises(ConfigurationError, match=text):
        parse_toml(Path("sites/main.toml"), SITE.replace(old, new), Site)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PERSON + PERSON, "named twice"),
        (PERSON.replace('"approver"', '"boss"'), "roles"),
        (PERSON.replace('["approver"]', "[]"), "roles"),
        (PERSON.replace('"ada"', '"Ada"'), "id"),
    ],
)
def test_people(text: str, reason: str) -> None:
    people = parse_toml(Path("people.toml"), "format = 1\n" + PERSON, People)
    assert [person.id for person in people.people] == ["ada"]
    with pytest.raises(ConfigurationError, match=reason):
        parse_toml(Path("people.toml"), "format = 1\n" + text, People)
