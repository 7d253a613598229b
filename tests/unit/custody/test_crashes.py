"""kill -9 before any PKCS#11 call, durable write or change of the key store: calling again ends in one right state."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from pki.key_states import KeyState
from signer.store.maintenance import check_key_store
from signer.tokens import KeyRef, ModuleConfig, load_module
from tests.softhsm_fixtures import TokenRig, close_all, nss_arguments
from tests.unit.custody.crash import ACTS, CHANGES, WRITES, Scene, kill_at, points_of
from tests.unit.custody.places import LABEL, PAIR, Place
from tests.unit.store.stores import change

SAMPLED = 6
"""Kills of each act in an ordinary run; the campaign makes all of them, in parts."""

PARTS = 4


@pytest.fixture
def softhsm_scene(
    tmp_path: Path, store_path: Path, softhsm: TokenRig, second_token: Callable[[str], TokenRig]
) -> Scene:
    spare = second_token("spare")
    return Scene(tmp_path, store_path, softhsm.folder, softhsm.config, softhsm.info, spare.info, softhsm.environment)


@pytest.fixture
def nss_scene(tmp_path: Path, store_path: Path, nss: TokenRig) -> Scene:
    return Scene(tmp_path, store_path, nss.folder, nss.config, nss.info, nss.info, {})


@contextmanager
def copied(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The scene once more, in folders of its own, and this process's module looking there."""
    module = load_module(scene.config)
    close_all(module)
    root = Path(tempfile.mkdtemp(prefix="strongroom-crash-", dir=scene.tokens.parent))
    folder, tokens = root / "place", root / "tokens"
    shutil.copytree(scene.folder, folder)
    shutil.copytree(scene.tokens, tokens)
    environment, config = dict(scene.environment), scene.config
    if environment:
        settings = tokens / "softhsm2.conf"
        settings.write_text(f"directories.tokendir = {tokens}/tokens\nobjectstore.backend = file\n", encoding="utf-8")
        environment["SOFTHSM2_CONF"] = str(settings)
        monkeypatch.setenv("SOFTHSM2_CONF", str(settings))
        module.reinitialize()
    else:
        config = replace_arguments(config, tokens)
        module.reinitialize(config.init_arguments)
    store_path = folder / scene.store_path.relative_to(scene.folder)
    try:
        yield replace(
            scene, folder=folder, store_path=store_path, tokens=tokens, config=config, environment=environment
        )
    finally:
        close_all(module)
        shutil.rmtree(root)


def replace_arguments(config: ModuleConfig, tokens: Path) -> ModuleConfig:
    return msgspec.structs.replace(config, init_arguments=nss_arguments(tokens))


def prepare(scene: Scene, act: str) -> dict[str, tuple[str, ...]]:
    """What must be there before the act; the custodians' papers."""
    if act == "generate":
        return {}
    with scene.open() as place:
        place.generate(place.plan(copy=act == "destroy" and place.home is not place.spare))
        if act == "restore" and place.home is place.spare:
            place.home.dangerously_destroy_key(ref(place))
            place.store.end_instance(place.record().cka_id, place.record().token.identity, change())
        return dict(place.custodians.papers)


def ref(place: Place) -> KeyRef:
    return KeyRef(LABEL, place.record().cka_id)


def assert_right(place: Place, act: str) -> None:
    """The one right state, and nothing beside it."""
    record = place.record()
    there = act != "destroy"
    one_token = place.home is place.spare
    assert place.labels_on(place.home) == (PAIR if there else [])
    assert place.labels_on(place.spare) == (PAIR if there else [])
    assert place.errors_on(place.home) == place.errors_on(place.spare) == set()
    assert place.pending() == []
    assert [path.name for path in place.folder.iterdir() if path.name.startswith(".")] == []
    assert place.backup().digest == record.backups[0].digest
    if there:
        assert record.state is KeyState.PRE_ACTIVATION
        assert len(record.tokens) == (1 if one_token else 2)
        for session in {place.home, place.spare}:
            assert session.find(ref(place)).public_key == record.public_key
    else:
        assert (record.state, record.tokens) == (KeyState.DESTROYED, ())
        assert all(backup.ended is not None for backup in record.backups)
    assert len(place.store.keys()) == 1


def cut_everywhere(
    scene: Scene, act: str, monkeypatch: pytest.MonkeyPatch, choose: Callable[[list[str]], list[int]]
) -> int:
    """Kill the act at chosen points of a run that was not killed, and call again each time; how many there were."""
    papers = prepare(scene, act)
    with copied(scene, monkeypatch) as control:
        names = points_of(control, act, papers)
        with control.open() as place:
            assert_right(place, act)
    chosen = choose(names)
    for number in chosen:
        with copied(scene, monkeypatch) as cut, named(f"killed before {names[number - 1]}, number {number}"):
            kill_at(cut, act, papers, number)
            module = load_module(cut.config)
            # A process that begins anew has probed nothing.
            module.profile = scene.profile
            module.reinitialize()
            with cut.open() as place:
                place.custodians.papers = dict(papers)
                if not finished(place, act):
                    ACTS[act](place)
                assert_right(place, act)
            check_key_store(cut.store_path)
    return len(chosen)


@contextmanager
def named(what: str) -> Iterator[None]:
    """Let a failure say at which point it was."""
    try:
        yield
    except Exception as error:
        error.add_note(what)
        raise


def finished(place: Place, act: str) -> bool:
    """Killed after the very last step: there is nothing left that a rerun could continue, and it says so."""
    if place.pending() or not place.store.keys():
        return False
    if act == "generate":
        return True
    if act == "restore":
        return place.record().origin_on((place.spare.token.serial, place.spare.token.label)) is not None
    return False


def every(names: list[str]) -> list[int]:
    """Before everything that changes something, and at the very end: between two of these, a kill leaves the same."""
    changes = (*CHANGES, *WRITES)
    telling = [
        number for number, name in enumerate(names, start=1) if name in changes or name.startswith(("before", "after"))
    ]
    return sorted({*telling, len(names)})


def sampled(names: list[str]) -> list[int]:
    """Some of them, evenly spread, the first and the last among them."""
    telling = every(names)
    return sorted({telling[index * (len(telling) - 1) // (SAMPLED - 1)] for index in range(SAMPLED)})


@pytest.mark.parametrize("act", ACTS)
def test_a_killed_act_is_ended_by_calling_again(
    act: str, softhsm_scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with softhsm_scene.open() as place:
        profile = place.home.probe_profile(on_token=True)
    scene = replace(softhsm_scene, profile=profile)
    assert cut_everywhere(scene, act, monkeypatch, sampled) >= SAMPLED - 2


def test_a_killed_generation_on_nss_is_ended_by_calling_again(
    nss_scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the key is on its token, and extractable, before it is finished."""
    with nss_scene.open() as place:
        profile = place.home.probe_profile(on_token=True)
    assert cut_everywhere(replace(nss_scene, profile=profile), "generate", monkeypatch, sampled) >= SAMPLED - 2


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("act", "kind"),
    # NSS softokn has one token in a process; destroying is the same on SoftHSM.
    [("generate", "softhsm"), ("generate", "nss"), ("restore", "softhsm"), ("restore", "nss"), ("destroy", "softhsm")],
)
@pytest.mark.parametrize("part", range(PARTS))
def test_an_act_may_be_killed_at_every_point(
    part: int, act: str, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene: Scene = request.getfixturevalue(f"{kind}_scene")
    count = cut_everywhere(scene, act, monkeypatch, lambda names: every(names)[part::PARTS])
    print(f"{act} on {kind}, part {part + 1} of {PARTS}: killed at each of {count} points")
