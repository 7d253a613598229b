"""Releasing, its evidence, and the verifier that shares nothing with what wrote it."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.canonical_json import encode_canonical
from pki.errors import AuditError, ConfigurationError, OutputError, PolicyViolation
from policies.request import decode_request
from signer.log.checkpoint import NoteSignature, parse_checkpoint
from signer.packages.terms import ImageVersion, PackageType
from signer.service import release as module
from signer.service.evidence import decode_evidence
from signer.service.proofs import prove_together
from signer.service.release import Released, ReleaseDesk
from tests.unit.log.memory_log import MemoryLog
from tests.unit.log.software_key import SoftwareKey
from tests.unit.packages.builders import BOOT_KEYS
from tests.unit.service.fake.ssh_people import SshPerson
from tests.unit.service.world import (
    ALLOWED_SIGNERS,
    BEN,
    CLEO,
    ROOT,
    ServiceWorld,
    signed_approval,
    signed_request,
)
from verifiers import release_evidence
from verifiers.release_evidence import EvidenceRefused, Means, verify_release

SBOM = b'{"bomFormat":"CycloneDX"}'


@pytest.fixture
def world(tmp_path: Path) -> ServiceWorld:
    return ServiceWorld(tmp_path)


def desk(world: ServiceWorld) -> ReleaseDesk:
    return ReleaseDesk(
        log=world.log,
        shelf=world.shelf,
        history=world.history,
        prove=lambda indices: prove_together(world.log, indices),
        clock=world.clock,
        actor="builder",
    )


def release(world: ServiceWorld, request_digest: bytes, name: str = "app") -> Released:
    return desk(world).release(request_digest, world.folder / f"{name}.srp", world.folder / f"{name}.evidence.json")


def released_bootloader(world: ServiceWorld) -> Released:
    """Two signers, two approvals, an SBOM: everything that evidence may have."""
    sbom = world.folder / "sbom.json"
    sbom.write_bytes(SBOM)
    package = world.prepare(sbom=sbom, package_type=PackageType.BOOTLOADER)
    order = world.order(package, [CLEO, BEN], sbom=sbom, sbom_digest=hashlib.sha256(SBOM).digest())
    return release(world, world.sign(order).request_digest)


def means_of(world: ServiceWorld, **changes: Any) -> Means:
    key = world.log.key
    assert isinstance(key, SoftwareKey)
    allowed = world.folder / "own_allowed_signers"
    allowed.write_text(ALLOWED_SIGNERS, encoding="utf-8")
    values: dict[str, Any] = {"allowed_signers": allowed, "log_key": key.pem}
    return Means(**values | changes)


# Releasing


def test_a_release_is_logged_and_then_handed_out_with_its_evidence(world: ServiceWorld) -> None:
    released = released_bootloader(world)
    assert world.log.kinds() == ["sign-intent", "sign-result", "released"]
    details = world.log.entries[-1].event.details
    assert details["package_digest"] == hashlib.sha256(released.package.read_bytes()).hexdigest()
    assert details["evidence_digest"] == hashlib.sha256(released.evidence.read_bytes()).hexdigest()
    assert released.kept == world.folder / "releases" / "pump-x2" / "bootloader-1.0.0.evidence.json"
    assert released.kept.read_bytes() == released.evidence.read_bytes()
    assert decode_evidence(released.evidence.read_bytes()).encode() == released.evidence.read_bytes()


def test_the_same_release_again_is_the_same_files_and_no_new_entry(world: ServiceWorld) -> None:
    first = released_bootloader(world)
    content = first.evidence.read_bytes()
    world.time += timedelta(hours=1)
    again = release(world, first.signed.request_digest, "second")
    assert again.repeated
    assert again.evidence.read_bytes() == content
    assert world.log.kinds().count("released") == 1


def test_what_the_service_has_not_signed_is_not_released(world: ServiceWorld) -> None:
    with pytest.raises(PolicyViolation, match="SV-41"):
        release(world, bytes(32))


def test_another_file_at_the_output_is_refused_before_the_release_is_logged(world: ServiceWorld) -> None:
    signed = world.sign(world.order(world.prepare()))
    (world.folder / "app.srp").write_bytes(b"something else")
    with pytest.raises(OutputError, match="something else"):
        release(world, signed.request_digest)
    assert world.log.kinds() == ["sign-intent", "sign-result"]


def test_if_the_log_fails_nothing_is_handed_out(world: ServiceWorld) -> None:
    signed = world.sign(world.order(world.prepare()))
    world.log.checkpoint()
    world.log.fails = True
    with pytest.raises(AuditError):
        release(world, signed.request_digest)
    assert not (world.folder / "app.srp").exists()
    assert not (world.folder / "releases").exists()
    world.log.fails = False
    assert release(world, signed.request_digest).package.exists()


def test_a_release_interrupted_after_it_was_logged_is_ended(world: ServiceWorld, monkeypatch: Any) -> None:
    signed = world.sign(world.order(world.prepare()))

    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "hand_out", cut)
        with pytest.raises(KeyboardInterrupt):
            release(world, signed.request_digest)
    world.time += timedelta(minutes=5)
    released = release(world, signed.request_digest)
    assert world.log.kinds().count("released") == 1
    assert world.log.entries[-1].event.details["evidence_digest"] == released.evidence_digest.hex()


def test_packages_of_one_version_have_files_of_their_own(world: ServiceWorld) -> None:
    names = set()
    for copy in ("a", "b"):
        package = world.prepare(copy, package_type=PackageType.BOOTLOADER)
        signed = world.sign(world.order(package, [BEN]))
        names.add(release(world, signed.request_digest, copy).kept.name)
    assert "bootloader-1.0.0.evidence.json" in names
    assert len(names) == 2


def test_the_last_release_is_the_one_of_greatest_version(world: ServiceWorld) -> None:
    for version in (ImageVersion(1, 2, 0), ImageVersion(1, 10, 0)):
        signed = world.sign(world.order(world.prepare(str(version), image_version=version)))
        release(world, signed.request_digest, str(version))
    last = world.history.last("pump-x2", "application")
    assert last is not None
    assert str(last.version) == "1.10.0"
    assert decode_request(last.evidence.request.statement.encode()).version == "1.10.0"
    assert world.history.last("pump-x2", "bootloader") is None


def test_a_release_file_that_is_not_what_its_name_says_is_refused(world: ServiceWorld) -> None:
    released = released_bootloader(world)
    released.kept.rename(released.kept.with_name("bootloader-9.0.0.evidence.json"))
    with pytest.raises(ConfigurationError, match="as its name is not"):
        world.history.last("pump-x2", "bootloader")


# Verifying


def test_the_verifier_accepts_and_says_what_it_found(world: ServiceWorld) -> None:
    released = released_bootloader(world)
    report = verify_release(released.evidence.read_bytes(), released.package, means_of(world, approvals_min=2))
    assert report["requester"] == "ada"
    assert report["approvers"] == ["ben", "cleo"]
    assert report["policy_ids"] == ["development-bootloader"]
    assert report["log_entries"] == [0, 1]


def test_the_verifier_runs_by_itself(world: ServiceWorld) -> None:
    """As its own process, outside the project, with everything it can be given."""
    released = released_bootloader(world)
    means = means_of(world)
    log_key, signers = world.folder / "log.pem", world.folder / "signers"
    log_key.write_bytes(means.log_key)
    signers.mkdir()
    for number, key in enumerate(BOOT_KEYS):
        (signers / f"{number}.pem").write_bytes(key.public_pem)
    policies = world.folder / "policies"
    policies.mkdir()
    for path in (ROOT / "policies" / "defaults").iterdir():
        if path.suffix in {".cedar", ".cedarschema", ".toml", ".md"}:
            (policies / path.name).write_bytes(path.read_bytes())
    command: list[str | Path] = [
        sys.executable, "-I", ROOT / "verifiers" / "release_evidence.py", released.evidence, released.package,
        "--allowed-signers", means.allowed_signers, "--log-key", log_key, "--approvals-min", "2",
        "--sbom", world.folder / "sbom.json", "--policies", policies,
    ]  # fmt: skip
    for path in signers.iterdir():
        command += ["--signer-key", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=world.folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verified"]
    (policies / "calendar.toml").write_text("format = 1\n\n", encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=world.folder)
    assert done.returncode == 1
    assert "EV-16" in done.stderr


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items and not isinstance(value, dict | list):
        yield path
    for name, item in items:
        yield from _leaves(item, (*path, name))


def _changed(document: Any, path: tuple[Any, ...], quarter: int) -> Any:
    """A copy with one leaf changed as little as its type allows: a number, or one character of a text."""
    copy = json.loads(json.dumps(document))
    holder = copy
    for name in path[:-1]:
        holder = holder[name]
    value = holder[path[-1]]
    if isinstance(value, int):
        holder[path[-1]] = value + 1 + quarter
    else:
        place = len(value) * quarter // 4
        holder[path[-1]] = value[:place] + ("0" if value[place] != "0" else "1") + value[place + 1 :]
    return copy


def test_every_changed_value_of_evidence_is_refused(world: ServiceWorld) -> None:
    """But for the two that a verifier does not take from it: when it was written, and its copy of allowed_signers."""
    released = released_bootloader(world)
    document = json.loads(released.evidence.read_bytes())
    means = means_of(world)
    paths = [path for path in _leaves(document) if path[0] not in {"made_at", "allowed_signers"}]
    assert len(paths) >= 30
    unnoticed = [
        (path, quarter)
        for path in paths
        for quarter in range(4)
        if not _refuses(encode_canonical(_changed(document, path, quarter)), released.package, means)
    ]
    assert not unnoticed


def _refuses(evidence: bytes, package: Path, means: Means) -> bool:
    try:
        verify_release(evidence, package, means)
    except EvidenceRefused:
        return True
    return False


def test_every_removed_or_added_field_is_refused(world: ServiceWorld) -> None:
    released = released_bootloader(world)
    document = json.loads(released.evidence.read_bytes())
    means = means_of(world)
    for path in [(), *{path[:-1] for path in _leaves(document) if len(path) > 1 and isinstance(path[-1], str)}]:
        for change in ("remove", "add"):
            copy = json.loads(json.dumps(document))
            holder = copy
            for name in path:
                holder = holder[name]
            if change == "add":
                holder["zz"] = 1
            else:
                del holder[next(iter(holder))]
            with pytest.raises(EvidenceRefused, match="EV-01"):
                verify_release(encode_canonical(copy), released.package, means)


Change = Callable[[dict[str, Any], ServiceWorld], None]


def _foreign_approval(document: dict[str, Any], world: ServiceWorld) -> None:
    other = msgspec.structs.replace(decode_request(document["request"]["statement"].encode()), version="9.9.9")
    signed = signed_approval(other, BEN)
    document["approvals"][0] = {"statement": signed.statement.decode(), "signature": signed.signature.decode()}


def _own_approval(document: dict[str, Any], world: ServiceWorld) -> None:
    asked = decode_request(document["request"]["statement"].encode())
    signed = signed_approval(asked, SshPerson("ada"))
    document["approvals"][0] = {"statement": signed.statement.decode(), "signature": signed.signature.decode()}


def _approval_twice(document: dict[str, Any], world: ServiceWorld) -> None:
    document["approvals"][1] = document["approvals"][0]


def _approval_missing(document: dict[str, Any], world: ServiceWorld) -> None:
    del document["approvals"][0]


def _unlisted_approver(document: dict[str, Any], world: ServiceWorld) -> None:
    asked = decode_request(document["request"]["statement"].encode())
    signed = signed_approval(asked, SshPerson("ben", "a key nobody listed"))
    document["approvals"][0] = {"statement": signed.statement.decode(), "signature": signed.signature.decode()}


def _request_namespace(document: dict[str, Any], world: ServiceWorld) -> None:
    asked = decode_request(document["request"]["statement"].encode())
    document["request"]["signature"] = signed_request(asked, namespace="strongroom-approval-v1").signature.decode()


def _entries_exchanged(document: dict[str, Any], world: ServiceWorld) -> None:
    document["log"]["entries"].reverse()


def _other_log(document: dict[str, Any], world: ServiceWorld) -> None:
    other = MemoryLog()
    for entry in world.log.entries:
        other.append([entry.event], entry.at)
    other.checkpoint()
    document["log"]["checkpoint"] = other.prove(0).checkpoint.decode()


def _no_sbom(document: dict[str, Any], world: ServiceWorld) -> None:
    document["sbom"] = None


def _policy_ids(document: dict[str, Any], world: ServiceWorld) -> None:
    document["decision"]["policy_ids"] = ["production-bootloader"]


@pytest.mark.parametrize(
    ("change", "rule_id"),
    [
        (_foreign_approval, "EV-07"),
        (_own_approval, "EV-08"),
        (_approval_twice, "EV-08"),
        (_approval_missing, "EV-13"),
        (_unlisted_approver, "EV-07"),
        (_request_namespace, "EV-06"),
        (_entries_exchanged, "EV-13"),
        (_other_log, "EV-11"),
        (_no_sbom, "EV-15"),
        (_policy_ids, "EV-13"),
    ],
)
def test_well_formed_forgeries_are_refused(world: ServiceWorld, change: Change, rule_id: str) -> None:
    released = released_bootloader(world)
    document = json.loads(released.evidence.read_bytes())
    change(document, world)
    with pytest.raises(EvidenceRefused, match=rule_id):
        verify_release(encode_canonical(document), released.package, means_of(world))


def test_another_package_is_refused(world: ServiceWorld) -> None:
    released = released_bootloader(world)
    content = bytearray(released.package.read_bytes())
    content[2000] ^= 1
    released.package.write_bytes(content)
    with pytest.raises(EvidenceRefused, match="EV-02"):
        verify_release(released.evidence.read_bytes(), released.package, means_of(world))


def test_what_a_verifier_demands_of_its_own(world: ServiceWorld) -> None:
    released = released_bootloader(world)
    evidence = released.evidence.read_bytes()
    other_sbom = world.folder / "other.json"
    other_sbom.write_bytes(b"{}")
    demands: list[tuple[str, dict[str, Any]]] = [
        ("EV-05", {"signer_keys": (SoftwareKey().pem,)}),
        ("EV-10", {"approvals_min": 3}),
        ("EV-11", {"log_key": SoftwareKey().pem}),
        ("EV-11", {"witnesses_min": 1}),
        ("EV-15", {"sbom": other_sbom}),
    ]
    for rule_id, demand in demands:
        with pytest.raises(EvidenceRefused, match=rule_id):
            verify_release(evidence, released.package, means_of(world, **demand))


def test_keys_count_as_they_did_when_the_package_was_signed(world: ServiceWorld) -> None:
    released = released_bootloader(world)
    evidence = released.evidence.read_bytes()
    allowed = world.folder / "later"
    allowed.write_text(ALLOWED_SIGNERS.replace("ben ", 'ben valid-before="20261127130000Z" '), encoding="utf-8")
    assert verify_release(evidence, released.package, means_of(world, allowed_signers=allowed))
    allowed.write_text(ALLOWED_SIGNERS.replace("ben ", 'ben valid-before="20261127110000Z" '), encoding="utf-8")
    with pytest.raises(EvidenceRefused, match="EV-07"):
        verify_release(evidence, released.package, means_of(world, allowed_signers=allowed))


@pytest.mark.parametrize("kind", ["sk-ed25519", "sk-ecdsa"])
def test_a_security_key_that_saw_nobody_does_not_count(kind: str) -> None:
    """ssh-keygen accepts it; the verifier looks at the flag itself."""
    vectors = json.loads((ROOT / "tests" / "vectors" / "ssh_signatures.json").read_bytes())
    armored = {vector["name"]: vector["signature"] for vector in vectors}
    assert release_evidence.key_of(armored[f"{kind}-valid"])
    assert release_evidence.key_of(armored[f"{kind}-verified"])
    for name in ("nobody-present", "verified-only", "webauthn"):
        with pytest.raises(EvidenceRefused, match="EV-08"):
            release_evidence.key_of(armored[f"{kind}-{name}"])


def _edited(document: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    holder: Any = copy
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    return copy


def test_each_rule_is_the_one_that_refuses(world: ServiceWorld) -> None:
    released = released_bootloader(world)
    document = json.loads(released.evidence.read_bytes())
    first, second = document["package"]["signers"]
    edits: list[tuple[str, dict[str, Any]]] = [
        ("EV-01", _edited(document, "type", value="strongroom-release-evidence-2")),
        ("EV-01", _edited(document, "package", "size_bytes", value=True)),
        ("EV-01", _edited(document, "log", "entries", value=document["log"]["entries"][:1])),
        ("EV-02", _edited(document, "package", "size_bytes", value=1)),
        ("EV-03", _edited(document, "package", "head_digest", value="01" * 32)),
        ("EV-04", _edited(document, "package", "version", value="1.0.1")),
        ("EV-05", _edited(document, "package", "signers", value=[second, first])),
        ("EV-05", _edited(document, "package", "signers", 1, "public_key", value=first["public_key"])),
        ("EV-12", _edited(document, "log", "entries", 0, "proof", 0, value="01" * 32)),
        ("EV-12", _edited(document, "log", "entries", 0, "index", value=1)),
        ("EV-14", _edited(document, "decision", "policy_digest", value="01" * 32)),
        ("EV-15", _edited(document, "sbom", "sha256", value="01" * 32)),
    ]
    for rule_id, edited in edits:
        with pytest.raises(EvidenceRefused, match=rule_id):
            verify_release(encode_canonical(edited), released.package, means_of(world))


def test_what_had_expired_when_it_was_signed_is_refused(world: ServiceWorld) -> None:
    """A log key's owner who moves the intent to a later day: people's statements had an end."""
    released = released_bootloader(world)
    document = json.loads(released.evidence.read_bytes())
    later = MemoryLog(key=world.log.key)
    for entry in world.log.entries[:2]:
        later.append([entry.event], entry.at + timedelta(days=8))
    later.checkpoint()
    for index in (0, 1):
        proof = later.prove(index)
        hashes = [item.hex() for item in proof.hashes]
        document["log"]["entries"][index] = {"index": index, "entry": proof.entry.decode(), "proof": hashes}
        document["log"]["checkpoint"] = proof.checkpoint.decode()
    with pytest.raises(EvidenceRefused, match="EV-09"):
        verify_release(encode_canonical(document), released.package, means_of(world))


# Witnesses


def _cosigned(note: bytes, name: str, private: Ed25519PrivateKey, seconds: int = 1_800_000_000) -> tuple[bytes, str]:
    """The note with a cosignature (C2SP tlog-cosignature), and the witness's verifier key."""
    checkpoint = parse_checkpoint(note)
    raw = b"\4" + private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    key_id = hashlib.sha256(f"{name}\n".encode() + raw).digest()[:4]
    signature = private.sign(f"cosignature/v1\ntime {seconds}\n".encode() + checkpoint.head.text)
    line = NoteSignature(name, key_id, seconds.to_bytes(8, "big") + signature)
    return checkpoint.with_signature(line).note, f"{name}+{key_id.hex()}+{base64.b64encode(raw).decode()}"


