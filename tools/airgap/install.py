#!/usr/bin/env python3
"""Verifies an air-gap kit and only then installs it, without a network. Standard library and ssh-keygen only.

This file stands in the kit as `install`. Before it is run, the kit's MANIFEST is verified by hand with ssh-keygen and
sha256sum: a forged kit would have a forged installer. The rules (AG-…) are those of docs/spec/airgap-kit.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NAMESPACE = "strongroom-airgap-v1"
SYSTEM = "debian-12-amd64"
MANIFEST_SIZE_BYTES_MAX = 256 * 1024
FILE_SIZE_BYTES_MAX = 1 << 30
COMMAND_SECONDS_MAX = 1800

_HEADER = re.compile(rf"# strongroom-airgap-1 ([0-9A-Za-z.+-]{{1,64}}) {SYSTEM}")
_NAME = r"[A-Za-z0-9_+~%-][A-Za-z0-9._+~%-]{0,199}"
_LINE = re.compile(rf"([0-9a-f]{{64}})  ({_NAME}(?:/{_NAME})?)")
_APART = frozenset({"MANIFEST", "MANIFEST.sig"})
"""The files of the kit that MANIFEST does not list."""
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

Run = Callable[[Sequence[str]], str]
"""Runs a command and returns what it printed; raises Refused AG-09 if it fails."""


class Refused(Exception):
    """The kit or the machine breaks a rule. One line."""

    def __init__(self, rule_id: str, reason: str) -> None:
        super().__init__(f"[{rule_id}] {reason}")
        self.rule_id = rule_id


@dataclass(frozen=True, slots=True)
class Manifest:
    """`digests` has the SHA-256 (hex) of each file by its path in the kit."""

    version: str
    digests: dict[str, str]


# Step 1: the kit


def verify_signature(manifest: bytes, signature: Path, allowed_signers: Path, signer: str) -> None:
    """Raises Refused AG-01 unless `signer` signed these bytes for this purpose. ssh-keygen decides."""
    if not signature.is_file():
        raise Refused("AG-01", f"the kit is not signed: {signature.name} is missing")
    command = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", signer, "-f", str(allowed_signers), "-s"]
    done = subprocess.run(
        [*command, str(signature)], input=manifest, capture_output=True, check=False, timeout=60, env={"PATH": _PATH}
    )
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().replace("\n", "; ") or "no reason given"
        raise Refused("AG-01", f"MANIFEST is not signed by {signer!r} as {allowed_signers} knows it ({reason})")


def parse_manifest(content: bytes) -> Manifest:
    """The files that should be there. Raises Refused AG-02."""
    try:
        lines = content.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Refused("AG-02", "MANIFEST is not ASCII") from None
    header = _HEADER.fullmatch(lines[0])
    if header is None or lines[-1] != "" or len(lines) < 3:
        raise Refused("AG-02", f"MANIFEST does not begin with the line of a kit for {SYSTEM}, or names no file")
    digests: dict[str, str] = {}
    newest = ""
    for number, line in enumerate(lines[1:-1], start=2):
        found = _LINE.fullmatch(line)
        if found is None or found[2] in _APART:
            raise Refused("AG-02", f"MANIFEST, line {number}: not a hash and the path of a file")
        if found[2] <= newest:
            raise Refused("AG-02", f"MANIFEST, line {number}: {found[2]} is not in order, or stands twice")
        newest = found[2]
        digests[newest] = found[1]
    return Manifest(header[1], digests)


def list_files(kit: Path) -> set[str]:
    """Every file of the kit by its path in it. Raises Refused AG-05 for empty folders, AG-06 for links and devices."""
    return set(_walk(kit, ""))


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    empty = True
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        empty = False
        path = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{path}/")
        elif entry.is_file(follow_symlinks=False):
            yield path
        else:
            raise Refused("AG-06", f"{path!r} is neither a regular file nor a folder")
    if empty:
        raise Refused("AG-05", f"{prefix or 'the kit'!r} is a folder without files")


def compare_lists(manifest: Manifest, present: set[str]) -> None:
    """Raises Refused AG-03 for the first missing file, AG-05 for the first that should not be there."""
    wanted = set(manifest.digests)
    for path in sorted(wanted - present):
        raise Refused("AG-03", f"{path} is missing")
    for path in sorted(present - wanted - _APART):
        raise Refused("AG-05", f"{path!r} is not in MANIFEST")


def copy_verified(kit: Path, manifest: Manifest, own: Path) -> None:
    """Copy each file into `own`, where nobody else can change it, and hash the copy. Raises Refused AG-04, AG-06."""
    for path, digest in manifest.digests.items():
        target = own / path
        target.parent.mkdir(mode=0o700, exist_ok=True)
        if _copy(kit / path, target) != digest:
            raise Refused("AG-04", f"{path} is not the file that was signed: its SHA-256 differs")


def _copy(source: Path, target: Path) -> str:
    """Copy a regular file; the SHA-256 of what was copied, in hex."""
    digest = hashlib.sha256()
    descriptor = _open_regular(source)
    with os.fdopen(descriptor, "rb") as reading, target.open("xb") as writing:
        left = FILE_SIZE_BYTES_MAX
        while block := reading.read(min(1 << 20, left + 1)):
            left -= len(block)
            if left < 0:
                raise Refused("AG-04", f"{source.name} is larger than any file of a kit")
            digest.update(block)
            writing.write(block)
    return digest.hexdigest()


def _open_regular(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refused("AG-06", f"{path.name} cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused("AG-06", f"{path.name} is not a regular file")
    return descriptor


def verify_kit(kit: Path, allowed_signers: Path, signer: str, own: Path) -> Manifest:
    """Step 1: the kit's manifest, when everything in it is as signed; verified copies of its files are in `own`.

    Raises Refused AG-01 to AG-06, AG-08. `own` is a new folder that only this user can enter.
    """
    if allowed_signers.resolve().is_relative_to(kit.resolve()):
        raise Refused("AG-08", "the allowed signers must not come from the kit: bring them on paper or another medium")
    if not allowed_signers.is_file():
        raise Refused("AG-01", f"{allowed_signers} is not there: who may sign kits must be said by you")
    if not (kit / "MANIFEST").is_file():
        raise Refused("AG-02", f"{kit} is no kit: it has no MANIFEST")
    present = list_files(kit)
    for name in sorted(_APART & present):
        _copy(kit / name, own / name)
    content = (own / "MANIFEST").read_bytes()
    if len(content) > MANIFEST_SIZE_BYTES_MAX:
        raise Refused("AG-02", f"MANIFEST has more than {MANIFEST_SIZE_BYTES_MAX} bytes")
    verify_signature(content, own / "MANIFEST.sig", allowed_signers, signer)
    manifest = parse_manifest(content)
    compare_lists(manifest, present)
    copy_verified(kit, manifest, own)
    return manifest


# Step 2: the machine


def run_command(command: Sequence[str]) -> str:
    """Run without a shell, without this process's variables, and without a terminal. Raises Refused AG-09."""
    environment = {
        "PATH": _PATH,
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "PIP_CONFIG_FILE": os.devnull,
    }
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False, timeout=COMMAND_SECONDS_MAX,
    )  # fmt: skip
    if done.returncode != 0:
        said = " | ".join(done.stdout.strip().splitlines()[-6:])
        raise Refused("AG-09", f"{' '.join(command[:4])} … ended with {done.returncode}: {said}")
    return done.stdout


