"""The report of a ceremony: what it says, that it says it in large letters when something is wrong, and its bytes."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ceremonies import report as reports
from ceremonies.report import Report, Verdict, render_html, render_pdf
from ceremonies.report_artefacts import ArtefactFile, DescribedArtefact, describe, missing
from ceremonies.report_content import read_content
from ceremonies.transcript import Entry, EntryType, Note, following, note, parse_transcript
from ceremonies.word_list import to_words
from pki.errors import VerificationError

SAMPLE = Path(__file__).parent / "sample"
HOLDS = Verdict(())
HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)> & \"'\u202e\x1b[2J"


def no_bundle(_: bytes) -> None:
    """No artefact of these tests is a trust bundle."""


def sample(name: str = "transcript.jsonl") -> list[Entry]:
    return parse_transcript((SAMPLE / name).read_bytes())[0]


def retold(
    changes: dict[EntryType, dict[str, Any]], extra: Sequence[Note] = (), last: int | None = None
) -> list[Entry]:
    """The sample with other values in entries of some types, `extra` notes at the end, and the chain made anew."""
    entries: list[Entry] = []
    moment = datetime(2026, 11, 27, 9, tzinfo=UTC)
    notes = [entry.note for entry in sample()[:last]] + list(extra)
    for told in notes:
        change = changes.get(told.type, {})
        fixed = {name: change.get(name, value) for name, value in told.fixed.items()}
        varying = {name: change.get(name, value) for name, value in told.varying.items()}
        entries.append(following(entries, Note(told.type, told.step, fixed, varying), moment))
        moment += timedelta(seconds=7)
    return entries


def report_of(
    entries: Sequence[Entry], verdict: Verdict = HOLDS, artefacts: Sequence[DescribedArtefact] = ()
) -> Report:
    files = (("plan.yaml", "0" * 64), ("transcript.jsonl", "1" * 64))
    return Report(read_content(entries), tuple(artefacts), files, ("cy",), verdict)


class Page(HTMLParser):
    """What a browser would find: elements, attributes, text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page() -> Page:
    artefact = SAMPLE / "artefacts" / "application-release-2.pem"
    digest = hashlib.sha256(artefact.read_bytes()).hexdigest()
    described = describe(ArtefactFile(artefact.name, artefact.read_bytes(), digest), no_bundle)
    return Page(render_html(report_of(sample(), artefacts=[described])))


# What it says


def test_it_names_the_ceremony_its_people_and_its_digests(page: Page) -> None:
    begun = sample()[0].note.fixed
    for text in (
        "Issue of an application-release key for pump-x2",
        "issue-2026",
        "Ada Example",
        "Cy Example",
        "witness-2",
    ):
        assert text in page.text
    assert str(begun["digest"]) in page.text
    words = to_words(bytes.fromhex(str(begun["digest"])))
    assert " ".join(words[:4]) in page.text
    assert " ".join(words[-4:]) in page.text
    head = (SAMPLE / "head.txt").read_text().split("\n")[3]
    assert head in page.text
    assert str(sample()[0].note.varying["rehearsal"]) in page.text


def test_every_step_stands_with_its_time_and_its_result(page: Page) -> None:
    content = read_content(sample())
    assert [step.number for step in content.steps] == list(range(1, 10))
    assert all(step.at and step.result for step in content.steps)
    assert content.steps[4].result == "Typed: digest agrees"
    assert content.steps[5].facts == (("token", "release"), ("serial", "0123456789abcdef"), ("token label", "release"))
    assert content.steps[6].person == "Ada Example"
    assert content.steps[2].person == "Cy Example"
    alone = [{"id": "ada", "name": "Ada", "role": "operator"}, {"id": "bob", "name": "Bob", "role": "witness"}]
    assert read_content(retold({EntryType.BEGUN: {"people": alone}})).steps[4].person == "Bob"
    assert content.steps[6].result == "Done: continued after an interruption: the key was on the token."
    for step in content.steps:
        assert step.text in page.text
        assert step.at.replace("T", " ").rstrip("Z") in page.text


def test_what_was_not_as_rehearsed_stands_as_a_deviation(page: Page) -> None:
    deviations = read_content(sample()).deviations
    assert [item.text for item in deviations] == [
        "Resumed after an interruption; the step that came next: generate",
        "Token release unlocked again",
    ]
    assert all(item.text in page.text for item in deviations)
    assert read_content(sample("rehearsal.jsonl")).deviations == ()
    calm = Page(render_html(report_of(sample("rehearsal.jsonl")))).text
    assert "None. Every step was done once and in order" in calm


