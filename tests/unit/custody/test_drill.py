"""The drill: generate with backup, lose the token, restore, sign, verify; and everything that must be refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from pki.chain import Purpose, check_chain
from pki.errors import ConfigurationError, FormatError, OutputError, PolicyViolation
from pki.key_states import KeyState
from pki.roles import Role
from pki.values import Digest, PublicKey, Scheme
from pki.x509_profiles import CODE_SIGNING, PRODUCTION_CA, ROOT_CA
from signer.authority.key_generation import KeyRequest, generate_key
from signer.certificates import create_request, create_root_ca, issue_from_request, issue_revocation_list
from signer.custody.intents import Act, CustodyIntent
from signer.custody.kek import combine_kek
from signer.custody.plan import BackupPlan, FileBackup, Outcome
from signer.custody.restore import restore_key, sign_check
from signer.custody.shares import ShareScheme
from signer.log.values import EventKind
from signer.store.custody_values import CopyOrigin
from signer.store.errors import KeyConflict, KeyUnknown
from signer.store.signing_gate import require_may_sign
from signer.tokens import KeyRef
from signer.tokens.errors import TokenError
from signer.tokens.session import Session
from tests.softhsm.fault_rig import failing
from tests.softhsm.test_certificates import order
from tests.softhsm_fixtures import TokenRig
from tests.unit.custody.places import CUSTODIANS, LABEL, PAIR, ROOT, SPEC, Custodians, Place, shows_words
from tests.unit.pki import x509_world
from tests.unit.store.stores import DAY, NOW, change

MESSAGE = b"the next trust bundle"


def verify(public_key: PublicKey, signature: bytes, message: bytes = MESSAGE) -> None:
    """With nothing of ours: from the recorded SPKI."""
    key = load_der_public_key(public_key.spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    key.verify(der, message, ec.ECDSA(hashes.SHA256()))


def sign_on(session: Session) -> bytes:
    return session.find(KeyRef(LABEL)).sign(Digest.of(MESSAGE), Scheme.ECDSA_P256_SHA256_RAW).value


def test_a_key_with_a_copy_and_a_file(place: Place) -> None:
    made = place.generate(place.plan(ceremony_digest=bytes(range(32))))
    record = made.record
    assert made.outcome is Outcome.GENERATED
    assert record == place.record()
    assert record.public_key is not None
    assert [copy.token.label for copy in record.copies] == ["spare"]
    (backup,) = record.backups
    assert backup.digest == hashlib.sha256(place.file.read_bytes()).digest()
    assert (backup.kek_kcv, backup.ceremony_digest) == (place.backup().kek.kcv, bytes(range(32)))
    assert place.file.stat().st_mode & 0o777 == 0o600
    for session in (place.home, place.spare):
        verify(record.public_key, sign_on(session))
        assert place.labels_on(session) == PAIR
        assert place.errors_on(session) == set()
    assert place.pending() == []


def test_events_say_what_was_done(place: Place) -> None:
    made = place.generate()
    kinds = [event.kind for event in made.events("alice")]
    assert kinds == [EventKind.KEY_GENERATED, EventKind.KEY_BACKED_UP, EventKind.KEY_BACKED_UP]
    assert made.events("alice")[1].details["copy_on"].endswith("/spare")
    assert made.events("alice")[2].details["backup_digest"] == made.record.backups[0].digest.hex()


@pytest.mark.parametrize(("copy", "file"), [(True, False), (False, True)])
def test_a_copy_alone_and_a_file_alone(place: Place, copy: bool, file: bool) -> None:
    made = place.generate(place.plan(copy=copy, file=file))
    assert len(made.record.copies) == int(copy)
    assert len(made.record.backups) == int(file) == int(place.file.exists())
    assert place.labels_on(place.spare) == (PAIR if copy else [])
    assert place.errors_on(place.home) == place.errors_on(place.spare) == set()


def test_ka_07_stays_an_error_of_a_key_that_is_not_recorded_as_backed_up(place: Place) -> None:
    """The same key on the same tokens, of which the store knows nothing else: refused, and the copy too."""
    record = place.generate(place.plan(file=False)).record
    poor = replace(record, copies=(), backups=())
    from signer.inventory.audit import audit_token, unavoidable_rules

    unavoidable = unavoidable_rules(place.home.probe_profile())
    for session, broken in ((place.home, {"KA-07"}), (place.spare, {"KA-05", "KA-06", "KA-07"})):
        findings = audit_token(session.objects(), [poor], NOW, unavoidable)
        assert {item.rule_id for item in findings if item.severity == "error"} == broken


def test_the_signing_gate_knows_the_copies(place: Place, store_path: Path) -> None:
    record = place.generate().record
    place.store.activate(record.cka_id, NOW, NOW + DAY, change())
    permit = require_may_sign(store_path, LABEL, Role.ROOT, None, NOW)
    for session in (place.home, place.spare):
        permit.require_token(session.token.serial, session.token.label)


# Restoring


def test_the_drill(place: Place) -> None:
    """The home token is lost: from the file and any two of three, the key signs again under the recorded SPKI."""
    record = place.generate(place.plan(copy=False)).record
    assert record.public_key is not None
    place.home.dangerously_destroy_key(KeyRef(LABEL))
    restored = place.restore()
    assert restored.outcome.name == "RESTORED"
    assert restored.record.origin_on((place.spare.token.serial, "spare")) is CopyOrigin.RESTORED
    verify(record.public_key, restored.check.signature.value, b"strongroom: this restored key signs")
    verify(record.public_key, sign_on(place.spare))
    assert place.labels_on(place.spare) == PAIR
    assert place.errors_on(place.spare) == set()
    assert place.pending() == []
    (event,) = restored.events("bob")
    assert (event.kind, event.details["backup_digest"]) == (EventKind.KEY_RESTORED, record.backups[0].digest.hex())


def test_the_certificate_of_a_restored_root_ca_still_verifies(place: Place, tmp_path: Path) -> None:
    """Issued by the first token; what it certified, and what the restored key issues, hang on it, for OpenSSL too."""
    made = place.generate(place.plan(copy=False), KeyRequest(Role.ROOT_CA, None, 1)).record
    root_key, production_key = (
        place.home.find(KeyRef(made.label)),
        place.home_rig.generate(place.home, Role.PRODUCTION_CA),
    )
    root = create_root_ca(root_key, order(ROOT_CA, "Root CA", bytes(range(1, 21)), 3650), NOW)
    place.store.set_certificate(made.cka_id, root, change())
    production_order = order(PRODUCTION_CA, "Production CA", bytes(range(2, 22)), 1825)
    request = create_request(production_key, production_order.name)
    production = issue_from_request(root_key, root, production_order, request, NOW)
    place.home.dangerously_destroy_key(root_key.ref)
    place.restore()
    restored = place.spare.find(KeyRef(made.label, made.cka_id))
    crl = issue_revocation_list(restored, ROOT_CA, root, None, [], 365, NOW)
    code_order = order(CODE_SIGNING, "Release tools", bytes(range(3, 23)), 365)
    code_key = place.home_rig.generate(place.home, Role.CODE_SIGNING)
    code = issue_from_request(production_key, production, code_order, create_request(code_key, code_order.name), NOW)
    crls = [crl, issue_revocation_list(production_key, PRODUCTION_CA, production, None, [], 30, NOW)]
    check_chain(code, [production], root, NOW, Purpose.CODE_SIGNING, crls)
    assert x509_world.openssl_accepts(tmp_path, code, [production], root, NOW, crls)
    second = issue_from_request(
        restored, root, replace(production_order, serial_entropy=bytes(range(4, 24))), request, NOW
    )
    assert x509_world.openssl_accepts(tmp_path, code, [second], root, NOW, crls)


@pytest.mark.parametrize("quorum", list(combinations(CUSTODIANS, 2)))
def test_any_quorum_restores(place: Place, quorum: tuple[str, ...]) -> None:
    record = place.generate(place.plan(copy=False)).record
    kek = lambda: place.combine(*quorum)  # noqa: E731
    restored = restore_key(place.intents, place.store, place.spare, place.file.read_bytes(), kek, change)
    assert restored.record.cka_id == record.cka_id


def test_another_custody_scheme(place: Place) -> None:
    """Three of five."""
    people = ("a", "b", "c", "d", "e")
    scheme = ShareScheme.of(3, people)
    plan = BackupPlan((), FileBackup(place.file, lambda: place.split(scheme=scheme)))
    place.generate(plan)
    place.combine("e", "a", "c").close()
    with pytest.raises(AssertionError, match="nobody is there"):
        place.combine("e", "a")


def test_where_the_home_comes_back_both_sign(place: Place) -> None:
    record = place.generate(place.plan(copy=False)).record
    place.restore()
    assert record.public_key is not None
    for session in (place.home, place.spare):
        verify(record.public_key, sign_on(session))
        assert place.errors_on(session) == set()


def test_one_kek_for_several_keys(place: Place) -> None:
    """As at a genesis: the custodians come once."""
    with place.split(place.home, place.spare) as kek:
        for sequence in (1, 2, 3):
            plan = BackupPlan((), FileBackup(place.folder / f"{sequence}.backup", lambda: kek))
            place.generate(plan, KeyRequest(Role.BOOTLOADER_RELEASE, "pump-x2", sequence))
    place.custodians.bring("ann", "cleo")
    data = [(place.folder / f"{sequence}.backup").read_bytes() for sequence in (1, 2, 3)]
    with combine_kek([place.spare], kek.identity, place.custodians) as again:
        for one in data:
            restore_key(place.intents, place.store, place.spare, one, lambda: again, change)
    assert len(place.labels_on(place.spare)) == 6
    assert place.errors_on(place.spare) == set()


def refused(place: Place, rule_id: str, data: bytes | None = None) -> PolicyViolation:
    """Restoring is refused by this rule, and leaves nothing anywhere."""
    before = (place.labels_on(place.spare), place.record())
    with pytest.raises(PolicyViolation) as violation:
        place.restore(data)
    assert violation.value.rule_id == rule_id
    assert (place.labels_on(place.spare), place.record()) == before
    assert place.pending() == []
    return violation.value


def test_kb_06_the_wrong_kek_is_refused_before_anything_is_made(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.generate(place.plan(copy=False))
    other = Custodians()
    place.split_other = other  # type: ignore[attr-defined]
    papers = dict(place.custodians.papers)
    with place.split(place.spare) as wrong:
        monkeypatch.setattr(Place, "combine", lambda *_: wrong)
        refused(place, "KB-06")
    place.custodians.papers = papers
    monkeypatch.undo()
    place.restore()


def test_kb_07_a_backup_that_is_not_recorded_is_refused(place: Place) -> None:
    """Whoever changes the file changes its digest; the KEK is not even asked for."""
    place.generate(place.plan(copy=False))
    backup = place.backup()
    forged = [
        replace(backup, made_by="mallory"),
        replace(backup, mac=bytes(32)),
        replace(backup, wrapped=replace(backup.wrapped, data=bytes(len(backup.wrapped.data)))),
    ]
    for file in forged:
        refused(place, "KB-07", file.encode())
    with pytest.raises(KeyUnknown):
        place.restore(replace(backup, label="sr:root:-:0002").encode())
    for data in (b"", place.file.read_bytes() + b"\n", place.file.read_bytes()[:-1]):
        with pytest.raises(FormatError):
            place.restore(data)
    assert place.custodians.coming == []
    place.restore()


def test_kb_07_an_ended_backup_is_refused(place: Place) -> None:
    record = place.generate(place.plan(copy=False)).record
    place.store.end_backup(record.cka_id, record.backups[0].digest, change(reason="stick shredded"))
    assert "stick shredded" in str(refused(place, "KB-07"))


@pytest.mark.parametrize("position", range(0, 80, 9))
def test_a_changed_wrap_is_refused_even_if_it_were_recorded(
    place: Place, position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attacker who can write the key store too has the MAC before him, and who has the KEK as well the signature."""
    place.generate(place.plan(copy=False))
    backup = place.backup()
    data = bytearray(backup.wrapped.data)
    data[position] ^= 0x10
    changed = replace(backup, wrapped=replace(backup.wrapped, data=bytes(data)))
    record_as(monkeypatch, place, changed.digest)
    refused(place, "KB-06", changed.encode())
    with place.combine("ann", "bob") as kek:
        sealed = changed.sealed(kek)
    record_as(monkeypatch, place, sealed.digest)
    before = place.labels_on(place.spare)
    with pytest.raises(TokenError, match="was changed, or belongs to another"):
        place.restore(sealed.encode())
    assert place.labels_on(place.spare) == before == []
    assert place.pending() == []


