"""Witnesses cosign what continues what they saw, and nothing else; and the same on paper."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pki.errors import AuditError, ConfigurationError, InputRefused, OutputError, PolicyViolation, SignatureInvalid
from signer.log.audit_log import TileLog
from signer.log.checkpoint import Checkpoint, NoteSignature, TreeHead, parse_checkpoint
from signer.log.cosignature import WitnessKey, sign_cosignature, verify_cosignature
from signer.log.paper import paper_lines, parse_paper
from signer.log.witness import cosign, make_witness
from tests.unit.log.logs import event, fast_folder, later, new_log
from tests.unit.log.software_key import SoftwareKey
from verifiers.audit_log import LogFault, Witness, verify_log

# The example of C2SP tlog-cosignature: a checkpoint of another log, with a witness's signature line.
EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
).encode()


@dataclass
class Rig:
    place: Path
    log: TileLog
    key: SoftwareKey
    public: WitnessKey

    @property
    def witness(self) -> Path:
        return self.place / "witness"

    def cosign(self, seconds: int = 100) -> Checkpoint:
        return cosign(self.witness, self.log.folder, self.key.public_key, later(seconds)).checkpoint


@pytest.fixture
def rig() -> Iterator[Rig]:
    key = SoftwareKey()
    with fast_folder() as place, new_log(place / "log", key, 300) as log:
        yield Rig(place, log, key, make_witness(place / "witness", "witness.example/w1"))


def seen(rig: Rig) -> bytes:
    (path,) = (rig.witness / "seen").iterdir()
    return path.read_bytes()


def test_a_witness_s_key_is_its_own_alone(rig: Rig) -> None:
    assert stat.S_IMODE((rig.witness / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(rig.witness.stat().st_mode) == 0o700
    assert (rig.witness / "witness.vkey").read_text() == f"{rig.public.text}\n"
    assert WitnessKey.parse(rig.public.text) == rig.public
    with pytest.raises(OutputError, match="exists already"):
        make_witness(rig.witness, "other")


@pytest.mark.parametrize("name", ["", "two words", "a+b", "x" * 101, "line\nbreak", "ü"])
def test_a_name_has_no_spaces_and_no_plus(rig: Rig, name: str) -> None:
    with pytest.raises(InputRefused):
        make_witness(rig.place / "other", name)
    assert not (rig.place / "other").exists()


def test_the_specification_s_example_reads_back() -> None:
    checkpoint = parse_checkpoint(EXAMPLE)
    assert checkpoint.note == EXAMPLE
    assert (checkpoint.head.origin, checkpoint.head.size) == ("example.com/behind-the-sofa", 20852163)
    assert int.from_bytes(checkpoint.signatures[1].signature[:8], "big") == 1679315147


def test_a_cosigned_checkpoint_verifies_in_both_implementations(rig: Rig) -> None:
    cosigned = rig.cosign()
    signature, at = verify_cosignature(cosigned, rig.public)
    assert at == later(100)
    rig.log.add_cosignature(cosigned.head, signature)
    assert rig.log.checkpoint() == cosigned.note == (rig.log.folder / "witnessed").read_bytes()
    _, _, found = verify_log(rig.log.folder, [rig.key.pem], [Witness.parse(rig.public.text)], needed=1)
    assert found == {"witness.example/w1": (300, later(100))}
    with pytest.raises(LogFault, match="AV-09"):
        verify_log(rig.log.folder, [rig.key.pem], needed=1)


def test_the_last_witnessed_checkpoint_stays_while_the_log_grows(rig: Rig) -> None:
    signature, _ = verify_cosignature(rig.cosign(), rig.public)
    rig.log.add_cosignature(parse_checkpoint(rig.log.checkpoint()).head, signature)
    rig.log.append([event()], later(400))
    rig.log.checkpoint()
    assert parse_checkpoint((rig.log.folder / "witnessed").read_bytes()).head.size == 300
    _, _, found = verify_log(rig.log.folder, [rig.key.pem], [Witness.parse(rig.public.text)])
    assert found == {"witness.example/w1": (300, later(100))}


def test_a_cosignature_that_comes_late_is_kept_with_its_checkpoint(rig: Rig) -> None:
    cosigned = rig.cosign()
    rig.log.append([event()], later(400))
    newest = rig.log.checkpoint()
    rig.log.add_cosignature(cosigned.head, verify_cosignature(cosigned, rig.public)[0])
    assert (rig.log.folder / "checkpoint").read_bytes() == newest
    assert (rig.log.folder / "witnessed").read_bytes() == cosigned.note
    verify_log(rig.log.folder, [rig.key.pem])


def test_a_cosignature_of_a_checkpoint_that_was_never_signed_is_evidence(rig: Rig) -> None:
    head = TreeHead(rig.log.origin, 300, bytes(32))
    with pytest.raises(AuditError, match="keep the file as evidence"):
        rig.log.add_cosignature(head, NoteSignature("witness.example/w1", b"1234", bytes(72)))


def test_a_log_that_grew_is_cosigned(rig: Rig) -> None:
    rig.cosign()
    for size in (301, 511, 512, 513):
        rig.log.append([event(number) for number in range(rig.log.size, size)], later(size))
        rig.log.checkpoint()
        done = cosign(rig.witness, rig.log.folder, rig.key.public_key, later(size))
        assert done.checkpoint.head.size == size
        assert parse_checkpoint(seen(rig)).head.size == size
    again = cosign(rig.witness, rig.log.folder, rig.key.public_key, later(600))
    assert again.size_before == 513


def test_al_04_a_truncated_log_is_not_cosigned(rig: Rig) -> None:
    old = rig.place / "old"
    shutil.copytree(rig.log.folder, old)
    rig.log.append([event()], later(400))
    rig.log.checkpoint()
    rig.cosign()
    before = seen(rig)
    with pytest.raises(PolicyViolation, match="AL-04"):
        cosign(rig.witness, old, rig.key.public_key, later(500))
    assert seen(rig) == before


def test_al_04_a_forked_log_is_not_cosigned(rig: Rig) -> None:
    """Signed by the log's own key: the witness does not mind who signs."""
    old = rig.place / "old"
    shutil.copytree(rig.log.folder, old)
    rig.log.append([event(1)], later(400))
    rig.log.checkpoint()
    rig.cosign()
    before = seen(rig)
    with TileLog(old, rig.key) as fork:
        fork.append([event(2), event(3)], later(400))
        fork.checkpoint()
    with pytest.raises(PolicyViolation, match="AL-04"):
        cosign(rig.witness, old, rig.key.public_key, later(500))
    assert seen(rig) == before