def test_failures_and_absent_people_are_deviations() -> None:
    failed = note(EntryType.FAILED, "generate", {}, {"error": "TokenLost", "text": "the token does not answer"})
    entries = retold({EntryType.PRESENT: {"present": False}}, [failed], last=8)
    content = read_content(entries)
    assert content.deviations[-1].text == "Failed: the token does not answer"
    assert "ada (operator) was not present" in [item.text for item in content.deviations]
    assert content.steps[0].result == "NOT PRESENT."
    assert {person.present_at for person in content.people} == {""}


def test_keys_stand_with_a_fingerprint_computed_from_the_public_key() -> None:
    spki = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + bytes(range(65))
    fingerprint = hashlib.sha256(spki).hexdigest()
    true = {"public_key": base64.b64encode(spki).decode(), "key_id": fingerprint[:16], "cka_id": fingerprint[:40]}
    text = Page(render_html(report_of(retold({EntryType.RESULT: true})))).text
    assert fingerprint in text
    assert "DOES NOT AGREE" not in text
    wrong = Page(render_html(report_of(retold({EntryType.RESULT: {**true, "key_id": "0" * 16}})))).text
    assert "DOES NOT AGREE key id does not follow from the public key" in wrong
    unreadable = Page(render_html(report_of(retold({EntryType.RESULT: {"public_key": "?"}})))).text
    assert "NOT READABLE" in unreadable


def test_there_is_a_place_to_sign_and_date_for_each_person_and_for_remarks(page: Page) -> None:
    signing = page.text.split("Signatures I was present")[1]
    for name in ("Ada Example operator, ada", "Bob Example witness-1, bob", "Cy Example witness-2, cy", "Auditor"):
        assert name in signing
    assert "Signature Date and time" in signing
    assert signing.rstrip().endswith("Remarks")


def test_the_signature_of_the_log_stands_in_it() -> None:
    values = {"key_label": "sr:log:-:0001", "public_key": "AAAA", "signature": "ab" * 64}
    signed = note(EntryType.SIGNED, None, {"format": "strongroom-ceremony-head-1"}, values)
    text = Page(render_html(report_of(retold({}, [signed])))).text
    assert "sr:log:-:0001" in text
    assert "ab" * 64 in text
    assert "Not signed by a key of the log." in Page(render_html(report_of(sample()))).text


# What is wrong, in large letters


def warning(entries: Sequence[Entry], verdict: Verdict = HOLDS) -> str:
    document = render_html(report_of(entries, verdict))
    text, _ = reports.warning_of(report_of(entries, verdict))
    assert (f"<strong>{text}</strong>" in document) == bool(text)
    assert f'<div class="running-warning">{text}</div>' in document
    return text


def test_a_ceremony_run_by_people_to_its_end_that_verifies_has_no_warning() -> None:
    assert warning(sample()) == ""
    reports.require_verified(HOLDS)


def test_an_unverified_ceremony_is_refused_or_says_so() -> None:
    verdict = Verdict(("CT-09 the artefact application-release-2.pem is changed",))
    with pytest.raises(VerificationError, match=r"\[RP-01\] .*CT-09"):
        reports.require_verified(verdict)
    assert warning(sample(), verdict) == "NOT VERIFIED – DO NOT SIGN"
    assert verdict.problems[0] in render_html(report_of(sample(), verdict))
    assert "DOES NOT VERIFY" in render_html(report_of(sample(), verdict))


@pytest.mark.parametrize(
    ("mode", "words"), [("rehearsal", "REHEARSAL"), ("answers", "PREPARED ANSWERS"), ("x", "UNKNOWN")]
)
def test_what_was_not_run_by_people_says_so(mode: str, words: str) -> None:
    assert words in warning(retold({EntryType.BEGUN: {"mode": mode}}))


def test_what_did_not_end_says_so() -> None:
    assert warning(retold({}, last=9)) == "INTERRUPTED – NOT COMPLETED"
    aborted = note(EntryType.ABORTED, "generate", {}, {"rule": "CE-20", "reason": "drift"})
    entries = retold({}, [aborted], last=9)
    assert warning(entries) == "ABORTED – NOT COMPLETED"
    document = render_html(report_of(entries))
    assert "ABORTED by rule CE-20: drift" in document
    assert document.count("NOT DONE.") == 3


@pytest.mark.parametrize("entries", [[], sample()[1:2]])
def test_what_is_no_transcript_is_refused(entries: list[Entry]) -> None:
    with pytest.raises(VerificationError, match=r"\[RP-02\]"):
        read_content(entries)


def test_values_of_other_types_than_promised_are_shown_as_they_are() -> None:
    """A transcript that does not verify may hold anything that is JSON."""
    for odd in (None, 7, True, "text", ["a", "b"], [{"id": 1}], {"deep": [None]}):
        names = ("digest", "title", "name", "people", "steps", "mode", "rehearsal", "text", "who", "artefacts")
        change = dict.fromkeys(names, odd)
        render_html(report_of(retold(dict.fromkeys(EntryType, change)), Verdict(("CT-02 odd",))))


