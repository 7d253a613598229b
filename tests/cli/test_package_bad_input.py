"""Bad input to `package build`, through the real process: one clear line, the documented exit code, nothing written."""

from __future__ import annotations

import resource
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.cli.release_world import APPLICATION_ADDRESS, ReleaseWorld, elf, left_in, terms, vector_table
from tests.cli.world import PRODUCT, Result, label

Make = Callable[[ReleaseWorld], Path]


def build(world: ReleaseWorld, firmware: Path, out: Path | None = None, product: str = PRODUCT) -> Result:
    options = ("-o", out or world.out / "new" / "app.srp", "--for-device", world.public)
    return world.process("package", "build", *terms(product=product), firmware, *options)


def refused(world: ReleaseWorld, code: ExitCode, words: str, firmware: Path, out: Path | None = None) -> None:
    """One line with these words, the code, and nothing written anywhere: not the output, not a hidden file."""
    (world.out / "new").mkdir(exist_ok=True)
    before = {folder: left_in(folder) for folder in (world.out, world.out / "new", world.root)}
    result = build(world, firmware, out)
    assert result.code == code, result
    assert words in result.error
    assert result.out == ""
    assert {folder: left_in(folder) for folder in before} == before


def written(name: str, content: bytes) -> Make:
    def make(world: ReleaseWorld) -> Path:
        path = world.out / name
        path.write_bytes(content)
        return path

    return make


FIRMWARE = {
    "not an ELF": (written("a.elf", b"this is a text, not a program\n" * 9), "is not an ELF, Intel HEX or S-record"),
    "an ELF that is cut off": (written("a.elf", elf([(APPLICATION_ADDRESS, vector_table())])[:40]), "not an ELF file"),
    "an ELF of another machine": (
        written("a.elf", elf([(APPLICATION_ADDRESS, vector_table())])[:18] + b"\x3e\x00" + bytes(60)),
        "not for ARM",
    ),
    "an empty file": (written("a.elf", b""), "is empty; build the firmware first"),
    "no file at all": (lambda world: world.out / "absent.elf", "No such file"),
    "a folder": (lambda world: world.out, "is not a regular file"),
    "an image too large": (
        lambda world: world.firmware("large", 6 * 131072 - 1024 + 1),
        "its region takes 785408; make it smaller",
    ),
    "overlapping segments": (
        written("a.elf", elf([(APPLICATION_ADDRESS, vector_table(64)), (APPLICATION_ADDRESS + 32, b"x" * 64)])),
        "has overlapping segments",
    ),
    "a wrong address": (
        written("a.elf", elf([(0x08000000, vector_table(64, 0x08000000))])),
        "begins at 0x08000000, but the board's image begins at 0x08040400",
    ),
}


@pytest.mark.parametrize("name", FIRMWARE)
def test_firmware_that_cannot_be_used(release_world: ReleaseWorld, name: str) -> None:
    make, words = FIRMWARE[name]
    refused(release_world, ExitCode.INPUT, words, make(release_world))


def test_a_product_that_does_not_exist(release_world: ReleaseWorld) -> None:
    result = build(release_world, release_world.firmware("app"), product="pomp-x2")
    assert result.code == ExitCode.CONFIGURATION
    assert "there is no products/pomp-x2.toml" in result.error