def test_another_log_s_checkpoint_is_seen_apart(rig: Rig) -> None:
    other = SoftwareKey()
    rig.cosign()
    with new_log(rig.place / "other", other, 2):
        done = cosign(rig.witness, rig.place / "other", other.public_key, later(100))
    assert done.size_before is None
    assert len(list((rig.witness / "seen").iterdir())) == 2


def test_what_the_log_s_key_did_not_sign_is_not_cosigned(rig: Rig) -> None:
    with pytest.raises(SignatureInvalid):
        cosign(rig.witness, rig.log.folder, SoftwareKey().public_key, later(1))
    assert list((rig.witness / "seen").iterdir()) == []


def test_a_witness_that_is_not_whole_cosigns_nothing(rig: Rig) -> None:
    (rig.witness / "key.pem").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        rig.cosign()
    (rig.witness / "key.pem").unlink()
    with pytest.raises(ConfigurationError, match="no witness"):
        rig.cosign()
    make_witness(rig.place / "other", "witness.example/w1")
    shutil.copy(rig.place / "other" / "key.pem", rig.witness / "key.pem")
    with pytest.raises(ConfigurationError, match="do not belong together"):
        rig.cosign()


@pytest.mark.parametrize("at", [0, 4, 11, 12, 75])
def test_every_part_of_a_cosignature_counts(rig: Rig, at: int) -> None:
    cosigned = rig.cosign()
    signature = cosigned.signatures[1]
    raw = bytearray(signature.key_id + signature.signature)
    raw[at] ^= 1
    bad = NoteSignature(signature.name, bytes(raw[:4]), bytes(raw[4:]))
    with pytest.raises(SignatureInvalid):
        verify_cosignature(Checkpoint(cosigned.head, (cosigned.signatures[0], bad)), rig.public)


