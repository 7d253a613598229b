"""The house itself: locks, texts, layers, commands and traceability keep their rules, and the checks can fail."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools import check_locks, check_text

ROOT = Path(__file__).resolve().parents[2]
NOT_ROOMS = {"bench", "build", "demo", "docs", "tests", "tools"}
REQUIREMENT_IDS = [f"R{n:02}" for n in range(1, 23)] + [f"K{n:02}" for n in range(1, 9)]

SOUND_LOCK = f"""\
one==1.0 \\
    --hash=sha256:{"0" * 64} \\
    --hash=sha256:{"1" * 64}
two==2.0 \\
    --hash=sha256:{"2" * 64}
"""


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def rooms() -> set[str]:
    folders = {path.parent for path in ROOT.glob("*/*.py")}
    return {folder.name for folder in folders if not folder.name.startswith(".")} - NOT_ROOMS


# Locks


def test_locks_are_in_step_and_name_no_address() -> None:
    assert check_locks.check(ROOT) == []


def test_a_sound_lock_parses() -> None:
    assert check_locks.parse_lock(SOUND_LOCK) == ({"one": "1.0", "two": "2.0"}, [])


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        ("--index-url https://mirror.example/simple\n" + SOUND_LOCK, "line 1: neither"),
        (SOUND_LOCK + "three @ https://mirror.example/three.whl\n", "line 6: neither"),
        (SOUND_LOCK + "# from somewhere\n", "line 6: neither"),
        (SOUND_LOCK + "three>=3\n", "line 6: neither"),
        (SOUND_LOCK + "three==3.0 \\\n", "no hash"),
        ("three==3.0 \\\n" + SOUND_LOCK, "line 2: neither"),
        (SOUND_LOCK + SOUND_LOCK, "pinned twice"),
        (SOUND_LOCK.replace("sha256:" + "2" * 64, "md5:" + "2" * 32), "line 5: neither"),
        ("", "pins nothing"),
    ],
)
def test_a_lock_of_another_form_is_refused(lock: str, problem: str) -> None:
    _, problems = check_locks.parse_lock(lock)
    assert any(problem in found for found in problems), problems


@pytest.mark.parametrize("requirement", ["one>=2", "one<1", "three"])
def test_a_requirement_the_lock_does_not_answer_is_found(requirement: str) -> None:
    assert check_locks.unsatisfied([requirement], {"one": "1.0"}) != []


def test_a_lock_that_answers_its_requirements_passes() -> None:
    assert check_locks.unsatisfied(["one>=1,<2", "Two"], {"one": "1.0", "two": "2.0"}) == []


def test_a_pin_that_nothing_needs_is_found() -> None:
    assert check_locks.unneeded(["packaging"], {"packaging": "1", "stray": "1"}) == ["nothing needs stray any more"]


def test_a_package_needed_through_another_must_be_pinned() -> None:
    assert "pluggy is needed but not pinned" in check_locks.unneeded(["pytest"], {"pytest": "1"})


def test_an_environment_behind_its_lock_is_found() -> None:
    assert len(check_locks.not_installed({"packaging": "0.0.1"})) == 1


# Texts


def test_texts_keep_their_rules() -> None:
    assert check_text.check(ROOT) == []


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("a.md", "end \n", "TX-01"),
        ("a.md", "carriage return\r\n", "TX-01"),
        ("a.py", "\tx\n", "TX-02"),
        ("a.md", "no line feed", "TX-03"),
        ("a.md", "two\n\n", "TX-03"),
        ("a.toml", 'url = "https:' + '//packages.mirror.io/simple"\n', "TX-04"),
        ("a.md", "see " + "/" + "root/notes\n", "TX-05"),
        ("a.py", 'path = "' + "/" + 'home/somebody/x"\n', "TX-05"),
        ("a.cfg", "file://" + "/" + "srv/packages\n", "TX-05"),
        ("tests/a.pem", "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrYSSNQFaA2\n", "TX-06"),
    ],
)
def test_a_text_that_breaks_a_rule_is_found(name: str, text: str, rule: str) -> None:
    assert [finding for finding in check_text.text_findings(name, text) if rule in finding]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Makefile", "all:\n\ttrue\n"),
        ("a.md", "see https://www.rfc-editor.org/rfc/rfc7512 and https://mirror.example/\n"),
        ("a.py", 'module = "/usr/lib/softhsm/libsofthsm2.so"  # tokens/s, and/or/else, 1/2/3\n'),
        ("tests/fake/a.pem", "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n"),
        ("empty.py", ""),
    ],
)
def test_a_text_that_keeps_the_rules_passes(name: str, text: str) -> None:
    assert check_text.text_findings(name, text) == []


def test_files_are_found_without_git(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "left.txt").write_text("left")
    (tmp_path / "kept.txt").write_text("kept")
    assert check_text.project_files(tmp_path) == ["kept.txt"]
    assert check_text.check(tmp_path) == ["kept.txt: TX-03 must end with exactly one line feed"]


# Layers


def test_every_room_is_shipped_and_under_the_layer_check(project: dict[str, Any]) -> None:
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == rooms()
    assert set(project["tool"]["importlinter"]["root_packages"]) == rooms()


def test_the_wheel_carries_every_file_of_every_room(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert shipped == {name for name in check_text.project_files(ROOT) if name.partition("/")[0] in rooms()}


def test_the_layers_are_those_of_the_architecture(project: dict[str, Any]) -> None:
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    order = [re.findall(r"\w+", layer) for layer in layers]
    assert order == [["cli"], ["provisioning", "ceremonies"], ["signer"], ["policies", "rpc"], ["pki"]]


def test_bootloader_and_host_never_import_each_other_below_the_command_line(project: dict[str, Any]) -> None:
    contracts = project["tool"]["importlinter"]["contracts"]
    forbidden = {
        (source, target)
        for contract in contracts
        if contract["type"] == "forbidden" and "ignore_imports" not in contract
        for source in contract["source_modules"]
        for target in contract["forbidden_modules"]
    }
    below = rooms() - {"cli", "bootloader"}
    assert {("bootloader", room) for room in below | {"cli"}} <= forbidden
    assert {(room, "bootloader") for room in below} <= forbidden


@pytest.fixture
def model_house(project: dict[str, Any], tmp_path: Path) -> Path:
    """Empty rooms under the real layer contracts."""
    pyproject = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(pyproject[pyproject.index("[tool.importlinter]") :])
    for room in project["tool"]["importlinter"]["root_packages"]:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    return tmp_path


def lint_imports(house: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    # The model's rooms must be found before the installed ones.
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(house), "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True, check=False)


def test_the_layer_check_passes_what_is_allowed(model_house: Path) -> None:
    (model_house / "cli" / "__init__.py").write_text("import signer, pki, bootloader, typer\n")
    (model_house / "signer" / "__init__.py").write_text("import pki, pkcs11, sqlalchemy\n")
    (model_house / "pki" / "__init__.py").write_text("import cryptography\n")
    result = lint_imports(model_house)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("room", "imported"),
    [
        ("pki", "signer"),
        ("signer", "cli"),
        ("bootloader", "pki"),
        ("bootloader", "signer"),
        ("signer", "bootloader"),
        ("pki", "bootloader"),
        ("pki", "pkcs11"),
        ("bootloader", "subprocess"),
        ("signer", "typer"),
    ],
)
def test_the_layer_check_catches(room: str, imported: str, model_house: Path) -> None:
    (model_house / room / "__init__.py").write_text(f"import {imported}\n")
    result = lint_imports(model_house)
    assert result.returncode == 1
    assert f"{room} -> {imported}" in result.stdout


# Commands


@pytest.mark.parametrize(
    "target", ["help", "setup", "demo", "test", "check", "bench", "campaign", "airgap", "lock", "clean"]
)
def test_make_knows_the_target_and_explains_it(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE)


@pytest.mark.parametrize("script", [".ci/run", "tools/setup.sh", "tools/check.sh", "tools/lock.sh"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)


# Traceability


@dataclass(frozen=True, slots=True)
class Row:
    """One row of docs/traceability.md: the requirement's ID, the tests it names, its state."""

    id: str
    tests: list[str]
    state: str


