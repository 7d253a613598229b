"""The audit log, as `strongroom doctor` sees it. `strongroom audit verify` looks at every entry; this does not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pki.errors import StrongroomError
from pki.key_audit import Severity
from pki.roles import Role
from signer.authority.doctor_rules import Finding, finding
from signer.authority.model import Environment, LogConfig
from signer.authority.repository import AUTHORITY_FILE, AuthorityRepository

_PLACE = f"{AUTHORITY_FILE}, [log]"


def examine_log(repository: AuthorityRepository, now: datetime) -> Iterator[Finding]:
    """What is wrong with the log, its key and its witnesses. Nothing is changed, and no token is asked."""
    config, folder = repository.authority.log, repository.log_path
    in_production = repository.authority.environment is Environment.PRODUCTION
    if config is None or folder is None:
        if in_production:
            yield finding(
                "DR-22", AUTHORITY_FILE, "there is no [log], and production signs nothing without one; add it"
            )
        return
    if not folder.exists():
        yield finding("DR-22", _PLACE, f"{folder} is not there; `strongroom audit init` begins it")
        return
    yield from _examine_key(repository, config, now)
    try:
        _check(folder)
    except StrongroomError as error:
        yield finding("DR-23", _PLACE, str(error))
        return
    if in_production:
        yield from _examine_witnesses(config, folder)


def _examine_key(repository: AuthorityRepository, config: LogConfig, now: datetime) -> Iterator[Finding]:
    from signer.store.signing_gate import require_may_sign

    if not repository.key_store_path.exists():
        return
    try:
        require_may_sign(repository.key_store_path, config.label, Role.LOG, None, now)
    except StrongroomError as error:
        yield finding("DR-23", _PLACE, f"no checkpoint can be signed: {error}")


def _check(folder: Path) -> None:
    from signer.log.audit_log import open_audit_log

    with open_audit_log(folder, None, end_interrupted=False) as log:
        log.check_right_edge()


def _examine_witnesses(config: LogConfig, folder: Path) -> Iterator[Finding]:
    from signer.log.publishing import WITNESSED_FILE

    advice = "without one, whoever has the log's key can replace the log; `strongroom audit witness`"
    if not config.witnesses:
        yield finding("DR-24", _PLACE, f"there are no witnesses; {advice}", Severity.WARNING)
    elif not (folder / WITNESSED_FILE).exists():
        yield finding("DR-24", _PLACE, f"no witness has cosigned the log yet; {advice}", Severity.WARNING)
