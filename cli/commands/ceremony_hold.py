"""Commands that hold a ceremony: rehearse, run, resume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ceremonies.rules import ANSWERS_IN_PRODUCTION
from ceremonies.transcript import Entry, head_of
from ceremonies.word_list import digest_from_text, to_words
from cli.ceremony_files import load_ceremony
from cli.commands.ceremony_prepare import NameArgument
from cli.context import repository_of
from cli.options import JsonOption
from cli.output import emit, read_input, say
from pki.errors import CeremonyAborted, InputRefused

if TYPE_CHECKING:
    from cli.ceremony_files import LoadedCeremony
    from cli.ceremony_holding import Manner
    from signer.authority.repository import AuthorityRepository

_FILE_MARK = "@"

DigestOption = Annotated[
    str,
    typer.Option(
        "--digest",
        help="The reviewed digest: 32 words, 64 hexadecimal digits, or @FILE with one.",
        show_default=False,
    ),
]
AnswersOption = Annotated[
    Path | None, typer.Option("--answers", help="Answer from this file instead of people; in development only.")
]


def rehearse(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Run the whole ceremony on throw-away SoftHSM tokens, and keep the golden transcript it is compared with."""
    from cli.ceremony_holding import rehearse as rehearsed

    repository = repository_of(context)
    loaded = load_ceremony(repository, name)
    entries = rehearsed(repository, loaded)
    words = to_words(loaded.digest)
    data = {"digest": loaded.digest.hex(), "words": words, "steps": len(loaded.script.steps), "head": head_of(entries)}
    lines = [
        f"rehearsed {len(loaded.script.steps)} steps of {name} on throw-away tokens",
        f"golden transcript {loaded.folder.rehearsal}",
        f"digest {loaded.digest.hex()}",
        "       " + " ".join(words),
    ]
    emit(data, as_json, "\n".join(lines))


def run(
    context: typer.Context,
    name: NameArgument,
    digest: DigestOption,
    answers: AnswersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the ceremony: with the digest that was reviewed, and only as it was rehearsed."""
    from cli.ceremony_holding import begin

    repository = repository_of(context)
    wanted = _digest(digest)
    manner = _manner(repository, answers)
    loaded = load_ceremony(repository, name)
    with _hint(loaded):
        entries = begin(repository, loaded, wanted, manner)
    _report(loaded, entries, as_json)


def resume(
    context: typer.Context, name: NameArgument, answers: AnswersOption = None, as_json: JsonOption = False
) -> None:
    """Continue a ceremony that was interrupted, at whatever moment."""
    from cli.ceremony_holding import resume as resumed

    repository = repository_of(context)
    manner = _manner(repository, answers)
    loaded = load_ceremony(repository, name)
    with _hint(loaded):
        entries = resumed(repository, name, manner)
    _report(loaded, entries, as_json)


@contextmanager
def _hint(loaded: LoadedCeremony) -> Iterator[None]:
    """What went wrong is said by the error; that the ceremony goes on is said here."""
    from cli.ceremony_holding import can_be_resumed

    try:
        yield
    except BaseException:
        if can_be_resumed(loaded):
            say(f"the ceremony is not over: `strongroom ceremony resume {loaded.script.name}` continues it")
        raise


def _digest(text: str) -> bytes:
    if text.startswith(_FILE_MARK):
        try:
            text = read_input(Path(text.removeprefix(_FILE_MARK)), "digest", 4096).decode("ascii")
        except UnicodeDecodeError:
            raise InputRefused("the file with the digest has something else in it than words") from None
    return digest_from_text(text)


def _manner(repository: AuthorityRepository, answers: Path | None) -> Manner:
    """People at a terminal; or a file of answers, which production refuses."""
    from cli.ceremony_holding import Manner
    from cli.ceremony_shares import FileShares, MemoryShares, TerminalShares

    if answers is None:
        from cli.ceremony_terminal import TerminalRoom

        room = TerminalRoom()
        return Manner(room, TerminalShares(room), "live")
    if repository.authority.environment.value == "production":
        raise CeremonyAborted(ANSWERS_IN_PRODUCTION, "in production people answer, not a file; leave --answers out")
    from cli.ceremony_answers import AnsweringRoom, read_answers

    read = read_answers(answers)
    shares = MemoryShares() if read.shares is None else FileShares(repository.root / read.shares)
    return Manner(AnsweringRoom(read), shares, "answers")


def _report(loaded: LoadedCeremony, entries: list[Entry], as_json: bool) -> None:
    artefacts = loaded.folder.artefacts.names()
    data = {
        "name": loaded.script.name,
        "transcript": str(loaded.folder.transcript),
        "entries": len(entries),
        "head": head_of(entries),
        "artefacts": artefacts,
    }
    lines = [
        f"ceremony {loaded.script.name} is complete: {len(loaded.script.steps)} steps",
        f"transcript {loaded.folder.transcript}",
        f"head {head_of(entries)}",
        *(f"artefact {name}" for name in artefacts),
    ]
    emit(data, as_json, "\n".join(lines))
