"""`strongroom doctor`: examine an authority repository."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import board_of, module_config, now, open_session, open_store, pinned_uri, repository_of
from cli.exit_codes import ExitCode
from cli.options import JsonOption
from cli.output import emit
from pki.key_audit import Severity
from signer.authority.doctor import examine
from signer.authority.doctor_rules import Finding
from signer.authority.model import Site
from signer.authority.repository import AuthorityRepository

if TYPE_CHECKING:
    from signer.store.key_store import KeyStore
    from signer.tokens import Pkcs11Uri, TokenInfo
    from signer.tokens.session import Session

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: strongroom doctor --offline")
def doctor(
    context: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="Open no token; ask for no PIN.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check an authority repository: files, boards, site, tokens, key store, keys. Exit code 10 if there are errors."""
    repository = repository_of(context)
    site_name: str | None = (context.obj or {}).get("site")
    findings = examine(repository, site_name, _Outside(repository, site_name), now(), offline=offline)
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    data = {"errors": errors, "warnings": len(findings) - errors, "findings": [asdict(item) for item in findings]}
    emit(data, as_json, _text(findings, errors))
    if errors:
        raise typer.Exit(ExitCode.FINDINGS)


def _text(findings: tuple[Finding, ...], errors: int) -> str:
    if not findings:
        return "all is well"
    lines = [f"{item.severity.upper()} {item.rule_id} {item.place}\n  {item.text}" for item in findings]
    return "\n".join([*lines, f"{errors} errors, {len(findings) - errors} warnings"])


@dataclass(frozen=True)
class _Outside:
    """The real surroundings of a repository."""

    repository: AuthorityRepository
    site_name: str | None

    @property
    def _site(self) -> Site:
        return self.repository.site(self.site_name)

    def check_board(self, name: str) -> None:
        board_of(self.repository, name)

    def tokens_of_module(self, name: str) -> tuple[TokenInfo, ...]:
        from signer.tokens import list_tokens, load_module

        return list_tokens(load_module(module_config(self.repository, self._site, name)))

    def pinned_uri(self, token_name: str) -> Pkcs11Uri:
        return pinned_uri(self._site, token_name)

    def open_store(self) -> KeyStore:
        from signer.store.maintenance import check_key_store

        check_key_store(self.repository.key_store_path)
        return open_store(self.repository)

    def open_session(self, token_name: str) -> Session:
        return open_session(self.repository, self._site, token_name)
