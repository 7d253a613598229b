#!/usr/bin/env python3
"""Verifies what a key ceremony left: docs/spec/ceremony-transcript.md. Run: python ceremony_transcript.py FOLDER

It shares nothing with the program that held the ceremony: one file, the standard library, `cryptography` for the log
key's signature, and `ssh-keygen` for those of witnesses. FOLDER is `ceremonies/NAME/` or a copy of it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LINE_MAX = 64 * 1024
ENTRIES_MAX = 10_000
FILE_MAX = 16 * 1024 * 1024
ARTEFACT_MAX = 64 * 1024 * 1024
FORMAT = "strongroom-ceremony-transcript-1"
FIELDS = {"sequence", "previous", "at", "type", "step", "fixed", "varying"}
# type: names in `fixed`, names in `varying`; None where the act decides.
TYPES: dict[str, tuple[set[str] | None, set[str] | None]] = {
    "begun": (
        {"format", "name", "kind", "title", "purpose", "site", "environment", "digest", "people", "steps"},
        {"mode", "rehearsal", "tool"},
    ),
    "said": ({"who", "text"}, set()),
    "present": ({"person", "role"}, {"present"}),
    "confirmed": ({"who", "typed"}, set()),
    "unlocked": ({"who", "token"}, {"serial", "token_label"}),
    "unlocked-again": ({"who", "token"}, {"serial", "token_label"}),
    "intent": ({"act", "with"}, set()),
    "result": (None, None),
    "failed": (set(), {"error", "text"}),
    "resumed": (set(), {"interrupted_at"}),
    "aborted": (set(), {"rule", "reason"}),
    "ended": ({"steps"}, {"artefacts"}),
    "signed": ({"format"}, {"key_label", "public_key", "signature"}),
}
WHOLE = {"begun", "resumed", "ended", "signed"}
DONE_BY = {"say": "said", "confirm": "confirmed", "present": "present", "unlock": "unlocked"}
COMPLETIONS = {"begun", "said", "present", "confirmed", "unlocked", "result", "ended"}
NAMESPACE = "strongroom-ceremony-v1"

Entry = dict[str, Any]


class NotVerified(Exception):
    """One rule of the specification, and why it is broken."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"[{rule}] {reason}")
        self.rule = rule


def verify_folder(folder: Path, log_key: Path | None = None, allowed_signers: Path | None = None) -> dict[str, Any]:
    """Verify everything; the report that is printed. Raises NotVerified."""
    entries = read_chain(folder / "transcript.jsonl")
    check_order(entries)
    golden = read_chain(folder / "rehearsal.jsonl")
    check_order(golden)
    check_drift(entries, golden)
    check_review(folder, entries[0])
    artefacts = check_artefacts(folder / "artefacts", entries)
    head = head_text(entries)
    return {
        "verified": True,
        "name": entries[0]["fixed"]["name"],
        "title": entries[0]["fixed"]["title"],
        "mode": entries[0]["varying"]["mode"],
        "begun": entries[0]["at"],
        "ended": next(entry["at"] for entry in entries if entry["type"] == "ended"),
        "interruptions": sum(entry["type"] == "resumed" for entry in entries),
        "digest": entries[0]["fixed"]["digest"],
        "head": head.decode().split("\n")[3],
        "artefacts": artefacts,
        "log_signature": check_log_signature(entries, head, log_key),
        "witnesses": check_witnesses(folder / "witnesses", head, allowed_signers),
    }


# The chain


def read_chain(path: Path) -> list[Entry]:
    """Every entry of a transcript: CT-01 to CT-04."""
    data = read_file(path, FILE_MAX, "CT-01")
    if not data.endswith(b"\n"):
        raise NotVerified("CT-01", f"{path.name} is empty or cut off within its last line")
    lines = data[:-1].split(b"\n")
    if len(lines) > ENTRIES_MAX:
        raise NotVerified("CT-01", f"{path.name} has more than {ENTRIES_MAX} entries")
    entries: list[Entry] = []
    previous = "0" * 64
    for number, line in enumerate(lines):
        entry = read_line(line, f"{path.name}, line {number + 1}")
        if entry["sequence"] != number or entry["previous"] != previous:
            raise NotVerified("CT-03", f"{path.name}, line {number + 1} does not follow the line before it")
        if entries and entry["at"] < entries[-1]["at"]:
            raise NotVerified("CT-04", f"{path.name}, line {number + 1} is dated before the line before it")
        entries.append(entry)
        previous = hashlib.sha256(line).hexdigest()
    return entries


