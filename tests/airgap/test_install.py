"""The installer of an air-gap kit: everything is verified before anything is installed (docs/spec/airgap-kit.md)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.airgap.kit import FILES, VERSION, Kit, Machine, copy_kit, make_kit, ssh_key
from tools.airgap import install
from tools.airgap.install import Refused

WHEEL = "wheels/one-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("kit"))


@pytest.fixture
def kit(signed: Kit, tmp_path: Path) -> Kit:
    return copy_kit(signed, tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def verify(kit: Kit, own: Path, signer: str = "builder") -> install.Manifest:
    return install.verify_kit(kit.folder, kit.signers, signer, own)


def refused(kit: Kit, own: Path, signer: str = "builder") -> str:
    with pytest.raises(Refused) as refusal:
        verify(kit, own, signer)
    return refusal.value.rule_id


# What passes


def test_a_signed_kit_passes_and_is_copied_out_of_reach(kit: Kit, own: Path) -> None:
    manifest = verify(kit, own)
    assert manifest.version == VERSION
    assert set(manifest.digests) == set(FILES)
    assert {name: (own / name).read_bytes() for name in FILES} == FILES


def test_stock_tools_verify_the_same_kit(kit: Kit) -> None:
    options = ["-f", str(kit.signers), "-I", "builder", "-n", install.NAMESPACE, "-s", "MANIFEST.sig"]
    command = ["ssh-keygen", "-Y", "verify", *options]
    manifest = (kit.folder / "MANIFEST").read_bytes()
    subprocess.run(command, cwd=kit.folder, input=manifest, check=True, capture_output=True)
    check = ["sha256sum", "--check", "--strict", "--quiet", "MANIFEST"]
    assert subprocess.run(check, cwd=kit.folder, check=True, capture_output=True).stderr == b""
    (kit.folder / WHEEL).write_bytes(b"changed")
    assert subprocess.run(check, cwd=kit.folder, check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_any_ssh_key_can_sign(kind: str, kit: Kit, own: Path, tmp_path: Path) -> None:
    key = ssh_key(tmp_path, "other", kind)
    kit.sign(key)
    signers = tmp_path / "allowed_signers"
    signers.write_text(f"builder {key.with_suffix('.pub').read_text()}")
    assert install.verify_kit(kit.folder, signers, "builder", own).version == VERSION


# What is refused, before anything is installed


def _wrong_signature(kit: Kit) -> None:
    kit.edit_manifest(b"strongroom-airgap-1 1.2.3", b"strongroom-airgap-1 1.2.4")


def _unsigned(kit: Kit) -> None:
    (kit.folder / "MANIFEST.sig").unlink()


def _other_namespace(kit: Kit) -> None:
    kit.sign(namespace="strongroom-approval-v1")


def _stranger(kit: Kit) -> None:
    kit.sign(ssh_key(kit.folder.parent, "stranger"))


def _other_order(kit: Kit) -> None:
    manifest = kit.folder / "MANIFEST"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join([lines[0], lines[2], lines[1], *lines[3:]]))


def _other_order_signed(kit: Kit) -> None:
    _other_order(kit)
    kit.sign()


def _stands_twice(kit: Kit) -> None:
    manifest = kit.folder / "MANIFEST"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join([*lines, lines[-1]]))
    kit.sign()


def _climbs_out(kit: Kit) -> None:
    kit.edit_manifest(b"  debian/two_", b"  ../two_")
    kit.sign()


def _absolute(kit: Kit) -> None:
    kit.edit_manifest(b"  debian/two_2.0~rc1_all.deb", b"  /etc/passwd")
    kit.sign()


def _no_files(kit: Kit) -> None:
    (kit.folder / "MANIFEST").write_bytes(b"# strongroom-airgap-1 1.2.3 debian-12-amd64\n")
    kit.sign()


def _other_system(kit: Kit) -> None:
    kit.edit_manifest(b"debian-12-amd64", b"debian-13-arm64")
    kit.sign()


def _carriage_returns(kit: Kit) -> None:
    kit.edit_manifest(b"\n", b"\r\n")
    kit.sign()


def _itself(kit: Kit) -> None:
    kit.edit_manifest(b"  install\n", b"  MANIFEST\n")
    kit.sign()


def _too_long(kit: Kit) -> None:
    manifest = kit.folder / "MANIFEST"
    manifest.write_bytes(manifest.read_bytes() + b"#" * install.MANIFEST_SIZE_BYTES_MAX)
    kit.sign()


def _missing(kit: Kit) -> None:
    (kit.folder / "debian" / "two_2.0~rc1_all.deb").unlink()


def _changed(kit: Kit) -> None:
    (kit.folder / WHEEL).write_bytes(b"wheel 0ne")


def _longer(kit: Kit) -> None:
    (kit.folder / WHEEL).write_bytes(FILES[WHEEL] + b"\0")


def _exchanged(kit: Kit) -> None:
    one, two = sorted((kit.folder / "debian").iterdir())
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


def _extra(kit: Kit) -> None:
    (kit.folder / "wheels" / "one-9.9-py3-none-any.whl").write_bytes(b"newer")


def _extra_hidden(kit: Kit) -> None:
    (kit.folder / "debian" / ".hidden").write_bytes(b"")


def _extra_deeper(kit: Kit) -> None:
    (kit.folder / "wheels" / "deeper").mkdir()
    (kit.folder / "wheels" / "deeper" / "pip.conf").write_bytes(b"")


def _empty_folder(kit: Kit) -> None:
    (kit.folder / "empty").mkdir()


def _link(kit: Kit) -> None:
    path = kit.folder / WHEEL
    path.rename(kit.folder.parent / "elsewhere.whl")
    path.symlink_to(kit.folder.parent / "elsewhere.whl")


def _linked_folder(kit: Kit) -> None:
    path = kit.folder / "wheels"
    path.rename(kit.folder.parent / "elsewhere")
    path.symlink_to(kit.folder.parent / "elsewhere")


def _pipe(kit: Kit) -> None:
    path = kit.folder / WHEEL
    path.unlink()
    os.mkfifo(path)


def _linked_manifest(kit: Kit) -> None:
    path = kit.folder / "MANIFEST"
    path.rename(kit.folder.parent / "MANIFEST")
    path.symlink_to(kit.folder.parent / "MANIFEST")


CASES: list[tuple[Callable[[Kit], None], str]] = [
    (_wrong_signature, "AG-01"), (_unsigned, "AG-01"), (_other_namespace, "AG-01"), (_stranger, "AG-01"),
    (_other_order, "AG-01"), (_other_order_signed, "AG-02"), (_stands_twice, "AG-02"), (_climbs_out, "AG-02"),
    (_absolute, "AG-02"), (_no_files, "AG-02"), (_other_system, "AG-02"), (_carriage_returns, "AG-02"),
    (_itself, "AG-02"), (_too_long, "AG-02"), (_missing, "AG-03"), (_changed, "AG-04"), (_longer, "AG-04"),
    (_exchanged, "AG-04"), (_extra, "AG-05"), (_extra_hidden, "AG-05"), (_extra_deeper, "AG-05"),
    (_empty_folder, "AG-05"), (_link, "AG-06"), (_linked_folder, "AG-06"), (_pipe, "AG-06"),
    (_linked_manifest, "AG-06"),
]  # fmt: skip


@pytest.mark.parametrize(("tamper", "rule"), CASES, ids=[tamper.__name__.strip("_") for tamper, _ in CASES])
def test_a_kit_that_is_not_as_signed_is_refused(tamper: Callable[[Kit], None], rule: str, kit: Kit, own: Path) -> None:
    tamper(kit)
    assert refused(kit, own) == rule


def test_a_bit_changed_in_any_file_is_found(kit: Kit, own: Path) -> None:
    """Changed one file at a time; MANIFEST itself by its signature."""
    for number, name in enumerate([*FILES, "MANIFEST"]):
        path = kit.folder / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        (own / str(number)).mkdir()
        assert refused(kit, own / str(number)) == ("AG-01" if name == "MANIFEST" else "AG-04"), name
        path.write_bytes(content)


def test_another_signer_than_asked_for_is_refused(kit: Kit, own: Path) -> None:
    assert refused(kit, own, signer="somebody") == "AG-01"


def test_the_kit_does_not_say_itself_who_may_sign_it(kit: Kit, own: Path) -> None:
    inside = kit.folder / "allowed_signers"
    inside.write_bytes(kit.signers.read_bytes())
    with pytest.raises(Refused, match="AG-08"):
        install.verify_kit(kit.folder, inside, "builder", own)
    outside = kit.folder.parent / "link"
    outside.symlink_to(inside)
    with pytest.raises(Refused, match="AG-08"):
        install.verify_kit(kit.folder, outside, "builder", own)


def test_a_file_changed_after_it_was_verified_is_not_what_is_installed(kit: Kit, own: Path) -> None:
    verify(kit, own)
    _changed(kit)
    assert (own / WHEEL).read_bytes() == FILES[WHEEL]


# Installing


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine is, apart from what its commands say."""
    release = 'PRETTY_NAME="Debian"\nVERSION_ID="12"\nID=debian\n'
    read_text = Path.read_text

    def read(path: Path, *arguments: str, **options: str) -> str:
        return release if path == Path("/etc/os-release") else read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_packages_come_before_the_environment_and_apt_is_asked_first(
    kit: Kit, own: Path, tmp_path: Path, debian: None
) -> None:
    verify(kit, own)
    machine = Machine()
    install.install(own, tmp_path / "prefix", debian=True, run=machine.run)
    names = [command[0] for command in machine.commands]
    simulated, done = (command for command in machine.commands if command[0] == "apt-get")
    assert "--simulate" in simulated
    assert simulated == [*done[: len(done) - 3], "--simulate", *done[-3:]]
    assert [Path(word).parent for word in done[-2:]] == [own / "debian"] * 2
    assert {"--no-remove", "Dir::Etc::sourcelist=/dev/null", "Dir::Etc::sourceparts=/dev/null"} <= set(done)
    assert names.index("apt-get") < names.index(sys.executable)
    pip = machine.commands[-2]
    assert {"--no-index", "--require-hashes", "--isolated", "--no-deps", ":all:"} <= set(pip)
    assert str(own / "requirements.txt") in pip
    assert machine.commands[-1] == [str(tmp_path / "prefix" / "bin" / "strongroom"), "--help"]


