"""The audit, reconciliation and registration on real tokens, with objects that are bad on purpose."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pkcs11.constants import Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism

from pki.errors import PolicyViolation
from pki.key_audit import AuditFinding, Severity
from pki.key_specs import KEY_SPECS, KeyUsage, key_label
from pki.key_states import KeyState
from pki.roles import Role
from pki.values import PublicKey
from signer.inventory.audit import audit_token, has_errors, unavoidable_rules
from signer.inventory.reconcile import reconcile
from signer.inventory.registration import register_key
from signer.store.key_store import KeyStore
from signer.store.values import NewKey, TokenRecord
from signer.tokens import KeyRef
from signer.tokens.objects import P256_EC_PARAMETERS, Template, public_key_of
from signer.tokens.secret_keys import SecretKeyHandle
from signer.tokens.session import Session
from signer.tokens.templates import private_template, public_template
from tests.softhsm_fixtures import USER_PIN, TokenRig
from tests.unit.store.stores import DAY, NOW, change, software_key

RELEASE = KEY_SPECS[Role.APPLICATION_RELEASE]
LABEL = key_label(RELEASE, "pump-x2", 7)

# What any pair breaks that is generated straight onto a SoftHSM token as these tests do it, instead of by `generate`.
PLAIN = {("private-key", "KA-02"), ("private-key", "KA-03"), ("public-key", "KA-02")}


@pytest.fixture
def session(softhsm: TokenRig) -> Iterator[Session]:
    with softhsm.open() as opened:
        yield opened


def token_record(rig: TokenRig) -> TokenRecord:
    return TokenRecord(rig.info.serial, rig.info.label, rig.config.path)


def record_key(rig: TokenRig, label: str, public_key: PublicKey) -> NewKey:
    return NewKey(label, public_key.cka_id, public_key, token_record(rig), NOW)


def make_pair(session: Session, private: Template | None = None, public: Template | None = None) -> PublicKey:
    """A pair as somebody else's tool makes one: straight onto the token, with attributes of its choice."""
    with session.operation("making a bad key") as raw:
        parameters = raw.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: P256_EC_PARAMETERS}, local=True)
        usages = frozenset({KeyUsage.SIGN})
        public_object, private_object = parameters.generate_keypair(
            mechanism=Mechanism.EC_KEY_PAIR_GEN,
            capabilities=MechanismFlag(0),
            public_template=public_template(LABEL, usages, on_token=True, dropped=frozenset()) | (public or {}),
            private_template=private_template(LABEL, usages, on_token=True, dropped=frozenset()) | (private or {}),
        )
        public_key = public_key_of(public_object)
        for item in (public_object, private_object):
            item[Attribute.ID] = public_key.cka_id
    return public_key


def findings_of(session: Session, store: KeyStore, rig: TokenRig) -> tuple[AuditFinding, ...]:
    return audit_token(session.objects(), store.keys(token=token_record(rig).identity), NOW)


def rules(findings: tuple[AuditFinding, ...]) -> set[tuple[str, str]]:
    """Class of object (or `key`, for an entry of the store) and rule."""
    return {(finding.subject.split()[0], finding.rule_id) for finding in findings}


def test_a_generated_key_is_registered_found_present_and_without_error(token_rig: TokenRig, store: KeyStore) -> None:
    """On both modules: what remains is what the module breaks for every key, as warnings."""
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        wrap = session.generate(KEY_SPECS[Role.PACKAGE_WRAP], key_label(KEY_SPECS[Role.PACKAGE_WRAP], None, 1))
        assert isinstance(wrap, SecretKeyHandle)
        unavoidable = unavoidable_rules(session.probe_profile())
        secret = NewKey(wrap.label, wrap.cka_id, None, token_record(token_rig), NOW)
        for key in (record_key(token_rig, handle.label, handle.public_key), secret):
            _, findings = register_key(store, session.objects(), key, change(), unavoidable)
            assert not has_errors(findings)
        records = store.keys(token=token_record(token_rig).identity)
        findings = audit_token(session.objects(), records, NOW, unavoidable)
        assert {item.severity for item in findings} == {Severity.WARNING}
        assert {item.rule_id for item in findings} <= unavoidable | {"KA-21"}
        found = reconcile(session.objects(), records)
        assert found.present == records
        assert found.strangers == ()


def test_softhsm_excuses_only_that_copies_cannot_be_forbidden(session: Session) -> None:
    assert unavoidable_rules(session.probe_profile()) == {"KA-03"}