# Artefacts


def test_an_artefact_that_is_not_the_listed_one_says_so() -> None:
    described = describe(ArtefactFile("a.txt", b"text\n", "0" * 64), no_bundle)
    assert ("NOT AS LISTED", "0" * 64) in described.facts
    assert ("SHA-256", hashlib.sha256(b"text\n").hexdigest()) in described.facts
    assert described.text == "text\n"
    assert missing("b.txt", "1" * 64).kind == "MISSING"
    text = Page(render_html(report_of(sample(), artefacts=[described, missing("b.txt", "1" * 64)]))).text
    assert "MISSING" in text
    assert "NOT AS LISTED" in text


def test_what_does_not_print_is_listed_by_its_digest_alone() -> None:
    for content in (b"\x00\xff", b"a" * 9000, "reversed \u202e".encode(), b"\x1b[2J"):
        assert describe(ArtefactFile("x", content, ""), no_bundle).text == ""


def test_a_trust_bundle_is_described_by_whom_it_was_handed_to() -> None:
    described = describe(ArtefactFile("trust-1.srb", b"\x00", ""), lambda _: (("version", "1"),))
    assert described.kind == "trust bundle"
    assert ("version", "1") in described.facts


def test_damaged_keys_and_certificates_are_called_so() -> None:
    for kind in ("PUBLIC KEY", "CERTIFICATE"):
        content = f"-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n".encode()
        assert "NOT READABLE" in dict(describe(ArtefactFile("x.pem", content, ""), no_bundle).facts)


# Safe to open


def test_hostile_names_stay_text() -> None:
    people = [{"id": HOSTILE, "name": HOSTILE, "role": "operator"}]
    steps = [{"id": HOSTILE, "does": "say", "who": "operator", "text": HOSTILE}]
    names = ("name", "title", "purpose", "typed", "text", "token", "label", "outcome", "digest", "rehearsal")
    change: dict[str, Any] = {**dict.fromkeys(names, HOSTILE), "people": people, "steps": steps}
    entries = retold(dict.fromkeys(EntryType, change))
    artefact = DescribedArtefact(HOSTILE, HOSTILE, ((HOSTILE, HOSTILE),), HOSTILE)
    report = Report(read_content(entries), (artefact,), ((HOSTILE, HOSTILE),), (HOSTILE,), Verdict((HOSTILE,)))
    document = render_html(report)
    found = Page(document)
    plain = Page(render_html(report_of(sample(), Verdict(("x",)))))
    assert found.tags <= plain.tags | {"span"}
    assert found.attributes <= {"class", "lang", "charset", "content", "http-equiv"}
    assert not any(character in document for character in "\u202e\x1b")
    assert "\\u{202e}" in document


def test_it_refers_to_nothing_outside_itself(page: Page) -> None:
    document = render_html(report_of(sample()))
    assert not {"script", "img", "link", "iframe", "a", "object"} & page.tags
    assert not re.search(r"url\(|@import|https?:|src=|href=", document)
    assert "default-src 'none'" in document


# The same bytes


def test_html_and_pdf_are_the_same_bytes_in_another_process() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.unit.ceremonies import test_report as t\n"
        "document = t.render_html(t.report_of(t.sample()))\n"
        "sys.stdout.buffer.write(document.encode() + t.render_pdf(document))"
    )
    root = Path(__file__).resolve().parents[3]
    environment = {"PYTHONHASHSEED": "7", "TZ": "Pacific/Auckland", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-W", "error", "-c", code]
    printed = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True).stdout
    document = render_html(report_of(sample()))
    assert printed == document.encode() + render_pdf(document)


def test_every_page_of_the_pdf_has_number_digest_and_warning(tmp_path: Path) -> None:
    report = report_of(sample(), Verdict(("CT-03 line 4 does not follow",)))
    (tmp_path / "report.pdf").write_bytes(render_pdf(render_html(report)))
    command = ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"]
    pages = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\f")[:-1]
    assert len(pages) >= 3
    for number, text in enumerate(pages, start=1):
        assert f"page {number} of {len(pages)}" in text
        assert "initials" in text
        assert read_content(sample()).head in text
        assert "NOT VERIFIED – DO NOT SIGN" in text
    information = subprocess.run(["pdfinfo", str(tmp_path / "report.pdf")], check=True, capture_output=True, text=True)
    assert "(A4)" in information.stdout
    assert "CreationDate" not in information.stdout


def test_a_pdf_loads_nothing() -> None:
    with pytest.raises(ValueError, match="loads nothing"):
        reports._refuse_to_fetch("file:///etc/passwd")
