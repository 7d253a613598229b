"""`strongroom init`, `product` and `token`, on real SoftHSM tokens."""

from __future__ import annotations

import os
import pty
import select
import tomllib

import pytest

from cli.exit_codes import ExitCode
from signer.authority.model import Environment
from signer.store.maintenance import check_key_store
from signer.tokens import find_module
from tests.cli.world import PRODUCT, PROGRAM, World, write_pin


def new_authority(world: World, *options: str) -> World:
    result = world.process("init", world.root, "--name", "Example Pumps", *options, cwd=world.folder)
    assert result.code == 0, result
    return world


def pins(world: World) -> tuple[str, ...]:
    so_pin = write_pin(world.root / "fake" / "so.pin", "officer-5678")
    user_pin = write_pin(world.pin_file, "user-1234")
    return ("--so-pin-file", str(so_pin), "--pin-file", str(user_pin))


# init


def test_init_makes_a_whole_repository(bare_world: World) -> None:
    world = new_authority(bare_world, "--environment", "production")
    repository = world.repository
    assert repository.authority.environment is Environment.PRODUCTION
    assert repository.authority.name == "Example Pumps"
    assert repository.people.people == []
    assert repository.site().modules["softhsm"].path == find_module("softhsm2")
    assert "stm32f405-full" in repository.board_names()
    check_key_store(repository.key_store_path)
    assert (world.root / "store").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in world.folder.iterdir()) == ["authority", "softhsm2.conf", "tokens"]


def test_init_leaves_an_existing_folder_alone(bare_world: World) -> None:
    bare_world.root.mkdir()
    (bare_world.root / "mine.txt").write_text("mine", encoding="utf-8")
    result = bare_world.process("init", bare_world.root, "--name", "X", cwd=bare_world.folder)
    assert result.code == ExitCode.OUTPUT
    assert "exists and is not an empty folder" in result.error
    assert [path.name for path in bare_world.root.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines"])
def test_init_refuses_a_name_and_makes_nothing(bare_world: World, name: str) -> None:
    result = bare_world.process("init", bare_world.root, "--name", name, cwd=bare_world.folder)
    assert result.code == ExitCode.CONFIGURATION
    assert not bare_world.root.exists()


def test_init_in_a_folder_that_is_not_there(bare_world: World) -> None:
    result = bare_world.process("init", "no/where", "--name", "X", cwd=bare_world.folder)
    assert result.code == ExitCode.OUTPUT
    assert "nothing was left behind" in result.error


# product


def test_a_new_product_passes_its_checks(world: World) -> None:
    made = world.ok("product", "new", "other", "--board", "stm32f405-core", "--json").json
    product = world.repository.product("other")
    assert (product.id, product.board) == (made["id"], "stm32f405-core")
    rows = world.ok("product", "list", "--json").json
    assert [row["name"] for row in rows] == ["other", PRODUCT]
    assert "stm32f405-core" in world.ok("product", "list").out


def test_a_product_is_never_overwritten(world: World) -> None:
    before = world.product_file.read_bytes()
    line = world.fails(ExitCode.OUTPUT, "product", "new", PRODUCT, "--board", "stm32f405-full")
    assert "exists" in line
    assert world.product_file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("other", "--board", "nowhere"), ExitCode.CONFIGURATION, "there: stm32f405-core"),
        (("Other", "--board", "stm32f405-full"), ExitCode.CONFIGURATION, "lower-case"),
        (("../other", "--board", "stm32f405-full"), ExitCode.CONFIGURATION, "lower-case"),
        (("other", "--board", "stm32f405-full", "--id", "7"), ExitCode.INPUT, "not a UUID"),
        (
            ("other", "--board", "stm32f405-full", "--id", "00000000-0000-0000-0000-000000000000"),
            ExitCode.INPUT,
            "not all zero",
        ),
    ],
)
def test_a_product_that_cannot_be(world: World, arguments: tuple[str, ...], code: ExitCode, text: str) -> None:
    before = sorted((world.root / "products").iterdir())
    assert text in world.fails(code, "product", "new", *arguments)
    assert sorted((world.root / "products").iterdir()) == before


