"""Rehearsing, running and resuming a ceremony: what stands between the command line and `ceremonies.conduct`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ceremonies.artefacts import Artefacts
from ceremonies.conduct import Conduct, Room
from ceremonies.review import changed_files, reviewed_digest
from ceremonies.rules import (
    BEGUN_BEFORE,
    CHANGED_MEANWHILE,
    DIGEST_DIFFERS,
    NOT_REHEARSED,
    PRECONDITION,
)
from ceremonies.transcript import Entry, EntryType, head_text, parse_transcript
from ceremonies.transcript_file import TranscriptFile, read_transcript
from cli.ceremony_answers import AS_SCRIPTED, AnsweringRoom
from cli.ceremony_checks import preflight
from cli.ceremony_files import LoadedCeremony, load_ceremony, require_unchanged, tool_version
from cli.ceremony_place import CeremonyPlace, Shares
from cli.ceremony_rehearsal import rehearsal_world
from cli.context import now, open_store
from pki.errors import CeremonyAborted
from signer.authority.repository import AuthorityRepository
from signer.new_file import NewFile

if TYPE_CHECKING:
    from pathlib import Path


def rehearse(repository: AuthorityRepository, ceremony: LoadedCeremony) -> list[Entry]:
    """Run it on throw-away tokens; keep what was reviewed and the golden transcript. Raises what its steps raise."""
    folder = ceremony.folder
    _refuse_begun(ceremony)
    _require_ready(repository, ceremony, rehearsal=True)
    with open_store(repository) as store:
        records = store.keys()
    with rehearsal_world(ceremony, records) as (copy, shares):
        rehearsed = copy.root / "rehearsal.jsonl"
        artefacts = Artefacts(copy.root / "artefacts")
        artefacts.prepare()
        with (
            TranscriptFile(rehearsed) as transcript,
            CeremonyPlace(
                copy,
                copy.site(),
                ceremony.script.name,
                ceremony.digest.hex(),
                artefacts,
                shares=shares,
                files=_StandInFiles(copy),
                is_rehearsal=True,
            ) as place,
        ):
            entries = _conduct(
                repository, ceremony, "rehearsal", None, transcript, place, AnsweringRoom(AS_SCRIPTED, quiet=True)
            ).run()
        golden = rehearsed.read_bytes()
    _replace(folder.review, ceremony.review)
    _replace(folder.rehearsal, golden)
    return entries


class _ReviewedFiles(msgspec.Struct, frozen=True):
    """The files of a ceremony as they were read when its digest was computed."""

    repository: AuthorityRepository
    ceremony: LoadedCeremony

    def require_unchanged(self) -> None:
        require_unchanged(self.repository, self.ceremony)

    def content(self, path: str) -> bytes:
        return self.ceremony.files[path]


class _StandInFiles(msgspec.Struct, frozen=True):
    """Those of a rehearsal, rewritten for its stand-ins; nobody else can reach them."""

    repository: AuthorityRepository

    def require_unchanged(self) -> None:
        """They are the rehearsal's own."""

    def content(self, path: str) -> bytes:
        return (self.repository.root / path).read_bytes()


class Manner(msgspec.Struct, frozen=True):
    """How a ceremony is held: by whom it is answered, where shares go, and what the transcript calls it."""

    room: Room
    shares: Shares
    mode: str


def begin(repository: AuthorityRepository, ceremony: LoadedCeremony, digest: bytes, manner: Manner) -> list[Entry]:
    """Run it, if it is what was reviewed and rehearsed, and everything is ready. Raises CeremonyAborted, CE-…"""
    _refuse_begun(ceremony)
    golden = _rehearsed(ceremony, digest)
    _require_ready(repository, ceremony)
    return _held(repository, ceremony, golden, manner)


def resume(repository: AuthorityRepository, name: str, manner: Manner) -> list[Entry]:
    """Continue an interrupted ceremony with what was reviewed, and nothing else. Raises CeremonyAborted CE-17."""
    ceremony = load_ceremony(repository, name)
    if not _has_begun(ceremony):
        raise CeremonyAborted(BEGUN_BEFORE, f"ceremony {name} has not begun; `ceremony run` begins it")
    golden = _rehearsed(ceremony, None)
    return _held(repository, ceremony, golden, manner)


