"""The report of a ceremony as one self-contained HTML document, and as PDF: the same bytes for the same ceremony.

Nothing is read from a clock, a network or the machine (but its fonts, for the PDF).
"""

from __future__ import annotations

from importlib import resources
from typing import Any, NoReturn

import msgspec

from ceremonies.report_artefacts import DescribedArtefact
from ceremonies.report_content import ABSENT, ReportContent, StepDone, time_for_people
from ceremonies.report_markup import Markup, element, escaped, facts, join, table
from pki.errors import VerificationError


class Verdict(msgspec.Struct, frozen=True):
    """What verifying the ceremony's folder found: lines that begin with a rule's ID; none if it verifies."""

    problems: tuple[str, ...]


class Report(msgspec.Struct, frozen=True):
    """What is rendered. `files`: name and SHA-256 of the ceremony's files; `witnesses`: who signed the head."""

    content: ReportContent
    artefacts: tuple[DescribedArtefact, ...]
    files: tuple[tuple[str, str], ...]
    witnesses: tuple[str, ...]
    verdict: Verdict


def require_verified(verdict: Verdict) -> None:
    """Raises VerificationError RP-01 for a ceremony that does not verify."""
    if verdict.problems:
        raise VerificationError(
            f"[RP-01] the ceremony does not verify: {verdict.problems[0]}; --unverified makes a report that says so"
        )


_WARNINGS = {
    "live": ("", ""),
    "rehearsal": ("REHEARSAL – NO KEY IN USE", "On throw-away tokens, without the people named here."),
    "answers": (
        "RUN FROM PREPARED ANSWERS",
        "A file answered in place of people, as a development environment allows.",
    ),
}
"""By the way a ceremony was run: what stands in large letters, and what it means."""


def warning_of(report: Report) -> tuple[str, str]:
    """What stands in large letters on every page, and what it means; empty if people ran it and it verifies."""
    if any(deviation.text.startswith("ABORTED") for deviation in report.content.deviations):
        return "ABORTED – NOT COMPLETED", "The deviations say by which rule and why."
    if not report.content.ended:
        return "INTERRUPTED – NOT COMPLETED", "`strongroom ceremony resume` goes on where it stopped."
    if report.verdict.problems:
        return "NOT VERIFIED – DO NOT SIGN", "What was found when the ceremony's folder was verified:"
    return _WARNINGS.get(report.content.mode, ("RUN IN AN UNKNOWN WAY", "The transcript does not say how."))


