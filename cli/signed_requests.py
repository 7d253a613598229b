"""A request for a signature, of whatever kind: signed with a person's SSH key, verified, and written with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cli.signed_files import NewSignedFile, signature_path
from cli.ssh_keygen import sign_with_ssh
from policies.authentication import SignedStatement
from policies.request import REQUEST_NAMESPACE, SigningRequest

if TYPE_CHECKING:
    from policies.object_request import ObjectRequest


class _Authentic(Protocol):
    @property
    def key_fingerprint(self) -> str:
        """Of the SSH key that signed."""


def write_signed_request(
    asked: SigningRequest | ObjectRequest,
    out: Path,
    ssh_key: Path,
    authenticate: Callable[[SignedStatement], _Authentic],
) -> dict[str, Any]:
    """Sign, judge by `authenticate` as the service will, and write OUT and OUT.sig; the report of it.

    Raises OutputError before anybody signs where a file is there already, and what `authenticate` raises.
    """
    statement = asked.encode()
    with NewSignedFile(out) as file:
        signed = SignedStatement(statement, sign_with_ssh(ssh_key, REQUEST_NAMESPACE, statement))
        made = authenticate(signed)
        file.publish(signed)
    return {
        "file": str(out),
        "signature": str(signature_path(out)),
        "digest": asked.digest.hex(),
        "key_fingerprint": made.key_fingerprint,
        "request": asked.fields(),
    }