def test_a_product_id_is_not_used_twice(world: World) -> None:
    used = world.repository.product(PRODUCT).id
    assert PRODUCT in world.fails(
        ExitCode.INPUT, "product", "new", "other", "--board", "stm32f405-full", "--id", used.upper()
    )


# token


def test_token_init_list_and_info_through_the_process(bare_world: World) -> None:
    world = new_authority(bare_world)
    made = world.process(
        "token", "init", "release", "--module", "softhsm", "--label", "rel", *pins(world), "--write", "--json"
    )
    assert made.code == 0, made
    serial = made.json["serial"]
    token = world.repository.site().tokens["release"]
    assert token.uri == f"pkcs11:token=rel;serial={serial}"
    assert (token.pin.source, token.pin.path) == ("file", "fake/user.pin")
    assert "# [tokens.release]" in world.site_file.read_text(encoding="utf-8"), "the site's comments stay"

    rows = world.process("token", "list", "--json").json
    assert [(row["label"], row["serial"], row["names"]) for row in rows if row["serial"]] == [
        ("rel", serial, ["release"])
    ]
    text = world.process("token", "list")
    assert serial in text.out
    shown = world.process("token", "info", "release", "--probe", "--json").json
    assert (shown["serial"], shown["profile"]["raw_ecdsa"]) == (serial, True)


def test_without_write_the_lines_are_printed_and_the_site_stays(bare_world: World) -> None:
    world = new_authority(bare_world)
    before = world.site_file.read_bytes()
    made = world.ok("token", "init", "release", "--module", "softhsm", "--label", "rel", *pins(world), "--json").json
    assert made["written"] is False
    assert tomllib.loads(made["toml"])["tokens"]["release"]["uri"].endswith(made["serial"])
    assert world.site_file.read_bytes() == before


def test_a_pin_from_a_program(bare_world: World) -> None:
    world = new_authority(bare_world)
    so_pin, user_pin = (pins(world)[1], pins(world)[3])
    commands = ("--so-pin-command", f"cat '{so_pin}'", "--pin-command", f"cat '{user_pin}'")
    world.ok("token", "init", "release", "--module", "softhsm", "--label", "rel", *commands, "--write")
    assert world.repository.site().tokens["release"].pin.argv == ["cat", user_pin]
    world.ok("token", "info", "release", "--probe")


def free_tokens(world: World) -> list[str]:
    return [row["state"] for row in world.ok("token", "list", "--json").json]


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"name": "release"}, ExitCode.CONFIGURATION, "is there already"),
        ({"name": "Re lease"}, ExitCode.CONFIGURATION, "is no name"),
        ({"--module": "elsewhere"}, ExitCode.TOKEN, "not installed"),
        ({"--label": "release"}, ExitCode.TOKEN, "choose another label"),
        ({"--label": "x" * 33}, ExitCode.TOKEN, "1 to 32"),
        ({"--serial": "0123"}, ExitCode.TOKEN, "0 tokens have serial"),
        ({"--pin-file": "fake/none.pin"}, ExitCode.TOKEN, "cannot be opened"),
        ({"--so-pin-file": "fake/open.pin"}, ExitCode.TOKEN, "chmod 600"),
        ({"--pin-file": "fake/short.pin"}, ExitCode.TOKEN, "user PIN must have"),
    ],
)
def test_a_token_that_cannot_be_initialised(world: World, change: dict[str, str], code: ExitCode, text: str) -> None:
    write_pin(world.root / "fake" / "open.pin", "1234").chmod(0o640)
    write_pin(world.root / "fake" / "short.pin", "1")
    before, site = free_tokens(world), world.site_file.read_bytes()
    given = dict(zip(pins(world)[::2], pins(world)[1::2], strict=True))
    given |= {"--module": "softhsm", "--label": "new"} | {
        name: str(world.root / value) if value.startswith("fake") else value for name, value in change.items()
    }
    name = given.pop("name", "new")
    options = [word for pair in given.items() for word in pair]
    assert text in world.fails(code, "token", "init", name, *options, "--write")
    assert free_tokens(world) == before
    assert world.site_file.read_bytes() == site


