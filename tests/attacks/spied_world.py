"""A world whose commands run in a child process behind pkcs11-spy: every call that reaches a token stands in a file.

Run as a program, it is that child: arguments as JSON lines on standard input, results as JSON lines on standard output.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from signer.tokens import find_module
from tests.cli.service_world import ServiceWorld
from tests.cli.world import Result, World

ROOT = Path(__file__).resolve().parents[2]
_CALL = re.compile(r"^\d+: (C_\w+)\n", re.MULTILINE)
_MATCH = re.compile(r"Object (0x[0-9a-f]+) matches")
_KEY = re.compile(r"hKey = (0x[0-9a-f]+)")


@dataclass
class SpiedWorld(ServiceWorld):
    """`run` as in every world; `asked_keys` says which keys a command asked for a signature, and how often."""

    child: subprocess.Popen[str] | None = None
    _read_bytes: int = 0
    _ids: dict[str, str] = field(default_factory=dict)
    _labels: dict[str, str] = field(default_factory=dict)

    @property
    def spy_file(self) -> Path:
        return self.folder / "pkcs11-spy.log"

    @contextmanager
    def spying(self) -> Iterator[None]:
        """Put the spy between the authority and SoftHSM, and start the child."""
        softhsm = find_module("softhsm2")
        text = self.site_file.read_text(encoding="utf-8")
        assert softhsm in text
        self.site_file.write_text(text.replace(softhsm, find_module("pkcs11-spy")), encoding="utf-8")
        environment = {**os.environ, **self.environment, "PKCS11SPY": softhsm, "PKCS11SPY_OUTPUT": str(self.spy_file)}
        command = [sys.executable, "-m", "tests.attacks.spied_world", str(self.folder)]
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            self.child = child
            self._labels = {row["cka_id"]: row["label"] for row in self.ok("key", "list", "--json").json}
            yield
            assert child.stdin is not None
            child.stdin.close()

    def run(self, *arguments: str | Path) -> Result:
        assert self.child is not None
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        self.child.stdin.flush()
        return Result(*json.loads(self.child.stdout.readline()))

    def asked_keys(self) -> Counter[str]:
        """The labels of the keys that were asked to sign (C_SignInit) since this was last called."""
        with self.spy_file.open(encoding="ascii", errors="replace") as stream:
            stream.seek(self._read_bytes)
            text = stream.read()
            self._read_bytes = stream.tell()
        asked: Counter[str] = Counter()
        sought: str | None = None
        parts = _CALL.split(text)
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            if name == "C_FindObjectsInit":
                sought = _id_in(body) if "CKO_PRIVATE_KEY" in body else None
            elif name == "C_FindObjects" and sought is not None:
                self._ids |= dict.fromkeys(_MATCH.findall(body), sought)
            elif name == "C_SignInit":
                asked += Counter(self._ids.get(key, f"unknown key {key}") for key in _KEY.findall(body))
        return Counter({self._labels.get(cka_id, cka_id): count for cka_id, count in asked.items()})


def _id_in(body: str) -> str | None:
    """The CKA_ID in a search template, in hexadecimal: its length in one line, then a dump of 16 bytes a line."""
    lines = iter(body.split("\n"))
    for line in lines:
        if line.lstrip().startswith("CKA_ID "):
            size_bytes, content = int(line.rpartition("/")[2]), b""
            while len(content) < size_bytes:
                content += bytes.fromhex(next(lines).strip().split("  ")[1])
            return content.hex()
    return None


def serve(folder: Path, requests: IO[str], answers: IO[str]) -> None:
    world = World(folder)
    for line in requests:
        arguments: list[Any] = json.loads(line)
        result = world.run(*arguments)
        answers.write(json.dumps([result.code, result.out, result.err]) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.stdin, sys.stdout)
