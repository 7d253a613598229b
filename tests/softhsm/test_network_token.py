"""A token behind a network connection that breaks: p11-kit's server with SoftHSM behind it, killed and restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.values import Digest, Scheme
from signer.tokens import KeyRef, ModuleConfig, Pkcs11Uri, find_module, load_module
from signer.tokens.errors import TokenLost, TokenNotFound
from signer.tokens.function_list import FunctionList
from signer.tokens.module import Module
from signer.tokens.token import Token
from tests.softhsm.fault_rig import counted
from tests.softhsm_fixtures import TokenRig, close_all

RAW = Scheme.ECDSA_P256_SHA256_RAW
LABEL = "sr:application-release:pump-x2:0001"


class Server:
    """`p11-kit server` in a process group of its own: it forks a child per connection, and all of them must die."""

    def __init__(self, rig: TokenRig) -> None:
        self.socket = rig.folder / "p11-kit.socket"
        self._command = ["p11-kit", "server", "-f", "-n", str(self.socket), "--provider", rig.config.path, "pkcs11:"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            assert time.monotonic() < deadline, "p11-kit server did not start"
            time.sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def server(softhsm: TokenRig) -> Iterator[Server]:
    with softhsm.open() as session:
        softhsm.generate(session)
    running = Server(softhsm)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    monkeypatch.setenv("P11_KIT_SERVER_ADDRESS", f"unix:path={server.socket}")
    module = load_module(ModuleConfig(find_module("p11-kit-client")))
    module.reinitialize()
    yield module
    close_all(module)


def test_a_killed_server_and_one_that_comes_back(softhsm: TokenRig, server: Server, client: Module) -> None:
    uri = Pkcs11Uri(serial=softhsm.info.serial, token=softhsm.info.label)
    with Token(client, uri).open(softhsm.pin_source) as session:
        handle = session.find(KeyRef(LABEL))
        handle.sign(Digest.of(b"before"), RAW)
        server.kill()
        with counted(client, "C_Login") as logins:
            with pytest.raises(TokenLost, match="CKR_DEVICE_ERROR"):
                handle.sign(Digest.of(b"during"), RAW)
            for _ in range(2):
                with pytest.raises(TokenNotFound):
                    handle.sign(Digest.of(b"during"), RAW)
            assert logins == []
            server.start()
            handle.sign(Digest.of(b"after"), RAW)
            assert len(logins) == 1


def test_the_function_list_is_the_one_that_python_pkcs11_calls(
    softhsm: TokenRig, nss: TokenRig, client: Module
) -> None:
    """SoftHSM and NSS have one list; p11-kit's client makes a new one for everybody who asks."""
    for module in (softhsm.module, nss.module):
        assert FunctionList.of_library(module.library).address == FunctionList.of_file(module.path).address
        assert module.functions.address == FunctionList.of_library(module.library).address
    assert FunctionList.of_library(client.library).address != FunctionList.of_file(client.path).address
    assert client.functions.address == FunctionList.of_library(client.library).address
    assert Path(client.path).name == "p11-kit-client.so"