def test_an_initialised_token_is_erased_only_when_told_so(world: World) -> None:
    serial = next(row["serial"] for row in world.ok("token", "list", "--json").json if row["names"] == ["ca"])
    options = ("--module", "softhsm", "--label", "again", *pins(world))
    line = world.fails(ExitCode.TOKEN, "token", "init", "again", *options, "--serial", serial)
    assert "would destroy its keys" in line
    assert "3 objects" not in line
    made = world.ok("token", "init", "again", *options, "--dangerously-erase-token", serial, "--json").json
    assert made["label"] == "again"


def test_token_list_without_an_authority(bare_world: World) -> None:
    result = bare_world.process("token", "list", "--module", "softhsm2", cwd=bare_world.folder)
    assert result.code == 0
    assert "not initialised" in result.out


def test_no_authority_says_what_to_do(bare_world: World) -> None:
    result = bare_world.process("token", "list", cwd=bare_world.folder)
    assert result.code == ExitCode.CONFIGURATION
    assert "strongroom init" in result.error
    named = bare_world.process("--authority", "nowhere", "token", "list", cwd=bare_world.folder)
    assert named.code == ExitCode.CONFIGURATION
    assert "nowhere is no authority repository" in named.error


def test_the_authority_is_found_upward_and_by_environment(world: World) -> None:
    assert world.process("product", "list", cwd=world.root / "products").code == 0
    there = {"STRONGROOM_AUTHORITY": str(world.root)}
    assert world.process("product", "list", cwd=world.folder, environment=there).code == 0


# Prompts


def with_prompt(world: World) -> None:
    """The release token's PIN is typed."""
    text = world.site_file.read_text(encoding="utf-8")
    head, _, tail = text.rpartition("[tokens.release]")
    old = 'pin = { source = "file", path = "fake/user.pin" }'
    world.site_file.write_text(
        head + "[tokens.release]" + tail.replace(old, 'pin = { source = "prompt" }', 1), encoding="utf-8"
    )


def test_a_prompt_without_a_terminal_reads_nothing(world: World) -> None:
    with_prompt(world)
    result = world.process("token", "info", "release", "--probe")
    assert result.code == ExitCode.TOKEN
    assert "no terminal" in result.error


def read_terminal(terminal: int, until: bytes | None = None) -> bytes:
    """What the command shows, until it has shown `until` or ended; at most for half a minute."""
    shown = b""
    while until is None or until not in shown:
        assert select.select([terminal], [], [], 30)[0], f"silence after {shown!r}"
        try:
            piece = os.read(terminal, 1000)
        except OSError:
            return shown
        if not piece:
            return shown
        shown += piece
    return shown


@pytest.mark.parametrize(("typed", "code"), [("user-1234", 0), ("wrong-pin", ExitCode.TOKEN)])
def test_a_pin_typed_at_the_terminal_is_not_echoed(world: World, typed: str, code: int) -> None:
    with_prompt(world)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(world.root)
        command = [str(PROGRAM), "token", "info", "release", "--probe"]
        os.execve(PROGRAM, command, {**os.environ, **world.environment})  # noqa: S606 (a terminal of its own)
    shown = read_terminal(terminal, until=b"PIN of token release: ")
    os.write(terminal, typed.encode() + b"\n")
    shown += read_terminal(terminal)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == code
    assert typed.encode() not in shown
    assert shown.count(b"PIN of token") == 1, "a PIN is tried once"
