"""`strongroom key` about copies and backups: what a file says, what is lost, what remains after a destruction."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.context import signing_keys
from cli.exit_codes import ExitCode
from pki.errors import PolicyViolation
from pki.roles import Role
from signer.authority.key_generation import KeyRequest
from signer.authority.model import KeyConfig
from signer.custody.generation import generate_with_backup
from signer.custody.intents import Act, CustodyIntent, CustodyIntents
from signer.custody.kek import split_kek
from signer.custody.plan import BackupPlan, FileBackup
from signer.store.key_store import open_key_store
from signer.store.values import KeyRecord
from tests.cli.test_key_commands import open_token, states
from tests.cli.world import World, label
from tests.unit.custody.places import TWO_OF_THREE, Custodians
from tests.unit.store.stores import change

KEY = label("compat", 2)


@pytest.fixture
def made(world: World) -> KeyRecord:
    """A key on token release, copied to root-1, with a backup file."""
    file = world.out / "compat.backup"
    with (
        open_key_store(world.repository.key_store_path) as store,
        open_token(world) as source,
        open_token(world, "root-1") as copy,
    ):
        plan = BackupPlan((copy,), FileBackup(file, lambda: split_kek([source], TWO_OF_THREE, Custodians())))
        request = KeyRequest(Role.COMPAT, "pump-x2", None)
        intents = CustodyIntents(world.repository.key_intents_path)
        return generate_with_backup(intents, store, source, request, plan, change).record


def file_of(world: World) -> Path:
    return world.out / "compat.backup"


def test_what_a_backup_file_says(world: World, made: KeyRecord) -> None:
    info = world.ok("key", "backup-info", file_of(world), "--json").json
    assert (info["label"], info["recorded"], info["shares_needed"]) == (KEY, "yes", ["2 of 3"])
    assert info["digest"] == made.backups[0].digest.hex()
    assert info["kek_check_value"] == made.backups[0].kek_kcv.hex()
    text = world.ok("key", "backup-info", file_of(world)).out
    assert "2 of 3 (1 of 1 groups)" in text
    assert "wrapped" not in text


def test_bad_backup_files(world: World, made: KeyRecord) -> None:
    file = file_of(world)
    world.fails(ExitCode.CONFIGURATION, "key", "backup-info", world.out / "nothing")
    whole = file.read_bytes()
    file.write_bytes(whole + b"\n")
    world.fails(ExitCode.INPUT, "key", "backup-info", file)
    file.write_bytes(whole.replace(b'"made_by":"alice', b'"made_by":"mlice'))
    assert world.ok("key", "backup-info", file, "--json").json["recorded"] == "no"
    assert "knows no backup" in world.fails(ExitCode.INPUT, "key", "end-backup", file, "--reason", "x")


def test_show_and_list_name_copies_and_backups(world: World, made: KeyRecord) -> None:
    shown = world.ok("key", "show", KEY, "--json").json
    assert [copy["origin"] for copy in shown["copies"]] == ["transferred"]
    assert [backup["digest"] for backup in shown["key_backups"]] == [made.backups[0].digest.hex()]
    assert "copy: transferred on" in world.ok("key", "show", KEY).out
    (row,) = (row for row in world.ok("key", "list", "--json").json if row["label"] == KEY)
    assert row["copies_on"].endswith("/root-1")
    assert row["backups"] == "1"


def test_both_tokens_pass_the_audit(world: World, made: KeyRecord) -> None:
    for token in ("release", "root-1"):
        assert world.run("key", "audit", token).code == ExitCode.OK
    assert "recorded: it has a backup or is a copy" in world.run("key", "audit", "root-1").out


def test_a_lost_token_is_recorded_and_the_key_lives_on(world: World, made: KeyRecord) -> None:
    lost = ("key", "lost", KEY, "--reason", "stolen", "--token")
    assert "not recorded on token" in world.fails(ExitCode.INPUT, *lost, "ca")
    assert world.ok(*lost, "release", "--json").json["tokens"] == [f"{made.copies[0].token.serial}/root-1"]
    assert "not recorded on token" in world.fails(ExitCode.INPUT, *lost, "release")
    assert states(world)[KEY] == "pre-activation"
    assert world.run("key", "audit", "release").code == ExitCode.FINDINGS
    assert "KA-24" in world.run("key", "audit", "release").out
    world.ok(*lost, "root-1")
    world.ok("key", "end-backup", made.backups[0].digest.hex(), "--reason", "burnt")


def test_a_key_that_is_nowhere_else_is_not_lost_but_destroyed(world: World) -> None:
    key = label("compat")
    message = world.fails(ExitCode.INPUT, "key", "lost", key, "--token", "release", "--reason", "x")
    assert "--token-is-lost" in message


def test_a_backup_is_ended_once(world: World, made: KeyRecord) -> None:
    assert world.ok("key", "end-backup", file_of(world), "--reason", "burnt", "--json").json["backups"] == []
    assert world.ok("key", "backup-info", file_of(world), "--json").json["recorded"] == "ended"
    world.fails(ExitCode.KEY_STORE, "key", "end-backup", file_of(world), "--reason", "again")


def test_destroying_covers_every_instance(world: World, made: KeyRecord) -> None:
    destroy = ("key", "destroy", KEY, "--yes-destroy-this-key", KEY, "--token")
    assert "lost" in world.fails(ExitCode.INPUT, *destroy, "release", "--token-is-lost")
    assert "nothing was destroyed" in world.fails(ExitCode.INPUT, *destroy, "ca")
    assert states(world)[KEY] == "pre-activation"
    first = world.ok(*destroy, "release").out
    assert "root-1: destroy it there too" in first
    assert "can restore it" in first
    assert states(world)[KEY] == "destroyed"
    assert world.run("key", "audit", "release").code == ExitCode.OK
    assert world.run("key", "audit", "root-1").code == ExitCode.FINDINGS
    second = world.ok(*destroy, "root-1", "--json").json
    assert (second["remaining_tokens"], second["remaining_backups"]) == ([], [made.backups[0].digest.hex()])
    assert world.run("key", "audit", "root-1").code == ExitCode.OK
    for token in ("release", "root-1"):
        world.fails(ExitCode.INPUT, *destroy, token)


def test_the_doctor_sees_interrupted_acts(world: World) -> None:
    intents = CustodyIntents(world.repository.key_intents_path)
    with intents.exclusively():
        intents.write(
            CustodyIntent(
                act=Act.GENERATE,
                label=KEY,
                token=("00", "release"),
                begun_at="2026-11-22T12:00:00.000000Z",
                who="alice",
            )
        )
    report = world.run("doctor", "--offline").out
    assert "DR-19" in report
    assert "resume the ceremony" in report
    generate = ("key", "generate", "compat", "--product", "pump-x2", "--token", "release")
    assert "interrupted" in world.fails(ExitCode.CONFIGURATION, *generate)


def test_ks_26_commands_sign_where_the_key_is_recorded(world: World, made: KeyRecord) -> None:
    """With the copy that the product names, wherever the site has one, and nowhere else."""
    world.ok("key", "state", KEY, "active", "--reason", "needed")

    def point_from(token: str) -> object:
        with signing_keys(world.repository, world.repository.site(), datetime.now(UTC)) as keys:
            return keys.key(KeyConfig(token=token, label=KEY), Role.COMPAT, "pump-x2").public_key

    for token in ("release", "root-1"):
        assert point_from(token) == made.public_key
    with pytest.raises(PolicyViolation, match="KS-26"):
        point_from("ca")
    world.ok("key", "lost", KEY, "--token", "release", "--reason", "stolen")
    with pytest.raises(PolicyViolation, match="KS-26"):
        point_from("release")
    with signing_keys(world.repository, world.repository.site(), datetime.now(UTC)) as keys:
        handle, session = keys.key_of_store(KEY, Role.COMPAT, "pump-x2")
        assert (handle.public_key, session.token.label) == (made.public_key, "root-1")
