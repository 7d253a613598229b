"""What a station asks of its token, on every module: evidence, and keys wrapped to one device."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pki.errors import ConfigurationError, PolicyViolation
from pki.key_specs import KEY_SPECS, KeyUsage, key_label
from pki.roles import Role
from pki.values import PublicKey
from provisioning.station.evidence import newest_evidence
from provisioning.station.group_key import GroupKeySource, parse_group_key
from provisioning.station.ledger import first_evidence
from provisioning.station.rules import Rule
from provisioning.station.token_evidence import TokenEvidence
from provisioning.station.token_injection import TokenInjector
from signer.device_objects.common import Injection
from signer.tokens import KeyRef
from signer.tokens.errors import KeyInconsistent, MechanismUnsupported, WrappedKeyRefused
from signer.tokens.generation import generate_unlocked_pair
from signer.tokens.key_handle import KeyHandle
from signer.tokens.objects import public_key_of
from signer.tokens.session import Session
from signer.tokens.wrapped_key import Framing
from signer.tokens.wrapping import framing_made_by
from tests.softhsm_fixtures import TokenRig
from tests.stations.paper_bench import Bench
from tests.stations.paper_device import OPERATIONAL, point

ORDER_ID = bytes(range(101, 117))


def station_key(session: Session) -> KeyHandle:
    handle = session.generate(KEY_SPECS[Role.STATION], key_label(KEY_SPECS[Role.STATION], "pump-x2", 1))
    assert isinstance(handle, KeyHandle)
    return handle


def test_evidence_is_replaced_and_survives_the_session(softhsm: TokenRig) -> None:
    with softhsm.open() as session:
        store = TokenEvidence(session)
        assert store.read(ORDER_ID) == ()
        store.replace(ORDER_ID, b"1" * 192)
        store.replace(ORDER_ID, b"2" * 192)
        store.replace(bytes(16), b"3" * 192)
    with softhsm.open() as session:
        assert TokenEvidence(session).read(ORDER_ID) == (b"2" * 192,)
        assert TokenEvidence(session).dangerously_destroy(ORDER_ID) == 1
        assert TokenEvidence(session).read(ORDER_ID) == ()
        assert TokenEvidence(session).read(bytes(16)) == (b"3" * 192,)


def test_two_that_count_with_one_token_do_not_both_go_on(softhsm: TokenRig, tmp_path: Path) -> None:
    """Two copies of one folder at work at the same time: whoever comes second sees what the first has written."""
    with softhsm.open() as session:
        key = station_key(session)
        first = Bench(tmp_path, evidence=TokenEvidence(session), station_key=key).init()
        copy = tmp_path / "copy"
        copy.mkdir()
        shutil.copy(first.ledger_path, copy)
        second = Bench(
            copy, first.production, first.lot, first.lot_ca, station_key=key, evidence=TokenEvidence(session)
        )
        second.order = first.order
        at_work, also = first.open(), second.open()
        assert first.attempt(at_work, first.chip(1)).passed
        chip = second.chip(2)
        verdict = second.attempt(also, chip)
        assert verdict.rule is Rule.STATION_STOPPED
        assert "ST-28" in verdict.text
        assert chip.activation == b""
        assert first.attempt(at_work, first.chip(3)).sequence == 2


def test_a_module_without_data_objects_can_be_no_station(nss: TokenRig) -> None:
    """NSS softokn keeps none on a token."""
    with nss.open() as session, pytest.raises(MechanismUnsupported):
        TokenEvidence(session).replace(ORDER_ID, b"1" * 192)


def test_evidence_is_for_the_logged_in_alone(softhsm: TokenRig) -> None:
    """What lies in the token's own storage is encrypted: the head of the ledger is not in its files."""
    with softhsm.open() as session:
        TokenEvidence(session).replace(ORDER_ID, b"\xa5\x5a\xc3" * 64)
    stored = b"".join(path.read_bytes() for path in softhsm.folder.rglob("*.object"))
    assert b"\xa5\x5a\xc3" * 8 not in stored


def test_a_station_on_a_token_starts_again_where_it_was(softhsm: TokenRig, tmp_path: Path) -> None:
    with softhsm.open() as session:
        key = station_key(session)
        bench = Bench(tmp_path, evidence=TokenEvidence(session), station_key=key).init()
        station = bench.open()
        assert bench.attempt(station, bench.chip(1)).passed
        station.ledger.close()
    with softhsm.open() as session:
        bench.evidence = TokenEvidence(session)
        bench.station_key = session.find(key.ref)
        assert bench.attempt(bench.open(), bench.chip(2)).sequence == 2
        found = newest_evidence(bench.evidence.read(ORDER_ID), ORDER_ID, bench.station_key.public_key)
        assert found is not None
        assert (found.number, found.begun, found.activated) == (4, 2, 2)


def test_a_torn_evidence_object_leaves_the_one_before(softhsm: TokenRig, tmp_path: Path) -> None:
    with softhsm.open() as session:
        key = station_key(session)
        bench = Bench(tmp_path, station_key=key)
        good = first_evidence(bench.order, key).signed(key)
        newest = newest_evidence((b"", good[:100], bytes(192), good), ORDER_ID, key.public_key)
        assert newest == first_evidence(bench.order, key)


