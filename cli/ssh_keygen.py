"""Signing with the SSH key a person has: `ssh-keygen` does it, on their terminal; no secret passes through here."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from cli.output import read_input, say
from pki.errors import FormatError, InputRefused
from policies.refusals import NotAuthentic
from policies.ssh_keys import SshPublicKey
from policies.sshsig import SIGNATURE_SIZE_BYTES_MAX

TIME_LIMIT_SECONDS = 120
"""For a PIN and a touch; a card that does not answer must not hold a pipeline for ever."""

_KEY_FILE_SIZE_BYTES_MAX = 64 * 1024


def require_listed_key(key: Path, keys: Collection[SshPublicKey], person_id: str) -> None:
    """Refuse a key that will not count, before anybody is asked for a PIN; raises NotAuthentic SS-10, InputRefused.

    `key` is what `ssh-keygen -f` takes. Where its public half is not in a file, only the signature will tell.
    """
    if not key.is_file():
        raise InputRefused(f"{key} is no file: give --ssh-key a private key, or the public key of one in an agent")
    for path in (key.with_name(f"{key.name}.pub"), key):
        public = _public_key_in(path)
        if public is not None and public not in keys:
            raise NotAuthentic("SS-10", f"key {public.fingerprint} is not listed for {person_id!r} here; use another")
        if public is not None:
            return


def sign_with_ssh(key: Path, namespace: str, message: bytes) -> bytes:
    """The armored signature over `message`. Raises InputRefused if ssh-keygen is missing, fails or takes too long."""
    program = shutil.which("ssh-keygen")
    if program is None:
        raise InputRefused("ssh-keygen is not there; install the OpenSSH client (Debian: openssh-client)")
    with tempfile.TemporaryDirectory(prefix="strongroom-") as folder:
        file = Path(folder) / "statement.json"
        file.write_bytes(message)
        _run([program, "-q", "-Y", "sign", "-n", namespace, "-f", str(key.absolute()), str(file)], key)
        return read_input(file.with_name(f"{file.name}.sig"), "signature", SIGNATURE_SIZE_BYTES_MAX)


def _run(command: list[str], key: Path) -> None:
    """The terminal is ssh-keygen's; where there is none, its words come back in our one line."""
    on_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if on_terminal:
        say(f"Signing with {key.name}: ssh-keygen may ask for a passphrase, a PIN or a touch.")
    try:
        done = subprocess.run(
            command,
            stdin=None if on_terminal else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if on_terminal else subprocess.PIPE,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputRefused(
            f"ssh-keygen did not sign within {TIME_LIMIT_SECONDS} seconds; nothing was written"
        ) from None
    except OSError as error:
        raise InputRefused(f"ssh-keygen cannot be run: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr or b"").decode("utf-8", "replace").strip()[:300]
        raise InputRefused(f"ssh-keygen did not sign with {key}{': ' if said else ''}{said}; nothing was written")


def _public_key_in(path: Path) -> SshPublicKey | None:
    """The public key in a file, None where there is no file or it holds something else (a private key)."""
    with suppress(InputRefused, UnicodeDecodeError, FormatError):
        return SshPublicKey.parse(read_input(path, "SSH key", _KEY_FILE_SIZE_BYTES_MAX).decode("ascii"))
    return None
