"""Generation that is cut off: nothing stays, or something that is recognised as unfinished and can be removed."""

from __future__ import annotations

import pytest

from pki.key_audit import ObjectClass
from pki.key_specs import KEY_SPECS
from pki.roles import Role
from pki.values import Digest, Scheme
from signer.tokens import KeyRef, worker_context
from signer.tokens.errors import KeyAmbiguous, KeyInconsistent, KeyNotFound, LabelTaken, TokenError
from signer.tokens.key_handle import KeyHandle
from tests.softhsm.fault_rig import failing
from tests.softhsm.workers import KILLED, generate_and_die, generate_named
from tests.softhsm_fixtures import TokenRig

LABEL = "sr:root:-:0001"

# Kind, function, call after which the process dies, objects then on the token.
KILLS = [
    ("softhsm", "C_GenerateKeyPair", 1, 0),
    ("softhsm", "C_CopyObject", 1, 1),
    ("softhsm", "C_CopyObject", 2, 2),
    ("nss", "C_GenerateKeyPair", 1, 2),
    ("nss", "C_SetAttributeValue", 1, 2),
    ("nss", "C_SetAttributeValue", 2, 2),
    ("nss", "C_SetAttributeValue", 3, 2),
    ("nss", "C_SetAttributeValue", 4, 2),
]


@pytest.mark.parametrize(("kind", "function", "call_number", "objects_left"), KILLS)
def test_a_killed_generation_is_finished_or_removable(
    request: pytest.FixtureRequest, kind: str, function: str, call_number: int, objects_left: int
) -> None:
    rig: TokenRig = request.getfixturevalue(kind)
    arguments = (str(rig.uri), str(rig.pin_source.path), LABEL, function, call_number)
    process = worker_context().Process(target=generate_and_die, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == KILLED
    rig.module.reinitialize()
    with rig.open() as session:
        assert len(session.objects()) == objects_left
        is_finished = (function, call_number) in {("C_CopyObject", 2), ("C_SetAttributeValue", 4)}
        if is_finished:
            session.find(KeyRef(LABEL)).sign(Digest.of(b"x"), Scheme.ECDSA_P256_SHA256_RAW)
            with pytest.raises(KeyInconsistent, match="not unfinished"):
                session.dangerously_destroy_unfinished(LABEL)
            return
        with pytest.raises(KeyNotFound):
            session.find(KeyRef(LABEL))
        if objects_left:
            with pytest.raises(LabelTaken, match="interrupted"):
                session.generate(KEY_SPECS[Role.ROOT], LABEL)
        assert session.dangerously_destroy_unfinished(LABEL) == objects_left
        assert session.objects() == ()
        made = session.generate(KEY_SPECS[Role.ROOT], LABEL)
        assert isinstance(made, KeyHandle)
        made.sign(Digest.of(b"x"), Scheme.ECDSA_P256_SHA256_RAW)


FAULTS = [
    ("softhsm", "C_GenerateKeyPair", 0),
    ("softhsm", "C_CopyObject", 0),
    ("softhsm", "C_CopyObject", 1),
    ("softhsm", "C_Sign", 0),
    ("nss", "C_GenerateKeyPair", 0),
    ("nss", "C_SetAttributeValue", 0),
    ("nss", "C_SetAttributeValue", 1),
    ("nss", "C_SetAttributeValue", 2),
    ("nss", "C_SetAttributeValue", 3),
    ("nss", "C_Sign", 0),
]


@pytest.mark.parametrize(("kind", "function", "skip"), FAULTS)
def test_a_failed_generation_leaves_nothing(
    request: pytest.FixtureRequest, kind: str, function: str, skip: int
) -> None:
    rig: TokenRig = request.getfixturevalue(kind)
    with rig.open() as session:
        session.probe_profile(on_token=True)
        with failing(session.module, function, 0x30, skip=skip), pytest.raises(TokenError, match="CKR_DEVICE_ERROR"):
            session.generate(KEY_SPECS[Role.ROOT], LABEL)
        assert session.objects() == ()
        session.generate(KEY_SPECS[Role.ROOT], LABEL)
        assert [item.object_class for item in session.objects()].count(ObjectClass.PRIVATE_KEY) == 1


def test_two_processes_that_take_one_label_at_once_are_noticed(softhsm: TokenRig) -> None:
    """SoftHSM does not always show one process what another has just made: then both keys stay, and neither is used."""
    arguments = (str(softhsm.uri), str(softhsm.pin_source.path), LABEL)
    with worker_context().Pool(2) as pool:
        outcomes = pool.starmap(generate_named, [arguments] * 4)
    assert set(outcomes) <= {"made", "LabelTaken", "TokenLost"}
    softhsm.module.reinitialize()
    with softhsm.open() as session:
        made = outcomes.count("made")
        assert len(session.objects()) == 2 * made
        expected = {0: KeyNotFound, 1: None, 2: KeyAmbiguous}[made]
        if expected is None:
            session.find(KeyRef(LABEL)).sign(Digest.of(b"x"), Scheme.ECDSA_P256_SHA256_RAW)
        else:
            with pytest.raises(expected):
                session.find(KeyRef(LABEL))