def test_what_the_machine_has_is_left_alone(kit: Kit, own: Path, tmp_path: Path, debian: None) -> None:
    verify(kit, own)
    machine = Machine({"libone": "2:1.1-1", "two": "2.0~rc0"})
    install.install(own, tmp_path / "prefix", debian=True, run=machine.run)
    apt = machine.changes[0]
    assert apt[-1].endswith("two_2.0~rc1_all.deb")
    assert apt[-2] == "install"
    machine = Machine({"libone": "2:1.0+ds-1", "two": "2.0"})
    install.install(own, tmp_path / "second", debian=True, run=machine.run)
    assert not any(command[0] == "apt-get" for command in machine.commands)


def test_packages_that_do_not_fit_change_nothing(kit: Kit, own: Path, tmp_path: Path, debian: None) -> None:
    verify(kit, own)
    machine = Machine(fails="--simulate")
    with pytest.raises(Refused, match="AG-07"):
        install.install(own, tmp_path / "prefix", debian=True, run=machine.run)
    assert machine.changes == []


@pytest.mark.parametrize("failing", ["venv", "--require-hashes", "--help"])
def test_an_environment_is_there_whole_or_not_at_all(failing: str, kit: Kit, own: Path, tmp_path: Path) -> None:
    verify(kit, own)
    with pytest.raises(Refused, match="AG-09"):
        install.install(own, tmp_path / "prefix", debian=False, run=Machine(fails=failing).run)
    assert not (tmp_path / "prefix").exists()


