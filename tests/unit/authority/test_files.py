"""Reading, finding, scaffolding and changing the files of an authority repository."""

from __future__ import annotations

import errno
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import ConfigurationError, OutputError
from signer.authority.model import Authority, Environment, KeyConfig, PinConfig, Site
from signer.authority.repository import AuthorityRepository, locate, token_of
from signer.authority.scaffold import NewAuthority, scaffold
from signer.authority.site_file import TokenEntry, replace_site_file, with_token
from signer.authority.toml_files import load_toml, parse_toml, toml_string
from tests.unit.authority.texts import PRODUCT_TEXT

SETTINGS = NewAuthority(
    'Example "Pumps"', Environment.DEVELOPMENT, {"board": 'name = "board"\n'}, {"softhsm": "/lib/x.so"}
)


def make_key_store(path: Path) -> None:
    path.write_bytes(b"store")


@pytest.fixture
def repository(tmp_path: Path) -> AuthorityRepository:
    scaffold(tmp_path / "authority", SETTINGS, make_key_store)
    return AuthorityRepository(tmp_path / "authority")


# Strings and files


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_as_a_toml_string(text: str) -> None:
    assert tomllib.loads(f"x = {toml_string(text)}") == {"x": text}


def test_files_that_are_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "strongroom.toml"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_toml(path, Authority)
    for content, reason in (
        (b"\xff", "not UTF-8 at byte 0"),
        (b"a = [", "not valid TOML"),
        (b"#" * 300_000, "more than"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=reason):
            load_toml(path, Authority)


# Scaffolding and finding


def test_a_scaffold_is_whole_and_reads_back(repository: AuthorityRepository) -> None:
    assert repository.authority.name == 'Example "Pumps"'
    assert repository.site().modules["softhsm"].path == "/lib/x.so"
    assert repository.people.people == []
    assert (repository.product_names(), repository.site_names(), repository.board_names()) == ([], ["main"], ["board"])
    assert repository.key_store_path.read_bytes() == b"store"
    assert repository.key_intents_path == repository.root / "store" / "intents"


def test_a_scaffold_without_modules_shows_how_to_name_one(tmp_path: Path) -> None:
    settings = NewAuthority("X", Environment.PRODUCTION, {}, {})
    scaffold(tmp_path / "a", settings, make_key_store)
    assert AuthorityRepository(tmp_path / "a").site().modules == {}
    assert "# softhsm = {" in (tmp_path / "a" / "sites" / "main.toml").read_text(encoding="utf-8")


def test_a_scaffold_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def disk_is_full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"No space left on device.*nothing was left behind"):
        scaffold(tmp_path / "a", SETTINGS, disk_is_full)
    assert list(tmp_path.iterdir()) == []


def test_a_scaffold_takes_an_empty_folder_only(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    scaffold(tmp_path / "empty", SETTINGS, make_key_store)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for name in ("empty", "link", "file"):
        with pytest.raises(OutputError, match="not an empty folder"):
            scaffold(tmp_path / name, SETTINGS, make_key_store)


def test_the_repository_is_found_upward(repository: AuthorityRepository, tmp_path: Path) -> None:
    assert locate(repository.root / "store").root == repository.root
    with pytest.raises(ConfigurationError, match="strongroom init"):
        locate(tmp_path)


def test_names_and_files_agree(repository: AuthorityRepository) -> None:
    products = repository.root / "products"
    (products / "pump-x2.toml").write_text(PRODUCT_TEXT, encoding="utf-8")
    assert repository.product("pump-x2").name == "pump-x2"
    (products / "pump-x2.toml").rename(products / "pump-x3.toml")
    with pytest.raises(ConfigurationError, match="make the two equal"):
        repository.product("pump-x3")
    with pytest.raises(ConfigurationError, match=r"there: pump-x3"):
        repository.product("pump-x2")
    for name in ("../strongroom", "Pump", "", "a" * 33, "pump_x"):
        with pytest.raises(ConfigurationError, match="is no name"):
            repository.product(name)
    with pytest.raises(ConfigurationError, match="no sites/other"):
        repository.site("other")
    with pytest.raises(ConfigurationError, match="no boards/other"):
        repository.board_path("other")


def test_too_many_files(repository: AuthorityRepository) -> None:
    for number in range(1001):
        (repository.root / "products" / f"p{number}.toml").touch()
    with pytest.raises(ConfigurationError, match="more than 1000"):
        repository.product_names()


# Site files


PROMPT = PinConfig(source="prompt")


def entry(name: str = "release", module: str = "softhsm", pin: PinConfig = PROMPT) -> TokenEntry:
    return TokenEntry(name, module, "pkcs11:token=a%20b;serial=01", pin)


@pytest.mark.parametrize(
    "pin",
    [
        PROMPT,
        PinConfig(source="protected-path"),
        PinConfig(source="file", path='pins/"odd"\\name'),
        PinConfig(source="command", argv=["pass", "show", "a b"]),
    ],
)
def test_a_token_is_added_and_the_rest_stays(repository: AuthorityRepository, pin: PinConfig) -> None:
    path = repository.root / "sites" / "main.toml"
    before = path.read_text(encoding="utf-8")
    replace_site_file(path, before, with_token(path, before, entry(pin=pin)))
    after = path.read_text(encoding="utf-8")
    assert after.startswith(before.rstrip())
    token = repository.site().tokens["release"]
    assert (token.uri, token.pin) == ("pkcs11:token=a%20b;serial=01", pin)
    assert [item.name for item in path.parent.iterdir()] == ["main.toml"]


def test_a_token_that_cannot_be_added(repository: AuthorityRepository) -> None:
    path = repository.root / "sites" / "main.toml"
    text = with_token(path, path.read_text(encoding="utf-8"), entry())
    for wrong, reason in (
        (entry(), "there already"),
        (entry("x", "nss"), "no module 'nss'"),
        (entry("X"), "is no name"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            with_token(path, text, wrong)


def test_a_site_file_changed_meanwhile_is_not_replaced(repository: AuthorityRepository) -> None:
    path = repository.root / "sites" / "main.toml"
    before = path.read_text(encoding="utf-8")
    path.write_text(before + "# mine\n", encoding="utf-8")
    with pytest.raises(OutputError, match="changed meanwhile"):
        replace_site_file(path, before, before + "# theirs\n")
    assert path.read_text(encoding="utf-8").endswith("# mine\n")


def test_a_replacement_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "main.toml"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o640)

    def disk_is_full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk_is_full)
        with pytest.raises(OutputError, match="No space left"):
            replace_site_file(path, "old", "new")
    assert [(item.name, item.read_text(encoding="utf-8")) for item in tmp_path.iterdir()] == [("main.toml", "old")]
    replace_site_file(path, "old", "new")
    assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == ("new", 0o640)


def test_the_token_of_a_key(repository: AuthorityRepository) -> None:
    path = repository.root / "sites" / "main.toml"
    site = parse_toml(path, with_token(path, path.read_text(encoding="utf-8"), entry()), Site)
    assert token_of(site, KeyConfig(token="release", label="x")) is site.tokens["release"]
    with pytest.raises(ConfigurationError, match="there: release"):
        token_of(site, KeyConfig(token="other", label="x"))
