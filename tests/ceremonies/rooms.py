"""An authority for ceremonies, on SoftHSM: tokens, people, one product; built in a folder of its own."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from cli.exit_codes import ExitCode
from cli.main import run
from tests.cli.world import PRODUCT, World, configure_softhsm, label, write_pin

PIN = "user-pin-7391"
SO_PIN = "officer-5678"
TOKENS = ("root-1", "root-2", "root-3", "release", "spare")
PEOPLE = """\
format = 1
people = [
    { id = "ada", name = "Ada Example", roles = ["operator"] },
    { id = "bob", name = "Bob Example", roles = ["witness"] },
    { id = "cy", name = "Cy Example", roles = ["witness", "auditor"] },
    { id = "dan", name = "Dan Example", roles = ["custodian"] },
    { id = "eve", name = "Eve Example", roles = ["custodian"] },
    { id = "fay", name = "Fay Example", roles = ["custodian", "witness"] },
    { id = "gil", name = "Gil Example", roles = ["requester"] },
]
"""
ROLE_KEYS = (("application-release", "release", 1), ("production", "release", 1), ("compat", "release", 1))
CREW = ("operator=ada", "witness=bob", "witness=cy")
CUSTODIANS = ("custodian=dan", "custodian=eve", "custodian=fay")
ANSWERS = "format: strongroom-ceremony-answers-1\nas_scripted: true\nshares: fake/shares\n"


class CeremonyWorld(World):
    """As `World`, with what ceremonies need."""

    @property
    def ceremonies(self) -> Path:
        return self.root / "ceremonies"

    @property
    def answers(self) -> Path:
        return self.folder / "answers.yaml"

    def new(self, name: str, plan: str, values: dict[str, str], people: tuple[str, ...]) -> str:
        """Make and rehearse a ceremony; the digest."""
        options = [f"--value={key}={value}" for key, value in values.items()]
        options += [f"--person={person}" for person in people]
        self.ok("ceremony", "new", name, "--plan", plan, *options)
        return str(self.ok("ceremony", "rehearse", name, "--json").json["digest"])

    def hold(self, name: str, digest: str) -> None:
        self.ok("ceremony", "run", name, "--digest", digest, "--answers", self.answers)

    def genesis(self, name: str = "genesis") -> str:
        return self.new(name, "root-genesis", {"product": PRODUCT}, CREW + CUSTODIANS)


def build(world: CeremonyWorld) -> None:
    """Five tokens, one product whose role keys exist, and people."""
    with redirect_stdout(io.StringIO()):
        assert run(["init", str(world.root), "--name", "Example Pumps"]) == ExitCode.OK
    so_pin = write_pin(world.root / "fake" / "so.pin", SO_PIN)
    write_pin(world.pin_file, PIN)
    for name in TOKENS:
        pins = ("--so-pin-file", so_pin, "--pin-file", world.pin_file)
        world.ok("token", "init", name, "--module", "softhsm", "--label", name, *pins, "--write")
    world.ok("product", "new", PRODUCT, "--board", "stm32f405-full")
    for role, token, sequence in ROLE_KEYS:
        numbered = ("--product", PRODUCT, "--sequence", str(sequence))
        world.ok("key", "generate", role, "--token", token, *numbered, "--activate")
    (world.root / "people.toml").write_text(PEOPLE, encoding="utf-8")
    world.answers.write_text(ANSWERS, encoding="utf-8")


def fast_folder() -> Path:
    shared_memory = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a private folder in it)
    folder = tempfile.mkdtemp(
        prefix="strongroom-ceremony-", dir=shared_memory if os.access(shared_memory, os.W_OK) else None
    )
    return Path(folder)


@contextmanager
def empty_world() -> Iterator[CeremonyWorld]:
    """A folder with a SoftHSM of its own; the caller sets SOFTHSM2_CONF."""
    folder = fast_folder()
    try:
        yield CeremonyWorld(folder, configure_softhsm(folder))
    finally:
        shutil.rmtree(folder)


__all__ = ["CREW", "CUSTODIANS", "PIN", "PRODUCT", "CeremonyWorld", "build", "empty_world", "fast_folder", "label"]
