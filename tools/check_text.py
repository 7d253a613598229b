"""Rules for every text file of the project: no addresses but known ones, no path of one machine, no keys outside fake/.

Each rule has an ID that stands before its findings. Files are those git tracks or would track.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent

# Standards and licences the documents cite; names that RFC 2606 reserves need no entry.
KNOWN_HOSTS = frozenset(
    {"www.apache.org", "www.rfc-editor.org", "csrc.nist.gov", "doi.org", "cyclonedx.org", "json-schema.org"}
)
RESERVED_HOSTS = re.compile(r"(?:.*\.)?(?:example\.(?:com|net|org)|example|invalid|test|localhost)")
ADDRESS = re.compile(r"\b(?:https?|git|ssh|ftp)://([A-Za-z0-9.-]+)")

# The first folders of the Filesystem Hierarchy Standard 3.0 that are alike on every machine, and placeholders.
SHARED_FOLDER = re.compile(r"bin|dev|etc|lib|media|mnt|opt|proc|run|sbin|sys|tmp|usr|var|path|nonexistent")
ABSOLUTE_PATH = re.compile(r"(?:^|(?<=[\s\"'`(=\[,])|(?<=file://))/([A-Za-z][A-Za-z0-9_-]*)/[A-Za-z0-9._-]+")

PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s*\n[A-Za-z0-9+/=]{16}")

# For a copy without git: what building, testing and setting up leave behind, as in .gitignore.
LEFT_BEHIND = re.compile(r"build|__pycache__|\.git|\.venv.*|\..*cache|\.hypothesis|.*\.egg-info")


def line_findings(line: str) -> Iterator[str]:
    """The rules that look at one line (without its line feed)."""
    if line != line.rstrip():
        yield "TX-01 white space at the end of the line"
    if "\t" in line:
        yield "TX-02 a tab; use spaces"
    for host in ADDRESS.findall(line):
        if host.lower() not in KNOWN_HOSTS and not RESERVED_HOSTS.fullmatch(host.lower()):
            yield f"TX-04 address of a host that is not in KNOWN_HOSTS: {host}"
    for folder in ABSOLUTE_PATH.findall(line):
        if not SHARED_FOLDER.fullmatch(folder):
            yield f"TX-05 absolute path of one machine: /{folder}/…"


def text_findings(name: str, text: str) -> list[str]:
    """Every finding in one file: `name` is its path from the root, with forward slashes."""
    path = PurePosixPath(name)
    tabs_allowed = path.name == "Makefile" or path.suffix == ".mk"
    findings = [
        f"{name}:{number}: {finding}"
        for number, line in enumerate(text.split("\n"), start=1)
        for finding in line_findings(line)
        if not (tabs_allowed and finding.startswith("TX-02"))
    ]
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        findings.append(f"{name}: TX-03 must end with exactly one line feed")
    if PRIVATE_KEY.search(text) and "fake" not in path.parts:
        findings.append(f"{name}: TX-06 a private key outside a fake/ folder")
    return findings


def project_files(root: Path) -> list[str]:
    """Paths from the root of the files git tracks or would track; without git, of all that is not left behind."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout
        names = listing.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        paths = [path.relative_to(root) for path in root.rglob("*")]
        names = [path.as_posix() for path in paths if not any(map(LEFT_BEHIND.fullmatch, path.parts))]
    return sorted({name for name in names if name and (root / name).is_file()})


def check(root: Path) -> list[str]:
    """Every finding in the project's files. Files with a NUL byte are binary and are not read as text."""
    findings: list[str] = []
    for name in project_files(root):
        content = (root / name).read_bytes()
        if b"\0" in content:
            continue
        try:
            findings += text_findings(name, content.decode())
        except UnicodeDecodeError as error:
            findings.append(f"{name}: TX-07 not UTF-8 at byte {error.start}")
    return findings


def main() -> int:
    """Print the findings; 0 if there are none, else 1."""
    findings = check(ROOT)
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
