"""Worlds for the tests of the command line: built once per session, copied for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from signer.tokens import ModuleConfig, find_module, load_module
from signer.tokens.module import Module
from tests.cli.desk_world import *  # noqa: F403
from tests.cli.release_world import *  # noqa: F403
from tests.cli.service_world import *  # noqa: F403
from tests.cli.world import World, build_world, configure_softhsm
from tests.softhsm_fixtures import *  # noqa: F403
from tests.softhsm_fixtures import close_all


def _fast_folder() -> Path:
    shared_memory = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a private folder in it)
    return Path(
        tempfile.mkdtemp(prefix="strongroom-cli-", dir=shared_memory if os.access(shared_memory, os.W_OK) else None)
    )


def softhsm_module() -> Module:
    return load_module(ModuleConfig(find_module("softhsm2")))


@pytest.fixture(scope="session")
def world_template() -> Iterator[World]:
    folder = _fast_folder()
    with pytest.MonkeyPatch.context() as patch:
        environment = configure_softhsm(folder)
        patch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
        world = World(folder, environment)
        build_world(world)
        yield world
    close_all(softhsm_module())
    shutil.rmtree(folder)


@pytest.fixture
def world(world_template: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The whole world, the test's own."""
    folder = _fast_folder()
    shutil.copytree(world_template.folder, folder, dirs_exist_ok=True)
    environment = configure_softhsm(folder)
    monkeypatch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
    module = softhsm_module()
    module.reinitialize()
    yield World(folder, environment)
    close_all(module)
    shutil.rmtree(folder)


@pytest.fixture
def bare_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Only a SoftHSM without tokens; no authority repository yet."""
    folder = _fast_folder()
    environment = configure_softhsm(folder)
    monkeypatch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
    module = softhsm_module()
    module.reinitialize()
    yield World(folder, environment)
    close_all(module)
    shutil.rmtree(folder)