def test_an_agreement_key_made_by_the_token_reaches_the_device_and_nothing_else(
    token_rig: TokenRig, tmp_path: Path
) -> None:
    with token_rig.open() as session:
        injector = TokenInjector(session, None)
        bench = Bench(tmp_path, injector=injector, inject=Injection.AGREEMENT_KEY).init()
        station, chip = bench.open(), bench.chip(1)
        assert bench.attempt(station, chip).passed
        assert chip.lifecycle == OPERATIONAL
        begun = station.ledger.record(1)
        assert chip.agreement is not None
        assert begun.agreement_public_key == point(chip.agreement)
        assert begun.made_agreement_public_key != begun.agreement_public_key
        scalar = chip.agreement.private_numbers().private_value.to_bytes(32, "big")
        assert session.attributes() == ()
        station.ledger.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert begun.agreement_public_key.hex().encode() in stored
    assert scalar not in stored
    assert scalar.hex().encode() not in stored


def wrapped_group_key(session: Session) -> bytes:
    """As the maker's ceremony would bring it: made in a token, wrapped there by a key that stays."""
    secret = session.generate(KEY_SPECS[Role.GROUP_WRAP], key_label(KEY_SPECS[Role.GROUP_WRAP], "pump-x2", 1))
    profile = session.probe_profile(on_token=True)
    with session.operation("making a group key") as raw:
        usages = frozenset({KeyUsage.DERIVE})
        public, private = generate_unlocked_pair(raw, "", usages, profile, on_token=False, extractable=True)
        wrapping, _, _ = session.locate_secret_key(KeyRef(cka_id=secret.cka_id))
        framing, mechanism = framing_made_by(profile)
        assert framing is Framing.RFC_3394
        wrapped = wrapping.wrap_key(private, mechanism=mechanism)  # type: ignore[attr-defined]
        point_ = public_key_of(public).point
        private.destroy()
    fields = {
        "format": "strongroom-group-key-1",
        "public_key": point_.hex(),
        "wrapped_by": secret.cka_id.hex(),
        "wrapped": wrapped.hex(),
    }
    return json.dumps(fields).encode()


def test_a_groups_key_reaches_the_device_and_nothing_else(token_rig: TokenRig, tmp_path: Path) -> None:
    with token_rig.open() as session:
        data = wrapped_group_key(session)
        group = PublicKey(bytes.fromhex(json.loads(data)["public_key"]))
        injector = TokenInjector(session, GroupKeySource(session, parse_group_key(data, group)))
        inject = Injection.GROUP_KEY | Injection.AGREEMENT_KEY
        bench = Bench(tmp_path, injector=injector, inject=inject, group_public_key=group).init()
        station = bench.open()
        chips = [bench.chip(1), bench.chip(2)]
        assert all(bench.attempt(station, chip).passed for chip in chips)
        assert len(session.attributes()) == 1, "only the wrapping key is on the token"
        stored = b"".join(signed.record.canonical for signed in station.ledger.records())
    for chip in chips:
        assert chip.group is not None
        private = ec.derive_private_key(chip.group, ec.SECP256R1())
        assert point(private) == group.point
        scalar = chip.group.to_bytes(32, "big")
        for form in (scalar, scalar.hex().encode()):
            assert form not in stored + data
    assert chips[0].activation[256:480] != chips[1].activation[256:480]


def test_a_group_key_that_is_not_the_orders_is_refused(softhsm: TokenRig) -> None:
    with softhsm.open() as session:
        data = wrapped_group_key(session)
        group = PublicKey(bytes.fromhex(json.loads(data)["public_key"]))
        with pytest.raises(PolicyViolation, match="ST-11"):
            parse_group_key(data, PublicKey(point(ec.generate_private_key(ec.SECP256R1()))))
        for wrong in (b"", b"{}", data[:-1], data.replace(b"key-1", b"key-2"), data.replace(b'"wrapped"', b'"w"')):
            with pytest.raises(ConfigurationError):
                parse_group_key(wrong, group)
        fields = json.loads(data)
        other = json.dumps(fields | {"wrapped_by": "00" * 20}).encode()
        with pytest.raises(PolicyViolation, match="ST-11"):
            GroupKeySource(session, parse_group_key(other, group))
        changed = bytes([bytes.fromhex(fields["wrapped"])[0] ^ 1]) + bytes.fromhex(fields["wrapped"])[1:]
        source = GroupKeySource(
            session, parse_group_key(json.dumps(fields | {"wrapped": changed.hex()}).encode(), group)
        )
        with pytest.raises(WrappedKeyRefused):
            source()


def test_each_wrap_has_a_pair_of_its_own(token_rig: TokenRig) -> None:
    device = ec.generate_private_key(ec.SECP256R1())
    with token_rig.open() as session:
        made = [TokenInjector(session, None).make_agreement_key(PublicKey(point(device))) for _ in range(3)]
    assert len({item.public_key for item in made}) == 3
    assert len({item.key.ephemeral for item in made}) == 3


@pytest.mark.parametrize("bad", [bytes(64), b"\x01" * 64])
def test_a_device_key_off_the_curve_is_refused(softhsm: TokenRig, bad: bytes) -> None:
    with softhsm.open() as session, pytest.raises(KeyInconsistent):
        TokenInjector(session, None).make_agreement_key(PublicKey(bad))