def test_another_machine_is_refused(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debian: None) -> None:
    def rule(prefix: Path = tmp_path / "prefix") -> str:
        machine = Machine()
        with pytest.raises(Refused) as refusal:
            install.install(own, prefix, debian=True, run=machine.run)
        assert machine.changes == []
        return str(refusal.value)

    assert "exists already" in rule(tmp_path)
    assert "no folder" in rule(tmp_path / "not" / "there")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in rule()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    assert "the wheels are for 3.11" in rule()
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: 'ID=debian\nVERSION_ID="13"\n')
    assert "the kit is for" in rule()


# As it is run


def run_installer(kit: Kit, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", install.__file__, "--kit", kit.folder, "--allowed-signers", kit.signers]
    return subprocess.run(
        [*map(str, command), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_program_says_what_it_verified(kit: Kit) -> None:
    done = run_installer(kit, "--signer", "builder", "--verify-only")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"verified: Strongroom {VERSION}, {len(FILES)} files, MANIFEST SHA-256 ")


def test_the_program_refuses_in_one_line_and_makes_nothing(kit: Kit, tmp_path: Path) -> None:
    _changed(kit)
    done = run_installer(kit, "--signer", "builder", "--prefix", tmp_path / "prefix", "--without-debian-packages")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"refused: [AG-04] {WHEEL} is not the file that was signed: its SHA-256 differs\n"
    assert not (tmp_path / "prefix").exists()


def test_the_program_needs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, importlib.util as u; before = set(sys.modules)\n"
        f"s = u.spec_from_file_location('install', {install.__file__!r}); m = u.module_from_spec(s)\n"
        "sys.modules['install'] = m; s.loader.exec_module(m)\n"
        "print(*sorted({n.partition('.')[0] for n in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["install"]


def test_commands_run_without_the_callers_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example/simple")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    printed = install.run_command(["env"])
    assert "PIP_INDEX_URL" not in printed
    assert "PYTHONPATH" not in printed
    with pytest.raises(Refused, match="ended with 3"):
        install.run_command(["sh", "-c", "exit 3"])
