"""A small kit that needs no registry: made by the real code, with files that stand for wheels and packages."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.airgap import build, install
from tools.airgap.archive import manifest_of

VERSION = "1.2.3"
FILES = {
    "debian/libone_2%3a1.0+ds-1_amd64.deb": b"package one",
    "debian/two_2.0~rc1_all.deb": b"package two",
    "requirements.txt": b"one==1.0\n",
    "runbooks/lost-token.md": b"# Lost token\n",
    "wheels/one-1.0-py3-none-any.whl": b"wheel one",
    "install": b"#!/usr/bin/env python3\n",
}


@dataclass
class Kit:
    """`folder` is the unpacked kit; `signers` names who may sign: `builder`, whose key is `key`."""

    folder: Path
    key: Path
    signers: Path

    def sign(self, key: Path | None = None, namespace: str = build.NAMESPACE) -> None:
        """Sign MANIFEST as it is now."""
        signature = self.folder / "MANIFEST.sig"
        signature.unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(key or self.key)]
        subprocess.run([*command, str(self.folder / "MANIFEST")], check=True, capture_output=True)

    def write_manifest(self) -> None:
        (self.folder / "MANIFEST").write_bytes(manifest_of(self.folder, VERSION))

    def edit_manifest(self, old: bytes, new: bytes) -> None:
        manifest = self.folder / "MANIFEST"
        content = manifest.read_bytes()
        assert old in content
        manifest.write_bytes(content.replace(old, new))


@dataclass
class Machine:
    """A Debian machine as the installer sees it through its commands; remembers what it was asked to do."""

    installed: dict[str, str] = field(default_factory=dict)
    fails: str = ""
    commands: list[list[str]] = field(default_factory=list)

    def run(self, command: Sequence[str]) -> str:
        self.commands.append(list(command))
        if self.fails and self.fails in command:
            raise install.Refused("AG-09", "it failed")
        if command[0] == "dpkg-query":
            return "".join(f"installed\t{name}\t{version}\n" for name, version in self.installed.items())
        if command[0] == "dpkg-deb":
            name, version, _ = Path(command[-1]).name.split("_")
            return f"{name}\t{version.replace('%3a', ':')}"
        if command[:2] == ["dpkg", "--print-architecture"]:
            return "amd64\n"
        compares = command[:2] == ["dpkg", "--compare-versions"]
        if compares and subprocess.run(command, check=False).returncode != 0:
            raise install.Refused("AG-09", "not so")
        if command[1:3] == ["-m", "venv"]:
            Path(command[-1]).mkdir()
        return ""

    @property
    def changes(self) -> list[list[str]]:
        """The commands that change something."""
        asking = {"dpkg-query", "dpkg-deb", "dpkg"}
        return [command for command in self.commands if command[0] not in asking and "--simulate" not in command]


def ssh_key(folder: Path, name: str, kind: str = "ed25519") -> Path:
    (folder / "fake").mkdir(exist_ok=True)
    key = folder / "fake" / name
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(key)], check=True)
    return key


def make_kit(folder: Path) -> Kit:
    kit = Kit(folder / f"strongroom-airgap-{VERSION}", ssh_key(folder, "builder"), folder / "allowed_signers")
    for name, content in FILES.items():
        path = kit.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    public = kit.key.with_suffix(".pub").read_text()
    kit.signers.write_text(f'builder namespaces="{build.NAMESPACE}" {public}')
    build.finish_kit(kit.folder, VERSION, kit.key)
    return kit


def copy_kit(kit: Kit, folder: Path) -> Kit:
    return Kit(Path(shutil.copytree(kit.folder, folder / kit.folder.name)), kit.key, kit.signers)
