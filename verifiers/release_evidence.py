"""Verify the evidence of a release offline (docs/spec/release-evidence.md): who asked, who agreed, what the log has.

    python release_evidence.py EVIDENCE PACKAGE --allowed-signers FILE --log-key log.pub.pem [--witness VKEY]…

It needs Python 3.11, `cryptography` and the program `ssh-keygen`, and shares nothing with what wrote the evidence. The
first failure ends it, with the ID of its rule.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

_EVIDENCE_SIZE_BYTES_MAX, _STATEMENT_SIZE_BYTES_MAX, _PACKAGE_SIZE_BYTES_MAX = 1 << 20, 1 << 14, 1 << 27
_SSH_SECONDS_MAX = 30
_KINDS = {1: "application", 2: "bootloader", 3: "factory-test"}
_CONTEXTS = {1: b"SR-pkg-app-v1", 2: b"SR-pkg-boot-v1", 3: b"SR-pkg-test-v1"}
_TARGETS = {0: "any", 1: "uid", 2: "grant"}

# The shape of each document: a pattern for text, `int`, a list's shape and greatest length, fields; None: may be null.
_TEXT, _NAME, _SHA, _ID = r"(?s).*", r"[a-z0-9-]{1,32}", r"[0-9a-f]{64}", r"[0-9a-f]{16}"
_TIME, _VERSION, _TARGET = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", r"[0-9.+]{5,32}", r"any|grant|uid:[0-9a-f]{32}"
_SUBJECT = {
    "kind": "|".join(_KINDS.values()), "product": _NAME, "product_id": r"[0-9a-f]{32}", "version": _VERSION,
    "security_version": int, "target": _TARGET, "head_digest": _SHA,
}  # fmt: skip
_SIGNED = {"statement": _TEXT, "signature": _TEXT}
_SIGNER = {"key_id": _ID, "public_key": r"[0-9a-f]{182}"}
_PROVEN = {"index": int, "entry": _TEXT, "proof": ([_SHA], 63)}
_EVIDENCE = {
    "type": "strongroom-release-evidence-1", "made_at": _TIME, "sbom": (None, {"sha256": _SHA}), "request": _SIGNED,
    "package": {**_SUBJECT, "sha256": _SHA, "size_bytes": int, "signers": ([_SIGNER], 2)},
    "approvals": ([_SIGNED], 16), "allowed_signers": _TEXT,
    "decision": {"policy_digest": _SHA, "policy_ids": ([_TEXT], 64)},
    "log": {"checkpoint": _TEXT, "entries": ([_PROVEN], 2)},
}  # fmt: skip
_REQUEST = {
    **_SUBJECT, "type": "strongroom-signing-request-1", "environment": "development|production", "image_digest": _SHA,
    "key_ids": ([_ID], 2), "sbom_digest": (None, _SHA), "test_evidence_digest": (None, _SHA), "not_after": _TIME,
    "policy_digest": _SHA, "requester": _NAME,
}  # fmt: skip
_APPROVAL = {
    "type": "strongroom-approval-1", "request_digest": _SHA, "approver": _NAME, "not_after": _TIME,
    "decision": "approve",
}  # fmt: skip
_ENTRY = {"actor": _TEXT, "at": _TIME, "details": dict, "format": "strongroom-log-entry-1", "kind": _TEXT}


_MALFORMED = (
    ValueError, TypeError, KeyError, IndexError, struct.error, UnsupportedAlgorithm, subprocess.TimeoutExpired,
)  # fmt: skip


class EvidenceRefused(Exception):
    """What ended the verification, and under which rule."""

    def __init__(self, rule_id: str, reason: str) -> None:
        super().__init__(f"[{rule_id}] {reason}")
        self.rule_id = rule_id


@dataclass(frozen=True)
class Means:
    """What the verifier has of its own. Keys are PEM; `witnesses` are C2SP verifier keys, as `witness.vkey` has them.

    `signer_keys`, `sbom` and `policies` may be left out; then EV-05 takes any key, and EV-15 and EV-16 check less.
    """

    allowed_signers: Path
    log_key: bytes
    witnesses: tuple[str, ...] = ()
    witnesses_min: int = 0
    approvals_min: int = 0
    signer_keys: tuple[bytes, ...] = ()
    sbom: Path | None = None
    policies: Path | None = None


@dataclass(frozen=True)
class Person:
    """Somebody whose statement was verified."""

    name: str
    key: bytes
    not_after: datetime


def verify_release(evidence: bytes, package: Path, means: Means) -> dict[str, Any]:
    """Check everything; what was found, for people. Raises EvidenceRefused."""
    try:
        return _verified_release(evidence, package, means)
    except _MALFORMED as error:
        raise EvidenceRefused("EV-01", f"malformed: {type(error).__name__}: {error}") from None


def _verified_release(evidence: bytes, package: Path, means: Means) -> dict[str, Any]:
    document = document_of(evidence, _EVIDENCE, "the evidence", _EVIDENCE_SIZE_BYTES_MAX)
    request = document_of(document["request"]["statement"].encode(), _REQUEST, "the request")
    head = check_package(document["package"], package)
    check_head(head, request, document["package"])
    check_signatures(head, document["package"]["signers"], request["key_ids"], means.signer_keys)
    if len(document["log"]["entries"]) != 2:
        raise EvidenceRefused("EV-01", "not the two entries of a signature")
    entries = [document_of(item["entry"].encode(), _ENTRY, "a log entry") for item in document["log"]["entries"]]
    people = check_people(document, request, _time(entries[0]["at"]), means)
    check_log(document["log"], means)
    check_entries(document, request, entries, [person.name for person in people[1:]])
    check_decision(document["decision"], request, entries[0], means.policies)
    check_sbom(document["sbom"], request, head, means.sbom)
    return {
        **{name: request[name] for name in ("product", "kind", "version", "security_version", "environment", "target")},
        "package_sha256": document["package"]["sha256"],
        "requester": people[0].name,
        "approvers": [person.name for person in people[1:]],
        "signed_at": entries[0]["at"],
        **document["decision"],
        "log_entries": [item["index"] for item in document["log"]["entries"]],
        "witnesses": witnesses_of(document["log"]["checkpoint"], means.witnesses),
    }


# EV-01: documents


def document_of(data: bytes, shape: Any, what: str, size_bytes_max: int = _STATEMENT_SIZE_BYTES_MAX) -> dict[str, Any]:
    """The object of this shape whose one canonical encoding `data` is (RFC 8785, without floats, names in ASCII)."""
    try:
        if len(data) > size_bytes_max:
            raise ValueError("too large")
        value: dict[str, Any] = json.loads(
            data.decode("utf-8"), object_pairs_hook=_named, parse_float=_no_number, parse_constant=_no_number
        )
        again = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise EvidenceRefused("EV-01", f"{what} is not canonical JSON: {error}") from None
    if again != data:
        raise EvidenceRefused("EV-01", f"{what} is not in the canonical form")
    _require_shape(value, shape, what)
    return value


def _named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if not all(name.isascii() for name, _ in pairs) or len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice, or is not ASCII")
    return dict(pairs)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not an integer")


def _require_shape(value: Any, shape: Any, what: str) -> None:
    if isinstance(shape, tuple) and shape[0] is None:
        if value is not None:
            _require_shape(value, shape[1], what)
    elif isinstance(shape, tuple):
        if not isinstance(value, list) or len(value) > shape[1]:
            raise EvidenceRefused("EV-01", f"{what} is not a list of at most {shape[1]}")
        for item in value:
            _require_shape(item, shape[0][0], what)
    elif isinstance(shape, dict):
        if not isinstance(value, dict) or set(value) != set(shape):
            raise EvidenceRefused("EV-01", f"{what} has not exactly the fields of its format")
        for name, inner in shape.items():
            _require_shape(value[name], inner, f"`{name}`")
    elif isinstance(shape, str):
        if not isinstance(value, str) or not re.fullmatch(shape, value, re.ASCII):
            raise EvidenceRefused("EV-01", f"{what} has another form")
    elif type(value) is not shape:
        raise EvidenceRefused("EV-01", f"{what} has another type")


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


# EV-02 to EV-05: the package


def check_package(stated: dict[str, Any], package: Path) -> bytes:
    """The file is the one stated; its head, 1,024 bytes (EV-02)."""
    data = package.read_bytes() if package.stat().st_size <= _PACKAGE_SIZE_BYTES_MAX else b""
    if len(data) != stated["size_bytes"] or hashlib.sha256(data).hexdigest() != stated["sha256"]:
        raise EvidenceRefused("EV-02", f"{package} is not the package of this evidence")
    return data[:1024]


def signed_bytes(head: bytes) -> bytes:
    """What the signers sign: context, UID, and the first 448 bytes (docs/spec/package.md, section 3)."""
    if len(head) != 1024 or head[32:38] != b"SRM1\1\0" or head[38] not in _KINDS or head[92] not in _TARGETS:
        raise EvidenceRefused("EV-03", "the package has no head of format 1")
    return _CONTEXTS[head[38]].ljust(16, b"\0") + (head[96:112] if head[92] == 1 else bytes(16)) + head[:448]


def check_head(head: bytes, request: dict[str, Any], stated: dict[str, Any]) -> None:
    """The head is what was asked for, field by field (EV-03, EV-04)."""
    digest = hashlib.sha256(signed_bytes(head)).hexdigest()
    if not digest == stated["head_digest"] == request["head_digest"]:
        raise EvidenceRefused("EV-03", "the package's head is not the one that was asked for")
    major, minor, revision, build = struct.unpack_from("<BBHI", head, 60)
    found = {
        "kind": _KINDS[head[38]],
        "product_id": head[40:56].hex(),
        "version": f"{major}.{minor}.{revision}" + (f"+{build}" if build else ""),
        "security_version": int.from_bytes(head[68:72], "little"),
        "target": f"uid:{head[96:112].hex()}" if head[92] == 1 else _TARGETS[head[92]],
        "image_digest": head[144:176].hex(),
        "key_ids": [part.hex() for part in (head[384:392], head[392:400]) if any(part)],
    }
    for name, value in found.items():
        if request[name] != value:
            raise EvidenceRefused("EV-04", f"{name}: the request says {request[name]}, the package {value}")
    for name in _SUBJECT:
        if stated[name] != request[name]:
            raise EvidenceRefused("EV-04", f"{name}: the evidence says {stated[name]}, the request {request[name]}")


def check_signatures(head: bytes, signers: list[dict[str, Any]], key_ids: list[str], own: Sequence[bytes]) -> None:
    """Every signer that the request names signed the head; with keys of one's own: they are among those (EV-05)."""
    if [signer["key_id"] for signer in signers] != key_ids:
        raise EvidenceRefused("EV-05", "the signers are not those that the request names")
    trusted = {_spki(serialization.load_pem_public_key(pem)) for pem in own}
    for signer, start in zip(signers, (448, 512), strict=False):
        spki = bytes.fromhex(signer["public_key"])
        key = serialization.load_der_public_key(spki)
        r, s = (int.from_bytes(head[at : at + 32], "big") for at in (start, start + 32))
        try:
            if (
                not isinstance(key, ec.EllipticCurvePublicKey)
                or hashlib.sha256(spki).digest()[:8].hex() != signer["key_id"]
            ):
                raise InvalidSignature
            key.verify(encode_dss_signature(r, s), signed_bytes(head), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise EvidenceRefused("EV-05", f"the package is not signed by key {signer['key_id']}") from None
        if trusted and spki not in trusted:
            raise EvidenceRefused("EV-05", f"key {signer['key_id']} is none of the keys that were given")


def _spki(key: Any) -> bytes:
    return bytes(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


# EV-06 to EV-10: people


def check_people(document: dict[str, Any], request: dict[str, Any], at: datetime, means: Means) -> list[Person]:
    """Requester first, then approvers in the evidence's order: each verified at the time of signing."""
    digest = hashlib.sha256(document["request"]["statement"].encode()).hexdigest()
    people = [_verified(document["request"], request, "requester", at, means.allowed_signers)]
    for signed in document["approvals"]:
        approval = document_of(signed["statement"].encode(), _APPROVAL, "an approval")
        if approval["request_digest"] != digest:
            raise EvidenceRefused("EV-07", "an approval is of another request")
        people.append(_verified(signed, approval, "approver", at, means.allowed_signers))
    if len({person.name for person in people}) != len(people) or len({person.key for person in people}) != len(people):
        raise EvidenceRefused("EV-08", "requester and approvers are not different people with different keys")
    for person in people:
        if person.not_after < at:
            raise EvidenceRefused("EV-09", f"what {person.name!r} signed had expired when the package was signed")
    if len(people) - 1 < means.approvals_min:
        raise EvidenceRefused("EV-10", f"{len(people) - 1} approvals, {means.approvals_min} expected")
    return people


def _verified(signed: dict[str, Any], value: dict[str, Any], role: str, at: datetime, allowed: Path) -> Person:
    rule_id, what = ("EV-06", "request") if role == "requester" else ("EV-07", "approval")
    program = shutil.which("ssh-keygen")
    if program is None:
        raise EvidenceRefused(rule_id, "ssh-keygen is not installed, and nothing else verifies SSH signatures here")
    with tempfile.TemporaryDirectory() as folder:
        signature = Path(folder) / "signature"
        signature.write_bytes(signed["signature"].encode())
        done = subprocess.run(
            [program, "-Y", "verify", "-f", allowed, "-I", value[role], "-n", f"strongroom-{what}-v1", "-s", signature,
             "-O", f"verify-time={at:%Y%m%d%H%M%S}"],
            input=signed["statement"].encode(), capture_output=True, timeout=_SSH_SECONDS_MAX, check=False,
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ.get("PATH", "")},
        )  # fmt: skip
    if done.returncode != 0:
        raise EvidenceRefused(rule_id, f"ssh-keygen does not accept the {what} of {value[role]!r}")
    return Person(value[role], key_of(signed["signature"]), _time(value["not_after"]))


def key_of(armored: str) -> bytes:
    """The key in an SSH signature; EV-08 for a security key that saw nobody (PROTOCOL.sshsig, PROTOCOL.u2f)."""
    blob = base64.b64decode("".join(armored.strip().split("\n")[1:-1]), validate=True)
    parts, offset = [], 10
    for _ in range(5):
        (size_bytes,) = struct.unpack_from(">I", blob, offset)
        parts.append(blob[offset + 4 : offset + 4 + size_bytes])
        offset += 4 + size_bytes
    key, signature = parts[0], parts[4]
    key_type = key[4 : 4 + int.from_bytes(key[:4], "big")]
    # In the key's own algorithm the flags stand before the counter, which comes last; a browser's has more behind.
    own = signature.startswith(len(key_type).to_bytes(4, "big") + key_type)
    if key_type.startswith(b"sk-") and not (own and signature[-5] & 1):
        raise EvidenceRefused("EV-08", "a security key signed without anybody present")
    return key


# EV-11 to EV-14: log and decision


def check_log(log: dict[str, Any], means: Means) -> None:
    """The checkpoint is the log's and witnessed, and both entries are in its tree (EV-11, EV-12)."""
    note = log["checkpoint"]
    text, lines = _note(note)
    origin, size, root = text.split("\n")[:3]
    key: Any = serialization.load_pem_public_key(means.log_key)
    wanted = hashlib.sha256(_spki(key)).digest()[:4]
    signatures = [raw[4:] for name, raw in lines if name == origin and raw[:4] == wanted]
    try:
        if len(signatures) != 1:
            raise InvalidSignature
        key.verify(signatures[0], text.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise EvidenceRefused("EV-11", "the checkpoint is not signed by the log's key") from None
    cosigned = witnesses_of(note, means.witnesses)
    if len(cosigned) < means.witnesses_min:
        raise EvidenceRefused("EV-11", f"cosigned by {len(cosigned)} of the witnesses, {means.witnesses_min} demanded")
    for item in log["entries"]:
        leaf = hashlib.sha256(b"\0" + item["entry"].encode()).digest()
        hashes_up = [bytes.fromhex(value) for value in item["proof"]]
        if root_of(item["index"], int(size), leaf, hashes_up) != base64.b64decode(root):
            raise EvidenceRefused("EV-12", f"entry {item['index']} is not in the tree of the checkpoint")


def _note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Text and signature lines of a signed note (C2SP signed-note)."""
    try:
        text, _, rest = note.partition("\n\n")
        lines = [line.split(" ") for line in rest.removesuffix("\n").split("\n")]
        if text.count("\n") != 2 or any(dash != "\u2014" for dash, _, _ in lines):
            raise ValueError
        return f"{text}\n", [(name, base64.b64decode(value, validate=True)) for _, name, value in lines]
    except ValueError:
        raise EvidenceRefused("EV-11", "the checkpoint is not a signed note") from None


def witnesses_of(note: str, known: Sequence[str]) -> list[str]:
    """Which of the witnesses cosigned (C2SP tlog-cosignature, cosignature/v1)."""
    text, lines = _note(note)
    found = []
    for vkey in known:
        name, key_hash, encoded = vkey.strip().split("+", 2)
        raw = base64.b64decode(encoded)
        if len(raw) != 33 or raw[0] != 4 or hashlib.sha256(f"{name}\n".encode() + raw).hexdigest()[:8] != key_hash:
            raise EvidenceRefused("EV-11", f"{vkey!r} is no verifier key of a witness")
        key = Ed25519PublicKey.from_public_bytes(raw[1:])
        for signer, signature in lines:
            if signer == name and signature[:4].hex() == key_hash and len(signature) == 76:
                seconds = int.from_bytes(signature[4:12], "big")
                try:
                    key.verify(signature[12:], f"cosignature/v1\ntime {seconds}\n{text}".encode())
                except InvalidSignature:
                    raise EvidenceRefused("EV-11", f"the cosignature of witness {name} does not verify") from None
                found.append(name)
    return found


def root_of(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2); None if the proof has a wrong length."""
    if not 0 <= index < size:
        return None
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if node & 1 or node == last:
            found = hashlib.sha256(b"\1" + sibling + found).digest()
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + sibling).digest()
        node, last = node >> 1, last >> 1
    return found if last == 0 else None


def check_entries(
    document: dict[str, Any], request: dict[str, Any], entries: Sequence[dict[str, Any]], approvers: list[str]
) -> None:
    """The entries are intent and result of this signature (EV-13)."""
    digest = hashlib.sha256(document["request"]["statement"].encode()).hexdigest()
    first, second = (item["index"] for item in document["log"]["entries"])
    said = {
        **{name: request[name] for name in ("head_digest", "image_digest", "policy_digest", "key_ids", "requester")},
        "request_digest": digest,
        "policy_ids": document["decision"]["policy_ids"],
        "approvers": approvers,
    }
    done = {"request_digest": digest, "package_digest": document["package"]["sha256"], "intent": first}
    for entry, kind, demanded in ((entries[0], "sign-intent", said), (entries[1], "sign-result", done)):
        if entry["kind"] != kind:
            raise EvidenceRefused("EV-13", f"the entry is no {kind}")
        for name, value in demanded.items():
            if entry["details"].get(name) != value:
                raise EvidenceRefused("EV-13", f"{kind}: {name} in the log is not that of this release")
    if second <= first or _time(entries[1]["at"]) < _time(entries[0]["at"]):
        raise EvidenceRefused("EV-13", "the result does not come after the intent")


def check_decision(
    decision: dict[str, Any], request: dict[str, Any], intent: dict[str, Any], policies: Path | None
) -> None:
    """The decision was made under the policies that the request names, and is the one in the log (EV-14, EV-16)."""
    if decision["policy_digest"] != request["policy_digest"]:
        raise EvidenceRefused("EV-14", "the decision was not made under the policies that the request names")
    if not decision["policy_ids"] or decision["policy_ids"] != intent["details"]["policy_ids"]:
        raise EvidenceRefused("EV-14", "the decision is not the one in the log")
    if policies is not None and policy_set_digest(policies) != request["policy_digest"]:
        raise EvidenceRefused("EV-16", f"{policies} is not the policy set that decided")


def policy_set_digest(folder: Path) -> str:
    """docs/spec/policies.md, "Digest"."""
    state = hashlib.sha256(b"strongroom-policy-set-1\0")
    names = [path.name for path in folder.iterdir() if path.name not in {"tests.toml", "README.md"}]
    for name in sorted(names, key=str.encode):
        for part in (name.encode(), (folder / name).read_bytes()):
            state.update(struct.pack(">I", len(part)) + part)
    return state.hexdigest()


# EV-15: the SBOM


def check_sbom(stated: dict[str, Any] | None, request: dict[str, Any], head: bytes, sbom: Path | None) -> None:
    """The SBOM is the one asked for; given itself, or where there is none, the head is over it (EV-15)."""
    if (None if stated is None else stated["sha256"]) != request["sbom_digest"]:
        raise EvidenceRefused("EV-15", "the SBOM is not the one that the request names")
    content = b"" if stated is None else None if sbom is None else sbom.read_bytes()
    if content is None:
        return
    if stated is not None and hashlib.sha256(content).hexdigest() != stated["sha256"]:
        raise EvidenceRefused("EV-15", f"{sbom} is not the SBOM of this release")
    if hashlib.sha256(b"SR-sbom-v1".ljust(16, b"\0") + head[112:144] + content).digest() != head[352:384]:
        raise EvidenceRefused("EV-15", "the package's head is not over this SBOM")


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify what the command line names; 0 if everything holds, else 1."""
    parser = argparse.ArgumentParser(description="Verify the evidence of a Strongroom release, offline.")
    parser.add_argument("evidence", type=Path)
    parser.add_argument("package", type=Path)
    parser.add_argument("--allowed-signers", type=Path, required=True, help="your own copy")
    parser.add_argument("--log-key", type=Path, required=True, help="the log's public key, PEM")
    parser.add_argument("--witness", action="append", default=[], help="a witness's verifier key (repeat)")
    parser.add_argument("--witnesses-min", type=int, default=0, help="how many of them must have cosigned")
    parser.add_argument("--approvals-min", type=int, default=0, help="how many approvals there must be")
    parser.add_argument(
        "--signer-key", type=Path, action="append", default=[], help="a signer's public key, PEM (repeat)"
    )
    parser.add_argument("--sbom", type=Path)
    parser.add_argument("--policies", type=Path, help="the folder of the policy set")
    given = parser.parse_args(arguments)
    try:
        means = Means(
            given.allowed_signers, given.log_key.read_bytes(), tuple(given.witness), given.witnesses_min,
            given.approvals_min, tuple(path.read_bytes() for path in given.signer_key), given.sbom, given.policies,
        )  # fmt: skip
        report = verify_release(given.evidence.read_bytes(), given.package, means)
    except (EvidenceRefused, OSError) as error:
        sys.stderr.write(f"REFUSED: {error}\n")
        return 1
    sys.stdout.write(json.dumps({"verified": True, **report}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