BAD_PRIVATE_KEYS = {
    "extractable": ({Attribute.EXTRACTABLE: True}, {"KA-01", "KA-07"}),
    "not sensitive": ({Attribute.SENSITIVE: False}, {"KA-04", "KA-05"}),
    "may derive too": ({Attribute.DERIVE: True}, {"KA-09"}),
    "may unwrap too": ({Attribute.UNWRAP: True}, {"KA-09"}),
    "may not sign": ({Attribute.SIGN: False}, {"KA-08"}),
    "without login": ({Attribute.PRIVATE: False}, {"KA-22"}),
}


@pytest.mark.parametrize(("attributes", "broken"), BAD_PRIVATE_KEYS.values(), ids=BAD_PRIVATE_KEYS.keys())
def test_a_bad_private_key_is_found_and_not_registered(
    session: Session, store: KeyStore, softhsm: TokenRig, attributes: Template, broken: set[str]
) -> None:
    key = record_key(softhsm, LABEL, make_pair(session, attributes))
    with pytest.raises(PolicyViolation) as violation:
        register_key(store, session.objects(), key, change(), frozenset({"KA-02", "KA-03", "KA-06"}))
    assert violation.value.rule_id in broken
    assert store.keys() == ()
    store.register(key, change())
    assert rules(findings_of(session, store, softhsm)) == PLAIN | {("private-key", rule) for rule in broken}


def test_a_public_key_with_a_usage_too_many_is_found(session: Session, store: KeyStore, softhsm: TokenRig) -> None:
    store.register(record_key(softhsm, LABEL, make_pair(session, public={Attribute.WRAP: True})), change())
    assert rules(findings_of(session, store, softhsm)) == PLAIN | {("public-key", "KA-09")}


def test_an_imported_key_is_found(session: Session, store: KeyStore, softhsm: TokenRig) -> None:
    private, public = software_key()
    final: Template = {Attribute.ID: public.cka_id, Attribute.EC_PARAMS: P256_EC_PARAMETERS}
    final |= {Attribute.MODIFIABLE: False, Attribute.COPYABLE: False}
    value = private.private_numbers().private_value.to_bytes(32, "big")
    usages = frozenset({KeyUsage.SIGN})
    secret = private_template(LABEL, usages, on_token=True, dropped=frozenset()) | final | {Attribute.VALUE: value}
    point = {Attribute.EC_POINT: b"\x04\x41\x04" + public.point}
    shown = public_template(LABEL, usages, on_token=True, dropped=frozenset()) | final | point
    with session.operation("importing a key") as raw:
        raw.create_object(secret)
        raw.create_object(shown)
    key = record_key(softhsm, LABEL, public)
    with pytest.raises(PolicyViolation) as violation:
        register_key(store, session.objects(), key, change())
    assert violation.value.rule_id in ("KA-05", "KA-06", "KA-07")
    store.register(key, change())
    found = rules(findings_of(session, store, softhsm))
    assert found == {("private-key", "KA-05"), ("private-key", "KA-06"), ("private-key", "KA-07")}


def test_two_objects_of_one_label_are_found(session: Session, store: KeyStore, softhsm: TokenRig) -> None:
    first, second = make_pair(session), make_pair(session)
    store.register(record_key(softhsm, LABEL, first), change())
    found = findings_of(session, store, softhsm)
    assert {(item.subject.split()[0], item.rule_id) for item in found if item.rule_id == "KA-10"} == {
        ("private-key", "KA-10"),
        ("public-key", "KA-10"),
    }
    strangers = {item.subject for item in found if item.rule_id == "KA-15"}
    assert all(second.cka_id.hex() in subject for subject in strangers)
    assert len(strangers) == 2


def test_a_private_key_without_its_public_key_is_found(session: Session, store: KeyStore, softhsm: TokenRig) -> None:
    store.register(record_key(softhsm, LABEL, make_pair(session)), change())
    destroy(session, ObjectClass.PUBLIC_KEY)
    found = findings_of(session, store, softhsm)
    assert rules(found) == {("private-key", "KA-02"), ("private-key", "KA-03"), ("private-key", "KA-13")}
    (contradiction,) = reconcile(session.objects(), store.keys()).contradicting
    assert "is not on the token" in contradiction.text


def test_a_public_key_put_in_the_place_of_another_is_found(
    session: Session, store: KeyStore, softhsm: TokenRig
) -> None:
    """Somebody with write access to the token wants his public key taken for ours."""
    store.register(record_key(softhsm, LABEL, make_pair(session)), change())
    _, forged = software_key()
    with session.operation("exchanging the public key") as raw:
        (public,) = list(raw.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY}))
        cka_id = public[Attribute.ID]
        public.destroy()
        raw.create_object(
            {
                Attribute.CLASS: ObjectClass.PUBLIC_KEY,
                Attribute.KEY_TYPE: KeyType.EC,
                Attribute.TOKEN: True,
                Attribute.LABEL: LABEL,
                Attribute.ID: cka_id,
                Attribute.EC_PARAMS: P256_EC_PARAMETERS,
                Attribute.EC_POINT: b"\x04\x41\x04" + forged.point,
            }
        )
    assert ("public-key", "KA-12") in rules(findings_of(session, store, softhsm))
    (contradiction,) = reconcile(session.objects(), store.keys()).contradicting
    assert "another public key than the key store" in contradiction.text


