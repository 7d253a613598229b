"""The locks are in step with pyproject.toml and with .venv, are hashed throughout and name no address. Offline."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
TOOL_ENVIRONMENTS = ("imgtool", "oracles", "clients")
"""Groups that are installed apart: what is in their locks is not in the environment that runs this check."""
PIN = re.compile(r"([a-z0-9][a-z0-9.-]*)==([0-9][0-9a-z.!+-]*) \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def parse_lock(text: str) -> tuple[dict[str, str], list[str]]:
    """The pinned versions by name, and what is wrong with the form: nothing but pins and hashes may stand in a lock."""
    pins: dict[str, str] = {}
    problems: list[str] = []
    hash_expected = False
    for number, line in enumerate(text.splitlines(), start=1):
        pin = PIN.fullmatch(line)
        digest = HASH.fullmatch(line)
        if pin and not hash_expected:
            if pin[1] in pins:
                problems.append(f"line {number}: {pin[1]} is pinned twice")
            pins[pin[1]] = pin[2]
            hash_expected = True
        elif digest and hash_expected:
            hash_expected = digest[1] is not None
        else:
            problems.append(f"line {number}: neither a pinned version nor a hash of one: {line.strip()!r}")
    if hash_expected:
        problems.append("the last package has no hash")
    if not pins:
        problems.append("it pins nothing")
    return pins, problems


def unsatisfied(requirements: Iterable[str], pins: dict[str, str]) -> list[str]:
    """The requirements (PEP 508) that no pin, or a pin outside their range, answers."""
    problems = []
    for text in requirements:
        requirement = Requirement(text)
        version = pins.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"pyproject.toml asks for {text}, the lock has {version or 'none'}")
    return problems


def needed_names(requirements: Iterable[str]) -> set[str]:
    """The names these requirements need here, directly or through others, by the metadata of what is installed."""
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, for_extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": for_extra}):
            continue
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(Requirement(text), extra) for text in metadata.requires(name) or []]
    return {name for name, _ in seen}


def unneeded(requirements: Iterable[str], pins: dict[str, str]) -> list[str]:
    """Pins that nothing asks for, and packages that are asked for but not pinned."""
    try:
        needed = needed_names(requirements)
    except metadata.PackageNotFoundError as error:
        return [f"{error.name} is not installed in .venv; run `make setup`"]
    problems = [f"nothing needs {name} any more" for name in sorted(pins.keys() - needed)]
    return problems + [f"{name} is needed but not pinned" for name in sorted(needed - pins.keys())]


def not_installed(pins: dict[str, str]) -> list[str]:
    """Pins that the environment running this check does not have at exactly that version."""
    installed: dict[str, str] = {canonicalize_name(found.name): found.version for found in metadata.distributions()}
    return [
        f"{name} {version} is locked, .venv has {installed.get(name) or 'none'}; run `make setup`"
        for name, version in pins.items()
        if installed.get(name) != version
    ]


def check(root: Path) -> list[str]:
    """Every problem of the locks in `root`, one line each."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    runtime: list[str] = project["project"]["dependencies"]
    groups: dict[str, list[str]] = project["dependency-groups"]
    asked = {
        "requirements.lock": runtime,
        "requirements-dev.lock": runtime + groups["dev"],
        **{f"requirements-{name}.lock": groups[name] for name in TOOL_ENVIRONMENTS},
    }
    pins: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for name, requirements in asked.items():
        pins[name], found = parse_lock((root / name).read_text(encoding="utf-8"))
        found += unsatisfied(requirements, pins[name])
        if name.removeprefix("requirements-").removesuffix(".lock") not in TOOL_ENVIRONMENTS:
            found += unneeded(requirements, pins[name]) + not_installed(pins[name])
        problems += [f"{name}: {problem}" for problem in found]
    for name, version in pins["requirements.lock"].items():
        tested = pins["requirements-dev.lock"].get(name)
        if tested != version:
            problems.append(f"requirements.lock: ships {name} {version}, but {tested or 'none'} is what is tested")
    return problems


def main() -> int:
    """Print the problems; 0 if there are none, else 1."""
    problems = check(ROOT)
    for problem in problems:
        print(problem)
    if problems:
        print("To mend: `make lock` after a change of pyproject.toml, then `make setup`.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