def record_as(monkeypatch: pytest.MonkeyPatch, place: Place, digest: bytes) -> None:
    """Let the key store say that the key's backup has another digest."""
    from signer.store import key_store

    original = place.store.__class__.key

    def key(store: key_store.KeyStore, name: bytes | str) -> object:
        record = original(store, name)
        return replace(record, backups=(replace(record.backups[0], digest=digest),))

    monkeypatch.undo()
    monkeypatch.setattr(key_store.KeyStore, "key", key)


def test_kb_09_another_key_in_the_wrap_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """By somebody who has the KEK and can write the key store: the signature under the recorded key is what decides."""
    from tests.unit.custody import slip39

    place.generate(place.plan(copy=False))
    value = slip39.combine([" ".join(place.custodians.papers[name]) for name in CUSTODIANS[:2]], b"")
    der = another_key_der()
    wrapped = keywrap.aes_key_wrap(value, der + bytes(-len(der) % 8))
    with place.combine("ann", "bob") as kek:
        file = place.backup()
        file = replace(file, wrapped=replace(file.wrapped, data=wrapped)).sealed(kek)
    record_as(monkeypatch, place, file.digest)
    before = place.labels_on(place.spare)
    with pytest.raises(PolicyViolation, match="KB-09"):
        place.restore(file.encode())
    assert place.labels_on(place.spare) == before == []
    assert place.pending() == []


