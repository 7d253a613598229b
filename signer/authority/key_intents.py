"""The intent to generate a key, written before the token is asked: an interrupted generation is recognised and ended.

Without it, a key that a token made just before a crash would be a stranger: on the token, unknown to the key store.
One file for each intent, in `store/intents/`, and one lock for all: two generations never run at once.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pki.errors import ConfigurationError, InputRefused, OutputError
from pki.key_specs import parse_key_label
from signer.authority.intent_files import remove_intent_file, write_intent_file

INTENT_FORMAT = "strongroom-key-intent-1"
CUSTODY_FOLDER = "custody"
"""Below the folder of intents: those to generate a key with a backup, or to restore one (signer/custody/intents.py)."""

_SIZE_BYTES_MAX = 4096
_COUNT_MAX = 1000


@dataclass(frozen=True, slots=True)
class KeyIntent:
    """Which key is being generated, on which token, since when (UTC, ISO 8601) and by whom."""

    label: str
    token_serial: str
    token_label: str
    begun_at: str
    who: str

    def __post_init__(self) -> None:
        parse_key_label(self.label)
        if datetime.fromisoformat(self.begun_at).tzinfo is not UTC:
            raise ValueError("begun_at is not in UTC")


def intent_file_name(label: str) -> str:
    """The name of an intent's file. No label has a dot, so this is one to one."""
    return f"{label.replace(':', '.')}.json"


class KeyIntents:
    """The intents of one authority repository."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, label: str) -> Path:
        """The file of the intent to generate the key `label`."""
        return self._folder / intent_file_name(label)

    def refuse_pending(self, label: str) -> None:
        """Raise ConfigurationError while the generation of this key without a backup is not done."""
        if self.path(label).exists():
            raise ConfigurationError(
                f"the generation of {label} was interrupted: end it with `strongroom key generate` ({self.path(label)})"
            )

    def refuse_in_custody(self, label: str) -> None:
        """Raise ConfigurationError while the generation of this key with a backup is not done."""
        path = self._folder / CUSTODY_FOLDER / intent_file_name(label)
        if path.exists():
            raise ConfigurationError(
                f"the generation of {label} with a backup was interrupted: resume the ceremony that began it ({path})"
            )

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Hold the one lock. Raises InputRefused while another process generates a key, OutputError."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be written ({error.strerror})") from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputRefused("another process is generating a key; wait until it is done") from None
            yield
        finally:
            os.close(descriptor)

    def all(self) -> list[KeyIntent]:
        """Every intent, sorted by label: each an interrupted generation, unless one is running. ConfigurationError."""
        paths = sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []
        if len(paths) > _COUNT_MAX:
            raise ConfigurationError(f"{self._folder} holds more than {_COUNT_MAX} files")
        return [self._read(path) for path in paths]

    def write(self, intent: KeyIntent) -> None:
        """Record an intent durably. Raises OutputError, also if the label has one."""
        text = json.dumps({"format": INTENT_FORMAT, **asdict(intent)}, indent=2) + "\n"
        write_intent_file(self.path(intent.label), text, "; no key was generated")

    def remove(self, label: str) -> None:
        """Forget an intent that is fulfilled, or was given up with nothing made. Raises OutputError."""
        remove_intent_file(self.path(label))

    def _read(self, path: Path) -> KeyIntent:
        try:
            values = json.loads(path.read_bytes()[:_SIZE_BYTES_MAX])
            if values.pop("format") != INTENT_FORMAT or not all(isinstance(value, str) for value in values.values()):
                raise ValueError("not an intent")
            intent = KeyIntent(**values)
            if self.path(intent.label) != path:
                raise ValueError("not the file of its label")
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError, AttributeError, ConfigurationError):
            raise ConfigurationError(
                f"{path}: is damaged. `strongroom key audit` says whether the token has a key that the store does not "
                "know; then remove the file"
            ) from None
        return intent
