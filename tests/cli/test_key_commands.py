"""`strongroom key` on real tokens: generation, states, reports, destruction, and every kind of bad input."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from pki.key_specs import KEY_SPECS
from pki.roles import Role
from signer.authority import intent_files
from signer.authority.key_intents import KeyIntents
from signer.store.maintenance import check_key_store
from signer.tokens import KeyRef, PinFile, parse_pkcs11_uri
from signer.tokens.session import Session
from signer.tokens.token import Token
from tests.cli.conftest import softhsm_module
from tests.cli.world import KEYS, World, label
from tests.softhsm.fault_rig import counted
from tests.softhsm_fixtures import TokenRig

GENERATE = ("key", "generate", "grant", "--product", "pump-x2", "--token", "release")
NEW = label("grant")


def open_token(world: World, name: str = "release") -> Session:
    uri = parse_pkcs11_uri(world.repository.site().tokens[name].uri)
    return Token(softhsm_module(), uri).open(PinFile(world.pin_file), writable=True)


def states(world: World) -> dict[str, str]:
    return {row["label"]: row["state"] for row in world.ok("key", "list", "--json").json}


def labels_on_token(world: World, name: str = "release") -> set[str]:
    with open_token(world, name) as session:
        return {item.label for item in session.objects()}


# Generating


def test_generate_through_the_process(world: World) -> None:
    made = world.process(*GENERATE, "--activate", "--valid-days", "30", "--json")
    assert made.code == 0, made
    assert made.err == ""
    assert (made.json["label"], made.json["state"], made.json["outcome"]) == (NEW, "active", "generated")
    assert world.process(*GENERATE, "--json").json["label"] == label("grant", 2)
    assert states(world)[label("grant", 2)] == "pre-activation"
    assert {NEW, label("grant", 2)} <= labels_on_token(world)
    assert list((world.root / "store" / "intents").glob("*.json")) == []


def test_a_secret_key(world: World) -> None:
    made = world.ok("key", "generate", "package-wrap", "--token", "release", "--activate", "--json").json
    assert (made["label"], made["algorithm"], made["key_id"]) == ("sr:package-wrap:-:0001", "aes-256", "")
    line = world.fails(ExitCode.INPUT, "key", "export", made["label"], "--out", world.out / "x.pem")
    assert "secret key" in line


def test_every_generated_key_is_its_spec(world: World) -> None:
    rows = world.ok("key", "list", "--json").json
    assert len(rows) == len(KEYS) + 3
    for token in ("root-1", "root-2", "root-3", "release", "ca"):
        report = world.run("key", "audit", token, "--json")
        assert report.code == 0
        assert {finding["severity"] for finding in report.json["findings"]} <= {"warning"}


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("grant", "--product", "none", "--token", "release"), ExitCode.CONFIGURATION, "no products/none.toml"),
        (("grant", "--product", "pump-x2", "--token", "none"), ExitCode.CONFIGURATION, "no token 'none'"),
        (("grant", "--token", "release", "--sequence", "0"), ExitCode.CONFIGURATION, "out of range"),
        (("compat", "--product", "pump-x2", "--token", "release", "--sequence", "1"), ExitCode.KEY_STORE, "exists"),
        (("grant", "--token", "release", "--activate", "--valid-days", "99999"), ExitCode.INPUT, "at most 1095 days"),
    ],
)
def test_a_key_that_cannot_be_generated(world: World, arguments: tuple[str, ...], code: ExitCode, text: str) -> None:
    before = states(world), labels_on_token(world)
    assert text in world.fails(code, "key", "generate", *arguments)
    assert (states(world), labels_on_token(world)) == before


@pytest.mark.parametrize(
    "arguments",
    [("key", "generate", "boss", "--token", "release"), (*GENERATE, "--valid-days", "3"), ("key", "list", "-x")],
)
def test_usage_errors(world: World, arguments: tuple[str, ...]) -> None:
    result = world.run(*arguments)
    assert result.code == ExitCode.USAGE
    assert result.out == ""
    assert "Usage: strongroom key" in result.err


def test_a_label_that_somebody_else_put_on_the_token(world: World) -> None:
    with open_token(world) as session:
        session.generate(KEY_SPECS[Role.GRANT], NEW)
    line = world.fails(ExitCode.TOKEN, *GENERATE)
    assert "is on the token already" in line
    assert world.run("key", "audit", "release").code == ExitCode.FINDINGS
    assert NEW not in states(world)
    destroy = ("key", "destroy", NEW, "--token", "release", "--yes-destroy-this-key", NEW)
    assert "no key" in world.fails(ExitCode.KEY_STORE, *destroy)
    world.ok(*destroy, "--unrecorded")
    world.ok(*GENERATE)


# A wrong PIN


def test_a_wrong_pin_is_tried_exactly_once(world: World) -> None:
    world.pin_file.write_text("wrong-pin\n", encoding="utf-8")
    with counted(softhsm_module(), "C_Login") as logins:
        line = world.fails(ExitCode.TOKEN, *GENERATE)
    assert len(logins) == 1
    assert "is not tried again" in line
    assert "wrong-pin" not in line
    assert NEW not in states(world)
    assert list((world.root / "store").glob("intents/*.json")) == []


def test_a_pin_file_that_others_can_read(world: World) -> None:
    world.pin_file.chmod(0o644)
    with counted(softhsm_module(), "C_Login") as logins:
        assert "chmod 600" in world.fails(ExitCode.TOKEN, *GENERATE)
    assert logins == []


# Interruptions


def interrupted(world: World, where: str) -> None:
    """Generate in a process that is killed (SIGKILL) at `where` in key_generation."""
    code = (
        "import os, signal, sys\n"
        "import signer.authority.key_generation as generation\n"
        "def die(*_arguments, **_named):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"generation.{where} = die\n"
        "from cli.main import run\n"
        f"run({['--authority', str(world.root), *GENERATE]!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -9, done


@pytest.mark.parametrize(
    ("where", "outcome", "on_token_before"),
    [
        ("Session.generate", "continued", False),
        ("_new_key", "adopted", True),
        ("register_key", "adopted", True),
        ("KeyIntents.remove", "recorded_before", True),
    ],
)
def test_a_killed_generation_is_continued(world: World, where: str, outcome: str, on_token_before: bool) -> None:
    interrupted(world, where)
    assert (NEW in labels_on_token(world)) is on_token_before
    doctor = world.run("doctor", "--json")
    assert [item["rule_id"] for item in doctor.json["findings"]] == ["DR-19"]
    made = world.ok(*GENERATE, "--activate", "--json").json
    assert (made["label"], made["outcome"], made["state"]) == (NEW, outcome, "active")
    assert world.ok("doctor", "--json").json["findings"] == []
    assert world.run("key", "audit", "release").code == 0
    assert world.ok(*GENERATE, "--json").json["label"] == label("grant", 2)


def test_a_killed_generation_is_continued_on_the_same_token_only(world: World) -> None:
    interrupted(world, "register_key")
    elsewhere = ("key", "generate", "grant", "--product", "pump-x2", "--token", "ca")
    line = world.fails(ExitCode.CONFIGURATION, *elsewhere)
    assert "interrupted on token" in line
    assert "release" in line
    world.ok(*elsewhere, "--sequence", "2")


def test_a_second_generation_waits_for_the_first(world: World) -> None:
    with KeyIntents(world.repository.key_intents_path).exclusively():
        assert "another process" in world.fails(ExitCode.INPUT, *GENERATE)
    world.ok(*GENERATE)


def test_a_full_disk_before_the_intent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_is_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(intent_files, "write_new_text", disk_is_full)
        line = world.fails(ExitCode.OUTPUT, *GENERATE)
    assert "No space left on device" in line
    assert "no key was generated" in line
    assert NEW not in labels_on_token(world)
    assert world.ok(*GENERATE, "--json").json["outcome"] == "generated"


# States


def test_the_life_of_a_key(world: World) -> None:
    world.ok(*GENERATE)
    life = (("active", "in use"), ("suspended", "token moved"), ("active", "back"), ("deactivated", "old"))
    for state, reason in life:
        assert world.ok("key", "state", NEW, state, "--reason", reason, "--json").json["state"] == state
    shown = world.ok("key", "show", NEW, "--json").json
    history = [(item["state"], item["reason"]) for item in shown["history"]]
    assert history == [("pre-activation", "generated"), *life]
    line = world.fails(ExitCode.POLICY, "key", "state", NEW, "active", "--reason", "again")
    assert "[KS-11]" in line
    assert "history:" in world.ok("key", "show", NEW).out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("sr:grant:pump-x2:0007", "active"), ExitCode.KEY_STORE, "no key"),
        ((label("compat"), "destroyed"), ExitCode.USAGE, "key destroy"),
        ((label("compat"), "active"), ExitCode.POLICY, "KS-11"),
        ((label("compat"), "suspended", "--valid-days", "9"), ExitCode.USAGE, "first activation"),
        ((label("compat"), "asleep"), ExitCode.USAGE, "asleep"),
    ],
)
def test_a_state_that_cannot_follow(world: World, arguments: tuple[str, ...], code: ExitCode, text: str) -> None:
    before = states(world)
    result = world.run("key", "state", *arguments, "--reason", "because")
    assert result.code == code
    assert text in result.err
    assert states(world) == before


def test_a_reason_is_one_line(world: World) -> None:
    world.fails(ExitCode.INPUT, "key", "state", label("compat"), "suspended", "--reason", "two\nlines")


# Reports


def test_lists_as_json_csv_and_text(world: World) -> None:
    as_json = world.ok("key", "list", "--json").json
    as_csv = list(csv.DictReader(io.StringIO(world.ok("key", "list", "--csv").out)))
    assert as_csv == as_json
    text = world.ok("key", "list").out
    assert all(row["label"] in text for row in as_json)
    assert not set(text) & set("│┃━╭\x1b"), "no boxes, no colours"
    only = world.ok("key", "list", "--role", "root", "--product", "pump-x2", "--json").json
    assert [row["label"] for row in only] == [label("root", number) for number in (1, 2, 3)]
    assert world.run("key", "list", "--csv", "--json").code == ExitCode.USAGE


def test_expiring_has_an_exit_code(world: World) -> None:
    assert world.run("key", "expiring", "--within", "90d").code == 0
    world.ok(*GENERATE, "--activate", "--valid-days", "30")
    found = world.process("key", "expiring", "--within", "90d", "--json")
    assert found.code == ExitCode.FINDINGS
    assert [(row["label"], row["days_left"]) for row in found.json] == [(NEW, "29")]
    assert NEW in world.run("key", "expiring").out
    assert world.run("key", "expiring", "--within", "20d").code == 0


@pytest.mark.parametrize("within", ["90", "-1d", "1w", "123456d", ""])
def test_expiring_wants_days(world: World, within: str) -> None:
    world.fails(ExitCode.INPUT, "key", "expiring", "--within", within)


def test_audit_finds_what_is_wrong(world: World) -> None:
    with open_token(world) as session:
        session.dangerously_destroy_key(KeyRef(label=label("compat")))
    found = world.process("key", "audit", "release", "--json")
    assert found.code == ExitCode.FINDINGS
    errors = [item for item in found.json["findings"] if item["severity"] == "error"]
    assert [(item["rule"], label("compat") in item["subject"]) for item in errors] == [("KA-16", True)]


def test_cbom(world: World) -> None:
    out = world.out / "keys.cdx.json"
    assert world.ok("key", "cbom", "--out", out, "--json").json["keys"] == 12
    bom = json.loads(out.read_text(encoding="utf-8"))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    names = {component["name"] for component in bom["components"]}
    assert {label(role, sequence) for role, _, sequence in KEYS} <= names


def test_export_is_what_openssl_reads(world: World) -> None:
    out = world.out / "pub.pem"
    made = world.ok("key", "export", label("compat"), "--out", out, "--json").json
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", out, "-outform", "DER"], capture_output=True, check=True
    ).stdout
    assert hashlib.sha256(der).hexdigest() == made["spki_sha256"]
    with open_token(world) as session:
        assert session.find(KeyRef(label=label("compat"))).public_key.spki == der


def test_backup_and_upgrade(world: World) -> None:
    backup = world.out / "backup.sqlite"
    world.ok("key", "backup-store", "--out", backup)
    check_key_store(backup)
    unused = world.out / "unused.sqlite"
    result = world.ok("key", "upgrade-store", "--backup", unused, "--json").json
    assert result["before"] == result["after"]
    assert not unused.exists()


# Outputs


@pytest.mark.parametrize("command", [("key", "cbom"), ("key", "export", label("compat")), ("key", "backup-store")])
def test_outputs_are_never_overwritten_and_leave_nothing(world: World, command: tuple[str, ...]) -> None:
    existing = world.out / "mine"
    existing.write_text("mine", encoding="utf-8")
    assert "exists" in world.fails(ExitCode.OUTPUT, *command, "--out", existing)
    dangling = world.out / "dangling"
    dangling.symlink_to(world.out / "nowhere")
    world.fails(ExitCode.OUTPUT, *command, "--out", dangling)
    assert "No such file" in world.fails(ExitCode.OUTPUT, *command, "--out", world.out / "no" / "folder")
    world.fails(ExitCode.OUTPUT, *command, "--out", Path("/proc/strongroom-out"))
    assert existing.read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in world.out.iterdir()) == ["dangling", "mine"]


def test_a_full_disk_leaves_nothing(world: World) -> None:
    def tiny_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))

    out = world.out / "keys.cdx.json"
    result = world.process("key", "cbom", "--out", out, preexec_fn=tiny_files)
    assert result.code == ExitCode.OUTPUT
    assert "nothing was left behind" in result.error
    assert list(world.out.iterdir()) == []


def test_a_full_standard_output(world: World) -> None:
    command = f'"{sys.executable}" -m cli.start key list --csv > /dev/full'
    done = subprocess.run(["/bin/sh", "-c", command], cwd=world.root, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.OUTPUT
    assert done.stderr == "error: output: No space left on device\n"


def test_a_closed_standard_output_is_no_error(world: World) -> None:
    command = f'{{ "{sys.executable}" -m cli.start key list --csv; echo "code $?" >&2; }} | true'
    done = subprocess.run(["/bin/sh", "-c", command], cwd=world.root, capture_output=True, text=True, check=False)
    assert done.stderr == "code 0\n"


# Destroying


def destroy(name: str, on: str = "release") -> tuple[str, ...]:
    return ("key", "destroy", name, "--token", on, "--yes-destroy-this-key", name)


def test_destroy(world: World) -> None:
    name = label("compat")
    world.ok(*destroy(name), "--reason", "end of product")
    assert states(world)[name] == "destroyed"
    assert name not in labels_on_token(world)
    assert world.ok("key", "show", name, "--json").json["history"][-1]["reason"] == "end of product"
    assert "gone from its token" in world.fails(ExitCode.INPUT, *destroy(name))
    assert world.run("key", "audit", "release").code == 0


def test_destroy_asks_for_the_label_twice(world: World) -> None:
    wrong = ("key", "destroy", label("compat"), "--token", "release", "--yes-destroy-this-key", label("production"))
    result = world.run(*wrong)
    assert result.code == ExitCode.USAGE
    assert "nothing was done" in result.err
    assert world.run(*wrong[:-2]).code == ExitCode.USAGE
    assert {label("compat"), label("production")} <= labels_on_token(world)


def test_destroy_on_the_wrong_token_destroys_nothing(world: World) -> None:
    assert "nothing was destroyed" in world.fails(ExitCode.INPUT, *destroy(label("compat"), "ca"))
    assert states(world)[label("compat")] == "active"


def test_an_interrupted_destruction_is_continued(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    name = label("compat")
    with monkeypatch.context() as patch:

        def fails(_session: Session, _ref: KeyRef) -> None:
            raise KeyboardInterrupt

        patch.setattr(Session, "dangerously_destroy_key", fails)
        assert world.run(*destroy(name)).code == ExitCode.USAGE
    assert states(world)[name] == "destroyed"
    assert world.run("key", "audit", "release").code == ExitCode.FINDINGS
    world.ok(*destroy(name))
    assert world.run("key", "audit", "release").code == 0


def test_a_key_on_a_lost_token_is_recorded_as_destroyed(world: World) -> None:
    with open_token(world) as session:
        session.dangerously_destroy_key(KeyRef(label=label("compat")))
    assert "--token-is-lost" in world.fails(ExitCode.TOKEN, *destroy(label("compat")))
    world.ok(*destroy(label("compat")), "--token-is-lost")
    assert states(world)[label("compat")] == "destroyed"


# Tokens and files that break


def test_a_removed_token(world: World) -> None:
    shutil.rmtree(world.folder / "tokens")
    (world.folder / "tokens").mkdir()
    result = world.process("key", "audit", "release")
    assert result.code == ExitCode.TOKEN
    assert "strongroom token list" in result.error


def test_a_missing_module(world: World) -> None:
    text = world.site_file.read_text(encoding="utf-8")
    world.site_file.write_text(text.replace("libsofthsm2.so", "libnowhere.so"), encoding="utf-8")
    assert "does not exist" in world.fails(ExitCode.TOKEN, "key", "audit", "release")


def test_a_missing_key_store(world: World) -> None:
    (world.root / "store" / "keys.sqlite").unlink()
    for command in (("key", "list"), GENERATE, ("key", "audit", "release")):
        assert "no key store" in world.fails(ExitCode.KEY_STORE, *command)
    assert not (world.root / "store" / "keys.sqlite").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        ("strongroom.toml", "format = 1", "format = 2", "format"),
        ("strongroom.toml", 'environment = "development"', 'environment = "test"', "environment"),
        ("strongroom.toml", 'name = "Example Pumps"', "name = 7", "name"),
        ("strongroom.toml", 'default_site = "main"', "", "default_site"),
        ("strongroom.toml", "format = 1", "format = 1\nextra = 1", "extra"),
        ("strongroom.toml", "format = 1", "format = ", "not valid TOML"),
        ("sites/main.toml", "[modules]", "[modules]\nsofthsm = 1", "not valid TOML"),
        ("sites/main.toml", 'module = "softhsm"', 'module = "other"', "does not have"),
        ("sites/main.toml", 'source = "file"', 'source = "prompt"', "path"),
        ("sites/main.toml", 'uri = "pkcs11:', 'uri = "https:', "uri"),
        ("sites/main.toml", 'name = "main"', 'name = "other"', "make the two equal"),
    ],
)
def test_a_bad_file_is_named_with_its_field(world: World, file: str, old: str, new: str, text: str) -> None:
    path = world.root / file
    before = path.read_text(encoding="utf-8")
    assert old in before
    path.write_text(before.replace(old, new), encoding="utf-8")
    line = world.fails(ExitCode.CONFIGURATION, "key", "audit", "release")
    assert text in line
    assert file in line


# The other module


def test_keys_on_nss_softokn(world: World, nss: TokenRig) -> None:
    world.site_file.write_text(
        f'format = 1\nname = "main"\n[modules.nss]\npath = "{nss.config.path}"\n'
        f'init_args = "{nss.config.init_arguments}"\n[tokens.nss]\nmodule = "nss"\nuri = "{nss.info.uri()}"\n'
        f'pin = {{ source = "file", path = "{nss.pin_source.path}" }}\n',
        encoding="utf-8",
    )
    on_nss = ("key", "generate", "grant", "--product", "pump-x2", "--token", "nss", "--activate", "--json")
    assert world.ok(*on_nss).json["outcome"] == "generated"
    assert world.process(*on_nss).json["label"] == label("grant", 2)
    report = world.run("key", "audit", "nss", "--json")
    assert report.code == 0
    assert {item["rule"] for item in report.json["findings"]} >= {"KA-02", "KA-06"}
    world.ok(*destroy(NEW, "nss"))
    nss.pin_source.path.write_text("wrong-pin\n", encoding="utf-8")
    with counted(nss.module, "C_Login") as logins:
        world.fails(ExitCode.TOKEN, "key", "audit", "nss")
    assert len(logins) == 1
