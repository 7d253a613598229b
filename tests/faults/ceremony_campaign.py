"""Kill a ceremony at a moment, resume it, and look whether it ends as one that was never interrupted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cli.ceremony_files import tool_digest
from signer.tokens import ModuleConfig, find_module, load_module
from tests.ceremonies.rooms import CeremonyWorld, build, fast_folder
from tests.cli.world import configure_softhsm
from tests.faults.ceremony_kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
NAME = "held"


@cache
def shim() -> Path:
    """The preloaded library, compiled once."""
    folder = ROOT / "build" / "faults"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"ceremony_rig.{os.getpid()}.so"
    source = Path(__file__).with_name("ceremony_rig.c")
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library


class Server:
    """The fork server, and one request after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.ceremony_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "LD_PRELOAD": str(shim()), "CEREMONY_TOOL_DIGEST": tool_digest()},
        )
        assert self._answer() == "ready\n"

    def run(self, world: CeremonyWorld, arguments: list[str], **options: Any) -> dict[str, Any]:
        """One command in a child: its report, or {"killed": True}."""
        report = world.folder / "report.json"
        report.unlink(missing_ok=True)
        request = {
            "softhsm_conf": world.environment["SOFTHSM2_CONF"],
            "root": str(world.root),
            "arguments": arguments,
            "report": str(report),
            "kill_at": 0,
            **options,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._answer())
        if answer["killed"]:
            return {"killed": True}
        failure = Path(f"{report}.error")
        assert answer["status"] == 0, failure.read_text(encoding="utf-8") if failure.exists() else answer
        return {"killed": False, **json.loads(report.read_text(encoding="utf-8"))}

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)


@dataclass
class Prepared:
    """A world in which one ceremony is rehearsed; each run gets a copy. `state` and `moments` of an undisturbed run."""

    kind: str
    world: CeremonyWorld
    digest: str
    server: Server
    state: dict[str, Any] = field(default_factory=dict)
    moments: list[str] = field(default_factory=list)

    @contextmanager
    def copy(self) -> Iterator[CeremonyWorld]:
        folder = fast_folder()
        try:
            shutil.copytree(self.world.folder, folder, dirs_exist_ok=True)
            yield CeremonyWorld(folder, configure_softhsm(folder))
        finally:
            shutil.rmtree(folder)

    def begin(self, world: CeremonyWorld, **options: Any) -> dict[str, Any]:
        return self._command(world, "run", ["--digest", self.digest], **options)

    def resume(self, world: CeremonyWorld, **options: Any) -> dict[str, Any]:
        """As a person would: resume, or run where nothing had begun."""
        transcript = world.ceremonies / NAME / "transcript.jsonl"
        if transcript.is_file() and b"\n" in transcript.read_bytes():
            return self._command(world, "resume", [], **options)
        return self.begin(world, **options)

    def _command(self, world: CeremonyWorld, name: str, more: list[str], **options: Any) -> dict[str, Any]:
        arguments = ["ceremony", name, NAME, *more, "--answers", str(world.answers)]
        return self.server.run(world, arguments, look=NAME, **options)

    def undisturbed(self) -> None:
        """The end that every other run must come to."""
        with self.copy() as world:
            report = self.begin(world)
        assert report["code"] == 0, report["err"]
        assert report["state"]["problems"] == [], report["state"]["problems"]
        self.state, self.moments = report["state"], report["moments"]

    def killed_at(self, moment: int, *, again_at: int = 0, variant: str = "sound") -> list[str]:
        """Kill at a moment (from 1), resume, and say what is wrong then. `again_at`: kill the first resume too."""
        with self.copy() as world:
            report = self.begin(world, kill_at=moment, variant=variant)
            assert report["killed"], f"moment {moment} was not reached"
            if again_at:
                report = self.resume(world, kill_at=again_at, variant=variant)
            if report["killed"]:
                report = self.resume(world, variant=variant)
        if report["code"] != 0:
            return [f"resume ended with {report['code']}: {report['err'].splitlines()[-1]}"]
        problems: list[str] = list(report["state"]["problems"])
        for name, value in self.state.items():
            if report["state"][name] != value:
                problems.append(f"{name} differ: {report['state'][name]}")
        return problems


@contextmanager
def prepared(kind: str) -> Iterator[Prepared]:
    """A world for one kind, and a server of its own."""
    folder = fast_folder()
    before = os.environ.get("SOFTHSM2_CONF")
    server = Server()
    try:
        world = CeremonyWorld(folder, configure_softhsm(folder))
        os.environ["SOFTHSM2_CONF"] = world.environment["SOFTHSM2_CONF"]
        load_module(ModuleConfig(find_module("softhsm2"))).reinitialize()
        build(world)
        KINDS[kind].before(world)
        digest = world.new(NAME, KINDS[kind].plan, KINDS[kind].values, KINDS[kind].people)
        ready = Prepared(kind, world, digest, server)
        ready.undisturbed()
        yield ready
    finally:
        server.close()
        shutil.rmtree(folder)
        if before is None:
            os.environ.pop("SOFTHSM2_CONF", None)
        else:
            os.environ["SOFTHSM2_CONF"] = before
