"""An authority repository with real SoftHSM tokens, and the `strongroom` command, in this process or in its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.exit_codes import ExitCode
from cli.main import run
from signer.authority.repository import AuthorityRepository

PROGRAM = Path(sys.executable).parent / "strongroom"
PRODUCT = "pump-x2"
TOKENS = ("root-1", "root-2", "root-3", "release", "ca")
KEYS = (
    ("root", "root-1", 1),
    ("root", "root-2", 2),
    ("root", "root-3", 3),
    ("bootloader-release", "root-1", 1),
    ("bootloader-release", "root-2", 2),
    ("bootloader-release", "root-3", 3),
    ("application-release", "release", 1),
    ("production", "release", 1),
    ("compat", "release", 1),
)
CA_KEYS = ("root-ca", "production-ca", "code-signing")
TIME_LIMIT_SECONDS = 120


def label(role: str, sequence: int = 1, product: str = PRODUCT) -> str:
    return f"sr:{role}:{product}:{sequence:04d}"


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of a failure."""
        assert self.err.startswith("error: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err


@dataclass
class World:
    """`folder` has the tokens and their configuration, `root` is the authority repository in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "authority"

    @property
    def repository(self) -> AuthorityRepository:
        return AuthorityRepository(self.root)

    @property
    def site_file(self) -> Path:
        return self.root / "sites" / "main.toml"

    @property
    def product_file(self) -> Path:
        return self.root / "products" / f"{PRODUCT}.toml"

    @property
    def pin_file(self) -> Path:
        return self.root / "fake" / "user.pin"

    @property
    def out(self) -> Path:
        """A folder for what commands write."""
        folder = self.folder / "out"
        folder.mkdir(exist_ok=True)
        return folder

    def run(self, *arguments: str | Path) -> Result:
        """The command in this process: fast."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run(["--authority", str(self.root), *map(str, arguments)])
        return Result(int(code), out.getvalue(), err.getvalue())

    def ok(self, *arguments: str | Path) -> Result:
        """As `run`; the command must succeed."""
        result = self.run(*arguments)
        assert result.code == ExitCode.OK, result
        return result

    def fails(self, code: ExitCode, *arguments: str | Path) -> str:
        """As `run`; the command must fail with this code, one line and no data. Returns the line."""
        result = self.run(*arguments)
        assert result.code == code, result
        assert result.out == ""
        return result.error

    def process(self, *arguments: str | Path, environment: Mapping[str, str] | None = None, **options: Any) -> Result:
        """The command as people run it: a process of its own, without a terminal."""
        done = subprocess.run(
            [PROGRAM, *map(str, arguments)],
            cwd=options.pop("cwd", self.root),
            env={**os.environ, **self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            start_new_session=True,
            check=False,
            **options,
        )
        return Result(done.returncode, done.stdout, done.stderr)


def configure_softhsm(folder: Path) -> dict[str, str]:
    (folder / "tokens").mkdir(exist_ok=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n", encoding="utf-8"
    )
    return {"SOFTHSM2_CONF": str(configuration)}


def write_pin(path: Path, pin: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{pin}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def build_world(world: World) -> None:
    """From nothing, through the command itself: five tokens, one product, twelve active keys."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert run(["init", str(world.root), "--name", "Example Pumps"]) == ExitCode.OK
    so_pin = write_pin(world.root / "fake" / "so.pin", "officer-5678")
    write_pin(world.pin_file, "user-1234")
    for name in TOKENS:
        pins = ("--so-pin-file", so_pin, "--pin-file", world.pin_file)
        world.ok("token", "init", name, "--module", "softhsm", "--label", name, *pins, "--write")
    world.ok("product", "new", PRODUCT, "--board", "stm32f405-full")
    for role, token, sequence in KEYS:
        numbered = ("--product", PRODUCT, "--sequence", str(sequence))
        world.ok("key", "generate", role, "--token", token, *numbered, "--activate")
    for role in CA_KEYS:
        world.ok("key", "generate", role, "--token", "ca", "--activate")
