"""The MANIFEST of a kit and its archive: the same files give the same bytes (docs/spec/airgap-kit.md)."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

SYSTEM = "debian-12-amd64"
TIME = 315532800
"""1980-01-01: the earliest time that every archive format can say."""
APART = frozenset({"MANIFEST", "MANIFEST.sig"})
PROGRAMS = frozenset({"install"})


def manifest_of(kit: Path, version: str) -> bytes:
    """The MANIFEST of the files that are in the folder now."""
    files = sorted(path.relative_to(kit).as_posix() for path in kit.rglob("*") if path.is_file())
    lines = [f"# strongroom-airgap-1 {version} {SYSTEM}"]
    for name in files:
        if name not in APART:
            with (kit / name).open("rb") as stream:
                lines.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {name}")
    return ("\n".join(lines) + "\n").encode("ascii")


def write_archive(kit: Path, archive: Path) -> None:
    """One tar file whose only folder has the kit's name. Replaces an older archive when it is whole."""
    temporary = archive.with_suffix(".part")
    with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as writing:
        for path in (kit, *sorted(kit.rglob("*"), key=lambda path: path.relative_to(kit).as_posix())):
            writing.add(path, f"{kit.name}/{path.relative_to(kit).as_posix()}".removesuffix("/."), False, filter=_plain)
    temporary.replace(archive)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of the machine that made it: no owner, no time, and permissions by rule."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = TIME
    program = member.isdir() or member.name.rpartition("/")[2] in PROGRAMS
    member.mode = 0o755 if program else 0o644
    return member
