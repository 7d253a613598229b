"""Whether a whole script can be done, before anything of it is: each act says what it needs, and what will be then."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ceremonies import script as scripts
from ceremonies.acts.base import Foreseen
from ceremonies.script import Script
from pki.errors import CeremonyAborted, ConfigurationError


def foresee(script: Script, foreseen: Foreseen) -> Foreseen:
    """Go through the script in thought. Raises CeremonyAborted CE-13, CE-15, ConfigurationError CE-07."""
    for step in script.steps:
        if step.does == scripts.UNLOCK and step.token is not None:
            foreseen = msgspec.structs.replace(foreseen, unlocked=foreseen.unlocked | {step.token})
        elif step.act is not None:
            try:
                foreseen = step.act.foresee(foreseen)
            except CeremonyAborted as error:
                raise CeremonyAborted(error.rule_id, f"step {step.id!r}: {_without_rule(error)}") from None
            except ConfigurationError as error:
                raise ConfigurationError(f"step {step.id!r}: {error}") from None
    return foreseen


def tokens_used(script: Script) -> list[str]:
    """The site's names of every token that the script unlocks, in order of first use."""
    names: Iterable[str] = (step.token for step in script.steps if step.token is not None)
    return list(dict.fromkeys(names))


def _without_rule(error: CeremonyAborted) -> str:
    return str(error).removeprefix(f"[{error.rule_id}] ")
