"""Signed statements as files: NAME and NAME.sig, read together and written together."""

from __future__ import annotations

import re
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cli.output import read_input
from pki.errors import InputRefused, OutputError
from policies.authentication import SignedStatement
from policies.sshsig import SIGNATURE_SIZE_BYTES_MAX
from policies.statement import STATEMENT_SIZE_BYTES_MAX, parse_time
from signer.new_file import NewFile

_LIFETIME = re.compile(r"([1-9][0-9]{0,3})([dh])")


def signature_path(path: Path) -> Path:
    """Where `ssh-keygen -Y sign` puts the signature of a file."""
    return path.with_name(f"{path.name}.sig")


def read_signed(path: Path, what: str) -> SignedStatement:
    """A statement and its signature; nothing is verified. Raises InputRefused."""
    return SignedStatement(
        read_input(path, what, STATEMENT_SIZE_BYTES_MAX),
        read_input(signature_path(path), f"signature of the {what}", SIGNATURE_SIZE_BYTES_MAX),
    )


class NewSignedFile:
    """Both files, refused if one exists before anybody signs, and there whole or not at all. A context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = (NewFile(signature_path(path)), NewFile(path))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for file in self._files:
                stack.enter_context(file)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def publish(self, signed: SignedStatement) -> None:
        """The signature first: a statement that has its name has its signature, too. Raises OutputError."""
        signature, statement = self._files
        signature.write_at(0, signed.signature)
        statement.write_at(0, signed.statement)
        signature.publish()
        try:
            statement.publish()
        except OutputError:
            signature.path.unlink(missing_ok=True)
            raise


def end_of_validity(text: str, now: datetime) -> datetime:
    """`7d`, `12h` from now, or a time as statements have it. Raises InputRefused."""
    match = _LIFETIME.fullmatch(text)
    if match is not None:
        hours = int(match[1]) * (24 if match[2] == "d" else 1)
        return now.replace(microsecond=0) + timedelta(hours=hours)
    try:
        return parse_time(text, "--not-after")
    except ValueError:
        raise InputRefused(f"--not-after {text[:40]!r}: write 7d, 12h, or a time as 2026-12-04T12:00:00Z") from None
