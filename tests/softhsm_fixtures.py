"""Real tokens for tests: SoftHSM and NSS softokn, each in a folder of its own per test.

A folder of tests gets them by writing in its conftest.py:

    from tests.softhsm_fixtures import *  # noqa: F403

Fixtures: `softhsm` and `nss` (one initialised token each, see `TokenRig`), `token_rig` (the test runs once on each),
`second_token` (makes another SoftHSM token). Set-up installs both modules; a missing one fails the tests, never skips.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pki.key_specs import KEY_SPECS, key_label
from pki.roles import Role
from signer.tokens import (
    ModuleConfig,
    PinFile,
    Pkcs11Uri,
    TokenInfo,
    find_module,
    init_token,
    load_module,
)
from signer.tokens.key_handle import KeyHandle
from signer.tokens.module import Module
from signer.tokens.session import Session
from signer.tokens.token import Token

__all__ = ["TokenRig", "nss", "nss_template", "second_token", "softhsm", "softhsm_template", "token_rig"]

USER_PIN = "user-1234"
SO_PIN = "officer-5678"


@dataclass
class TokenRig:
    """One initialised token, empty, with its module ready in this process."""

    kind: str
    folder: Path
    config: ModuleConfig
    info: TokenInfo
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def module(self) -> Module:
        return load_module(self.config)

    @property
    def uri(self) -> Pkcs11Uri:
        """Names module and token; works in another process that has `environment`."""
        return self.info.uri(self.config.path, self.config.init_arguments)

    @property
    def pin_source(self) -> PinFile:
        return PinFile(self.folder / "fake" / "user.pin")

    def token(self) -> Token:
        return Token(self.module, self.uri)

    def open(self, *, writable: bool = True) -> Session:
        return self.token().open(self.pin_source, writable=writable)

    def pin_file(self, name: str, pin: str) -> PinFile:
        return PinFile(write_pin(self.folder / "fake" / name, pin))

    def generate(self, session: Session, role: Role = Role.APPLICATION_RELEASE, sequence: int = 1) -> KeyHandle:
        handle = session.generate(KEY_SPECS[role], key_label(KEY_SPECS[role], "pump-x2", sequence))
        assert isinstance(handle, KeyHandle)
        return handle


def write_pin(path: Path, pin: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(pin + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def _fast_folder() -> Path:
    """On tmpfs where there is one: tokens fsync a lot."""
    shared_memory = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a private folder in it)
    return Path(
        tempfile.mkdtemp(prefix="strongroom-", dir=shared_memory if os.access(shared_memory, os.W_OK) else None)
    )


def _make_pins(folder: Path) -> tuple[PinFile, PinFile]:
    return (
        PinFile(write_pin(folder / "fake" / "so.pin", SO_PIN)),
        PinFile(write_pin(folder / "fake" / "user.pin", USER_PIN)),
    )


def _configure_softhsm(folder: Path) -> dict[str, str]:
    (folder / "tokens").mkdir(exist_ok=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n", encoding="utf-8"
    )
    return {"SOFTHSM2_CONF": str(configuration)}


def nss_arguments(folder: Path, label: str = "nss-one") -> str:
    return (
        f"configdir='sql:{folder}' certPrefix='' keyPrefix='' secmod='' "
        f"dbTokenDescription='{label}' dbSlotDescription='{label}'"
    )


def close_all(module: Module) -> None:
    """End what a test left open, and forget which PINs were refused."""
    for session in list(module.sessions):
        session.close()
    module.refused_pins.clear()


@pytest.fixture(scope="session")
def softhsm_template() -> Iterator[TokenRig]:
    folder = _fast_folder()
    environment = _configure_softhsm(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
        config = ModuleConfig(find_module("softhsm2"))
        info = init_token(load_module(config), "hsm-one", *_make_pins(folder))
        yield TokenRig("softhsm", folder, config, info, environment)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def nss_template() -> Iterator[TokenRig]:
    folder = _fast_folder()
    config = ModuleConfig(find_module("softokn3"), nss_arguments(folder))
    info = init_token(load_module(config), "nss-one", None, _make_pins(folder)[1])
    yield TokenRig("nss", folder, config, info)
    shutil.rmtree(folder)


@pytest.fixture
def softhsm(softhsm_template: TokenRig, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenRig]:
    folder = _fast_folder()
    shutil.copytree(softhsm_template.folder, folder, dirs_exist_ok=True)
    environment = _configure_softhsm(folder)
    monkeypatch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
    module = load_module(softhsm_template.config)
    module.reinitialize()
    yield TokenRig("softhsm", folder, softhsm_template.config, softhsm_template.info, environment)
    close_all(module)
    shutil.rmtree(folder)


@pytest.fixture
def nss(nss_template: TokenRig) -> Iterator[TokenRig]:
    folder = _fast_folder()
    shutil.copytree(nss_template.folder, folder, dirs_exist_ok=True)
    config = ModuleConfig(nss_template.config.path, nss_arguments(folder))
    module = load_module(config)
    yield TokenRig("nss", folder, config, nss_template.info)
    close_all(module)
    shutil.rmtree(folder)


@pytest.fixture(params=["softhsm", "nss"])
def token_rig(request: pytest.FixtureRequest) -> TokenRig:
    """The contract: the test runs on every module we support."""
    rig: TokenRig = request.getfixturevalue(request.param)
    return rig


@pytest.fixture
def second_token(softhsm: TokenRig) -> Callable[[str], TokenRig]:
    """Makes another SoftHSM token beside `softhsm`; no session may be open meanwhile."""

    def make(label: str) -> TokenRig:
        info = init_token(softhsm.module, label, PinFile(softhsm.folder / "fake" / "so.pin"), softhsm.pin_source)
        return TokenRig("softhsm", softhsm.folder, softhsm.config, info, softhsm.environment)

    return make
