"""`strongroom doctor`: every rule is broken on purpose, alone, and found."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from signer.authority.doctor_rules import DOCTOR_RULES
from signer.authority.key_intents import KeyIntent, KeyIntents
from signer.tokens import KeyRef, PinFile, parse_pkcs11_uri
from signer.tokens.token import Token
from tests.cli.conftest import softhsm_module
from tests.cli.world import PRODUCT, World, label, write_pin
from tests.softhsm.fault_rig import counted
from tests.unit.policies.statements import key_line

ROOT = Path(__file__).resolve().parents[2]


def rules(world: World, *options: str) -> list[str]:
    result = world.run("doctor", "--json", *options)
    assert result.err == "", result
    document = result.json
    assert result.code == (ExitCode.FINDINGS if document["errors"] else ExitCode.OK)
    assert document["errors"] + document["warnings"] == len(document["findings"])
    return [item["rule_id"] for item in document["findings"]]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_all_is_well(world: World) -> None:
    assert rules(world) == []
    done = world.process("doctor")
    assert (done.code, done.out, done.err) == (0, "all is well\n", "")


def test_offline_opens_no_token(world: World) -> None:
    with counted(softhsm_module(), "C_Login") as logins:
        assert rules(world, "--offline") == []
    assert logins == []


def test_each_token_is_opened_once(world: World) -> None:
    with counted(softhsm_module(), "C_Login") as logins:
        assert rules(world) == []
    assert len(logins) == 4


def spoil_authority(world: World) -> None:
    edit(world.root / "strongroom.toml", "format = 1", "format = 9")


def spoil_people(world: World) -> None:
    (world.root / "people.toml").unlink()


def spoil_product(world: World) -> None:
    edit(world.product_file, "root_threshold = 2", "root_threshold = 9")


def spoil_site(world: World) -> None:
    edit(world.site_file, "format = 1", 'format = 1\ncolour = "red"')


def lose_the_site(world: World) -> None:
    world.site_file.rename(world.root / "sites" / "other.toml")


def copy_the_product(world: World) -> None:
    text = world.product_file.read_text(encoding="utf-8").replace(PRODUCT, "pump-y3")
    (world.root / "products" / "pump-y3.toml").write_text(text, encoding="utf-8")


def spoil_board(world: World) -> None:
    edit(world.root / "boards" / "stm32f405-full.toml", "flash_base", "flush_base")


def lose_board(world: World) -> None:
    (world.root / "boards" / "stm32f405-full.toml").unlink()


def rename_board(world: World) -> None:
    edit(world.root / "boards" / "stm32f405-full.toml", 'name = "stm32f405-full"', 'name = "other"')


def name_an_unknown_token(world: World) -> None:
    edit(world.product_file, 'compat = { token = "release"', 'compat = { token = "nowhere"')


def lose_module(world: World) -> None:
    edit(world.site_file, "[modules]", '[modules]\nextra = { path = "nowhere/module.so" }')


def unpin_token(world: World) -> None:
    add_token(world, "extra", "pkcs11:token=ca", world.pin_file)


def add_token(world: World, name: str, uri: str, pin_file: Path) -> None:
    entry = f'[tokens.{name}]\nmodule = "softhsm"\nuri = "{uri}"\npin = {{ source = "file", path = "{pin_file}" }}\n'
    world.site_file.write_text(world.site_file.read_text(encoding="utf-8") + "\n" + entry, encoding="utf-8")


def name_a_removed_token(world: World) -> None:
    add_token(world, "extra", "pkcs11:serial=0123456789abcdef", world.pin_file)


def name_a_token_twice(world: World) -> None:
    add_token(world, "extra", world.repository.site().tokens["ca"].uri, world.pin_file)


def open_a_pin_file(world: World) -> None:
    world.pin_file.chmod(0o644)


def lose_a_pin_program(world: World) -> None:
    source = 'source = "file", path = "fake/user.pin"'
    text = world.site_file.read_text(encoding="utf-8")
    before, _, after = text.rpartition(source)
    world.site_file.write_text(f'{before}source = "command", argv = ["no-such-program"]{after}', encoding="utf-8")


def lose_key_store(world: World) -> None:
    (world.root / "store" / "keys.sqlite").unlink()


def damage_key_store(world: World) -> None:
    path = world.root / "store" / "keys.sqlite"
    path.write_bytes(path.read_bytes()[:8192])


def name_an_unknown_key(world: World) -> None:
    edit(world.product_file, label("compat"), label("compat", 7))


def name_another_token(world: World) -> None:
    edit(world.product_file, 'compat = { token = "release"', 'compat = { token = "ca"')


def compromise_key(world: World) -> None:
    world.ok("key", "state", label("compat"), "compromised", "--reason", "stolen")


def suspend_key(world: World) -> None:
    world.ok("key", "state", label("compat"), "suspended", "--reason", "away")


def let_a_key_end_soon(world: World) -> None:
    generate = ("key", "generate", "grant", "--product", PRODUCT, "--token", "release", "--activate")
    world.ok(*generate, "--valid-days", "30")
    edit(world.product_file, "[keys]", f'[keys]\ngrant = [{{ token = "release", label = "{label("grant")}" }}]')


def lose_a_key(world: World) -> None:
    uri = parse_pkcs11_uri(world.repository.site().tokens["release"].uri)
    with Token(softhsm_module(), uri).open(PinFile(world.pin_file), writable=True) as session:
        session.dangerously_destroy_key(KeyRef(label=label("compat")))


def copy_a_key(world: World) -> None:
    """Two private keys of one label and one CKA_ID."""
    uri = parse_pkcs11_uri(world.repository.site().tokens["release"].uri)
    with Token(softhsm_module(), uri).open(PinFile(world.pin_file), writable=True) as session:
        private, _, _ = session.locate_key_pair(KeyRef(label=label("compat")))
        private.copy({})


def go_to_production(world: World) -> None:
    edit(world.root / "strongroom.toml", '"development"', '"production"')


def interrupt_a_generation(world: World) -> None:
    intents = KeyIntents(world.repository.key_intents_path)
    token = parse_pkcs11_uri(world.repository.site().tokens["release"].uri)
    intent = KeyIntent(label("grant"), str(token.serial), "release", "2026-11-22T12:00:00.000000Z", "ada")
    with intents.exclusively():
        intents.write(intent)


def damage_an_intent(world: World) -> None:
    interrupt_a_generation(world)
    path = KeyIntents(world.repository.key_intents_path).path(label("grant"))
    path.write_text("{}", encoding="utf-8")


def put_two_roots_on_one_token(world: World) -> None:
    text = world.product_file.read_text(encoding="utf-8")
    text = re.sub(
        rf'token = "root-3", label = "{label("root", 3)}"', f'token = "root-2", label = "{label("root", 4)}"', text
    )
    world.product_file.write_text(text, encoding="utf-8")
    generate = ("key", "generate", "root", "--product", PRODUCT, "--token", "root-2", "--sequence", "4", "--activate")
    world.ok(*generate)


def lose_the_group_key(world: World) -> None:
    edit(world.product_file, 'recipient = "device"', 'recipient = "group"\ngroup_public_key = "public/none.pem"')


def employ(world: World, signers: str, **roles: str) -> None:
    """People of these ids and roles, and the lines of `allowed_signers`."""
    entries = (f'[[people]]\nid = "{name}"\nname = "{name}"\nroles = ["{role}"]\n' for name, role in roles.items())
    (world.root / "people.toml").write_text("format = 1\n" + "".join(entries), encoding="utf-8")
    (world.root / "allowed_signers").write_text(signers, encoding="utf-8")


def spoil_allowed_signers(world: World) -> None:
    employ(world, f"* {key_line('ada')}\n", ada="approver")


def employ_without_a_key(world: World) -> None:
    employ(world, "", ada="approver")


def share_an_ssh_key(world: World) -> None:
    employ(world, f"ada,rita {key_line('ada')}\n", ada="approver", rita="requester")


def list_an_ssh_key_of_nobody(world: World) -> None:
    employ(world, f"aad {key_line('ada')}\n", ada="operator")


def let_an_ssh_key_end_soon(world: World) -> None:
    end = datetime.now(UTC) + timedelta(days=20)
    employ(world, f'ada valid-before="{end:%Y%m%d}Z" {key_line("ada")}\n', ada="approver")


def loosen_a_policy(world: World) -> None:
    edit(world.root / "policies" / "production.cedar", "context.approvals.count >= 3", "context.approvals.count >= 2")


def lose_the_policies(world: World) -> None:
    shutil.rmtree(world.root / "policies")


def freeze_an_unknown_product(world: World) -> None:
    window = '[[windows]]\nname = "x"\nfrom = 2026-12-18T00:00:00Z\nto = 2027-01-04T00:00:00Z\nproducts = ["pump"]\n'
    path = world.root / "policies" / "calendar.toml"
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{window}", encoding="utf-8")


def name_a_log_that_is_not_there(world: World) -> None:
    edit(world.root / "strongroom.toml", "# [log]", '[log]\ntoken = "ca"\nlabel = "sr:log:-:0001"\n# [log]')


def begin_a_log(world: World) -> None:
    world.ok("key", "generate", "log", "--token", "ca", "--activate")
    name_a_log_that_is_not_there(world)
    world.ok("audit", "init")


def damage_the_log(world: World) -> None:
    begin_a_log(world)
    (world.root / "log" / "checkpoint").write_text("no checkpoint\n", encoding="ascii")


def suspend_the_log_key(world: World) -> None:
    begin_a_log(world)
    world.ok("key", "state", "sr:log:-:0001", "suspended", "--reason", "a test")


def go_to_production_without_witness(world: World) -> None:
    begin_a_log(world)
    go_to_production(world)


SPOILERS: list[tuple[Callable[[World], None], list[str]]] = [
    (spoil_authority, ["DR-01"]),
    (spoil_people, ["DR-01"]),
    (spoil_product, ["DR-01"]),
    (spoil_site, ["DR-01"]),
    (lose_the_site, ["DR-01", "DR-01"]),
    (damage_an_intent, ["DR-01"]),
    (copy_the_product, ["DR-02", *["DR-11"] * 9]),
    (spoil_board, ["DR-03"]),
    (lose_board, ["DR-03"]),
    (rename_board, ["DR-03"]),
    (name_an_unknown_token, ["DR-04"]),
    (lose_module, ["DR-05"]),
    (unpin_token, ["DR-06"]),
    (name_a_removed_token, ["DR-07"]),
    (name_a_token_twice, ["DR-08"]),
    (open_a_pin_file, [*["DR-09"] * 5, *["DR-16"] * 4]),
    (lose_a_pin_program, ["DR-09"]),
    (lose_key_store, ["DR-10"]),
    (damage_key_store, ["DR-10"]),
    (name_an_unknown_key, ["DR-11"]),
    (name_another_token, ["DR-12", "DR-17"]),
    (compromise_key, ["DR-13"]),
    (suspend_key, ["DR-14"]),
    (let_a_key_end_soon, ["DR-15"]),
    (lose_a_key, ["DR-17"]),
    (copy_a_key, ["DR-17"]),
    (go_to_production, [*["DR-18"] * 5, "DR-22", "DR-32", *["DR-16"] * 4]),
    (interrupt_a_generation, ["DR-19"]),
    (put_two_roots_on_one_token, ["DR-20"]),
    (lose_the_group_key, ["DR-21"]),
    (spoil_allowed_signers, ["DR-01"]),
    (employ_without_a_key, ["DR-26"]),
    (share_an_ssh_key, ["DR-27"]),
    (list_an_ssh_key_of_nobody, ["DR-28"]),
    (let_an_ssh_key_end_soon, ["DR-29"]),
    (loosen_a_policy, ["DR-30", "DR-30"]),
    (lose_the_policies, ["DR-30"]),
    (freeze_an_unknown_product, ["DR-31"]),
    (name_a_log_that_is_not_there, ["DR-22"]),
    (damage_the_log, ["DR-23"]),
    (suspend_the_log_key, ["DR-23"]),
    (go_to_production_without_witness, [*["DR-18"] * 5, "DR-24", "DR-32", *["DR-16"] * 4]),
]


@pytest.mark.parametrize(("spoil", "found"), SPOILERS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_wrong_is_found(world: World, spoil: Callable[[World], None], found: list[str]) -> None:
    spoil(world)
    assert rules(world) == found


def test_every_rule_is_broken_by_some_test() -> None:
    assert {rule for _, found in SPOILERS for rule in found} == set(DOCTOR_RULES)


def test_the_document_has_every_rule() -> None:
    text = (ROOT / "docs" / "spec" / "authority-repository.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (DR-\d\d) \| (error|warning)", text, re.MULTILINE)
    assert rows == [(rule, severity.value) for rule, (severity, _) in DOCTOR_RULES.items()]


def test_a_wrong_pin_is_tried_once(world: World) -> None:
    """The five tokens share a PIN file: each refuses it once."""
    write_pin(world.pin_file, "wrong-pin")
    with counted(softhsm_module(), "C_Login") as logins:
        assert rules(world) == ["DR-16"] * 4
    assert len(logins) == 4


def test_roots_on_one_token_are_an_error_in_production(world: World) -> None:
    put_two_roots_on_one_token(world)
    go_to_production(world)
    findings = world.run("doctor", "--offline", "--json").json["findings"]
    assert [item["severity"] for item in findings if item["rule_id"] == "DR-20"] == ["error"]


def test_removed_tokens_are_named(world: World) -> None:
    shutil.rmtree(world.folder / "tokens")
    (world.folder / "tokens").mkdir()
    done = world.process("doctor")
    assert done.code == ExitCode.FINDINGS
    assert done.out.count("ERROR DR-07") == 5
    assert "connect it, or remove its entry" in done.out


def test_the_doctor_changes_nothing(world: World) -> None:
    def snapshot() -> dict[str, bytes]:
        return {os.fspath(path): path.read_bytes() for path in sorted(world.root.rglob("*")) if path.is_file()}

    before = snapshot()
    rules(world)
    assert snapshot() == before