def another_key_der() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def test_kb_08_a_backup_that_contradicts_the_store_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.generate(place.plan(copy=False))
    changed = replace(place.backup(), public_key=PublicKey(bytes(range(64))))
    record_as(monkeypatch, place, changed.digest)
    with pytest.raises(PolicyViolation, match="KB-08"):
        place.restore(changed.encode())


@pytest.mark.parametrize("state", [KeyState.DESTROYED, KeyState.COMPROMISED])
def test_kb_10_a_key_that_is_over_is_not_restored(place: Place, state: KeyState) -> None:
    record = place.generate(place.plan(copy=False)).record
    place.store.change_state(record.cka_id, state, change())
    refused(place, "KB-10")


def test_kb_11_a_key_is_not_restored_where_it_is(place: Place) -> None:
    place.generate()
    refused(place, "KB-11")


def test_kb_11_objects_that_nobody_recorded_are_not_touched(place: Place) -> None:
    place.generate(place.plan(copy=False))
    place.spare.generate(SPEC, LABEL)
    before = sign_on(place.spare)
    refused(place, "KB-11")
    assert before != sign_on(place.spare)
    assert place.labels_on(place.spare) == PAIR


def test_kb_09_sign_check_refuses_another_key_under_the_name(place: Place) -> None:
    record = place.generate(place.plan(copy=False)).record
    sign_check(place.home, record)
    other = place.spare.generate(SPEC, LABEL)
    impostor = replace(record, cka_id=other.cka_id)
    with pytest.raises(PolicyViolation, match="KB-09"):
        sign_check(place.spare, impostor)


