"""What a ceremony left behind, as values that two runs can be compared by: keys, tokens, artefacts, transcript."""

from __future__ import annotations

from typing import Any

from ceremonies.transcript import parse_transcript
from cli.context import open_log, open_session, open_store
from pki.key_audit import ObjectClass
from signer.authority.repository import AuthorityRepository
from signer.custody.intents import CustodyIntents
from signer.log.values import EventKind
from verifiers.ceremony_transcript import NotVerified, verify_folder


def logged(repository: AuthorityRepository, name: str) -> list[list[str]]:
    """What the log says of the ceremony, each once: an interruption may have it say things twice, but never less."""
    if repository.authority.log is None:
        return []
    log = open_log(repository, None)
    try:
        first = parse_transcript((repository.root / "ceremonies" / name / "transcript.jsonl").read_bytes())[0][0]
        events = [entry.event for entry in log.find("ceremony_digest", str(first.note.fixed["digest"]))]
    finally:
        log.close()
    said = {(event.kind.value, str(event.details.get("step", ""))) for event in events}
    return sorted([kind, step] for kind, step in said if kind != EventKind.CEREMONY_RESUMED.value)


def final_state(repository: AuthorityRepository, name: str) -> dict[str, Any]:
    """Everything but what is random (key values, ids, times): equal for equal ends.

    `problems` must be empty: every object on a token belongs to a key that is recorded there, and the other way round;
    nothing unfinished is left; the transcript verifies.
    """
    with open_store(repository) as store:
        records = store.keys()
    tokens: dict[str, list[list[str]]] = {}
    problems: list[str] = []
    site = repository.site()
    for token in site.tokens:
        with open_session(repository, site, token) as session:
            objects = session.objects()
            identity = (session.token.serial, session.token.label)
        here = [record for record in records if identity in {place.identity for place in record.tokens}]
        tokens[token] = sorted([item.object_class.value, str(item.label)] for item in objects)
        known = {(record.label, record.cka_id) for record in here if record.state.value != "destroyed"}
        secret = [item for item in objects if item.object_class in {ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY}]
        problems += [
            f"orphan on {token}: {item.object_class.value} {item.label}"
            for item in objects
            if (str(item.label), item.cka_id) not in known
        ]
        problems += [
            f"{label} is not once on {token}"
            for label, cka_id in known
            if sum((item.label, item.cka_id) == (label, cka_id) for item in secret) != 1
        ]
    intents = CustodyIntents(repository.key_intents_path)
    left = [intent.label for intent in intents.of_keys.all()] + [intent.label for intent in intents.all()]
    problems += [f"intent left: {label}" for label in left]
    folders = (repository.root / "ceremonies", repository.root / "store", repository.root / "log")
    problems += [f"left: {path.name}" for folder in folders for path in folder.rglob(".*.part")]
    folder = repository.root / "ceremonies" / name
    artefacts: list[str] = []
    signature = "none"
    try:
        report = verify_folder(folder)
        artefacts, signature = report["artefacts"], report["log_signature"].partition(",")[0]
    except NotVerified as error:
        problems.append(str(error))
    return {
        "keys": sorted(
            [record.label, record.state.value, record.not_after is not None, len(record.tokens), len(record.backups)]
            for record in records
        ),
        "tokens": tokens,
        "artefacts": artefacts,
        "signature": signature,
        "logged": logged(repository, name),
        "problems": problems,
    }