def test_a_key_that_vanished_is_found(session: Session, store: KeyStore, softhsm: TokenRig) -> None:
    key = store.register(record_key(softhsm, LABEL, make_pair(session)), change())
    session.dangerously_destroy_key(KeyRef(LABEL, key.cka_id))
    assert rules(findings_of(session, store, softhsm)) == {("key", "KA-16")}
    assert reconcile(session.objects(), store.keys()).vanished == store.keys()
    store.change_state(key.cka_id, KeyState.DESTROYED, change())
    assert findings_of(session, store, softhsm) == ()
    assert reconcile(session.objects(), store.keys()).gone == store.keys()


def test_a_key_that_should_be_gone_or_is_out_of_time_is_found(
    session: Session, store: KeyStore, softhsm: TokenRig
) -> None:
    key = store.register(record_key(softhsm, LABEL, make_pair(session)), change())
    store.activate(key.cka_id, NOW, NOW + DAY, change())
    late = audit_token(session.objects(), store.keys(), NOW + 2 * DAY)
    assert rules(late) == PLAIN | {("key", "KA-17")}
    store.change_state(key.cka_id, KeyState.DESTROYED, change())
    assert rules(findings_of(session, store, softhsm)) == PLAIN | {("key", "KA-18")}
    assert reconcile(session.objects(), store.keys()).lingering == store.keys()


@pytest.mark.parametrize("keep_bytes", [0, 40, 200])
def test_a_truncated_object_file_is_found(softhsm: TokenRig, store: KeyStore, keep_bytes: int) -> None:
    """SoftHSM itself says nothing about it."""
    with softhsm.open() as session:
        handle = softhsm.generate(session)
        unavoidable = unavoidable_rules(session.probe_profile())
        register_key(
            store, session.objects(), record_key(softhsm, handle.label, handle.public_key), change(), unavoidable
        )
    files = [path for path in (softhsm.folder / "tokens").glob("*/*.object") if path.name != "token.object"]
    seen = set()
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[:keep_bytes])
        seen |= errors_after_restart(softhsm, store, unavoidable)
        path.write_bytes(whole)
        assert errors_after_restart(softhsm, store, unavoidable) == set()
    assert {("key", "KA-16"), ("private-key", "KA-13")} <= seen


def errors_after_restart(rig: TokenRig, store: KeyStore, unavoidable: frozenset[str]) -> set[tuple[str, str]]:
    rig.module.reinitialize()
    with rig.open() as session:
        findings = audit_token(session.objects(), store.keys(), NOW, unavoidable)
    return rules(tuple(finding for finding in findings if finding.severity is Severity.ERROR))


def test_what_another_tool_put_there_is_a_stranger(softhsm: TokenRig, store: KeyStore, tmp_path: Path) -> None:
    """A key made by pkcs11-tool with its defaults: unknown, outside the label scheme, and too permissive."""
    pkcs11_tool(softhsm, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "backdoor", "--id", "0badc0de")
    note = tmp_path / "note"
    note.write_bytes(b"text")
    pkcs11_tool(softhsm, "--write-object", str(note), "--type", "data", "--label", "note")
    softhsm.module.reinitialize()
    with softhsm.open() as session:
        observed = session.objects()
        found = rules(audit_token(observed, store.keys(), NOW))
        assert {("private-key", "KA-15"), ("private-key", "KA-19"), ("private-key", "KA-02")} <= found
        assert {("public-key", "KA-12"), ("public-key", "KA-15"), ("other", "KA-15")} <= found
        assert set(reconcile(observed, store.keys()).strangers) == set(observed)
        assert len(observed) == 3


def pkcs11_tool(rig: TokenRig, *arguments: str) -> None:
    command = [
        "pkcs11-tool",
        "--module",
        rig.config.path,
        "--token-label",
        rig.info.label,
        "--login",
        "--pin",
        "env:PIN",
    ]
    environment = {**os.environ, **rig.environment, "PIN": USER_PIN}
    subprocess.run([*command, *arguments], check=True, capture_output=True, env=environment)


def destroy(session: Session, object_class: ObjectClass) -> None:
    with session.operation("destroying objects") as raw:
        for item in list(raw.get_objects({Attribute.CLASS: object_class})):
            item.destroy()
