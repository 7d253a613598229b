"""The standalone verifier on what a real ceremony left, and on the ways to falsify it: CT-01 to CT-10."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pki.canonical_json import encode_canonical
from tests.ceremonies.conftest import softhsm_module
from tests.ceremonies.rooms import CeremonyWorld, fast_folder
from tests.ceremonies.test_refusals import digest_of, interrupted
from tests.cli.world import configure_softhsm
from verifiers import ceremony_transcript
from verifiers.ceremony_transcript import NotVerified, canonical, head_text, read_chain, verify_folder

VERIFIER = Path(ceremony_transcript.__file__)
Change = Callable[[list[dict[str, Any]]], object]


@pytest.fixture(scope="module")
def held(built_template: CeremonyWorld) -> Iterator[Path]:
    """The folder of a ceremony that was interrupted once and resumed."""
    folder = fast_folder()
    shutil.copytree(built_template.folder, folder, dirs_exist_ok=True)
    world = CeremonyWorld(folder, configure_softhsm(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", world.environment["SOFTHSM2_CONF"])
        softhsm_module().reinitialize()
        interrupted(world, softhsm_module())
        world.ok("ceremony", "resume", "issue", "--answers", world.answers)
    yield world.ceremonies / "issue"
    softhsm_module().reinitialize()
    shutil.rmtree(folder)


@pytest.fixture
def folder(held: Path, tmp_path: Path) -> Path:
    shutil.copytree(held, tmp_path / "issue")
    return tmp_path / "issue"


def rewrite(path: Path, change: Change, *, chain: bool = True, times: bool = True) -> None:
    """Change entries and, as a forger would, make numbers, chain and times right again."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    change(entries)
    previous, at, lines = "0" * 64, "", []
    for number, entry in enumerate(entries):
        if times and isinstance(entry["at"], str):
            entry["at"] = at = max(at, entry["at"])
        if chain:
            entry["sequence"], entry["previous"] = number, previous
        lines.append(encode_canonical(entry))
        previous = hashlib.sha256(lines[-1]).hexdigest()
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def rule_of(folder: Path, **options: Any) -> str:
    with pytest.raises(NotVerified) as refused:
        verify_folder(folder, **options)
    return refused.value.rule


def test_what_was_held_verifies(folder: Path) -> None:
    report = verify_folder(folder)
    assert report["verified"] is True
    assert report["interruptions"] == 1
    assert report["artefacts"] == ["application-release-2.pem"]
    assert (folder / "head.txt").read_bytes() == head_text(read_chain(folder / "transcript.jsonl"))