# Generating: what is refused, and what an error leaves


@pytest.mark.parametrize(
    "role",
    [Role.PRODUCTION, Role.GRANT, Role.SERVICE, Role.PRODUCTION_CA, Role.CODE_SIGNING, Role.LOG, Role.PACKAGE_WRAP],
)
def test_kb_01_roles_that_have_no_backup(place: Place, role: Role) -> None:
    with pytest.raises(PolicyViolation, match="KB-01"):
        place.generate(request=KeyRequest(role, None, 1))
    assert place.pending() == place.labels_on(place.home) == place.labels_on(place.spare) == []
    assert not place.file.exists()


def test_kb_02_plans_that_cannot_be(place: Place) -> None:
    for plan in (BackupPlan(), BackupPlan((place.home,)), BackupPlan((place.spare, place.spare))):
        with pytest.raises(PolicyViolation, match="KB-02"):
            place.generate(plan)
    assert place.pending() == place.labels_on(place.home) == []


def test_a_file_that_exists_is_not_replaced(place: Place) -> None:
    place.file.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        place.generate()
    assert place.file.read_bytes() == b"mine"
    assert place.pending() == place.labels_on(place.home) == []


def test_a_label_that_is_taken_is_not_generated(place: Place) -> None:
    place.generate(place.plan(file=False))
    with pytest.raises(KeyConflict, match="exists already"):
        place.generate()
    assert place.generate(place.plan(file=False), replace(ROOT, sequence=None)).record.label == "sr:root:-:0002"
    assert not place.file.exists()