def render_html(report: Report) -> str:
    """The whole document."""
    content = report.content
    style = resources.files("ceremonies").joinpath("report_assets", "report.css").read_text(encoding="utf-8")
    body = join(
        [
            _title(report),
            _summary(report),
            _people(content),
            _deviations(content),
            _steps(content),
            _keys(content),
            _artefacts(report),
            _evidence(report),
            _signatures(content),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Ceremony report: {escaped(content.name)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def render_pdf(document: str) -> bytes:
    """The HTML document as PDF, A4. Loads nothing. Raises OSError where Pango is not installed."""
    import weasyprint

    # Not tagged: WeasyPrint 69 numbers the tags by addresses in memory, other ones in each run (docs/adr/0076).
    pdf: bytes = weasyprint.HTML(string=document, url_fetcher=_refuse_to_fetch).write_pdf()
    return pdf


def _refuse_to_fetch(*_: Any, **__: Any) -> NoReturn:
    raise ValueError("a report loads nothing")


# The parts, in their order


def _title(report: Report) -> Markup:
    content = report.content
    warning, meaning = warning_of(report)
    running = join([element("div", warning, css="running-warning"), element("div", content.name, css="running-name"),
                    element("div", content.head, css="running-head")])  # fmt: skip
    parts = [running, element("p", "Report of a key ceremony", css="kind"), element("h1", content.title)]
    if warning:
        parts.append(
            element("div", element("strong", warning), element("p", meaning), *_problems(report.verdict), css="warning")
        )
    parts.append(element("p", content.purpose, css="purpose"))
    return element("header", *parts)


def _problems(verdict: Verdict) -> list[Markup]:
    return [element("p", problem) for problem in verdict.problems]


def _summary(report: Report) -> Markup:
    content = report.content
    words = element("pre", "\n".join(content.words) or ABSENT, css="words")
    done = sum(bool(step.at) for step in content.steps)
    outcome = f"{done} of {len(content.steps)} steps were done; {_count(len(content.deviations), 'deviation')}."
    rows = [("Ceremony", content.name), ("Outcome", outcome), *content.facts]
    digests = [
        ("Reviewed digest of the plan", content.digest),
        ("Digest of the rehearsal", content.rehearsal),
        ("Digest of this transcript", content.head),
    ]
    return element(
        "section", element("h2", "The ceremony"), facts(rows), facts(digests, "facts digests"),
        element("p", "The reviewed digest as the words that were read aloud:"), words,
    )  # fmt: skip


def _count(number: int, what: str) -> str:
    return f"no {what}" if number == 0 else f"{number} {what}{'s' if number > 1 else ''}"


def _people(content: ReportContent) -> Markup:
    rows = [
        (person.name, person.id, person.part, time_for_people(person.present_at) if person.present_at else "not stated")
        for person in content.people
    ]
    return element("section", element("h2", "People"), table(("Name", "Id", "Role", "Present at (UTC)"), rows, "grid"))


def _deviations(content: ReportContent) -> Markup:
    heading = element("h2", "Deviations")
    if not content.deviations:
        text = "None. Every step was done once and in order; nothing failed, was interrupted or repeated."
        return element("section", heading, element("p", text))
    rows = [(time_for_people(item.at), item.step, item.text) for item in content.deviations]
    return element("section", heading, table(("Time (UTC)", "Step", "What happened"), rows, "grid deviations"))


def _steps(content: ReportContent) -> Markup:
    rows = [
        (str(step.number), time_for_people(step.at) if step.at else "not done", _who(step), _what(step))
        for step in content.steps
    ]
    headings = ("No.", "Time (UTC)", "Who", "Step and result")
    return element("section", element("h2", "Steps"), table(headings, rows, "grid steps"))


def _who(step: StepDone) -> Markup:
    return join([element("div", step.person), element("div", step.who, css="part")])


def _what(step: StepDone) -> Markup:
    parts = [element("div", step.text), element("div", step.result or "NOT DONE.", css="result")]
    if step.facts:
        parts.append(facts(step.facts, "facts small"))
    parts.append(element("div", step.id, css="id"))
    return join(parts)


def _keys(content: ReportContent) -> Markup:
    if not content.keys:
        return element("section", element("h2", "Keys"), element("p", "No key was made or written out."))
    cards = [
        element("div", element("h3", dict(key)["label"]), facts(_key_facts(dict(key)), "facts small"), css="card")
        for key in content.keys
    ]
    return element("section", element("h2", "Keys"), *cards)


def _key_facts(key: dict[str, str]) -> list[tuple[str, str]]:
    """What the transcript says, and the fingerprint that anyone can compute from the public key beside it."""
    import base64
    import hashlib

    named = [(name.replace("_", " "), value) for name, value in key.items() if name != "label"]
    try:
        fingerprint = hashlib.sha256(base64.b64decode(key["public_key"], validate=True)).hexdigest()
    except ValueError:
        return [*named, ("NOT READABLE", "the public key is not base64")]
    named.append(("SHA-256 of the public key", fingerprint))
    for name, size in (("key_id", 16), ("cka_id", 40)):
        if name in key and key[name] != fingerprint[:size]:
            named.append(("DOES NOT AGREE", f"{name.replace('_', ' ')} does not follow from the public key"))
    return named


def _artefacts(report: Report) -> Markup:
    heading = element("h2", "Public artefacts")
    if not report.artefacts:
        return element("section", heading, element("p", "The ceremony made none."))
    return element("section", heading, *(_artefact(artefact) for artefact in report.artefacts))


def _artefact(artefact: DescribedArtefact) -> Markup:
    parts = [
        element("h3", artefact.name, element("span", artefact.kind, css="part")),
        facts(artefact.facts, "facts small"),
    ]
    if artefact.text:
        parts.append(element("pre", artefact.text.rstrip("\n"), css="file"))
    return element("div", *parts, css="card")


def _evidence(report: Report) -> Markup:
    content = report.content
    verified = (
        "The folder of the ceremony was verified when this report was made: chain, order, rehearsal, reviewed digest, "
        "artefacts and signatures."
        if not report.verdict.problems
        else "The folder of the ceremony DOES NOT VERIFY; the first page says why."
    )
    log = (
        facts(content.signature, "facts small")
        if content.signature
        else element("p", "Not signed by a key of the log.")
    )
    witnesses = ", ".join(report.witnesses) or "none"
    return element(
        "section", element("h2", "Evidence"), element("p", verified),
        element("p", "Anyone can do it again, with a verifier that shares nothing with what ran the ceremony:"),
        element("pre", "\n".join(_verifying(content.name)), css="file"),
        element("h3", "Files"), facts(report.files, "facts small"),
        element("h3", "Signature of the log over the digest of the transcript"), log,
        element("p", f"Witnesses' signatures over it, kept with the ceremony: {witnesses}."),
    )  # fmt: skip


def _verifying(name: str) -> tuple[str, str]:
    return f"python3 verifiers/ceremony_transcript.py ceremonies/{name}", f"strongroom ceremony verify {name}"


def _signatures(content: ReportContent) -> Markup:
    statement = (
        "I was present. What this report says happened is what I saw; what it should say and does not, I wrote under "
        f"remarks. The digest of the transcript on every page is {content.head[:8]} … {content.head[-8:]}."
    )
    rows = [
        (join([element("div", person.name), element("div", f"{person.part}, {person.id}", css="part")]), "", "")
        for person in content.people
    ]
    blank = (join([element("div", "Auditor", css="part")]), "", "")
    return element(
        "section", element("h2", "Signatures"), element("p", statement),
        table(("Name and role", "Signature", "Date and time"), [*rows, blank], "grid sign"),
        element("h3", "Remarks"), element("div", *[element("div", css="line")] * 5, css="remarks"), css="signatures",
    )  # fmt: skip
