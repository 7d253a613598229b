"""Where the demonstration plays: its folder, its environment, and processes that come out as expected or end it."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.firmware.build import ImagePlace, copy_sources
from demo.story import Step

ROOT = Path(__file__).resolve().parent.parent
HEAD_SIZE_BYTES = 1024
REFUSED_BY_DEVICE = 11
POWER_CUT = 12

_MARK = ".strongroom-demo"
_SECONDS_MAX = 120
_PROCESSES_MAX = 2
_PIN_DIGITS = 12


class DemoFailed(Exception):
    """Something did not come out as it must; the message says what."""


def expect(condition: bool, message: str) -> None:
    """Raise DemoFailed unless the condition holds."""
    if not condition:
        raise DemoFailed(message)


class Stage:
    """The folder in which all commands run, by names relative to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = _environment(folder)

    def run(self, step: Step, argv: Sequence[str], exit_code: int = 0) -> str:
        """Run a command, put it and what it printed into the story, and return that. Raises DemoFailed."""
        done = self._process(argv, exit_code)
        # Where the folder stands says something about this machine, and nothing to the reader.
        shown = (done.stdout + done.stderr).replace(f"{self.folder}{os.sep}", "").strip("\n")
        step.add_command(argv, shown, done.returncode)
        return done.stdout

    def strongroom(self, step: Step, *arguments: str, prints: str = "") -> str:
        """Run `strongroom`, which must print `prints`; all that it prints goes into the story. Raises DemoFailed."""
        said = self.run(step, ["strongroom", *arguments])
        expect(
            prints in said, f"strongroom {' '.join(arguments)}\nwas to print {prints!r}, but printed: {said.strip()}"
        )
        return said

    def refused(self, step: Step, *arguments: str, exit_code: int) -> str:
        """Run `strongroom`, which must refuse with this exit code; returns its one line. Raises DemoFailed."""
        done = self._process(["strongroom", *arguments], exit_code)
        step.add_command(["strongroom", *arguments], done.stderr.strip("\n"), done.returncode)
        return done.stderr.strip().splitlines()[-1]

    def outsider(self, step: Step, argv: Sequence[str], *, says: str, exit_code: int = 0) -> None:
        """Run a program that is not ours and must say `says`; of its many lines the story has the first with that."""
        done = self._process(argv, exit_code)
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if says in line]
        expect(bool(lines), f"{' '.join(argv)} was to say {says!r}")
        step.add_command(argv, lines[0], done.returncode)

    def strongroom_together(self, step: Step, *commands: Sequence[str], prints: str) -> None:
        """Run commands that do not depend on each other at the same time; the story has them in order."""
        steps = [Step("", "", "") for _ in commands]
        with ThreadPoolExecutor(_PROCESSES_MAX) as pool:
            done = [
                pool.submit(self.strongroom, part, *command, prints=prints)
                for part, command in zip(steps, commands, strict=True)
            ]
        for part, result in zip(steps, done, strict=True):
            result.result()
            step.transcript += part.transcript

    def report(self, step: Step, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
        """Run `strongroom … --json`; of its report only the line that says it in words goes into the story."""
        argv = ["strongroom", *arguments, "--json"]
        done = self._process(argv, exit_code)
        try:
            report = json.loads(done.stdout)
        except ValueError:
            raise DemoFailed(f"{' '.join(argv)} printed no JSON: {done.stdout[:200]!r}") from None
        expect(isinstance(report, dict), f"{' '.join(argv)} printed no JSON object")
        step.add_command(argv, _in_words(report), done.returncode)
        return dict(report)

    @contextmanager
    def serving(self, step: Step, *arguments: str, lines: int) -> Iterator[list[str]]:
        """Run `strongroom …` in the background until the block ends; yields its first lines. Raises DemoFailed."""
        argv = ["strongroom", *arguments]
        with subprocess.Popen(
            argv, cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                said = _first_lines(process, lines)
                if len(said) != lines:
                    raise DemoFailed(f"{' '.join(argv)} was to serve, but ended: {_last_words(process)}")
                step.transcript += [f"$ {shlex.join(argv)} &", *said]
                yield said
            finally:
                process.terminate()
                process.communicate(timeout=_SECONDS_MAX)

    def write(self, step: Step, name: str, text: str) -> None:
        """Write a file as a person would with an editor; the story shows what it says then."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        self.run(step, ["cat", name])

    def append(self, step: Step, name: str, text: str) -> None:
        """Add lines to a file as a person would with an editor; the story shows these lines."""
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(text)
        self.run(step, ["tail", "-n", str(text.count("\n")), name])

    def shell(self, step: Step, script: str) -> str:
        """Run a shell script as it is printed in a document."""
        done = self._process(["sh", "-eu", "-c", script], 0)
        step.transcript += [*(f"$ {line}" for line in script.strip().splitlines()), *done.stdout.splitlines()]
        return done.stdout

    def _process(self, argv: Sequence[str], exit_code: int) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(
                argv, cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL, capture_output=True,
                text=True, check=False, timeout=_SECONDS_MAX,
            )  # fmt: skip
        except FileNotFoundError:
            raise DemoFailed(f"there is no program {argv[0]!r}: `make setup` installs it") from None
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"{' '.join(argv)} did not end within {_SECONDS_MAX} seconds") from None
        if done.returncode != exit_code:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise DemoFailed(
                f"{' '.join(argv)}\nended with exit code {done.returncode}, not {exit_code}; it said: {said}"
            )
        return done

    def image_place(self, region: str) -> ImagePlace:
        """Where the image of a region of the demonstration's board stands (docs/spec/boards.md)."""
        board = tomllib.loads((self.folder / "authority/boards/stm32f405-full.toml").read_text(encoding="utf-8"))
        sizes = [run["size_bytes"] for run in board["sectors"] for _ in range(run["count"])]
        first, count = board["regions"][region]["first_sector"], board["regions"][region]["sector_count"]
        begin = board["flash_base"] + sum(sizes[:first])
        return ImagePlace(begin + HEAD_SIZE_BYTES, sum(sizes[first : first + count]) - HEAD_SIZE_BYTES)


def _first_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """The first lines that a serving process prints; fewer if it ends before. A timer ends one that says nothing."""
    timer = threading.Timer(_SECONDS_MAX, process.kill)
    timer.start()
    try:
        lines = [process.stdout.readline() for _ in range(count)] if process.stdout is not None else []
    finally:
        timer.cancel()
    return [line.rstrip("\n") for line in lines if line]


def _last_words(process: subprocess.Popen[str]) -> str:
    process.kill()
    said = process.communicate()[1].strip()
    return said.splitlines()[-1] if said else "nothing was said"


def _in_words(report: Mapping[str, Any]) -> str:
    """The lines of a report that say it in words: what runs, or why not."""
    lines = []
    if report.get("accepted") is False:
        lines.append(f"REFUSED, {report['name']} ({report['code']})")
    if report.get("power_cut"):
        lines.append("POWER CUT: the device is off, and its flash is as the cut left it")
    elif "text" in report:
        lines.append(str(report["text"]))
    return "\n".join(lines)


def open_stage(folder: Path) -> Stage:
    """An empty folder with what everything needs first. Raises DemoFailed; only the demonstration's own is emptied."""
    folder = folder.resolve()
    if folder.exists():
        is_ours = (folder / _MARK).is_file()
        expect(
            is_ours or (folder.is_dir() and not any(folder.iterdir())),
            f"{folder} is not a folder of the demonstration, and is left alone; move it away",
        )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / _MARK).write_text("This folder is removed by each run of the demonstration.\n", encoding="utf-8")
    (folder / "fake" / "tokens").mkdir(parents=True, mode=0o700)
    (folder / "fake" / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder}/fake/tokens\nobjectstore.backend = file\nlog.level = ERROR\n",
        encoding="utf-8",
    )
    copy_sources(folder)
    (folder / "env.sh").write_text(_environment_script(folder), encoding="utf-8")
    return Stage(folder)