@pytest.mark.parametrize("length", [0, 7, 71, 73])
def test_a_cosignature_of_another_length_is_none(rig: Rig, length: int) -> None:
    checkpoint = parse_checkpoint(rig.log.checkpoint())
    bad = NoteSignature(rig.public.name, rig.public.key_id, bytes(length + 1)[: length or 1])
    with pytest.raises(SignatureInvalid):
        verify_cosignature(checkpoint.with_signature(bad), rig.public)


def test_a_cosignature_says_for_which_text_it_is(rig: Rig) -> None:
    key = Ed25519PrivateKey.generate()
    public = WitnessKey("w", key.public_key().public_bytes_raw())
    checkpoint = parse_checkpoint(rig.log.checkpoint())
    signature = sign_cosignature(checkpoint, "w", key, later(1))
    verify_cosignature(checkpoint.with_signature(signature), public)
    head = checkpoint.head
    for other in (
        TreeHead(head.origin + "x", head.size, head.root),
        TreeHead(head.origin, head.size + 1, head.root),
        TreeHead(head.origin, head.size, bytes(32)),
    ):
        with pytest.raises(SignatureInvalid):
            verify_cosignature(Checkpoint(other, (signature,)), public)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000+",
        "name+00000000+BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "na me+6ed3b3b4+BAAA",
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no key of a witness"):
        WitnessKey.parse(text)
    with pytest.raises(ValueError, match=r"."):
        Witness.parse(text)


# Paper


HEAD = TreeHead("strongroom-log/0123456789abcdef", 1234, bytes(range(32)))


def test_the_paper_is_six_lines_that_read_back() -> None:
    lines = paper_lines(HEAD)
    assert [line[:3] for line in lines] == ["1  ", "2  ", "3  ", "4  ", "5  ", "6  "]
    assert "0001 0203 0405 0607" in lines[2]
    assert max(map(len, lines)) < 60
    assert parse_paper("\n".join(lines)) == HEAD
    assert (
        parse_paper("\n\n".join(" ".join(line.upper().split()) for line in lines).replace("STRONG", "strong")) == HEAD
    )


def test_almost_every_slip_of_the_pen_is_found_in_its_line() -> None:
    """The check of a line is one byte: one slip in 256 passes, and then the root is another one."""
    lines = paper_lines(HEAD)
    missed = slips = 0
    for number, line in enumerate(lines):
        for at in (at for at, letter in enumerate(line) if letter in "0123456789abcdef" and at > 2):
            slip = line[:at] + ("1" if line[at] != "1" else "7") + line[at + 1 :]
            slips += 1
            missed += line_with_the_slip("\n".join([*lines[:number], slip, *lines[number + 1 :]])) != number + 1
    assert slips > 80
    assert missed <= 2


def line_with_the_slip(text: str) -> int | None:
    """The line that the refusal names; None if nothing was noticed."""
    try:
        parse_paper(text)
    except InputRefused as error:
        return int(str(error).split()[1])
    return None


@pytest.mark.parametrize(
    "change", [lambda lines: lines[:5], lambda lines: lines[::-1], lambda _: [], lambda _: ["x"] * 6]
)
def test_what_is_no_paper_is_refused(change: object) -> None:
    assert callable(change)
    with pytest.raises(InputRefused):
        parse_paper("\n".join(change(paper_lines(HEAD))))
