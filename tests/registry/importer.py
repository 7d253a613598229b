"""A process of its own that imports a file of births: `python -m tests.registry.importer URL FILE TRUST [MOMENT]`.

It says `ready`, waits for a line, imports, and says how many records it added, or the error. At MOMENT it says `here`
and waits to be killed: `block N` (after the rows of block N were written), `commit` (all rows written, nothing
committed), `done` (committed, and not yet told).
"""

from __future__ import annotations

import pickle
import sys
import time
from pathlib import Path
from typing import Any

from pki.errors import StrongroomError
from provisioning.registry import births_fold, births_taking
from provisioning.registry.registry import open_registry
from tests.registry.production_line import NOW


def stop() -> None:
    print("here", flush=True)
    time.sleep(600)


def stop_at(moment: str) -> None:
    taken = births_fold.BirthsFold.take
    kept = births_taking._Taking._keep
    blocks = 0

    def take(self: Any, block: Any) -> None:
        nonlocal blocks
        taken(self, block)
        blocks += 1
        if moment == f"block {blocks}":
            stop()

    def keep(self: Any, ledger: Any, before: int) -> None:
        kept(self, ledger, before)
        if moment == "commit":
            stop()

    births_fold.BirthsFold.take = take  # type: ignore[method-assign]
    births_taking._Taking._keep = keep  # type: ignore[method-assign]


def main(url: str, file: str, trust: str, moment: str = "") -> None:
    births_taking.BLOCK_RECORDS = 4
    stop_at(moment)
    believed = pickle.loads(Path(trust).read_bytes())  # noqa: S301 (the test wrote it)
    with open_registry(url) as registry, Path(file).open("rb") as stream:
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            taken = registry.take_births(stream, NOW, who="importer", trust=believed)
        except StrongroomError as error:
            print(f"error {error}", flush=True)
            return
        if moment == "done":
            stop()
        print(f"added {taken.added}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
