"""A desk for requests and approvals: a repository whose people have SSH keys, and two prepared packages.

A folder's conftest.py gets the fixtures by `from tests.cli.desk_world import *`.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pki.canonical_json import encode_canonical
from policies.request import SigningRequest, decode_request
from signer.service.evidence import (
    DecisionFacts,
    LogFacts,
    PackageFacts,
    ProvenEntry,
    ReleaseEvidence,
    SignedText,
    SignerFacts,
)
from signer.tokens import ModuleConfig, find_module, load_module
from tests.cli.release_world import ReleaseWorld, terms
from tests.cli.world import PRODUCT, PROGRAM, World, configure_softhsm
from tests.softhsm_fixtures import close_all
from tests.ssh_people import SshKeyFile, new_ssh_key

__all__ = ["desk", "desk_template"]

REQUEST, APPROVAL = "strongroom-request-v1", "strongroom-approval-v1"
PEOPLE = {
    "rita": ("Rita Example", ["requester"]),
    "ada": ("Ada Example", ["approver"]),
    "bob": ("Bob Example", ["approver", "requester"]),
}
SBOM = b'{"bomFormat":"CycloneDX"}\n'


@dataclass
class Desk(World):
    """A repository whose people have SSH keys, and what was prepared there: app.srp, other.srp. It opens no token."""

    def key(self, person: str) -> SshKeyFile:
        return SshKeyFile(self.folder / "ssh" / person)

    @property
    def allowed_signers(self) -> Path:
        return self.root / "allowed_signers"

    @property
    def prepared(self) -> Path:
        return self.out / "app.srp"

    @property
    def request_file(self) -> Path:
        return self.out / "app.request.json"

    def asking(self, *options: str | Path, person: str = "rita", product: str = PRODUCT) -> list[str | Path]:
        """The command line of `package request`."""
        return [
            "package", "request", self.prepared, "-p", product, "--as", person, "--ssh-key", self.key(person).path,
            "--sbom", self.out / "sbom.json", "-o", self.request_file, *options,
        ]  # fmt: skip

    def ask(self, *options: str | Path) -> SigningRequest:
        self.ok(*self.asking(*options))
        return decode_request(self.request_file.read_bytes())

    def approving(self, person: str, *options: str | Path, key: str = "") -> list[str | Path]:
        """The command line of `approve`."""
        return [
            "approve", self.request_file, "--as", person, "--ssh-key", self.key(key or person).path,
            "-o", self.out / f"{person}.approval.json", *options,
        ]  # fmt: skip


@pytest.fixture(scope="session")
def desk_template(release_template: ReleaseWorld, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(release_template.folder, folder, dirs_exist_ok=True)
    desk = Desk(folder, configure_softhsm(folder))
    module = load_module(ModuleConfig(find_module("softhsm2")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", desk.environment["SOFTHSM2_CONF"])
        module.reinitialize()
        _fill(desk)
        close_all(module)
    return desk


def _fill(desk: Desk) -> None:
    firmware, sbom = ReleaseWorld(desk.folder).firmware("app"), desk.out / "sbom.json"
    sbom.write_bytes(SBOM)
    for name, version in (("app", "1.2.0"), ("other", "1.3.0")):
        desk.ok(
            "package", "prepare", *terms(version, 3), firmware, "-o", desk.out / f"{name}.srp", "--sbom", sbom,
            "--for-device", desk.out / "device.json",
        )  # fmt: skip
    (desk.folder / "ssh").mkdir()
    text, lines = "format = 1\n", ""
    for person, (name, roles) in PEOPLE.items():
        key = new_ssh_key(desk.folder / "ssh", person, "ecdsa" if person == "ada" else "ed25519")
        text += f'[[people]]\nid = "{person}"\nname = "{name}"\nroles = {json.dumps(roles)}\n'
        lines += f'{person} namespaces="{REQUEST},{APPROVAL}" {key.line}\n'
    (desk.root / "people.toml").write_text(text, encoding="utf-8")
    desk.allowed_signers.write_text(lines, encoding="utf-8")


@pytest.fixture
def desk(desk_template: Desk, tmp_path: Path) -> Desk:
    shutil.copytree(desk_template.folder, tmp_path, dirs_exist_ok=True)
    return Desk(tmp_path)


def release(desk: Desk, asked: SigningRequest) -> Path:
    """Evidence as `package release` leaves it, in form; nothing in it is authentic."""
    package = PackageFacts(
        sha256="61" * 32, size_bytes=1, head_digest=asked.head_digest.hex(), kind=asked.kind, product=asked.product,
        product_id=asked.product_id, version=asked.version, security_version=asked.security_version,
        target=asked.target, signers=(SignerFacts("61" * 8, "61" * 91),),
    )  # fmt: skip
    evidence = ReleaseEvidence(
        made_at="2026-10-01T12:00:00Z", package=package, sbom=None, approvals=(), allowed_signers="",
        request=SignedText(asked.encode().decode(), ""), decision=DecisionFacts("61" * 32, ()),
        log=LogFacts("", (ProvenEntry(0, "", ()), ProvenEntry(1, "", ()))),
    )  # fmt: skip
    path = desk.root / "releases" / asked.product / f"{asked.kind}-{asked.version}.evidence.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(evidence.encode())
    return path


def changed(asked: SigningRequest, **fields: Any) -> SigningRequest:
    return decode_request(encode_canonical(asked.fields() | fields))


def typed_at_a_terminal(desk: Desk, *arguments: str | Path, prompt: str, answer: str) -> tuple[int, str]:
    """Exit code, and everything that stood on the terminal. The answer is typed when the prompt is there."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="dumb")
        os.execv(PROGRAM, [str(PROGRAM), "--authority", str(desk.root), *map(str, arguments)])  # noqa: S606
    seen, answered = b"", False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            block = os.read(terminal, 4096)
        except OSError:
            break
        if not block:
            break
        seen += block
        if not answered and prompt.encode() in seen:
            os.write(terminal, f"{answer}\n".encode())
            answered = True
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), seen.decode("utf-8", "replace")
