"""Authorities for ceremonies: built once per session, copied for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from signer.tokens import ModuleConfig, find_module, load_module
from signer.tokens.module import Module
from tests.ceremonies.rooms import CREW, PRODUCT, CeremonyWorld, build, fast_folder, label
from tests.cli.world import configure_softhsm
from tests.faults.ceremony_kinds import with_roots
from tests.softhsm_fixtures import close_all

ISSUE = {
    "product": PRODUCT,
    "label": label("application-release", 2),
    "token": "release",
    "days": "400",
    "artefact": "application-release-2.pem",
}


def softhsm_module() -> Module:
    return load_module(ModuleConfig(find_module("softhsm2")))


def _copy(template: CeremonyWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[CeremonyWorld]:
    folder = fast_folder()
    shutil.copytree(template.folder, folder, dirs_exist_ok=True)
    world = CeremonyWorld(folder, configure_softhsm(folder))
    monkeypatch.setenv("SOFTHSM2_CONF", world.environment["SOFTHSM2_CONF"])
    module = softhsm_module()
    module.reinitialize()
    yield world
    close_all(module)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def built_template() -> Iterator[CeremonyWorld]:
    """Tokens, product, people, role keys; the issue of a key, `issue`, is rehearsed."""
    folder = fast_folder()
    with pytest.MonkeyPatch.context() as patch:
        world = CeremonyWorld(folder, configure_softhsm(folder))
        patch.setenv("SOFTHSM2_CONF", world.environment["SOFTHSM2_CONF"])
        softhsm_module().reinitialize()
        build(world)
        world.new("issue", "role-key-issue", ISSUE, CREW)
        yield world
    close_all(softhsm_module())
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def rooted_template(built_template: CeremonyWorld) -> Iterator[CeremonyWorld]:
    """The same with roots and a genesis bundle."""
    folder = fast_folder()
    with pytest.MonkeyPatch.context() as patch:
        shutil.copytree(built_template.folder, folder, dirs_exist_ok=True)
        world = CeremonyWorld(folder, configure_softhsm(folder))
        patch.setenv("SOFTHSM2_CONF", world.environment["SOFTHSM2_CONF"])
        softhsm_module().reinitialize()
        with_roots(world)
        yield world
    close_all(softhsm_module())
    shutil.rmtree(folder)


@pytest.fixture
def ceremony_world(built_template: CeremonyWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[CeremonyWorld]:
    yield from _copy(built_template, monkeypatch)


@pytest.fixture
def rooted_world(rooted_template: CeremonyWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[CeremonyWorld]:
    yield from _copy(rooted_template, monkeypatch)


@pytest.fixture
def module(ceremony_world: CeremonyWorld) -> Module:
    assert os.environ["SOFTHSM2_CONF"] == ceremony_world.environment["SOFTHSM2_CONF"]
    return softhsm_module()
