"""`strongroom device fixture` as a process of its own, and a client of its control socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bincopy

from tests.links.served import ROOT, read_lines
from tests.scenarios.world import BOARDS_FOLDER, World


@dataclass
class Fixture:
    """A running fixture; `via` has the address of each nest's link."""

    process: subprocess.Popen[bytes]
    vias: list[str]
    path: Path
    connection: socket.socket

    def ask(self, do: str, **keys: Any) -> dict[str, Any]:
        """The answer to one request."""
        self.connection.sendall(json.dumps({"do": do, **keys}).encode() + b"\n")
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        received = bytearray()
        while not received.endswith(b"\n"):
            data = self.connection.recv(1 << 20)
            assert data, "the fixture hung up"
            received += data
        answer = json.loads(received)
        assert isinstance(answer, dict)
        return answer

    def done(self, do: str, **keys: Any) -> dict[str, Any]:
        """The answer to a request that must be carried out."""
        answer = self.ask(do, **keys)
        assert answer.pop("ok") is True, answer
        return answer

    def refused(self, do: str, **keys: Any) -> str:
        """Why a request is not carried out."""
        answer = self.ask(do, **keys)
        assert answer["ok"] is False, answer
        return str(answer["error"])


def write_factory_image(folder: Path, world: World) -> Path:
    """What boards are flashed with, as Intel HEX."""
    file = bincopy.BinFile()
    for address, content in world.factory_blocks:
        file.add_binary(content, address)
    path = folder / "factory.hex"
    path.write_text(file.as_ihex())
    return path


@contextmanager
def fixture(folder: Path, world: World, *options: str, links: int = 1) -> Iterator[Fixture]:
    """A fixture while the body runs."""
    factory, path = write_factory_image(folder, world), folder / "control"
    board = BOARDS_FOLDER / f"{world.board_name}.toml"
    command = [sys.executable, "-m", "cli.start", "device", "fixture", "--json", "--factory-image", str(factory)]
    command += ["--board-file", str(board), "--socket", str(path), "--links", str(links), *options]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        vias = [str(line["via"]) for line in read_lines(process, links)]
        connection.connect(str(path))
        yield Fixture(process, vias, path, connection)
    finally:
        connection.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        if process.stdout is not None:
            process.stdout.close()
