"""Every command of README.md's tour runs where the demonstration ended, and prints what the README says it prints."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from demo.stage import Stage
from tests.demo.conftest import ROOT, DemoRun

_MARK = "@@ command"


def tour() -> list[tuple[str, str]]:
    """The tour's command lines, each with what it is said to print."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## A tour\n")[1].split("\n## ")[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]
    commands = []
    for line in lines:
        command, _, printed = line.partition("  # ") if "  # " in line else line.partition(" # ")
        commands.append((command.strip(), printed.strip()))
    return commands


def test_the_tour_does_what_it_says(demo: DemoRun, tmp_path: Path) -> None:
    commands = tour()
    assert commands[0][0] == ". build/demo/env.sh"
    assert len(commands) == 52
    folder = Path(shutil.copytree(demo.folder, tmp_path / "demo"))
    environment = dict(Stage(folder).environment)
    script = "\n".join(f"{command}\nprintf '\\n{_MARK}\\n'" for command, _ in commands[1:])
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    outputs = done.stdout.split(_MARK)
    assert len(outputs) == len(commands)
    for (command, printed), output in zip(commands[1:], outputs, strict=False):
        assert printed, f"the tour does not say what {command} prints"
        assert printed in output, f"{command}\nwas to print {printed!r}, but printed:\n{output}"


def test_env_sh_takes_a_shell_to_where_the_demonstration_ended(demo: DemoRun) -> None:
    script = f'. "{demo.folder}/env.sh" && strongroom bundle verify trust-1.srb && strongroom key audit root-3 && pwd'
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(demo.folder.resolve())


def test_every_linked_file_and_every_room_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    table = text.split("## The rooms\n")[1].split("\n## ")[0]
    rooms = [
        name for cell in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(.*?)`", cell)
    ]
    assert len(links) >= 4
    assert len(rooms) >= 11
    for name in (*links, *rooms):
        assert (ROOT / name).exists(), name