def read_line(line: bytes, where: str) -> Entry:
    """One entry: canonical JSON, exactly the fields, and those that its type has."""
    try:
        if len(line) > LINE_MAX:
            raise ValueError("too long")
        entry = json.loads(line.decode(), object_pairs_hook=without_doubles, parse_float=refuse, parse_constant=refuse)
        if canonical(entry) != line:
            raise ValueError("not in canonical form")
    except (ValueError, RecursionError) as error:
        raise NotVerified("CT-01", f"{where}: {error}") from None
    if not isinstance(entry, dict) or set(entry) != FIELDS or entry["type"] not in TYPES:
        raise NotVerified("CT-02", f"{where}: not the fields or the type of an entry")
    forms = {"sequence": int, "previous": str, "at": str, "fixed": dict, "varying": dict}
    if any(type(entry[name]) is not form for name, form in forms.items()):
        raise NotVerified("CT-02", f"{where}: a field has another form")
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["at"]):
        raise NotVerified("CT-02", f"{where}: the time has another form")
    has_step = type(entry["step"]) is str
    if entry["type"] in WHOLE and entry["step"] is not None:
        raise NotVerified("CT-02", f"{where}: this type has no step")
    if entry["type"] not in WHOLE | {"failed", "aborted"} and not has_step:
        raise NotVerified("CT-02", f"{where}: the step is missing")
    for part, names in zip(("fixed", "varying"), TYPES[entry["type"]], strict=True):
        if names is not None and set(entry[part]) != names:
            raise NotVerified("CT-02", f"{where}: `{part}` does not have the fields of its type")
    return entry


def canonical(value: Any) -> bytes:
    """RFC 8785 for text, integers, booleans, null, lists and objects: names sorted by UTF-16 code units."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return b"{" + b",".join(canonical(name) + b":" + canonical(value[name]) for name in names) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    return json.dumps(value, ensure_ascii=False).encode()


def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no name stands twice."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def refuse(text: str) -> Any:
    """Numbers are integers."""
    raise ValueError(f"{text} is not an integer")


# The order


def check_order(entries: Sequence[Entry]) -> None:
    """`begun`, every step once and in order, each act after its intent, then `ended`: CT-05, CT-06."""
    if entries[0]["type"] != "begun" or entries[0]["fixed"]["format"] != FORMAT:
        raise NotVerified("CT-05", "it does not begin with `begun`")
    steps = entries[0]["fixed"]["steps"]
    position, intent, over = 0, False, ""
    for entry in entries[1:]:
        kind, step = entry["type"], entry["step"]
        if over and not (over == "ended" and kind == "signed"):
            raise NotVerified("CT-05", f"entry {entry['sequence']} stands after the end")
        if kind in {"aborted", "ended", "signed"}:
            over = kind
            if kind == "ended" and (position != len(steps) or entry["fixed"]["steps"] != len(steps)):
                raise NotVerified("CT-05", f"it ended after {position} of {len(steps)} steps")
        elif kind == "intent":
            require_step(entry, steps, position)
            intent = True
        elif kind == "resumed":
            intent = False
        elif kind in COMPLETIONS:
            require_step(entry, steps, position)
            does = steps[position]["does"]
            if kind != DONE_BY.get(does, "result") or (kind == "result") is not intent:
                raise NotVerified("CT-05", f"entry {entry['sequence']}: step {step!r} is not done by {kind!r} here")
            position, intent = position + 1, False
        elif kind == "begun":
            raise NotVerified("CT-05", "`begun` stands twice")
    if not over or over == "aborted":
        raise NotVerified("CT-06", "it was aborted" if over else "it was interrupted and has not ended")


def require_step(entry: Entry, steps: Sequence[Entry], position: int) -> None:
    """The entry is about the next step, and an act's entries name its act."""
    if position >= len(steps) or entry["step"] != steps[position]["id"]:
        raise NotVerified("CT-05", f"entry {entry['sequence']} is about step {entry['step']!r}, not about the next one")
    if entry["type"] in {"intent", "result"} and entry["fixed"].get("act") != steps[position]["does"]:
        raise NotVerified("CT-05", f"entry {entry['sequence']} is about another act than its step")


def check_drift(entries: Sequence[Entry], golden: Sequence[Entry]) -> None:
    """The ceremony went as its rehearsal: CT-07."""
    if golden[0]["varying"]["mode"] != "rehearsal" or entries[0]["varying"]["mode"] == "rehearsal":
        raise NotVerified("CT-07", "the rehearsal is no rehearsal, or the ceremony is one")
    if entries[0]["varying"]["rehearsal"] != head_text(golden).decode().split("\n")[3]:
        raise NotVerified("CT-07", "the ceremony names another rehearsal")
    live = [entry for entry in entries if entry["type"] in COMPLETIONS]
    rehearsed = [entry for entry in golden if entry["type"] in COMPLETIONS]
    if len(live) != len(rehearsed):
        raise NotVerified("CT-07", "ceremony and rehearsal have not the same number of steps")
    for one, other in zip(live, rehearsed, strict=True):
        same = all(canonical(one[name]) == canonical(other[name]) for name in ("type", "step", "fixed"))
        if not same or set(one["varying"]) != set(other["varying"]):
            raise NotVerified("CT-07", f"entry {one['sequence']} ({one['step']}) is not as it was rehearsed")


# Files


