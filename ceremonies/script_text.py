"""The script for the room as text: what is printed, reviewed and laid on the table. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from ceremonies import script as scripts
from ceremonies.script import Participant, Script, ScriptStep, holder
from ceremonies.word_list import word_lines

_WIDTH = 78


def script_text(script: Script, digest: bytes, environment: str) -> str:
    """The whole script, with the digest as words to read aloud."""
    return "\n".join(_lines(script, digest, environment)) + "\n"


def _lines(script: Script, digest: bytes, environment: str) -> Iterator[str]:
    yield "=" * _WIDTH
    yield script.title.upper()
    yield "=" * _WIDTH
    yield from textwrap.wrap(script.purpose, _WIDTH)
    yield ""
    yield f"Ceremony     {script.name} ({script.kind})"
    yield f"Place        site {script.site}, environment {environment}" + (", air-gapped" if script.air_gapped else "")
    yield f"Day          {script.date or 'any'}"
    yield ""
    yield "PEOPLE"
    for role, minimum in script.minimum.items():
        names = ", ".join(f"{person.name} ({person.id})" for person in script.people_in(role))
        yield f"  {role:12} at least {minimum} present: {names}"
    yield ""
    yield "THE ROOM"
    for item in script.room:
        yield from textwrap.wrap(item, _WIDTH, initial_indent="  [ ] ", subsequent_indent="      ")
    yield ""
    yield "THE DIGEST, to be read aloud and compared with every copy of this script"
    yield from (f"  {line}" for line in word_lines(digest))
    yield f"  {digest.hex()}"
    yield ""
    yield "THE STEPS"
    for number, step in enumerate(script.steps, start=1):
        yield ""
        yield from step_lines(script, step, number)
    yield ""
    yield "=" * _WIDTH


def step_lines(script: Script, step: ScriptStep, number: int) -> Iterator[str]:
    """One step, as it stands in the script: number, who acts, what is done, what is typed."""
    yield f"{number:3d} of {len(script.steps)}  {_who(script, step)}: {what_is_done(step)}"
    yield from textwrap.wrap(step.text, _WIDTH - 10, initial_indent=" " * 10, subsequent_indent=" " * 10)
    if step.typed is not None:
        yield f"          Type:   {step.typed}"
    if step.person is not None:
        yield f"          Type:   {step.person} present"


def what_is_done(step: ScriptStep) -> str:
    """In capitals, so that nobody takes one kind of step for another."""
    return {
        scripts.SAY: "READ ALOUD",
        scripts.CONFIRM: "CONFIRM BY TYPING",
        scripts.PRESENT: "ROLL CALL",
        scripts.UNLOCK: "ENTER A PIN",
    }.get(step.does, f"THE PROGRAM ACTS ({step.does})")


def _who(script: Script, step: ScriptStep) -> str:
    if step.person is not None:
        person: Participant = next(found for found in script.people if found.id == step.person)
    else:
        person = holder(script, step.who)
    return f"{step.who} ({person.name})"