def write_fake_pin(stage: Stage, name: str) -> None:
    """A random PIN in a file that only its owner can read, as `strongroom` demands of PIN files."""
    path = stage.folder / "fake" / name
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{secrets.randbelow(10**_PIN_DIGITS):0{_PIN_DIGITS}}\n")


def _programs() -> list[str]:
    return [str(Path(sys.prefix) / "bin"), *(str(ROOT / f".venv-{name}" / "bin") for name in ("imgtool", "clients"))]


def _environment(folder: Path) -> dict[str, str]:
    """That of this process without what would point a command elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STRONGROOM_", "SOFTHSM"))}
    return kept | {
        "PATH": os.pathsep.join([*_programs(), os.environ.get("PATH", os.defpath)]),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "SOFTHSM2_CONF": str(folder / "fake" / "softhsm2.conf"),
        "STRONGROOM_AUTHORITY": "authority",
        "STRONGROOM_SOURCE": str(ROOT),
    }


def _environment_script(folder: Path) -> str:
    return (
        "# To go on where the demonstration ended:  . build/demo/env.sh\n"
        f'cd "{folder}"\n'
        f'export PATH="{os.pathsep.join(_programs())}:$PATH"\n'
        f'export SOFTHSM2_CONF="{folder}/fake/softhsm2.conf"\n'
        "export STRONGROOM_AUTHORITY=authority\n"
        f'export STRONGROOM_SOURCE="{ROOT}"\n'
    )