def test_it_runs_as_one_file_anywhere(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "check.py"
    shutil.copy(VERIFIER, alone)
    command = [sys.executable, "-I", str(alone), str(folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, json.loads(done.stdout)["verified"]) == (0, True)
    (folder / "plan.yaml").write_bytes(b"other")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("NOT VERIFIED [CT-08]")


def test_it_imports_nothing_of_ours() -> None:
    code = "import sys, runpy\nrunpy.run_path(sys.argv[1])\nsys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(VERIFIER)], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"cli", "ceremonies", "signer", "policies", "pki", "bootloader", "msgspec", "rfc8785"}


def test_its_canonical_form_is_that_of_rfc_8785() -> None:
    value = {"€": 1, "é": '\u2028\t"\\\x7f', "a": [True, None, -3, {"\U0001f600": "", "\ufb33": "x"}], "": "ü\x01"}
    assert canonical(value) == encode_canonical(value)


def index_of(entries: list[dict[str, Any]], kind: str) -> int:
    return next(place for place, entry in enumerate(entries) if entry["type"] == kind)


def _remove(kind: str) -> Change:
    return lambda entries: entries.pop(index_of(entries, kind))


def _double(kind: str) -> Change:
    return lambda entries: entries.insert(index_of(entries, kind), dict(entries[index_of(entries, kind)]))


def _set(kind: str, part: str, name: str, value: Any) -> Change:
    def change(entries: list[dict[str, Any]]) -> None:
        entries[index_of(entries, kind)][part][name] = value

    return change


def _field(kind: str, name: str, value: Any) -> Change:
    def change(entries: list[dict[str, Any]]) -> None:
        entries[index_of(entries, kind)][name] = value

    return change


def _swap(entries: list[dict[str, Any]]) -> None:
    place = index_of(entries, "said")
    entries[place], entries[place + 1] = entries[place + 1], entries[place]


CHANGES: list[tuple[str, Change]] = [
    ("CT-02", _field("said", "type", "whispered")),
    ("CT-02", _field("said", "step", None)),
    ("CT-02", _field("ended", "step", "x")),
    ("CT-02", _set("said", "fixed", "more", 1)),
    ("CT-02", lambda entries: entries[index_of(entries, "said")]["fixed"].pop("text")),
    ("CT-02", _field("said", "at", "yesterday")),
    ("CT-02", _field("said", "fixed", [])),
    ("CT-02", lambda entries: entries[2].update(more=1)),
    *[("CT-05", _remove(kind)) for kind in ("said", "confirmed", "unlocked", "present", "result", "begun")],
    *[("CT-05", _double(kind)) for kind in ("said", "confirmed", "result", "begun")],
    ("CT-05", _swap),
    ("CT-05", lambda entries: entries.append(dict(entries[index_of(entries, "said")]))),
    ("CT-05", _field("result", "step", "make-key")),
    ("CT-05", _set("result", "fixed", "act", "destroy-key")),
    ("CT-05", _set("ended", "fixed", "steps", 3)),
    ("CT-06", lambda entries: entries.pop()),
    ("CT-06", lambda entries: entries.__setitem__(-1, {
        **entries[-1], "type": "aborted", "fixed": {}, "varying": {"rule": "CE-22", "reason": "x"}})),
    ("CT-07", _set("said", "fixed", "text", "something else")),
    ("CT-07", _set("result", "fixed", "token", "other")),
    ("CT-07", _set("result", "varying", "surprise", 1)),
    ("CT-07", _set("begun", "varying", "rehearsal", "0" * 64)),
    ("CT-07", _set("begun", "varying", "mode", "rehearsal")),
    ("CT-07", _set("begun", "fixed", "digest", "0" * 64)),
    ("CT-09", _set("ended", "varying", "artefacts", [])),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "change"), CHANGES)
def test_a_forged_transcript_is_found(rule: str, change: Change, folder: Path) -> None:
    rewrite(folder / "transcript.jsonl", change)
    assert rule_of(folder) == rule


def test_a_time_that_falls_is_found(folder: Path) -> None:
    rewrite(folder / "transcript.jsonl", _field("ended", "at", "2001-01-01T00:00:00Z"), times=False)
    assert rule_of(folder) == "CT-04"


@pytest.mark.parametrize(
    "change", [_set("said", "fixed", "text", "x"), _remove("said"), _double("failed"), _field("said", "sequence", 99)]
)
def test_a_change_without_the_chain_is_found(change: Change, folder: Path) -> None:
    rewrite(folder / "transcript.jsonl", change, chain=False)
    assert rule_of(folder) == "CT-03"


@pytest.mark.parametrize(
    "content",
    [
        lambda data: data[:-1],
        lambda data: data[:-40],
        lambda _data: b"",
        lambda data: data.replace(b'{"at"', b'{ "at"', 1),
        lambda data: data.replace(b'"sequence":0', b'"sequence":0,"sequence":0', 1),
        lambda data: data.replace(b'"sequence":0', b'"sequence":0.0', 1),
        lambda data: data + b"\n",
        lambda data: data.replace(b"issue", b"iss\xff", 1),
    ],
)
def test_what_is_not_canonical_is_found(content: Callable[[bytes], bytes], folder: Path) -> None:
    path = folder / "transcript.jsonl"
    path.write_bytes(content(path.read_bytes()))
    assert rule_of(folder) == "CT-01"


def test_files_that_were_changed_are_found(folder: Path, held: Path) -> None:
    def check(rule: str, name: str, content: bytes | None) -> None:
        path = folder / name
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        assert rule_of(folder) == rule
        path.unlink(missing_ok=True)
        if (held / name).exists():
            shutil.copy(held / name, path)
        verify_folder(folder)

    artefact = "artefacts/application-release-2.pem"
    check("CT-08", "plan.yaml", (held / "plan.yaml").read_bytes() + b"\n")
    check("CT-08", "plan.yaml", None)
    check("CT-08", "review.json", (held / "review.json").read_bytes() + b"\n")
    check("CT-08", "review.json", None)
    check("CT-09", artefact, (held / artefact).read_bytes() + b"\n")
    check("CT-09", artefact, None)
    check("CT-09", "artefacts/more.pem", b"more")
    check("CT-01", "rehearsal.jsonl", None)


# Signatures


def signed(folder: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    """Append `signed` by this key; the PEM file of its public half."""
    path = folder / "transcript.jsonl"
    text = head_text(read_chain(path))
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
    public = key.public_key()
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    varying = {
        "key_label": "sr:log:-:0001",
        "public_key": base64.b64encode(spki).decode(),
        "signature": (r.to_bytes(32, "big") + s.to_bytes(32, "big")).hex(),
    }
    fixed = {"format": "strongroom-ceremony-head-1"}
    last = {"type": "signed", "step": None, "fixed": fixed, "varying": varying}
    rewrite(path, lambda entries: entries.append({**entries[-1], **last}))
    pem = folder.parent / "log.pem"
    pem.write_bytes(public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return pem


def test_the_signature_of_the_log(folder: Path) -> None:
    pem = signed(folder, ec.generate_private_key(ec.SECP256R1()))
    assert "the key demanded" in verify_folder(folder, log_key=pem)["log_signature"]
    assert "not compared" in verify_folder(folder)["log_signature"]


def test_a_wrong_or_missing_signature_of_the_log(folder: Path, tmp_path: Path) -> None:
    pem = signed(folder, ec.generate_private_key(ec.SECP256R1()))
    other = tmp_path / "other"
    shutil.copytree(folder, other / "issue")
    signed_by_other = signed(_without_signature(other / "issue"), ec.generate_private_key(ec.SECP256R1()))
    assert rule_of(folder, log_key=signed_by_other) == "CT-10"
    assert rule_of(_without_signature(other / "issue"), log_key=pem) == "CT-10"
    rewrite(folder / "transcript.jsonl", _set("signed", "varying", "signature", "00" * 64))
    assert rule_of(folder) == "CT-10"


def _without_signature(folder: Path) -> Path:
    rewrite(folder / "transcript.jsonl", lambda entries: entries.__setitem__(slice(None), [
        entry for entry in entries if entry["type"] != "signed"]))  # fmt: skip
    return folder


def test_witnesses_sign_the_head_with_the_keys_they_have(folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "fake"
    keys.mkdir()
    signers = tmp_path / "allowed_signers"
    (folder / "witnesses").mkdir()
    lines = []
    for name in ("bob", "cy"):
        key = keys / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key], check=True)
        lines.append(f"{name} {key.with_suffix('.pub').read_text()}")
        sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "strongroom-ceremony-v1", "-f", str(key)]
        subprocess.run(
            [*sign, str(folder / "head.txt")], check=True, capture_output=True, env={**os.environ, "SSH_AUTH_SOCK": ""}
        )
        (folder / "head.txt.sig").rename(folder / "witnesses" / f"{name}.sig")
    signers.write_text("".join(lines), encoding="utf-8")
    assert verify_folder(folder, allowed_signers=signers)["witnesses"] == ["bob", "cy"]
    assert rule_of(folder) == "CT-10"
    (folder / "witnesses" / "bob.sig").rename(folder / "witnesses" / "ada.sig")
    assert rule_of(folder, allowed_signers=signers) == "CT-10"


def test_the_digest_is_that_which_was_read_aloud(ceremony_world: CeremonyWorld, held: Path) -> None:
    assert verify_folder(held)["digest"] == digest_of(ceremony_world)
