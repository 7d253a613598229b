"""A small authority for measurements: one product on the synthetic board, one SoftHSM token, two keys on it.

Made with our own commands, each in a process of its own, as a person would.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

BOARD = "synthetic-32mb"
PRODUCT = "bench"
SIGNING_KEY_LABEL = f"sr:application-release:{PRODUCT}:0001"
_PINS = {"so.pin": "officer-5678", "user.pin": "user-1234"}


@dataclass(frozen=True)
class Authority:
    """A ready authority repository and the environment in which its token is seen."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "authority"

    @property
    def pin_file(self) -> Path:
        return self.folder / "fake" / "user.pin"

    @cached_property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SOFTHSM2_CONF": str(self.folder / "softhsm2.conf")}

    @cached_property
    def token_uri(self) -> str:
        """The token as the site file pins it: by its serial."""
        site = (self.root / "sites" / "main.toml").read_text(encoding="utf-8")
        found = re.search(r'^uri = "(pkcs11:[^"]+)"$', site, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"no token in the site file:\n{site}")
        return found[1]

    def build_arguments(self, firmware: Path, out: Path) -> list[str]:
        """`strongroom` and these make a package of a raw binary."""
        return [
            *("--authority", str(self.root), "package", "build", str(firmware), "--product", PRODUCT),
            *("--version", "1.0.0", "--security-version", "1", "--format", "binary", "--out", str(out)),
        ]


def strongroom(*arguments: str) -> list[str]:
    """The installed command, run as its console script runs it."""
    return [str(Path(sys.executable).with_name("strongroom")), *arguments]


def make_authority(folder: Path) -> Authority:
    """Everything that `package build` needs. Signing keys are drawn in the token; the group key is a software one."""
    authority = Authority(folder)
    (folder / "tokens").mkdir(parents=True)
    (folder / "fake").mkdir()
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n", encoding="utf-8"
    )
    for name, pin in _PINS.items():
        path = folder / "fake" / name
        path.touch(mode=0o600)
        path.write_text(f"{pin}\n", encoding="utf-8")
    _run(authority, "init", str(authority.root), "--name", "Bench")
    in_root = ("--authority", str(authority.root))
    pins = ("--so-pin-file", str(folder / "fake" / "so.pin"), "--pin-file", str(authority.pin_file))
    _run(authority, *in_root, "token", "init", "release", "--module", "softhsm", "--label", "release", *pins, "--write")
    _run(authority, *in_root, "product", "new", PRODUCT, "--board", BOARD)
    _encrypt_for_group(authority)
    for role in ("application-release", "compat"):
        _run(
            authority, *in_root, "key", "generate", role, "--product", PRODUCT, "--token", "release", "--activate"
        )  # fmt: skip
    return authority


def _encrypt_for_group(authority: Authority) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    public = authority.root / "public" / "lot-1.pem"
    public.parent.mkdir(exist_ok=True)
    public.write_bytes(
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    path = authority.root / "products" / f"{PRODUCT}.toml"
    text, count = re.subn(
        r'^recipient = "device".*$',
        'recipient = "group"\ngroup_public_key = "public/lot-1.pem"',
        path.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    if count != 1:
        raise RuntimeError(f"{path} is not as `product new` writes it")
    path.write_text(text, encoding="utf-8")


def _run(authority: Authority, *arguments: str) -> None:
    run_quietly(strongroom(*arguments), authority.environment)


def run_quietly(command: Sequence[str], environment: dict[str, str]) -> None:
    """Run a command that must succeed; what it printed is shown only when it did not."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
