"""Our verifier of SSH signatures against the `ssh-keygen` of this machine, and against vectors made by neither.

What `ssh-keygen -Y verify` refuses is refused; what it makes is accepted; where we refuse more, it is said which rule.
"""

from __future__ import annotations

import base64
import random
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.errors import ConfigurationError
from policies.allowed_signers import parse_allowed_signers
from policies.refusals import Malformed, NotAuthentic
from policies.sshsig import SshPublicKey, verify_ssh_signature
from tests.conformance.vectors import Entry, entries, name_of
from tests.ssh_people import SshKeyFile, new_ssh_key, ssh_keygen_accepts

NAMESPACE = "strongroom-approval-v1"
MESSAGE = b'{"decision":"approve"}'
KINDS = {
    "ed25519": ("ed25519", None),
    "ecdsa-256": ("ecdsa", 256),
    "ecdsa-384": ("ecdsa", 384),
    "ecdsa-521": ("ecdsa", 521),
    "rsa-3072": ("rsa", 3072),
}
VALID_VECTORS = [entry for entry in entries("ssh_signatures") if entry["expected"] == "OK"]


def verdict(key: SshPublicKey, namespace: str, message: bytes, signature: bytes) -> str:
    """OK, or the rule that refuses."""
    try:
        verify_ssh_signature([key], namespace, message, signature)
    except (Malformed, NotAuthentic) as error:
        return error.rule_id
    return "OK"


@pytest.fixture(scope="module")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SshKeyFile]:
    folder = tmp_path_factory.mktemp("ssh")
    return {name: new_ssh_key(folder, name, key_type, bits) for name, (key_type, bits) in KINDS.items()}


# What is accepted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [(), ("-Ohashalg=sha256",), ("-Ohashalg=sha512",)])
def test_what_ssh_keygen_makes_is_accepted(
    kind: str, options: tuple[str, ...], key_files: dict[str, SshKeyFile]
) -> None:
    file = key_files[kind]
    made = verify_ssh_signature([file.public_key], NAMESPACE, MESSAGE, file.sign(NAMESPACE, MESSAGE, *options))
    assert made.key == file.public_key
    assert not made.user_verified


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprints_are_those_of_ssh_keygen(kind: str, key_files: dict[str, SshKeyFile]) -> None:
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(key_files[kind].path)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert key_files[kind].public_key.fingerprint in listed.split()


@pytest.mark.parametrize("entry", entries("ssh_signatures"), ids=name_of)
def test_the_verdict_on_each_vector(entry: Entry) -> None:
    message, signature = bytes.fromhex(entry["message"]), entry["signature"].encode()
    if entry["expected"] in {"SS-03", "SS-04"}:
        with pytest.raises(Malformed) as refused:
            SshPublicKey.parse(entry["key"])
        assert refused.value.rule_id == entry["expected"]
        listed = SshPublicKey.parse(VALID_VECTORS[0]["key"])
    else:
        listed = SshPublicKey.parse(entry["key"])
    assert verdict(listed, entry["namespace"], message, signature) == entry["expected"]


@pytest.mark.parametrize("entry", entries("ssh_signatures"), ids=name_of)
def test_ssh_keygen_on_each_vector(entry: Entry, tmp_path: Path) -> None:
    signature = entry["signature"].encode()
    signers = f"ada {entry['key']}\n"
    accepted = ssh_keygen_accepts(
        tmp_path, signers, "ada", entry["namespace"], bytes.fromhex(entry["message"]), signature
    )
    if entry["expected"] == "OK":
        assert accepted, "a valid vector must be valid to OpenSSH, too"
    # Rules by which we refuse more than OpenSSH does: docs/adr/0056.
    if accepted:
        assert entry["expected"] in {"OK", "SS-02", "SS-04", "SS-08", "SS-09"}


def test_a_verified_user_is_told_from_a_present_one() -> None:
    for entry in VALID_VECTORS:
        key, signature = SshPublicKey.parse(entry["key"]), entry["signature"].encode()
        made = verify_ssh_signature([key], entry["namespace"], bytes.fromhex(entry["message"]), signature)
        assert made.user_verified is entry["name"].endswith("-verified")
        assert made.key.is_hardware_backed is entry["name"].startswith("sk-")


# What is refused: every change anywhere


Sample = tuple[SshPublicKey, bytes]


def samples(key_files: dict[str, SshKeyFile]) -> Iterator[tuple[str, Sample]]:
    for kind, file in key_files.items():
        yield kind, (file.public_key, file.sign(NAMESPACE, MESSAGE))
    for entry in VALID_VECTORS:
        if entry["name"] in {"sk-ed25519-valid", "sk-ecdsa-verified"}:
            yield entry["name"], (SshPublicKey.parse(entry["key"]), entry["signature"].encode())


def blob_of(armored: bytes) -> bytes:
    return base64.b64decode(b"".join(armored.split(b"\n")[1:-2]))


