"""Intents to generate keys: durable, exclusive, and readable by nobody's mistake."""

from __future__ import annotations

import errno
import json
import multiprocessing
from pathlib import Path

import pytest

from pki.errors import ConfigurationError, InputRefused, OutputError
from signer.authority import intent_files
from signer.authority.key_intents import KeyIntent, KeyIntents

LABEL = "sr:grant:pump-x2:0001"
INTENT = KeyIntent(LABEL, "0123456789abcdef", "release", "2026-11-22T12:00:00.000000Z", "ada")


@pytest.fixture
def intents(tmp_path: Path) -> KeyIntents:
    return KeyIntents(tmp_path / "intents")


def test_no_folder_means_no_intents(intents: KeyIntents) -> None:
    assert intents.all() == []


def test_written_read_and_removed(intents: KeyIntents) -> None:
    with intents.exclusively():
        intents.write(INTENT)
    assert intents.all() == [INTENT]
    assert intents.path(LABEL).name == "sr.grant.pump-x2.0001.json"
    assert intents.path(LABEL).stat().st_mode & 0o777 == 0o600
    intents.remove(LABEL)
    intents.remove(LABEL)
    assert intents.all() == []


def _try_to_hold(folder: Path, answers: multiprocessing.Queue[str]) -> None:
    try:
        with KeyIntents(folder).exclusively():
            answers.put("held")
    except InputRefused as error:
        answers.put(str(error))


def test_one_process_at_a_time(intents: KeyIntents, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = spawn.Queue()

    def ask() -> str:
        worker = spawn.Process(target=_try_to_hold, args=(tmp_path / "intents", answers))
        worker.start()
        answer = answers.get(timeout=60)
        worker.join(timeout=60)
        return answer

    with intents.exclusively():
        assert "another process" in ask()
    assert ask() == "held"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "other"),
        ("label", "sr:grant:pump-x2:0002"),
        ("label", "x"),
        ("begun_at", "2026-11-22T12:00:00"),
        ("begun_at", "yesterday"),
        ("who", 7),
        ("more", "x"),
    ],
)
def test_a_damaged_intent_is_named(intents: KeyIntents, name: str, value: object) -> None:
    with intents.exclusively():
        intents.write(INTENT)
    path = intents.path(LABEL)
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**values, name: value}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"sr\.grant\.pump-x2\.0001\.json: is damaged"):
        intents.all()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"x" * 10_000])
def test_a_file_that_is_no_intent(intents: KeyIntents, content: bytes) -> None:
    with intents.exclusively():
        intents.path(LABEL).write_bytes(content)
    with pytest.raises(ConfigurationError, match="is damaged"):
        intents.all()


def test_a_full_disk_leaves_no_intent(intents: KeyIntents, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_is_full(path: Path, text: str, _mode: int) -> None:
        path.write_text(text[:10], encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(intent_files, "write_new_text", disk_is_full)
    with intents.exclusively(), pytest.raises(OutputError, match=r"No space left on device.*no key was generated"):
        intents.write(INTENT)
    assert [path.name for path in intents.path(LABEL).parent.iterdir()] == ["lock"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"), KeyIntents(tmp_path / "store" / "x").exclusively():
        pass