def test_a_stranger_of_the_label_is_not_touched(place: Place) -> None:
    place.spare.generate(SPEC, LABEL)
    with pytest.raises(KeyConflict, match="does not know"):
        place.generate()
    assert place.labels_on(place.spare) == PAIR
    assert place.pending() == place.labels_on(place.home) == []


def test_generating_without_backup_waits_for_an_interrupted_generation_with_one(place: Place) -> None:
    place.generate(place.plan(file=False))
    intents = place.intents
    with intents.exclusively():
        intents.write(pending_like(place, "sr:root:-:0002"))
    with pytest.raises(ConfigurationError, match="resume the ceremony"):
        generate_key(intents.of_keys, place.store, place.home, replace(ROOT, sequence=None), change)
    assert place.labels_on(place.home) == PAIR


def pending_like(place: Place, label: str) -> CustodyIntent:
    home = (place.home.token.serial, place.home.token.label)
    return CustodyIntent(act=Act.GENERATE, label=label, token=home, begun_at="2026-11-22T12:00:00.000000Z", who="alice")


FAULTS = [
    (function, skip)
    for function, calls in (("C_CopyObject", 3), ("C_Sign", 4), ("C_CreateObject", 2), ("C_GenerateKeyPair", 1))
    for skip in range(calls)
]


@pytest.mark.parametrize(("function", "skip"), FAULTS)
def test_a_failing_module_leaves_nothing(place: Place, function: str, skip: int) -> None:
    """Whichever call fails, in either token: no object, no file, no intent, no record."""
    for session in (place.home, place.spare):
        session.probe_profile(on_token=True)
    with failing(place.home.module, function, 0x30, skip=skip), pytest.raises(TokenError, match="CKR_DEVICE_ERROR"):
        place.generate()
    assert place.labels_on(place.home) == place.labels_on(place.spare) == place.pending() == []
    assert not place.file.exists()
    assert place.store.keys() == ()
    place.generate()