def armored(blob: bytes) -> bytes:
    lines = textwrap.wrap(base64.b64encode(blob).decode(), 70)
    return "\n".join(("-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", "")).encode()


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_no_bit_of_a_signature_can_be_changed(key_files: dict[str, SshKeyFile]) -> None:
    changes = 0
    for kind, (key, signature) in samples(key_files):
        blob = blob_of(signature)
        assert armored(blob) == signature, "the test's own armour must be OpenSSH's"
        assert verdict(key, NAMESPACE, MESSAGE, signature) == "OK"
        step = 7 if kind == "rsa-3072" else 3
        for bit in range(0, 8 * len(blob), step):
            assert verdict(key, NAMESPACE, MESSAGE, armored(flipped(blob, bit))) != "OK", (kind, bit)
            changes += 1
    assert changes > 3000


def test_no_byte_of_the_armour_can_be_changed(key_files: dict[str, SshKeyFile]) -> None:
    key, signature = dict(samples(key_files))["ed25519"]
    for position in range(len(signature)):
        for byte in (0x00, 0x0A, 0x20, 0x3D, 0x41, 0x80):
            changed = signature[:position] + bytes([byte]) + signature[position + 1 :]
            assert changed == signature or verdict(key, NAMESPACE, MESSAGE, changed) != "OK", (position, byte)
    for position in range(len(signature) + 1):
        for added in (b"\n", b" ", b"A", b"="):
            changed = signature[:position] + added + signature[position:]
            assert verdict(key, NAMESPACE, MESSAGE, changed) != "OK", (position, added)
        assert position == len(signature) or verdict(key, NAMESPACE, MESSAGE, signature[:position]) == "SS-01"


def changes_of(blob: bytes, chance: random.Random) -> Iterator[bytes]:
    """Changes without end: bits, bytes removed, doubled, and lengths that lie."""
    while True:
        position = chance.randrange(len(blob))
        yield flipped(blob, chance.randrange(8 * len(blob)))
        yield blob[:position] + blob[position + 1 :]
        yield blob[:position] + blob[position : position + 1] + blob[position:]
        yield blob[:position]
        yield blob[:position] + chance.randbytes(4) + blob[position + 4 :]


def differential(key_files: dict[str, SshKeyFile], folder: Path, count: int, seed: int) -> int:
    """How many of `count` changes of each kind `ssh-keygen` accepts; whatever it refuses must be refused."""
    chance = random.Random(seed)
    accepted = 0
    for kind, (key, signature) in samples(key_files):
        changes = changes_of(blob_of(signature), chance)
        for _ in range(count):
            changed = armored(next(changes))
            ours = verdict(key, NAMESPACE, MESSAGE, changed)
            theirs = ssh_keygen_accepts(folder, f"ada {key.line}\n", "ada", NAMESPACE, MESSAGE, changed)
            assert theirs or ours != "OK", (kind, changed)
            accepted += theirs
    return accepted


def test_what_ssh_keygen_refuses_is_refused(key_files: dict[str, SshKeyFile], tmp_path: Path) -> None:
    differential(key_files, tmp_path, 25, seed=1)


@pytest.mark.campaign
def test_what_ssh_keygen_refuses_is_refused_at_length(key_files: dict[str, SshKeyFile], tmp_path: Path) -> None:
    differential(key_files, tmp_path, 500, seed=2)


@pytest.mark.parametrize("kind", KINDS)
def test_other_keys_messages_and_namespaces_are_refused_by_both(
    kind: str, key_files: dict[str, SshKeyFile], tmp_path: Path
) -> None:
    file = key_files[kind]
    other = next(name for name in KINDS if name != kind)
    signature = file.sign(NAMESPACE, MESSAGE)
    for key, namespace, message, rule in (
        (key_files[other], NAMESPACE, MESSAGE, "SS-10"),
        (file, "strongroom-request-v1", MESSAGE, "SS-05"),
        (file, NAMESPACE, MESSAGE + b"\n", "SS-11"),
    ):
        assert verdict(key.public_key, namespace, message, signature) == rule
        assert not ssh_keygen_accepts(tmp_path, f"ada {key.line}\n", "ada", namespace, message, signature)


@pytest.mark.parametrize(("key_type", "bits", "rule"), [("rsa", 2048, "SS-04"), ("dsa", None, "SS-03")])
def test_weak_keys_are_refused(key_type: str, bits: int | None, rule: str, tmp_path: Path) -> None:
    file = new_ssh_key(tmp_path, "weak", key_type, bits)
    with pytest.raises(Malformed) as refused:
        SshPublicKey.parse(file.line)
    assert refused.value.rule_id == rule


def test_a_certificate_is_refused_though_ssh_keygen_takes_it(tmp_path: Path) -> None:
    authority, file = new_ssh_key(tmp_path, "authority"), new_ssh_key(tmp_path, "ada")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", authority.path, "-I", "x", "-n", "ada", file.path.with_suffix(".pub")],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    signature = SshKeyFile(tmp_path / "ada-cert.pub").sign(NAMESPACE, MESSAGE)
    signers = f"ada cert-authority {authority.line}\n"
    assert ssh_keygen_accepts(tmp_path, signers, "ada", NAMESPACE, MESSAGE, signature)
    assert verdict(file.public_key, NAMESPACE, MESSAGE, signature) == "SS-03"
    with pytest.raises(ConfigurationError, match="SS-23"):
        parse_allowed_signers(signers)
