"""Outputs appear whole or not at all: taken names, unwritable folders, a full disk, a kill in between."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pki.errors import OutputError
from signer import new_file
from signer.new_file import NewFile
from signer.packages.build import build_package
from signer.packages.prepare import prepare_package
from signer.packages.sign import sign_package
from tests.unit.packages.builders import (
    APP_KEY,
    COMPAT_KEY,
    build,
    left_in,
    open_binary,
    prepare,
    random_means,
    request,
)


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond this size; the kernel refuses, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def publish_after(path: Path, happening: Callable[[], object]) -> None:
    with NewFile(path) as file:
        file.write_at(0, b"new")
        happening()
        file.publish()


def test_a_file_appears_only_when_it_is_published(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with NewFile(path) as file:
        file.write_at(0, b"abc")
        file.write_at(5, memoryview(b"def"))
        assert not path.exists()
        file.publish()
        assert path.read_bytes() == b"abc\0\0def"
    assert left_in(tmp_path) == {"out"}


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with NewFile(tmp_path / "out") as file:
            file.write_at(0, b"abc")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert left_in(tmp_path) == set()


def test_a_taken_name_is_refused_and_kept(tmp_path: Path) -> None:
    taken = tmp_path / "out"
    taken.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"), NewFile(taken):
        pytest.fail("it must be refused on entry")
    assert taken.read_bytes() == b"old"


def test_a_dangling_link_is_a_taken_name(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="exists already"), NewFile(tmp_path / "out"):
        pytest.fail("it must be refused on entry")
    assert left_in(tmp_path) == {"out"}


def test_a_name_taken_meanwhile_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(OutputError, match="exists already"):
        publish_after(path, lambda: path.write_bytes(b"faster"))
    assert path.read_bytes() == b"faster"
    assert left_in(tmp_path) == {"out"}


def test_a_folder_that_is_missing_or_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in ("absent", "file"):
        with pytest.raises(OutputError, match="cannot write"), NewFile(tmp_path / folder / "out"):
            pytest.fail("it must be refused on entry")


def test_a_read_only_file_system_is_refused() -> None:
    with pytest.raises(OutputError, match="cannot write"), NewFile(Path("/proc/out")):
        pytest.fail("it must be refused on entry")


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_hard_links_it_is_renamed_and_still_never_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with NewFile(tmp_path / "a") as file:
        file.write_at(0, b"abc")
        file.publish()
    assert (tmp_path / "a").read_bytes() == b"abc"
    with pytest.raises(OutputError, match="exists already"):
        publish_after(tmp_path / "b", lambda: (tmp_path / "b").write_bytes(b"faster"))
    assert (tmp_path / "b").read_bytes() == b"faster"
    assert left_in(tmp_path) == {"a", "b"}


@pytest.mark.parametrize("failing", ["link", "fsync"])
def test_a_failure_while_publishing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OutputError, match="Input/output error"), NewFile(tmp_path / "out") as file:
        file.publish()
    assert left_in(tmp_path) == set()


def test_a_name_that_may_not_survive_a_power_cut_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(new_file, "sync_folder", fail)
    with pytest.raises(OutputError, match="Input/output error"), NewFile(tmp_path / "out") as file:
        file.publish()
    assert left_in(tmp_path) == set()


def test_the_content_is_durable_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        calls.append("fsync folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "fsync file")  # noqa: PTH112
        real_fsync(descriptor)

    def link(source: Path, target: Path, *, follow_symlinks: bool) -> None:
        calls.append("name")
        real_link(source, target, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    build(tmp_path, os.urandom(100_000))
    assert calls == ["fsync file", "name", "fsync folder"]


@pytest.mark.parametrize("limit", [1, 1024, 5000, (1 << 20) + 3000])
def test_a_full_disk_leaves_no_package(tmp_path: Path, limit: int) -> None:
    """At the first byte, in the head, in the ciphertext, and where the links make the payload longer than the image."""
    image = os.urandom(1 << 20)
    prepare(tmp_path, image, name="prepared.srp")
    firmware_path = tmp_path / "image.bin"
    for make in (build_from, prepare_from, sign_from):
        with file_size_limit(limit), pytest.raises(OutputError, match="cannot write"):
            make(tmp_path)
    assert firmware_path.read_bytes() == image
    assert left_in(tmp_path) == {"image.bin", "prepared.srp"}


def build_from(folder: Path) -> None:
    with open_binary(folder / "image.bin") as firmware:
        build_package(request(), firmware, folder / "p.srp", random_means(), [APP_KEY], COMPAT_KEY)


def prepare_from(folder: Path) -> None:
    with open_binary(folder / "image.bin") as firmware:
        prepare_package(request(), firmware, folder / "p.srp", random_means())


def sign_from(folder: Path) -> None:
    sign_package(folder / "prepared.srp", folder / "p.srp", [APP_KEY], COMPAT_KEY)


_FILL_A_DISK = """
import os, sys
from pathlib import Path
from pki.errors import OutputError
from tests.unit.packages.builders import build, left_in
folder = Path(sys.argv[1])
try:
    build(folder, os.urandom(1 << 20))
except OutputError as error:
    print(error)
print(sorted(left_in(folder)))
"""


def test_a_really_full_disk_leaves_no_package(tmp_path: Path) -> None:
    """A file system of its own with room for the image and half of the package, in a mount namespace of its own."""
    script = f'mount -t tmpfs -o size=1600k none "{tmp_path}" && exec "{sys.executable}" -c "$0" "{tmp_path}"'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, _FILL_A_DISK]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[3]
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this machine allows no file system of one's own; the size limit above covers the same paths")
    assert "No space left on device" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "['image.bin']"


def test_a_killed_build_leaves_no_package_under_its_name(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from signer.new_file import NewFile\n"
        "with NewFile(Path(sys.argv[1])) as file:\n"
        "    file.write_at(0, b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=False, timeout=60)
    assert done.returncode == -9
    assert not (tmp_path / "out").exists()
    assert all(name.startswith(".out.") and name.endswith(".part") for name in left_in(tmp_path))
