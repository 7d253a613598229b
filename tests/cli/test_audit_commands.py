"""`strongroom audit`: the log of an authority, from its beginning to a restored backup, on real tokens."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from cli.commands.audit_witness import app as witness_app
from cli.exit_codes import ExitCode
from pki.values import PublicKey
from signer.log.audit_log import TileLog, open_audit_log
from signer.log.checkpoint import parse_checkpoint, verify_log_signature
from tests.cli.conftest import softhsm_module
from tests.cli.world import PRODUCT, World, label
from tests.softhsm.fault_rig import counted

ROOT = Path(__file__).resolve().parents[2]
LOG_KEY = "sr:log:-:0001"
NAME = ("--organization", "Example Pumps", "--common-name", "Example Root CA")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def configure(world: World, witnesses: str = "") -> None:
    settings = f'\n[log]\ntoken = "ca"\nlabel = "{LOG_KEY}"\nwitnesses = [{witnesses}]\n'
    with (world.root / "strongroom.toml").open("a", encoding="utf-8") as stream:
        stream.write(settings)


@pytest.fixture
def logged(world: World) -> World:
    """The world with an audit log of one entry."""
    world.ok("key", "generate", "log", "--token", "ca", "--activate")
    configure(world)
    world.ok("audit", "init")
    return world


def log_of(world: World) -> TileLog:
    return open_audit_log(world.root / "log", None)


def kinds(world: World) -> list[str]:
    with log_of(world) as log:
        return [entry.event.kind.value for entry in log.entries()]


def root_certificate(world: World, name: str = "root.pem") -> Path:
    out = world.out / name
    world.ok("cert", "root-ca", "--key", "sr:root-ca:-:0001", *NAME, "-o", out)
    return out


def log_public_key(world: World) -> PublicKey:
    out = world.out / "log.pub.pem"
    if not out.exists():
        world.ok("key", "export", LOG_KEY, "--out", out)
    pem = out.read_text("ascii").splitlines()
    import base64

    return PublicKey.from_spki(base64.b64decode("".join(pem[1:-1])))


# The beginning


def test_the_log_begins_with_its_key(logged: World) -> None:
    with log_of(logged) as log:
        (begun,) = log.entries()
        assert begun.event.kind == "log-begun"
        assert begun.event.details["origin"] == log.origin
        checkpoint = log.newest_checkpoint()
    assert checkpoint is not None
    assert checkpoint.head.size == 1
    verify_log_signature(checkpoint, log_public_key(logged))
    assert (logged.root / "log" / "log.pub.pem").read_text() == (logged.out / "log.pub.pem").read_text()
    assert "exists already" in logged.fails(ExitCode.OUTPUT, "audit", "init")


def test_without_its_key_no_log_begins(world: World) -> None:
    assert "[log]" in world.fails(ExitCode.CONFIGURATION, "audit", "init")
    configure(world)
    assert "KS-20" in world.fails(ExitCode.POLICY, "audit", "init")
    assert not (world.root / "log").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (LOG_KEY, "sr:compat:pump-x2:0001", "the role 'compat'"),
        (LOG_KEY, "log", "not a key label"),
        ('token = "ca"', "", "token"),
        ("witnesses = []", 'witnesses = ["me"]', "witnesses"),
        ("witnesses = []", "more = 1", "more"),
    ],
)
def test_what_log_may_say_is_checked(world: World, old: str, new: str, says: str) -> None:
    configure(world)
    edit(world.root / "strongroom.toml", old, new)
    assert says in world.fails(ExitCode.CONFIGURATION, "audit", "show")


# Every use of a key


def test_a_certificate_is_logged_before_and_after_and_ends_under_a_checkpoint(logged: World) -> None:
    root_certificate(logged)
    assert kinds(logged) == ["log-begun", "sign-intent", "sign-result"]
    with log_of(logged) as log:
        _, intent, result = log.entries()
        assert intent.event.details["purpose"] == "cert root-ca"
        assert (intent.event.details["key_label"], result.event.details["intent"]) == ("sr:root-ca:-:0001", 1)
        checkpoint = log.newest_checkpoint()
    assert checkpoint is not None
    assert checkpoint.head.size == 3


def test_a_trust_bundle_is_logged_key_by_key(logged: World) -> None:
    logged.ok("bundle", "genesis", "-p", PRODUCT, "-o", logged.out / "trust-1.srb")
    with log_of(logged) as log:
        assert [entry.event.kind for entry in log.find("product", PRODUCT)] == ["sign-intent", "sign-result"] * 3
        assert [entry.index for entry in log.find("key_label", label("root", 2))] == [3, 4]


def test_nothing_is_signed_when_the_log_fails(logged: World) -> None:
    """The database is damaged: the token is not asked, and no file is left."""
    (logged.root / "log" / "index.sqlite").write_bytes(b"no database" * 1000)
    with counted(softhsm_module(), "C_SignInit") as calls:
        out = logged.out / "root.pem"
        logged.fails(ExitCode.AUDIT_LOG, "cert", "root-ca", "--key", "sr:root-ca:-:0001", *NAME, "-o", out)
    assert calls == []
    assert not out.exists()


def test_nothing_is_signed_with_a_clock_set_back(logged: World) -> None:
    """AL-01, through the command: the newest entry is of next year."""
    from datetime import UTC, datetime, timedelta

    from signer.log.values import Event, EventKind

    with log_of(logged) as log:
        event = Event(kind=EventKind.REQUEST_REFUSED, actor="eve", details={})
        log.append([event], datetime.now(UTC) + timedelta(days=365))
    out = logged.out / "root.pem"
    error = logged.fails(ExitCode.VERIFICATION, "cert", "root-ca", "--key", "sr:root-ca:-:0001", *NAME, "-o", out)
    assert "AL-01" in error
    assert kinds(logged) == ["log-begun", "request-refused"]
    assert not out.exists()


def test_al_02_production_signs_nothing_without_a_log(world: World) -> None:
    from cli.context import may_be_unlogged
    from pki.errors import PolicyViolation

    assert may_be_unlogged(world.repository)
    edit(world.root / "strongroom.toml", '"development"', '"production"')
    pin = world.folder / "user.pin"
    shutil.copy(world.pin_file, pin)
    pin.chmod(0o600)
    site = world.site_file.read_text().replace(str(world.pin_file), str(pin))
    world.site_file.write_text(site)
    out = world.out / "root.pem"
    with counted(softhsm_module(), "C_Login") as logins:
        error = world.fails(ExitCode.POLICY, "cert", "root-ca", "--key", "sr:root-ca:-:0001", *NAME, "-o", out)
    assert "AL-02" in error
    assert logins == []
    with pytest.raises(PolicyViolation, match="AL-02"):
        may_be_unlogged(world.repository)
    assert "AL-02" in world.fails(ExitCode.POLICY, "key", "state", label("compat"), "suspended", "--reason", "a test")


def test_without_log_nothing_of_it_is_imported() -> None:
    """Development without [log] costs what it did before."""
    code = (
        "import sys\nimport cli.context, cli.package_keys, cli.commands.package_write\n"
        "sys.stderr.write(' '.join(sorted(name for name in sys.modules if name.startswith('signer.log'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""


def test_without_log_nothing_is_logged(world: World) -> None:
    root_certificate(world)
    assert not (world.root / "log").exists()


# Changes of keys


def test_a_key_s_life_is_in_the_log(logged: World) -> None:
    key = label("grant")
    logged.ok("key", "generate", "grant", "-p", PRODUCT, "--token", "release", "--activate")
    logged.ok("key", "state", key, "suspended", "--reason", "token is being moved")
    logged.ok("key", "destroy", key, "--token", "release", "--yes-destroy-this-key", key)
    with log_of(logged) as log:
        story = [
            (entry.event.kind.value, entry.event.details["stage"], entry.event.details.get("to"))
            for entry in log.find("key_label", key)
        ]
    assert story == [
        ("key-generated", "intent", None),
        ("key-generated", "done", None),
        ("key-state-changed", "intent", "active"),
        ("key-state-changed", "done", "active"),
        ("key-state-changed", "intent", "suspended"),
        ("key-state-changed", "done", "suspended"),
        ("key-destroyed", "intent", None),
        ("key-destroyed", "done", None),
    ]


def test_no_key_changes_when_the_log_fails(logged: World) -> None:
    (logged.root / "log" / "index.sqlite").unlink()
    before = logged.ok("key", "list", "--json").json
    with counted(softhsm_module(), "C_GenerateKeyPair") as calls:
        logged.fails(ExitCode.AUDIT_LOG, "key", "generate", "grant", "-p", PRODUCT, "--token", "release")
    assert calls == []
    logged.fails(ExitCode.AUDIT_LOG, "key", "state", label("compat"), "suspended", "--reason", "a test")
    destroy = ("--token", "release", "--yes-destroy-this-key", label("compat"))
    logged.fails(ExitCode.AUDIT_LOG, "key", "destroy", label("compat"), *destroy)
    assert logged.ok("key", "list", "--json").json == before


# Reading


def test_show_reads_as_a_story(logged: World) -> None:
    root_certificate(logged)
    logged.ok("key", "state", label("compat"), "suspended", "--reason", "token is being moved")
    lines = logged.ok("audit", "show").out.splitlines()
    assert len(lines) == 5
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  #0 +\S+ began the log strongroom-log/[0-9a-f]{16}", lines[0])
    assert "asks key sr:root-ca:-:0001 to sign digest" in lines[1]
    assert "for 'cert root-ca'" in lines[1]
    assert "got a signature of key sr:root-ca:-:0001" in lines[2]
    assert "had key sr:compat:pump-x2:0001 changed to suspended: token is being moved" in lines[4]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ((), [0, 1, 2, 3, 4]),
        (("--from", "3"), [3, 4]),
        (("--kind", "sign-result"), [2]),
        (("--kind", "sign-result", "--kind", "sign-intent"), [1, 2]),
        (("--product", PRODUCT), [3, 4]),
        (("--key", "sr:root-ca:-:0001"), [1, 2]),
        (("--person", "nobody-here"), []),
        (("--since", "2020-01-01"), [0, 1, 2, 3, 4]),
        (("--since", "2999-01-01"), []),
        (("--until", "2020-01-01T00:00:00Z"), []),
        (("--since", "2020-01-01", "--kind", "sign-intent", "--key", "sr:root-ca:-:0001"), [1]),
    ],
)
def test_show_filters(logged: World, options: tuple[str, ...], numbers: list[int]) -> None:
    root_certificate(logged)
    logged.ok("key", "state", label("compat"), "suspended", "--reason", "a test")
    out = logged.ok("audit", "show", "--json", *options).out
    assert [json.loads(line)["index"] for line in out.splitlines()] == numbers


def test_show_says_what_a_time_is(logged: World) -> None:
    assert "2026-11-27" in logged.fails(ExitCode.INPUT, "audit", "show", "--since", "yesterday")


def test_every_kind_has_a_sentence() -> None:
    from cli.audit_story import _TELLERS
    from signer.log.values import EventKind

    assert set(_TELLERS) == set(EventKind)
    for tell in _TELLERS.values():
        assert tell({})


def test_every_kind_is_in_the_document() -> None:
    from signer.log.values import EventKind

    text = (ROOT / "docs" / "spec" / "audit-log.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(-?[a-z]+(?:-[a-z]+)*)`", text))
    named |= {f"ceremony{name}" for name in named if name.startswith("-")}
    assert {kind.value for kind in EventKind} <= named


def test_verify_says_what_it_found(logged: World) -> None:
    root_certificate(logged)
    logged.ok("key", "state", label("compat"), "suspended", "--reason", "a test")
    text = logged.ok("audit", "verify").out
    assert "sound: 3 entries of strongroom-log/" in text
    assert "entries/s" in text
    assert "2 entries are under no checkpoint yet" in text
    assert "no witness" in text
    found = logged.ok("audit", "verify", "--json").json
    assert (found["sound"], found["size"], found["entries_after_checkpoint"]) == (True, 3, 2)
    logged.ok("audit", "checkpoint")
    assert logged.ok("audit", "verify", "--json").json["entries_after_checkpoint"] == 0


def test_verify_finds_what_was_changed(logged: World) -> None:
    root_certificate(logged)
    path = logged.root / "log" / "tile" / "entries" / "000.p" / "3"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"root-ca", b"root-cb", 1))
    assert "NOT sound: [AV-03]" in logged.fails(ExitCode.AUDIT_LOG, "audit", "verify")
    path.write_bytes(whole)
    logged.ok("audit", "verify")
    path.unlink()
    assert "[AV-02]" in logged.fails(ExitCode.AUDIT_LOG, "audit", "verify")
    assert "made again" in logged.ok("audit", "rebuild").out
    logged.ok("audit", "verify")


def test_verify_compares_with_what_was_seen_before(logged: World) -> None:
    earlier = logged.out / "earlier"
    shutil.copy(logged.root / "log" / "checkpoint", earlier)
    root_certificate(logged)
    logged.ok("audit", "verify", "--earlier", earlier)
    copy = logged.out / "log"
    shutil.copytree(logged.root / "log", copy)
    key = logged.out / "key.pem"
    shutil.copy(logged.root / "log" / "log.pub.pem", key)
    newest = logged.out / "newest"
    shutil.copy(copy / "checkpoint", newest)
    shutil.copy(earlier, copy / "checkpoint")
    logged.ok("audit", "verify", copy, "--log-key", key)
    error = logged.fails(ExitCode.AUDIT_LOG, "audit", "verify", copy, "--log-key", key, "--earlier", newest)
    assert "[AV-08]" in error


def test_the_verifier_runs_alone(logged: World) -> None:
    """Anywhere, without an authority, from its one file."""
    root_certificate(logged)
    place = logged.folder / "elsewhere"
    place.mkdir()
    shutil.copy(ROOT / "verifiers" / "audit_log.py", place / "check.py")
    shutil.copytree(logged.root / "log", place / "log")
    command = [sys.executable, "-I", "check.py", "log", "--log-key", "log/log.pub.pem"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sound: 3 entries" in done.stdout
    entries = place / "log" / "tile" / "entries" / "000.p" / "3"
    entries.write_bytes(entries.read_bytes()[:-1])
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "NOT SOUND: [AV-0" in done.stdout


def test_the_verifier_is_short_and_imports_nothing_of_ours() -> None:
    source = (ROOT / "verifiers" / "audit_log.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 300
    names = set(re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE)) - {"cryptography", "__future__"}
    assert names <= sys.stdlib_module_names


def test_prove_gives_what_an_auditor_needs(logged: World) -> None:
    root_certificate(logged)
    proof: dict[str, Any] = logged.ok("audit", "prove", "1", "--json").json
    assert proof["index"] == 1
    assert json.loads(proof["entry"])["kind"] == "sign-intent"
    assert parse_checkpoint(proof["checkpoint"].encode()).head.size == 3
    assert "entry 1 of 3" in logged.ok("audit", "prove", "1").out
    assert "no checkpoint covers" in logged.fails(ExitCode.AUDIT_LOG, "audit", "prove", "3")


# Witnesses


@pytest.fixture
def witnessed(logged: World) -> World:
    made = logged.ok("audit", "witness", "new", logged.out / "witness", "--name", "lab.example/w1", "--json").json
    edit(logged.root / "strongroom.toml", "witnesses = []", f'witnesses = ["{made["key"]}"]')
    log_public_key(logged)
    return logged


def cosign(world: World, name: str, *, log: Path | None = None) -> tuple[str | Path, ...]:
    where = ("--log", log or world.root / "log", "--log-key", world.out / "log.pub.pem")
    return ("audit", "witness", "cosign", world.out / "witness", *where, "-o", world.out / name)


def test_a_witness_from_its_beginning_to_verify(witnessed: World) -> None:
    root_certificate(witnessed)
    assert "first time" in witnessed.ok(*cosign(witnessed, "cosigned-1")).out
    witnessed.ok("audit", "witness", "add", witnessed.out / "cosigned-1")
    found = witnessed.ok("audit", "verify", "--needed", "1", "--json").json
    assert [(item["name"], item["size"]) for item in found["witnesses"]] == [("lab.example/w1", 3)]
    assert "witness lab.example/w1 saw the first 3 entries" in witnessed.ok("audit", "verify").out
    root_certificate(witnessed, "again.pem")
    assert "it saw 3 before" in witnessed.ok(*cosign(witnessed, "cosigned-2")).out
    witnessed.fails(ExitCode.OUTPUT, *cosign(witnessed, "cosigned-2"))


def test_truncation_past_the_last_witnessed_checkpoint_is_found(witnessed: World) -> None:
    old = witnessed.out / "old-log"
    shutil.copytree(witnessed.root / "log", old)
    root_certificate(witnessed)
    witnessed.ok(*cosign(witnessed, "cosigned"))
    shutil.rmtree(witnessed.root / "log")
    shutil.copytree(old, witnessed.root / "log")
    witnessed.ok("audit", "verify")
    error = witnessed.fails(ExitCode.AUDIT_LOG, "audit", "verify", "--earlier", witnessed.out / "cosigned")
    assert "[AV-08]" in error
    assert "AL-04" in witnessed.fails(ExitCode.POLICY, *cosign(witnessed, "cosigned-2"))
    assert not (witnessed.out / "cosigned-2").exists()


def test_a_stranger_s_cosignature_is_not_added(witnessed: World) -> None:
    witnessed.ok("audit", "witness", "new", witnessed.out / "stranger", "--name", "lab.example/w1")
    arguments = list(cosign(witnessed, "cosigned"))
    arguments[3] = witnessed.out / "stranger"
    witnessed.ok(*arguments)
    assert "no cosignature of a witness" in witnessed.fails(
        ExitCode.INPUT, "audit", "witness", "add", witnessed.out / "cosigned"
    )


def test_the_paper_is_compared_with_the_log(witnessed: World) -> None:
    paper = witnessed.out / "paper.txt"
    paper.write_text(witnessed.ok("audit", "witness", "paper").out)
    assert len(paper.read_text().splitlines()) == 6
    root_certificate(witnessed)
    assert "the same" in witnessed.ok("audit", "witness", "compare", "--paper", paper).out
    newer = witnessed.ok("audit", "witness", "paper").out
    slip = newer.replace("2  3 ", "2  4 ")
    paper.write_text(slip)
    assert "line 2 does not fit" in witnessed.fails(ExitCode.INPUT, "audit", "witness", "compare", "--paper", paper)


def test_the_paper_finds_a_log_that_was_put_back(witnessed: World) -> None:
    old = witnessed.out / "old-log"
    shutil.copytree(witnessed.root / "log", old)
    root_certificate(witnessed)
    paper = witnessed.out / "paper.txt"
    paper.write_text(witnessed.ok("audit", "witness", "paper").out)
    shutil.rmtree(witnessed.root / "log")
    shutil.copytree(old, witnessed.root / "log")
    error = witnessed.fails(ExitCode.AUDIT_LOG, "audit", "witness", "compare", "--paper", paper)
    assert "NOT those on the paper" in error


# Backup and restore: the drill


def test_the_drill_of_a_lost_log_and_store(logged: World) -> None:
    root_certificate(logged)
    backup = logged.out / "backup"
    logged.ok("audit", "backup", backup)
    keys = logged.ok("key", "list", "--json").json
    shutil.rmtree(logged.root / "log")
    (logged.root / "store" / "keys.sqlite").unlink()
    logged.fails(ExitCode.KEY_STORE, "key", "list")
    logged.ok("audit", "restore", backup)
    assert logged.ok("key", "list", "--json").json == keys
    assert kinds(logged) == ["log-begun", "sign-intent", "sign-result", "log-restored", "store-restored"]
    assert logged.ok("audit", "verify", "--json").json["entries_after_checkpoint"] == 0
    root_certificate(logged, "after.pem")
    logged.ok("audit", "verify")


def test_the_drill_of_a_lost_store_says_what_to_do_again(logged: World) -> None:
    backup = logged.out / "backup"
    logged.ok("audit", "backup", backup)
    logged.ok("key", "state", label("compat"), "compromised", "--reason", "seen elsewhere")
    (logged.root / "store" / "keys.sqlite").write_bytes(b"damage")
    assert "AL-03" in logged.fails(ExitCode.POLICY, "audit", "restore", backup)
    done = logged.ok("audit", "restore", backup, "--only-store", "--json").json
    assert ["changed to compromised" in text for text in done["changes_to_redo"]] == [True]
    assert len(done["kept"]) == 1
    assert kinds(logged)[-1] == "store-restored"
    logged.ok("key", "state", label("compat"), "compromised", "--reason", "as logged before the restore")
    logged.ok("audit", "verify")


def test_restore_undoes_nothing_that_was_logged_or_seen(witnessed: World) -> None:
    backup = witnessed.out / "backup"
    witnessed.ok("audit", "backup", backup)
    root_certificate(witnessed)
    witnessed.ok(*cosign(witnessed, "cosigned"))
    assert "AL-03" in witnessed.fails(ExitCode.POLICY, "audit", "restore", backup)
    shutil.rmtree(witnessed.root / "log")
    seen = ("--seen", witnessed.out / "cosigned")
    assert "AL-03" in witnessed.fails(ExitCode.POLICY, "audit", "restore", backup, *seen)
    assert not (witnessed.root / "log").exists()
    witnessed.ok("audit", "restore", backup)


def test_a_changed_backup_is_not_restored(logged: World) -> None:
    root_certificate(logged)
    backup = logged.out / "backup"
    logged.ok("audit", "backup", backup)
    entries = backup / "log" / "tile" / "entries" / "000.p" / "3"
    entries.write_bytes(entries.read_bytes().replace(b"root-ca", b"root-cb", 1))
    assert "NOT sound: [AV-03]" in logged.fails(ExitCode.AUDIT_LOG, "audit", "restore", backup)
    assert kinds(logged) == ["log-begun", "sign-intent", "sign-result"]


# Help of the inner group, as tests/cli/test_help.py holds it for the others


def inner_commands() -> dict[str, click.Command]:
    group = typer.main.get_command(witness_app)
    assert isinstance(group, click.Group)
    return {name: group.commands[name] for name in group.list_commands(click.Context(group))}


@pytest.mark.parametrize("name", inner_commands())
def test_the_inner_commands_help(name: str) -> None:
    command = inner_commands()[name]
    words = shlex.split((command.epilog or "").removeprefix("Example: strongroom "))
    assert words[:3] == ["audit", "witness", name]
    command.make_context(name, words[3:])
    assert (command.help or "").strip().endswith(".")
    assert "--json" in {option for parameter in command.params for option in parameter.opts}
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))