def _held(
    repository: AuthorityRepository, ceremony: LoadedCeremony, golden: Sequence[Entry], manner: Manner
) -> list[Entry]:
    folder = ceremony.folder
    folder.artefacts.prepare()
    with (
        TranscriptFile(folder.transcript) as transcript,
        CeremonyPlace(
            repository,
            ceremony.site,
            ceremony.script.name,
            ceremony.digest.hex(),
            folder.artefacts,
            shares=manner.shares,
            files=_ReviewedFiles(repository, ceremony),
        ) as place,
    ):
        _remove_unfinished(folder.path)
        entries = _conduct(repository, ceremony, manner.mode, golden, transcript, place, manner.room).run()
        place.open_log()  # so that it ends under a checkpoint, also where a kill came after the transcript's end
        _replace(folder.head, head_text(ceremony.script.name, entries))
        return entries


def _conduct(
    repository: AuthorityRepository,
    ceremony: LoadedCeremony,
    mode: str,
    golden: Sequence[Entry] | None,
    transcript: TranscriptFile,
    place: CeremonyPlace,
    room: Room,
) -> Conduct:
    return Conduct(
        script=ceremony.script,
        environment=repository.authority.environment.value,
        digest=ceremony.digest.hex(),
        mode=mode,
        tool=tool_version(),
        golden=golden,
        transcript=transcript,
        place=place,
        room=room,
        now=now,
        log=place.log_ceremony,
        sign_head=place.sign_head,
    )


def _has_begun(ceremony: LoadedCeremony) -> bool:
    """Whether there is one whole entry: before that, nothing at all was done."""
    path = ceremony.folder.transcript
    return path.is_file() and b"\n" in path.read_bytes()


def can_be_resumed(ceremony: LoadedCeremony) -> bool:
    """Whether it has begun, and was neither ended nor aborted."""
    if not _has_begun(ceremony):
        return False
    try:
        last = parse_transcript(ceremony.folder.transcript.read_bytes())[0][-1]
    except (CeremonyAborted, OSError):
        return False
    return last.type not in {EntryType.ABORTED, EntryType.ENDED, EntryType.SIGNED}


def _refuse_begun(ceremony: LoadedCeremony) -> None:
    if _has_begun(ceremony):
        name = ceremony.script.name
        raise CeremonyAborted(
            BEGUN_BEFORE, f"ceremony {name} has begun already; `strongroom ceremony resume {name}` continues it"
        )


def _rehearsed(ceremony: LoadedCeremony, digest: bytes | None) -> list[Entry]:
    """The golden transcript, if what stands in the repository now is what was rehearsed and reviewed.

    `digest` is what the room has read aloud; None when a ceremony is resumed.
    """
    folder, name = ceremony.folder, ceremony.script.name
    if not (folder.review.is_file() and folder.rehearsal.is_file()):
        raise CeremonyAborted(NOT_REHEARSED, f"ceremony {name} was not rehearsed; `ceremony rehearse` does it")
    review = folder.review.read_bytes()
    rule = DIGEST_DIFFERS if digest is not None else CHANGED_MEANWHILE
    if review != ceremony.review:
        changed = ", ".join(changed_files(review, ceremony.review)) or "review.json"
        raise CeremonyAborted(rule, f"changed since the rehearsal: {changed}; no key was touched. Review it again")
    if digest is not None and digest != ceremony.digest:
        raise CeremonyAborted(rule, "the digest given is not this ceremony's; no key was touched. Compare the words")
    golden = read_transcript(folder.rehearsal)
    complete = golden[-1].type is EntryType.ENDED
    if not complete or golden[0].note.fixed.get("digest") != reviewed_digest(review).hex():
        raise CeremonyAborted(NOT_REHEARSED, f"the rehearsal of ceremony {name} is not whole; rehearse it again")
    return golden


def _require_ready(repository: AuthorityRepository, ceremony: LoadedCeremony, *, rehearsal: bool = False) -> None:
    """Raises CeremonyAborted CE-15 with the first error; a rehearsal needs neither the tokens nor the air gap."""
    for finding in preflight(repository, ceremony, now()):
        if finding.is_error and not (rehearsal and finding.rule != "CE-31"):
            raise CeremonyAborted(PRECONDITION, f"{finding.rule}: {finding.text}; no key was touched")


def _remove_unfinished(folder: Path) -> None:
    """What a killed process had not finished writing in the ceremony's folder."""
    for pattern in (".*.part", "*.new"):
        for path in folder.glob(pattern):
            path.unlink()


def _replace(path: Path, content: bytes) -> None:
    """Write a file durably in place of the one there may be; it is whole at every moment."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    with NewFile(temporary) as file:
        file.write_at(0, content)
        file.publish()
    temporary.replace(path)
    from signer.durable import sync_folder

    sync_folder(path.parent)