def test_a_cosigned_checkpoint_is_demanded_and_verified(world: ServiceWorld) -> None:
    released = released_bootloader(world)
    document = json.loads(released.evidence.read_bytes())
    note, vkey = _cosigned(
        document["log"]["checkpoint"].encode(), "witness-1", Ed25519PrivateKey.from_private_bytes(bytes(32))
    )
    document["log"]["checkpoint"] = note.decode()
    evidence = encode_canonical(document)
    means = means_of(world, witnesses=(vkey,), witnesses_min=1)
    assert verify_release(evidence, released.package, means)["witnesses"] == ["witness-1"]
    _, other = _cosigned(note, "witness-1", Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\1"))
    with pytest.raises(EvidenceRefused, match="EV-11"):
        verify_release(evidence, released.package, means_of(world, witnesses=(other,), witnesses_min=1))


def test_a_damaged_record_on_the_shelf_is_found(world: ServiceWorld) -> None:
    signed = world.sign(world.order(world.prepare()))
    record = world.shelf.record(signed.request_digest)
    record.write_bytes(record.read_bytes().replace(b'"version":"1.0.0"', b'"version":1'))
    with pytest.raises(PolicyViolation, match="SV-31"):
        release(world, signed.request_digest)


def test_a_record_of_another_signature_is_found(world: ServiceWorld) -> None:
    signed = world.sign(world.order(world.prepare()))
    record = world.shelf.record(signed.request_digest)
    old = signed.package_digest.hex().encode()
    record.write_bytes(record.read_bytes().replace(old, b"01" * 32))
    with pytest.raises(PolicyViolation, match="SV-31"):
        release(world, signed.request_digest)


def test_an_inclusion_proof_leads_to_the_root_at_every_size_and_place() -> None:
    """The verifier's own walk against the definition of the tree (RFC 9162, section 2.1.1)."""
    leaves = [hashlib.sha256(bytes([number])).digest() for number in range(20)]

    def root(nodes: list[bytes]) -> bytes:
        if len(nodes) == 1:
            return nodes[0]
        split = 1 << (len(nodes) - 1).bit_length() - 1
        return hashlib.sha256(b"\1" + root(nodes[:split]) + root(nodes[split:])).digest()

    def path(index: int, nodes: list[bytes]) -> list[bytes]:
        if len(nodes) == 1:
            return []
        split = 1 << (len(nodes) - 1).bit_length() - 1
        if index < split:
            return [*path(index, nodes[:split]), root(nodes[split:])]
        return [*path(index - split, nodes[split:]), root(nodes[:split])]

    for size in range(1, 21):
        for index in range(size):
            proof = path(index, leaves[:size])
            assert release_evidence.root_of(index, size, leaves[index], proof) == root(leaves[:size])
            assert release_evidence.root_of(index, size, leaves[index], [*proof, bytes(32)]) is None
            if proof:
                assert release_evidence.root_of(index, size, leaves[index], proof[:-1]) != root(leaves[:size])
