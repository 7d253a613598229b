"""X.509 with keys in real tokens, SoftHSM and NSS softokn: issue a chain, check it with openssl, and audit the keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pki.chain import Purpose, check_chain
from pki.errors import ChainInvalid, PolicyViolation
from pki.key_audit import ExpectedKey, Severity, audit_objects
from pki.key_specs import KEY_SPECS
from pki.key_states import KeyState
from pki.roles import Role
from pki.x509_crls import Revocation
from pki.x509_names import DistinguishedName
from pki.x509_profiles import CODE_SIGNING, PRODUCTION_CA, ROOT_CA, CertificateProfile
from signer.certificates import (
    IssueOrder,
    create_request,
    create_root_ca,
    issue_from_request,
    issue_revocation_list,
)
from tests.softhsm_fixtures import TokenRig
from tests.unit.pki import x509_world as w

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def order(profile: CertificateProfile, common_name: str, entropy: bytes, days: int) -> IssueOrder:
    return IssueOrder(
        profile, DistinguishedName(organization="Example Medical", common_name=common_name), entropy, days
    )


def test_a_chain_from_keys_in_a_token(token_rig: TokenRig, tmp_path: Path) -> None:
    with token_rig.open() as session:
        root_key, production_key, code_key = (
            token_rig.generate(session, role) for role in (Role.ROOT_CA, Role.PRODUCTION_CA, Role.CODE_SIGNING)
        )
        root = create_root_ca(root_key, order(ROOT_CA, "Root CA", session.random(20), 3650), NOW)
        production_order = order(PRODUCTION_CA, "Production CA", session.random(20), 1825)
        production_request = create_request(production_key, production_order.name)
        production = issue_from_request(root_key, root, production_order, production_request, NOW)
        code_order = order(CODE_SIGNING, "Release tools", session.random(20), 365)
        code = issue_from_request(
            production_key, production, code_order, create_request(code_key, code_order.name), NOW
        )
        crls = [
            issue_revocation_list(root_key, ROOT_CA, root, None, [], 365, NOW),
            issue_revocation_list(production_key, PRODUCTION_CA, production, None, [], 30, NOW),
        ]
        check_chain(code, [production], root, NOW, Purpose.CODE_SIGNING, crls)
        assert w.openssl_accepts(tmp_path, code, [production], root, NOW, crls)

        revoked = [Revocation(w.serial_number(code), NOW, "superseded")]
        crls[1] = issue_revocation_list(production_key, PRODUCTION_CA, production, crls[1], revoked, 30, NOW)
        assert not w.openssl_accepts(tmp_path, code, [production], root, NOW, crls)
        with pytest.raises(ChainInvalid, match="CH-15"):
            check_chain(code, [production], root, NOW, Purpose.CODE_SIGNING, crls)


def test_a_release_key_signs_no_x509(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        release_key = token_rig.generate(session, Role.APPLICATION_RELEASE)
        with pytest.raises(PolicyViolation, match="CA-01"):
            create_request(release_key, DistinguishedName(organization="Example Medical", common_name="x"))


UNAVOIDABLE = {"softhsm": frozenset({"KA-03"}), "nss": frozenset({"KA-02", "KA-06"})}
"""SoftHSM 2.6.1 cannot make a key uncopyable; NSS softokn 3.87 none unmodifiable, and calls no key local."""


def test_a_fresh_key_passes_the_audit_as_far_as_the_module_lets_it(token_rig: TokenRig) -> None:
    spec = KEY_SPECS[Role.PRODUCTION_CA]
    with token_rig.open() as session:
        key = token_rig.generate(session, Role.PRODUCTION_CA)
        expected = ExpectedKey(key.label, key.cka_id, spec, KeyState.ACTIVE, NOW, NOW + timedelta(days=1))
        findings = audit_objects(session.objects(), [expected], NOW)
        strangers = audit_objects(session.objects(), [], NOW)
        excused = audit_objects(session.objects(), [expected], NOW, UNAVOIDABLE[token_rig.kind])
    errors = {finding.rule_id for finding in findings if finding.severity is Severity.ERROR}
    assert errors == UNAVOIDABLE[token_rig.kind]
    assert [finding for finding in excused if finding.severity is Severity.ERROR] == []
    assert {"KA-15"} <= {finding.rule_id for finding in strangers}
