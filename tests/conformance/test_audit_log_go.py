"""The log is read by an implementation that is not ours: Go's x/mod verifies notes, tiles, and proofs both ways."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from signer.log.audit_log import TileLog
from signer.log.checkpoint import parse_checkpoint
from signer.log.cosignature import WitnessKey, verify_cosignature
from signer.log.merkle import consistency_proof, root_at
from signer.log.tiles import TileReader
from signer.log.witness import cosign, make_witness
from tests.unit.log.logs import event, fast_folder, later, new_log
from tests.unit.log.software_key import SoftwareKey

SOURCE = Path(__file__).with_name("audit_log_oracle.go")
SIZES = (1, 2, 255, 256, 257, 700)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, from Debian's packages."""
    folder = tmp_path_factory.mktemp("go")
    environment = {
        **os.environ,
        "GOPATH": "/usr/share/gocode",
        "GO111MODULE": "off",
        "GOPROXY": "off",
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
    }
    command = ["go", "build", "-o", str(folder / "oracle"), str(SOURCE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "oracle"


@dataclass
class Rig:
    program: Path
    folder: Path
    log: TileLog
    key: SoftwareKey
    witness: WitnessKey

    def ask(self, questions: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        der = self.folder.parent / "log.der"
        der.write_bytes(self.key.public_key.spki)
        command = [str(self.program), str(self.folder), str(der), self.witness.name, self.witness.public_key.hex()]
        return subprocess.run(
            command, input=json.dumps(questions), capture_output=True, text=True, timeout=60, check=False
        )

    def answer(self, questions: dict[str, Any]) -> dict[str, Any]:
        done = self.ask(questions)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(params=SIZES)
def rig(program: Path, request: pytest.FixtureRequest) -> Iterator[Rig]:
    key = SoftwareKey()
    with fast_folder() as place, new_log(place / "log", key) as log:
        if request.param > 1:
            log.append([event(number) for number in range(1, request.param)], later(1))
        log.checkpoint()
        witness = make_witness(place / "witness", "witness.example/w1")
        cosigned = cosign(place / "witness", place / "log", key.public_key, later(2)).checkpoint
        signature, at = verify_cosignature(cosigned, witness)
        assert at == later(2)
        log.add_cosignature(cosigned.head, signature)
        yield Rig(program, place / "log", log, key, witness)


def test_checkpoint_tiles_and_proofs_verify(rig: Rig) -> None:
    head = parse_checkpoint(rig.log.checkpoint()).head
    step = max(1, head.size // 25)
    subtree = TileReader(rig.folder, head.size).subtree
    inclusion = []
    for index in range(0, head.size, step):
        proof = rig.log.prove(index)
        inclusion.append(
            {"Index": index, "Entry": proof.entry.decode(), "Hashes": [item.hex() for item in proof.hashes]}
        )
    consistency = [
        {
            "Old": old,
            "Root": root_at(old, subtree).hex(),
            "Hashes": [item.hex() for item in consistency_proof(old, head.size, subtree)],
        }
        for old in range(1, head.size, step)
    ]
    answer = rig.answer({"Inclusion": inclusion, "Consistency": consistency})
    assert answer == {
        "origin": head.origin,
        "size": head.size,
        "entries": head.size,
        "root": head.root.hex(),
        "signed_by": [head.origin, rig.witness.name],
        "unverified": 0,
    }


def test_the_oracle_refuses_what_is_wrong(rig: Rig) -> None:
    """It decides: a changed tile, a changed proof, a changed signature."""
    index = rig.log.size - 1
    proof = rig.log.prove(index)
    hashes = [item.hex() for item in proof.hashes]
    wrong = {"Index": index, "Entry": proof.entry.decode() + " ", "Hashes": hashes}
    assert rig.ask({"Inclusion": [wrong], "Consistency": []}).returncode == 1
    path = rig.folder / "checkpoint"
    note = path.read_bytes()
    path.write_bytes(note.replace(b"\n%d\n" % rig.log.size, b"\n%d\n" % (rig.log.size + 1), 1))
    assert rig.ask({"Inclusion": [], "Consistency": []}).returncode == 1
    path.write_bytes(note)
    for tile in sorted((rig.folder / "tile" / "0").rglob("*")):
        if tile.is_file():
            tile.write_bytes(bytes(len(tile.read_bytes())))
    assert rig.ask({"Inclusion": [], "Consistency": []}).returncode == 1