def examine_machine(prefix: Path, *, debian: bool, run: Run) -> None:
    """Raises Refused AG-07 for a machine on which the kit would not work, or a prefix that is taken."""
    if sys.version_info[:2] != (3, 11):
        raise Refused("AG-07", f"this is Python {sys.version_info[0]}.{sys.version_info[1]}; the wheels are for 3.11")
    if os.path.lexists(prefix):
        raise Refused("AG-07", f"{prefix} exists already; remove it, or name another folder with --prefix")
    if not prefix.parent.is_dir():
        raise Refused("AG-07", f"{prefix.parent} is no folder")
    if not debian:
        return
    if os.geteuid() != 0:
        raise Refused("AG-07", "installing Debian packages needs root")
    release = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    if not {"ID=debian", 'VERSION_ID="12"'} <= set(release) or run(["dpkg", "--print-architecture"]).strip() != "amd64":
        raise Refused("AG-07", f"the kit is for {SYSTEM}")


def needed_packages(packages: Sequence[Path], run: Run) -> list[Path]:
    """The packages of which this machine has no version, or an earlier one."""
    listing = run(["dpkg-query", "-W", "-f=${db:Status-Status}\t${Package}\t${Version}\n"])
    rows = [line.split("\t") for line in listing.splitlines()]
    installed = {name: version for state, name, version in rows if state == "installed"}
    needed = []
    for package in packages:
        name, version = run(["dpkg-deb", "--show", "--showformat=${Package}\t${Version}", str(package)]).split("\t")
        if name not in installed or not _is_at_least(installed[name], version, run):
            needed.append(package)
    return needed


