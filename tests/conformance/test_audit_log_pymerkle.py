"""The root of every size agrees with pymerkle, which runs as a process of its own (it is under the GPL)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from signer.log.checkpoint import parse_checkpoint
from signer.log.merkle import root_at
from signer.log.tiles import TileReader, read_bundle
from tests.unit.log.logs import event, fast_folder, later, new_log
from tests.unit.log.software_key import SoftwareKey

ROOT = Path(__file__).resolve().parents[2]
ORACLE = ROOT / ".venv-oracles" / "bin" / "python"
COUNT = 530
PROGRAM = """
import sys
from pymerkle import InmemoryTree
tree = InmemoryTree(algorithm="sha256")
for line in sys.stdin:
    tree.append_entry(bytes.fromhex(line))
    print(tree.get_state().hex())
"""


def test_the_root_of_every_size_agrees() -> None:
    with fast_folder() as place, new_log(place / "log", SoftwareKey()) as log:
        log.append([event(number) for number in range(1, COUNT)], later(1))
        head = parse_checkpoint(log.checkpoint()).head
        widths = [min(256, COUNT - first) for first in range(0, COUNT, 256)]
        entries = [entry for number, width in enumerate(widths) for entry in read_bundle(log.folder, number, width)]
        done = subprocess.run(
            [ORACLE, "-I", "-c", PROGRAM],
            input="".join(f"{entry.hex()}\n" for entry in entries),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        roots = done.stdout.split()
        subtree = TileReader(log.folder, COUNT).subtree
        assert roots == [root_at(size, subtree).hex() for size in range(1, COUNT + 1)]
        assert roots[-1] == head.root.hex()
