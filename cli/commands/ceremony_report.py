"""`strongroom ceremony report`: the paper that people sign, from what a ceremony left."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import repository_of
from cli.options import JsonOption
from cli.output import emit, write_new_file
from pki.errors import InputRefused, OutputError

if TYPE_CHECKING:
    from ceremonies.report import Report, Verdict
    from ceremonies.report_artefacts import DescribedArtefact
    from ceremonies.report_content import Fact, ReportContent

_TRANSCRIPT = "transcript.jsonl"
_FILES = ("plan.yaml", "review.json", "rehearsal.jsonl", _TRANSCRIPT, "head.txt")
_FILE_SIZE_BYTES_MAX = 64 * 1024 * 1024
_BUNDLE_DIGEST = "digest of the bundle"
_BUNDLE_CONTENT = "content"
_PAGES = "report.html", "report.pdf"


def report(
    context: typer.Context,
    ceremony: Annotated[str, typer.Argument(help="The ceremony, by name, or its folder, wherever that is.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for report.html and report.pdf; by default the ceremony's."),
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Also of a ceremony that does not verify; every page then says so.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a ceremony, as HTML and PDF, with places for signatures. The same bytes every time."""
    from ceremonies.report import render_html, render_pdf, require_verified, warning_of

    folder, signers = _find(context, ceremony)
    paths = [(out or folder) / name for name in _PAGES]
    for path in paths:
        if path.exists():
            raise OutputError(f"{path} exists already; remove it or choose another folder")
    made = _read_report(folder, signers)
    if not unverified:
        require_verified(made.verdict)
    document = render_html(made)
    pages = (document.encode("utf-8"), render_pdf(document))
    _write_all(paths, pages)
    warning, _ = warning_of(made)
    digests = {path.name: hashlib.sha256(page).hexdigest() for path, page in zip(paths, pages, strict=True)}
    data = {"files": [str(path) for path in paths], "sha256": digests, "verified": not made.verdict.problems}
    lines = [f"wrote {path}  SHA-256 {digests[path.name]}" for path in paths]
    lines.append(f"EVERY PAGE SAYS: {warning}" if warning else "print report.pdf, read it, sign every page")
    emit({**data, "warning": warning}, as_json, "\n".join(lines))


def _find(context: typer.Context, ceremony: str) -> tuple[Path, Path | None]:
    """The ceremony's folder, and the allowed signers that witnesses are known by, if they are at hand."""
    from cli.ceremony_files import existing_folder

    given = Path(ceremony)
    if (given / _TRANSCRIPT).is_file():
        signers = given.absolute().parent.parent / "allowed_signers"
        return given, signers if signers.is_file() else None
    repository = repository_of(context)
    folder = existing_folder(repository, ceremony).path
    if not (folder / _TRANSCRIPT).is_file():
        raise InputRefused(f"ceremony {ceremony} has not begun, so there is nothing to report")
    signers = repository.root / "allowed_signers"
    return folder, signers if signers.is_file() else None


def _read_report(folder: Path, signers: Path | None) -> Report:
    from ceremonies.report import Report
    from ceremonies.report_content import read_content
    from ceremonies.transcript_file import read_transcript

    content = read_content(read_transcript(folder / _TRANSCRIPT))
    files = [(name, _digest(folder / name)) for name in _FILES if (folder / name).is_file()]
    witnesses = sorted(path.stem for path in (folder / "witnesses").glob("*.sig"))
    return Report(content, _artefacts(folder, content), tuple(files), tuple(witnesses), _verdict(folder, signers))


def _verdict(folder: Path, signers: Path | None) -> Verdict:
    from ceremonies.report import Verdict
    from verifiers.ceremony_transcript import NotVerified, verify_folder

    try:
        verify_folder(folder, None, signers)
    except NotVerified as error:
        return Verdict((str(error),))
    return Verdict(())


def _artefacts(folder: Path, content: ReportContent) -> tuple[DescribedArtefact, ...]:
    """What the transcript lists and what the folder has; in a sound ceremony the two are the same."""
    from ceremonies.report_artefacts import ArtefactFile, describe, missing

    listed = dict(content.artefacts)
    place = folder / "artefacts"
    there = {path.name for path in place.iterdir() if path.is_file()} if place.is_dir() else set()
    described = []
    for name in sorted(there | set(listed)):
        digest = listed.get(name, "")
        if name in there:
            described.append(describe(ArtefactFile(name, _read(place / name), digest), _bundle_facts))
        else:
            described.append(missing(name, digest))
    return _without_repeats(described)


def _without_repeats(artefacts: list[DescribedArtefact]) -> tuple[DescribedArtefact, ...]:
    """A bundle that is signed root by root is several files; what it says stands once, then only who signed."""
    import msgspec

    first: dict[str, str] = {}
    shortened = []
    for artefact in artefacts:
        facts = dict(artefact.facts)
        digest = facts.get(_BUNDLE_DIGEST)
        if digest in first:
            facts[_BUNDLE_CONTENT] = f"the same as {first[digest]}, but\n{facts[_BUNDLE_CONTENT].splitlines()[-1]}"
        elif digest is not None:
            first[digest] = artefact.name
        shortened.append(msgspec.structs.replace(artefact, facts=tuple(facts.items())))
    return tuple(shortened)


def _bundle_facts(content: bytes) -> tuple[Fact, ...] | None:
    """A trust bundle as the bootloader reads it."""
    from bootloader.reference.codes import Refused
    from bootloader.reference.trust_bundle import parse_trust_bundle
    from cli.trust_bundle_report import bundle_fields, bundle_text

    try:
        fields = bundle_fields(parse_trust_bundle(content))
    except Refused:
        return None
    return ((_BUNDLE_DIGEST, fields["digest"]), (_BUNDLE_CONTENT, bundle_text(fields)))


def _read(path: Path) -> bytes:
    from cli.output import read_input

    return read_input(path, "file", _FILE_SIZE_BYTES_MAX)


def _digest(path: Path) -> str:
    return hashlib.sha256(_read(path)).hexdigest()


def _write_all(paths: list[Path], pages: tuple[bytes, ...]) -> None:
    """All of them or none."""
    written: list[Path] = []
    try:
        for path, page in zip(paths, pages, strict=True):
            write_new_file(path, page)
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink()
        raise
