"""People with SSH keys for tests: made, and signed with, by the `ssh-keygen` of this machine."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from policies.authentication import SignedStatement
from policies.ssh_keys import SshPublicKey

TIME_LIMIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class SshKeyFile:
    """A private key without passphrase, and its `.pub` beside it."""

    path: Path

    @property
    def line(self) -> str:
        return " ".join(self.path.with_name(self.path.name + ".pub").read_text(encoding="ascii").split()[:2])

    @property
    def public_key(self) -> SshPublicKey:
        return SshPublicKey.parse(self.line)

    def sign(self, namespace: str, message: bytes, *options: str) -> bytes:
        """As `ssh-keygen -Y sign` does it."""
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.path), *options]
        done = subprocess.run(command, input=message, capture_output=True, timeout=TIME_LIMIT_SECONDS, check=True)
        return done.stdout

    def signed(self, namespace: str, statement: bytes) -> SignedStatement:
        return SignedStatement(statement, self.sign(namespace, statement))


def new_ssh_key(folder: Path, name: str, key_type: str = "ed25519", bits: int | None = None) -> SshKeyFile:
    path = folder / name
    size = [] if bits is None else ["-b", str(bits)]
    command = ["ssh-keygen", "-q", "-t", key_type, *size, "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME_LIMIT_SECONDS, check=True)
    return SshKeyFile(path)


def ssh_keygen_accepts(
    folder: Path,
    allowed_signers: str,
    principal: str,
    namespace: str,
    message: bytes,
    signature: bytes,
    at: datetime | None = None,
) -> bool:
    """What `ssh-keygen -Y verify` says. The time is in UTC."""
    signers, file = folder / "oracle.signers", folder / "oracle.sig"
    signers.write_text(allowed_signers, encoding="utf-8")
    file.write_bytes(signature)
    when = [] if at is None else [f"-Overify-time={at:%Y%m%d%H%M%S}Z"]
    command = [
        "ssh-keygen",
        "-q",
        "-Y",
        "verify",
        "-f",
        str(signers),
        "-I",
        principal,
        "-n",
        namespace,
        "-s",
        str(file),
    ]
    done = subprocess.run(
        [*command, *when], input=message, capture_output=True, timeout=TIME_LIMIT_SECONDS, check=False
    )
    return done.returncode == 0
