"""The example authority of docs/runbooks/README.md as a runbook finds it; each drill has a copy of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from signer.tokens import ModuleConfig, find_module, load_module
from tests.cli.release_world import ReleaseWorld, build_release
from tests.cli.world import PRODUCT, PROGRAM, Result, build_world, configure_softhsm
from tests.runbooks.runbook import FOLDER, blocks, run_lines
from tests.softhsm_fixtures import close_all

PEOPLE = ("ada", "bob", "cy", "dee", "eve", "fay")
SPARE_TOKENS = ("log", "spare-1", "spare-2", "spare-3")
ROLES = '["operator", "witness", "custodian", "requester", "approver"]'
DRILL = "format: strongroom-ceremony-answers-1\nas_scripted: true\n"


def _fast_folder() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a private folder in it)
    return Path(tempfile.mkdtemp(prefix="strongroom-runbook-", dir=memory if os.access(memory, os.W_OK) else None))


def _close_tokens() -> None:
    close_all(load_module(ModuleConfig(find_module("softhsm2"))))


def _add_tokens_and_log(world: ReleaseWorld) -> None:
    for name in SPARE_TOKENS:
        pins = ("--so-pin-file", world.root / "fake" / "so.pin", "--pin-file", world.pin_file)
        world.ok("token", "init", name, "--module", "softhsm", "--label", name, *pins, "--write")
    world.ok("key", "generate", "log", "--token", "log", "--activate")
    with (world.root / "strongroom.toml").open("a", encoding="utf-8") as stream:
        stream.write('\n[log]\ntoken = "log"\nlabel = "sr:log:-:0001"\n')
    world.ok("audit", "init")


def _add_people(world: ReleaseWorld) -> None:
    """Six people who may do everything, each with an SSH key."""
    entries, signers = [], []
    for id_ in PEOPLE:
        key = world.root / "fake" / f"{id_}.ssh"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", id_, "-f", str(key)], check=True)
        entries.append(f'\n[[people]]\nid = "{id_}"\nname = "{id_.title()} Example"\nroles = {ROLES}\n')
        signers.append(f"{id_} {key.with_suffix('.ssh.pub').read_text(encoding='utf-8')}")
    with (world.root / "people.toml").open("a", encoding="utf-8") as stream:
        stream.write("".join(entries))
    (world.root / "allowed_signers").write_text("".join(signers), encoding="utf-8")


def _lay_the_desk(world: ReleaseWorld) -> None:
    """Releases 1.0.0, installed, and 1.0.1, not installed; firmware for 1.1.0; a backup of log and key store."""
    desk = world.root / "desk"
    for version in ("1.0.0", "1.0.1"):
        world.application(version).rename(world.out / f"app-{version}.srp")
    world.firmware("app-1.1.0")
    world.ok("device", "install", world.device, world.out / "app-1.0.0.srp")
    world.ok("device", "boot", world.device, "--confirm")
    shutil.copytree(world.out, desk)
    shutil.copyfile(world.bundle, world.root / "public" / "trust-1.srb")
    (desk / "drill.yaml").write_text(DRILL, encoding="utf-8")
    world.ok("audit", "backup", desk / "backup-1")


@pytest.fixture(scope="session")
def example() -> Iterator[ReleaseWorld]:
    folder = _fast_folder()
    with pytest.MonkeyPatch.context() as patch:
        environment = configure_softhsm(folder)
        patch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
        load_module(ModuleConfig(find_module("softhsm2"))).reinitialize()
        world = ReleaseWorld(folder, environment)
        build_world(world)
        _add_tokens_and_log(world)
        _add_people(world)
        build_release(world)
        _lay_the_desk(world)
        yield world
    _close_tokens()
    shutil.rmtree(folder)


class Drill:
    """One drill: the example authority, its own copy."""

    def __init__(self, world: ReleaseWorld) -> None:
        self.world = world
        self.environment = {
            **world.environment,
            "STRONGROOM_AUTHORITY": str(world.root),
            "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
            "DRILL": "--answers desk/drill.yaml",
            "DRILL_PINS": "--no-so-pin --pin-file fake/user.pin",
        }

    def process(self, *arguments: str | Path) -> Result:
        """A command in a process of its own, where the drill is held."""
        return self.world.process(*arguments, environment=self.environment)

    def hold(self, runbook: str, case: str = "", without: str = "") -> list[str]:
        """Run a runbook's lines, those of one of its cases if it has several; what each printed.

        `without` is a section that the case leaves out.
        """
        text = (FOLDER / f"{runbook}.md").read_text(encoding="utf-8")
        chosen = [block for block in blocks(text) if block.case in {"", case} and block.section != without]
        return run_lines([line for block in chosen for line in block.lines], self.world.root, self.environment)


@pytest.fixture
def drill(example: ReleaseWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drill]:
    folder = _fast_folder()
    shutil.copytree(example.folder, folder, dirs_exist_ok=True)
    environment = configure_softhsm(folder)
    monkeypatch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
    load_module(ModuleConfig(find_module("softhsm2"))).reinitialize()
    yield Drill(ReleaseWorld(folder, environment))
    _close_tokens()
    shutil.rmtree(folder)


__all__ = ["PRODUCT", "Drill", "drill", "example"]