def check_review(folder: Path, begun: Entry) -> None:
    """The reviewed digest is that of `review.json`, which names this `plan.yaml`: CT-08."""
    document = read_file(folder / "review.json", FILE_MAX, "CT-08")
    if hashlib.sha256(document).hexdigest() != begun["fixed"]["digest"]:
        raise NotVerified("CT-08", "review.json is not what the reviewed digest is of")
    plan = read_file(folder / "plan.yaml", FILE_MAX, "CT-08")
    path = f"ceremonies/{begun['fixed']['name']}/plan.yaml"
    named = [item for item in json.loads(document)["files"] if item["path"] == path]
    if len(named) != 1 or named[0]["sha256"] != hashlib.sha256(plan).hexdigest():
        raise NotVerified("CT-08", "plan.yaml is not the one that was reviewed")


def check_artefacts(folder: Path, entries: Sequence[Entry]) -> list[str]:
    """Every artefact is there, unchanged, and no other: CT-09."""
    listed = {
        item["name"]: item for entry in entries if entry["type"] == "ended" for item in entry["varying"]["artefacts"]
    }
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if set(listed) != there:
        raise NotVerified("CT-09", f"missing or one too many: {', '.join(sorted(set(listed) ^ there))}")
    for name, item in listed.items():
        content = read_file(folder / name, ARTEFACT_MAX, "CT-09")
        if hashlib.sha256(content).hexdigest() != item["sha256"] or len(content) != item["size_bytes"]:
            raise NotVerified("CT-09", f"artefact {name} was changed")
    return sorted(listed)


def read_file(path: Path, size_max: int, rule: str) -> bytes:
    """A whole file of at most `size_max` bytes."""
    try:
        with path.open("rb") as stream:
            data = stream.read(size_max + 1)
    except OSError as error:
        raise NotVerified(rule, f"{path.name} cannot be read: {error.strerror}") from None
    if len(data) > size_max:
        raise NotVerified(rule, f"{path.name} has more than {size_max} bytes")
    return data


# Signatures


def head_text(entries: Sequence[Entry]) -> bytes:
    """What is signed: name, number of entries and head of everything but `signed`."""
    counted = [entry for entry in entries if entry["type"] != "signed"]
    digest = hashlib.sha256(canonical(counted[-1])).hexdigest()
    return f"strongroom ceremony transcript v1\n{counted[0]['fixed']['name']}\n{len(counted)}\n{digest}\n".encode()


def check_log_signature(entries: Sequence[Entry], head: bytes, log_key: Path | None) -> str:
    """The signature of the log's key, if there is one or one is demanded: CT-10."""
    signed = [entry["varying"] for entry in entries if entry["type"] == "signed"]
    if not signed:
        if log_key is not None:
            raise NotVerified("CT-10", "it is not signed by a log's key")
        return "none"
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    try:
        spki = base64.b64decode(signed[0]["public_key"], validate=True)
        raw = bytes.fromhex(signed[0]["signature"])
        key = serialization.load_der_public_key(spki)
        if not isinstance(key, ec.EllipticCurvePublicKey) or len(raw) != 64:
            raise ValueError("another kind of key or signature")
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        key.verify(der, head, ec.ECDSA(hashes.SHA256()))
        if log_key is not None:
            demanded = serialization.load_pem_public_key(log_key.read_bytes()).public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            if demanded != spki:
                raise NotVerified("CT-10", "it is signed by another key than the one demanded")
    except (InvalidSignature, ValueError, TypeError, OSError) as error:
        raise NotVerified("CT-10", f"the log key's signature does not verify ({type(error).__name__})") from None
    known = "the key demanded" if log_key is not None else "not compared with a key of yours"
    return f"{signed[0]['key_label']}, SHA-256 of its key {hashlib.sha256(spki).hexdigest()}, {known}"


def check_witnesses(folder: Path, head: bytes, allowed_signers: Path | None) -> list[str]:
    """Signatures of witnesses over the head, by `ssh-keygen`: CT-10."""
    files = sorted(folder.glob("*.sig")) if folder.is_dir() else []
    if files and allowed_signers is None:
        raise NotVerified("CT-10", "witnesses have signed: give --allowed-signers to verify them")
    for path in files:
        command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed_signers), "-I", path.stem, "-n", NAMESPACE]
        done = subprocess.run([*command, "-s", str(path)], input=head, capture_output=True, timeout=30, check=False)
        if done.returncode != 0:
            raise NotVerified("CT-10", f"the signature of witness {path.stem} does not verify")
    return [path.stem for path in files]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report as JSON; 0 if everything verifies, 1 with one line if not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--log-key", type=Path, help="PEM file of the log's public key")
    parser.add_argument("--allowed-signers", type=Path, help="OpenSSH allowed-signers file with the witnesses' keys")
    given = parser.parse_args(arguments)
    try:
        report = verify_folder(given.folder, given.log_key, given.allowed_signers)
    except NotVerified as error:
        sys.stderr.write(f"NOT VERIFIED {error}\n")
        return 1
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