def _is_at_least(have: str, want: str, run: Run) -> bool:
    try:
        run(["dpkg", "--compare-versions", have, "ge", want])
    except Refused:
        return False
    return True


def apt_command(own: Path, packages: Sequence[Path], *options: str) -> list[str]:
    """apt with no package source at all: only these files, and nothing is removed or downgraded."""
    lists = own / "no-lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    settings = (
        f"Dir::State::lists={lists}", "Dir::Etc::sourcelist=/dev/null", "Dir::Etc::sourceparts=/dev/null",
        "Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache=", "APT::Sandbox::User=root",
    )  # fmt: skip
    command = ["apt-get", *(word for setting in settings for word in ("-o", setting))]
    command += ["--yes", "--no-remove", "--no-install-recommends", *options, "install"]
    return [*command, *map(str, packages)]


# Steps 3 to 5: installing


def find_pip() -> Path:
    """The wheel of pip that Debian, or else this Python, has; pip runs out of its wheel. Raises Refused AG-09."""
    # A Python of Debian has no ensurepip without python3-venv, so its folder is only named.
    for folder in (Path("/usr/share/python-wheels"), Path(os.__file__).parent / "ensurepip" / "_bundled"):
        for wheel in sorted(folder.glob("pip-*.whl")):
            return wheel
    raise Refused("AG-09", "there is no pip; is the Debian package python3-pip-whl installed?")


def install_environment(own: Path, prefix: Path, run: Run) -> None:
    """Steps 4 and 5: the virtual environment at `prefix`, whole or not there. Raises Refused AG-09."""
    try:
        run([sys.executable, "-m", "venv", "--without-pip", str(prefix)])
        python = str(prefix / "bin" / "python")
        pip = [python, str(find_pip() / "pip"), "--isolated", "--disable-pip-version-check", "--no-cache-dir"]
        wheels = ["--no-index", "--find-links", str(own / "wheels"), "--only-binary", ":all:", "--no-deps"]
        run([*pip, "install", *wheels, "--require-hashes", "-r", str(own / "requirements.txt")])
        run([str(prefix / "bin" / "strongroom"), "--help"])
    except BaseException:
        shutil.rmtree(prefix, ignore_errors=True)
        raise


def install(own: Path, prefix: Path, *, debian: bool, run: Run = run_command) -> None:
    """Steps 2 to 5, from the verified copies in `own`. Raises Refused AG-07 (nothing changed) and AG-09."""
    examine_machine(prefix, debian=debian, run=run)
    if debian:
        packages = needed_packages(sorted((own / "debian").glob("*.deb")), run)
        if packages:
            try:
                run(apt_command(own, packages, "--simulate"))
            except Refused as refusal:
                raise Refused("AG-07", f"the packages do not fit this machine: {refusal}") from None
            run(apt_command(own, packages))
    install_environment(own, prefix, run)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="install", description="Verify this air-gap kit, then install it, offline.")
    parser.add_argument(
        "--allowed-signers", type=Path, required=True, help="OpenSSH allowed-signers file, not the kit's"
    )
    parser.add_argument("--signer", required=True, help="who must have signed: a principal of that file")
    parser.add_argument("--prefix", type=Path, default=Path("/opt/strongroom"), help="where it goes; must not exist")
    parser.add_argument("--verify-only", action="store_true", help="install nothing")
    parser.add_argument("--without-debian-packages", action="store_true", help="this system has them otherwise")
    parser.add_argument(
        "--kit", type=Path, default=Path(__file__).parent, help="the unpacked kit; default: around this file"
    )
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """0 when done, 1 when refused; a refusal of the kit or the machine has changed nothing."""
    options = _arguments(words)
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="strongroom-airgap-", dir="/var/tmp") as folder:
        own = Path(folder)
        try:
            manifest = verify_kit(options.kit, options.allowed_signers, options.signer, own)
            digest = hashlib.sha256((own / "MANIFEST").read_bytes()).hexdigest()
            print(f"verified: Strongroom {manifest.version}, {len(manifest.digests)} files, MANIFEST SHA-256 {digest}")
            if not options.verify_only:
                install(own, options.prefix.absolute(), debian=not options.without_debian_packages)
                print(f"installed: run {options.prefix}/bin/strongroom")
        except Refused as refusal:
            print(f"refused: {refusal}", file=sys.stderr)
            return 1
        except OSError as error:
            print(f"refused: [AG-09] {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