def test_a_full_stick_leaves_nothing(place: Place, tmp_path: Path) -> None:
    plan = BackupPlan((place.spare,), FileBackup(tmp_path / "no such folder" / "x.backup", place.split))
    with pytest.raises(OutputError):
        place.generate(plan)
    assert place.labels_on(place.home) == place.labels_on(place.spare) == place.pending() == []


def test_custodians_who_fail_leave_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Custodians, "read_back", lambda *_: ["no"] * 33)
    with pytest.raises(PolicyViolation, match="KB-04"):
        place.generate()
    assert place.labels_on(place.home) == place.labels_on(place.spare) == place.pending() == []


# Other modules


@pytest.mark.parametrize("direction", ["softhsm>nss", "nss>softhsm"])
def test_the_drill_between_modules(
    direction: str, softhsm: TokenRig, nss: TokenRig, tmp_path: Path, store_path: Path
) -> None:
    """NSS softokn: wraps and unwraps, and takes part in both ways (docs/adr/0073)."""
    home, spare = (softhsm, nss) if direction == "softhsm>nss" else (nss, softhsm)
    with Place.open(tmp_path, store_path, home, spare) as place:
        record = place.generate(place.plan(copy=False)).record
        assert record.public_key is not None
        place.restore()
        verify(record.public_key, sign_on(place.spare))
        assert place.errors_on(place.home) == place.errors_on(place.spare) == set()
        copied = place.generate(place.plan(file=False), replace(ROOT, sequence=2)).record
        assert [copy.token.label for copy in copied.copies] == [place.spare.token.label]
        assert place.errors_on(place.home) == place.errors_on(place.spare) == set()


def test_a_backup_of_nss_restores_nss(nss: TokenRig, tmp_path: Path, store_path: Path) -> None:
    with Place.open_one(tmp_path, store_path, nss) as place:
        record = place.generate(place.plan(copy=False)).record
        assert record.public_key is not None
        place.home.dangerously_destroy_key(KeyRef(LABEL))
        place.store.end_instance(record.cka_id, record.token.identity, change())
        place.restore()
        verify(record.public_key, sign_on(place.home))
        assert place.errors_on(place.home) == set()


# Secrets


def test_no_secret_is_in_any_file_log_or_representation(
    place: Place, softhsm: TokenRig, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Everything the drill wrote anywhere, byte by byte, apart from the token's own encrypted store."""
    from tests.unit.custody import slip39

    caplog.set_level(0)
    made = place.generate()
    place.store.end_instance(made.record.cka_id, (place.spare.token.serial, "spare"), change())
    place.spare.dangerously_destroy_key(KeyRef(LABEL))
    restored = place.restore()
    papers = [" ".join(place.custodians.papers[name]) for name in CUSTODIANS]
    kek = slip39.combine(papers[:2], b"")
    backup = place.backup()
    private = keywrap.aes_key_unwrap(kek, backup.wrapped.data)
    scalar = private[private.index(bytes.fromhex("0420")) + 2 :][:32]
    assert ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1()).public_key().public_numbers().x == (
        int.from_bytes(backup.public_key.point[:32], "big")
    ), "the test looks for the right bytes"
    shown = [repr(item) for item in (made, restored, backup, place.plan(), place.custodians.asked, made.events("a"))]
    written = [path.read_bytes() for path in (*place.folder.rglob("*"), *softhsm.folder.rglob("*")) if path.is_file()]
    output = capfd.readouterr()
    everything = b"\n".join(
        [*written, caplog.text.encode(), output.out.encode(), output.err.encode(), *map(str.encode, shown)]
    )
    for secret in (kek, scalar):
        for form in (secret, secret.hex().encode(), secret.hex().upper().encode(), secret[:16], secret[16:]):
            assert form not in everything
    for name in CUSTODIANS:
        assert not shows_words(everything.decode("latin-1"), place.custodians.papers[name])
    with pytest.raises(InvalidSignature):
        verify(backup.public_key, sign_on(place.home), b"another message")
