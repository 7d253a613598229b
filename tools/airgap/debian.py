"""Which Debian packages a kit needs beyond the base of its machine, and fetching them. Run on Debian 12, amd64."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

DEBIAN_PACKAGES = (
    "python3", "python3-pip-whl", "openssh-client", "openssl",
    "softhsm2", "opensc", "pcscd", "libccid",
    "libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0", "fonts-dejavu-core",
)  # fmt: skip
"""Python and the pip of its installer; signatures; the tokens of rehearsals, smart cards and their readers; reports."""

BASE_PRIORITIES = frozenset({"required", "important", "standard"})
_INST = re.compile(r"Inst (\S+) \((\S+) .*")


class PackagesNotFound(Exception):
    """apt does not know what is needed. One line that says what to do."""


def base_names(available: str) -> list[str]:
    """The packages of the base, out of what `apt-cache dumpavail` prints (Debian control format)."""
    names = set()
    for stanza in available.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Priority): (.+)$", stanza, re.MULTILINE))
        if fields.get("Priority") in BASE_PRIORITIES:
            names.add(fields["Package"])
    return sorted(names)


def parse_simulation(printed: str) -> list[str]:
    """`name=version` of each package that a simulated installation would install, in order."""
    found = [_INST.fullmatch(line) for line in printed.splitlines() if line.startswith("Inst ")]
    return [f"{match[1]}={match[2]}" for match in found if match]


def beyond_base(base: Iterable[str], everything: Iterable[str]) -> list[str]:
    """What is in the kit: all that the wanted packages and the base come to, less what the base alone comes to."""
    there = set(base)
    return [package for package in everything if package not in there]


def _apt(program: str, *arguments: str) -> str:
    command = [program, "-o", "APT::Sandbox::User=root", *arguments]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode != 0:
        raise PackagesNotFound(f"{program} {arguments[-1]}: {done.stderr.strip()[-300:]}; is `apt-get update` due?")
    return done.stdout


def _simulate(packages: Sequence[str]) -> list[str]:
    """What apt would install on a machine that has nothing."""
    options = ("-o", "Dir::State::status=/dev/null", "--simulate", "--no-install-recommends")
    return parse_simulation(_apt("apt-get", *options, "install", *packages))


def kit_packages() -> list[str]:
    """`name=version` of each package of the kit, in the order apt would install them. Raises PackagesNotFound."""
    base = base_names(_apt("apt-cache", "dumpavail"))
    if len(base) < len(BASE_PRIORITIES):
        raise PackagesNotFound("apt has no lists of packages: run `apt-get update`")
    return beyond_base(_simulate(base), _simulate([*base, *DEBIAN_PACKAGES]))


def fetch_packages(packages: Sequence[str], cache: Path, folder: Path) -> None:
    """Put each package's file into `folder`; apt checks it against the archive's signatures. `cache` keeps them."""
    cache.mkdir(parents=True, exist_ok=True)
    wanted = {package: _file_pattern(package) for package in packages}
    missing = [package for package, pattern in wanted.items() if not list(cache.glob(pattern))]
    if missing:
        absolute = cache.resolve()
        command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *missing]
        done = subprocess.run(command, cwd=absolute, capture_output=True, text=True, check=False, timeout=1800)
        if done.returncode != 0:
            raise PackagesNotFound(f"apt-get download: {done.stderr.strip()[-300:]}; is `apt-get update` due?")
    folder.mkdir()
    for package, pattern in wanted.items():
        found = sorted(cache.glob(pattern))
        if len(found) != 1:
            raise PackagesNotFound(f"{package}: {len(found)} files instead of one in {cache}; remove it and try again")
        (folder / found[0].name).write_bytes(found[0].read_bytes())


def _file_pattern(package: str) -> str:
    """apt names a file NAME_VERSION_ARCHITECTURE.deb and escapes the colon of an epoch."""
    name, version = package.split("=")
    return f"{name}_{version.replace(':', '%3a')}_*.deb"