def test_a_device_of_another_product(release_world: ReleaseWorld) -> None:
    text = release_world.public.read_text(encoding="utf-8")
    product_id = release_world.repository.product(PRODUCT).id
    release_world.public.write_text(text.replace(product_id, str(uuid.uuid4())), encoding="utf-8")
    refused(release_world, ExitCode.VERIFICATION, "not of 'pump-x2'", release_world.firmware("app"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [('"format": 1', '"format": 2', "format"), ('"uid"', '"uuid"', "uuid"), ("{", '{"format": 1,', "stands twice"),
     ('"simulation_only": true', '"simulation_only": "no"', "simulation_only"), ("}", "", "device file")],
)  # fmt: skip
def test_a_device_file_that_is_none(release_world: ReleaseWorld, old: str, new: str, words: str) -> None:
    text = release_world.public.read_text(encoding="utf-8")
    assert old in text
    release_world.public.write_text(text.replace(old, new, 1), encoding="utf-8")
    refused(release_world, ExitCode.INPUT, words, release_world.firmware("app"))


def test_a_key_that_is_not_recorded(release_world: ReleaseWorld) -> None:
    text = release_world.product_file.read_text(encoding="utf-8")
    name = label("application-release")
    release_world.product_file.write_text(text.replace(name, label("application-release", 9)), encoding="utf-8")
    refused(release_world, ExitCode.POLICY, "[KS-20]", release_world.firmware("app"))


def _release_token_folder(world: ReleaseWorld) -> Path:
    """SoftHSM names a token's folder with a UUID, whose end is the serial."""
    serial = world.repository.site().tokens["release"].uri.split("serial=")[1]
    return next(item for item in (world.folder / "tokens").iterdir() if item.name.replace("-", "").endswith(serial))


def test_a_key_that_is_not_on_its_token(release_world: ReleaseWorld) -> None:
    for path in _release_token_folder(release_world).glob("*-*.object"):
        path.unlink()
    refused(release_world, ExitCode.TOKEN, label("application-release"), release_world.firmware("app"))


def test_two_keys_of_one_label(release_world: ReleaseWorld) -> None:
    for path in list(_release_token_folder(release_world).glob("*-*.object")):
        copied = path.with_name(f"{uuid.uuid4()}.object")
        shutil.copy(path, copied)
        shutil.copy(path.with_suffix(".lock"), copied.with_suffix(".lock"))
    refused(release_world, ExitCode.TOKEN, "2 times", release_world.firmware("app"))


def test_an_existing_output_is_not_touched(release_world: ReleaseWorld) -> None:
    out = release_world.out / "precious.srp"
    out.write_bytes(b"precious")
    refused(release_world, ExitCode.OUTPUT, "exists already", release_world.firmware("app"), out)
    assert out.read_bytes() == b"precious"


def test_an_output_folder_that_does_not_exist(release_world: ReleaseWorld) -> None:
    out = release_world.out / "absent" / "app.srp"
    refused(release_world, ExitCode.OUTPUT, "cannot write", release_world.firmware("app"), out)


def test_an_output_where_nobody_can_write(release_world: ReleaseWorld) -> None:
    refused(release_world, ExitCode.OUTPUT, "cannot write", release_world.firmware("app"), Path("/proc/app.srp"))


def test_a_disk_that_is_full(release_world: ReleaseWorld) -> None:
    """RLIMIT_FSIZE, as a full disk: the write comes back short, then fails."""
    firmware = release_world.firmware("app", 200_000)
    (release_world.out / "new").mkdir()
    before = left_in(release_world.out / "new")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    options = ("-o", release_world.out / "new" / "app.srp", "--for-device", release_world.public)
    result = release_world.process("package", "build", *terms(), firmware, *options, preexec_fn=limit)
    assert result.code == ExitCode.OUTPUT, result
    assert "cannot write" in result.error
    assert left_in(release_world.out / "new") == before


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (("--version", "1.0"), "is not a version"),
        (("--type", "bootloader"), "--copy A or --copy B goes with --type bootloader"),
        (("--copy", "A"), "--copy A or --copy B goes with --type bootloader"),
        (("--for-factory",), "--for-factory goes with --type bootloader"),
        (("--load-address", "0x08040400"), "--load-address goes with --format binary"),
        (("--format", "binary", "--load-address", "0x08000000"), "is linked for 0x08000000"),
        (("--key", "sr:grant:pump-x2:0001"), "has no application-release key"),
    ],
)
def test_options_that_do_not_fit(release_world: ReleaseWorld, changed: tuple[str, ...], words: str) -> None:
    out = release_world.out / "app.srp"
    firmware = release_world.firmware("app")
    options: tuple[str | Path, ...] = ("-o", out, "--for-device", release_world.public, *changed)
    assert words in release_world.fails(ExitCode.INPUT, "package", "build", *terms(), firmware, *options)
    assert not out.exists()


def test_a_bootloader_without_its_genesis_bundle(release_world: ReleaseWorld) -> None:
    firmware = release_world.firmware("boot", 5000, 0x08004400)
    options = ("--type", "bootloader", "--copy", "A", "--for-factory", "-o", release_world.out / "boot.srp")
    line = release_world.fails(ExitCode.INPUT, "package", "build", *terms(), firmware, *options)
    assert "does not end with a genesis trust bundle" in line


def test_a_product_for_single_devices_needs_a_device(release_world: ReleaseWorld) -> None:
    options = (release_world.firmware("app"), "-o", release_world.out / "app.srp")
    line = release_world.fails(ExitCode.INPUT, "package", "build", *terms(), *options)
    assert "--for-device device.json" in line


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_reading_what_is_no_package(release_world: ReleaseWorld, command: str) -> None:
    absent = release_world.out / "absent.srp"
    options: tuple[str | Path, ...] = ("--device", release_world.device) if command == "verify" else ()
    assert "cannot be read" in release_world.fails(ExitCode.INPUT, "package", command, absent, *options)


def test_inspecting_a_package_that_was_cut_off(release_world: ReleaseWorld) -> None:
    package = release_world.application("1.0.0")
    package.write_bytes(package.read_bytes()[:4000])
    line = release_world.fails(ExitCode.INPUT, "package", "inspect", package)
    assert "CHUNK_HASH" in line