def parse_rows(text: str) -> list[Row]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [Row(row[0], re.findall(r"`([^`]+)`", row[3]), row[4]) for row in cells if re.match(r"[RK]\d", row[0])]


def names_in(path: Path) -> set[str]:
    """Functions and classes of a test file, methods as Class::method."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
            names |= {f"{node.name}::{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return names


def row_problems(row: Row, root: Path) -> list[str]:
    problems = []
    if row.state not in {"open", "partial", "done"}:
        problems.append(f"{row.id}: unknown state {row.state!r}")
    if not row.tests and row.state != "open":
        problems.append(f"{row.id}: {row.state} without a test")
    for test in row.tests:
        name, _, function = test.partition("::")
        path = root / name
        if not name.startswith("tests/") or not path.exists() or (path.is_dir() and not any(path.rglob("test_*.py"))):
            problems.append(f"{row.id}: no such test: {test}")
        elif function and function not in names_in(path):
            problems.append(f"{row.id}: no such test in {name}: {function}")
    return problems


def test_traceability_has_one_row_per_requirement() -> None:
    rows = parse_rows((ROOT / "docs/traceability.md").read_text())
    assert [row.id for row in rows] == REQUIREMENT_IDS


def test_traceability_names_only_tests_that_exist() -> None:
    rows = parse_rows((ROOT / "docs/traceability.md").read_text())
    assert [problem for row in rows for problem in row_problems(row, ROOT)] == []


@pytest.mark.parametrize(
    "row",
    [
        Row("R01", [], "done"),
        Row("R01", [], "ready"),
        Row("R01", ["tests/unit/test_nothing.py"], "done"),
        Row("R01", ["tests/unit/test_house.py::test_nothing"], "done"),
        Row("R01", ["docs/traceability.md"], "done"),
    ],
)
def test_a_row_that_claims_more_than_there_is_is_found(row: Row) -> None:
    assert row_problems(row, ROOT) != []


def test_a_row_that_names_real_tests_passes() -> None:
    row = Row("R21", ["tests/unit/", "tests/unit/test_house.py::test_texts_keep_their_rules"], "done")
    assert row_problems(row, ROOT) == []
